"""What a gateway is told of this host: the providers that its cage's policy allows, with their keys
and no others.
"""

from __future__ import annotations

from typing import NamedTuple

from akiosd.daemon.base.gateway_config import ProviderConfig
from akiosd.daemon.base.key_store import Key
from akiosd.daemon.base.log import get_log
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError
from akiosd.values.policy import PROVIDERS, Policy
from akiosd.values.providers import facts_of
from akiosd.values.spend import ModelPrice
from akiosd.wire.gateway import ProviderSetup

_log = get_log("keys")


class GatewaySetup(NamedTuple):
    """Fields of ``Setup``.  They hold keys, so nobody may print or keep them."""

    providers: tuple[ProviderSetup, ...]
    prices: dict[str, ModelPrice]
    hosts: dict[str, str]
    roots: bytes


def allowed_providers(policy: Policy) -> tuple[str, ...]:
    """The providers a cage may call, in the order of ``PROVIDERS``."""
    return tuple(
        name for name in PROVIDERS if policy.network.llm and name in policy.network.providers
    )


def gateway_setup(host: Host, policy: Policy) -> GatewaySetup:
    """Collect the fields for a cage with ``policy``; reads keys from disk, which blocks for some
    0.1 ms.

    A provider without a key is included: its requests are then answered with what is missing.
    """
    config = host.config.gateway
    return GatewaySetup(
        tuple(_provider(host, name) for name in allowed_providers(policy)),
        prices_of(host),
        dict(config.hosts),
        host.settings.roots,
    )


def prices_of(host: Host) -> dict[str, ModelPrice]:
    """The administrator's prices."""
    return {model: price.price() for model, price in host.config.gateway.prices.items()}


def region_of(host: Host, provider: str) -> str:
    """The region to which requests to ``provider`` go; "" for those without regions."""
    if facts_of(provider).regions is None:
        return ""
    return _region(provider, host.config.gateway.providers.get(provider), _key(host, provider))


def _provider(host: Host, name: str) -> ProviderSetup:
    settings, key = host.config.gateway.providers.get(name), _key(host, name)
    return ProviderSetup(
        name=name,
        upstream=settings.upstream if settings is not None else "",
        key=key.value if key is not None else b"",
        region=_region(name, settings, key),
    )


def _region(provider: str, settings: ProviderConfig | None, key: Key | None) -> str:
    """The region of the key, else of the configuration, else the vendor's first; "" for a provider
    without regions.
    """
    regions = facts_of(provider).regions
    if regions is None:
        return ""
    return (
        (key.region if key is not None else "")
        or (settings.region if settings is not None else "")
        or regions.default
    )


def _key(host: Host, provider: str) -> Key | None:
    try:
        return host.keys.get(provider)
    except AkiosError as error:
        _log.error("a key is of no use", provider=provider, problem=str(error))
        return None
