"""The section ``gateway`` of ``akiosd.yaml``: what gateways may reach, and how.

Addresses given here are dialled even when they are private: the administrator has set them.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from akiosd.errors import AkiosError, PolicyError
from akiosd.values.domains import canonical_domain
from akiosd.values.policy import PROVIDERS
from akiosd.values.providers import FACTS, with_regions
from akiosd.values.spend import ModelPrice

MAX_ROOTS_BYTES = 512 << 10
_MICRO = 10**6
# [v6], [v6]:port, v4, v4:port, v6
_ADDRESS = re.compile(
    r"\[([0-9a-fA-F:.]+)\](?::([0-9]{1,5}))?|([0-9.]+)(?::([0-9]{1,5}))?|([0-9a-fA-F:.]+)"
)
# Of systemd.exec(5), LoadCredential=: a file name.
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_DEAREST = 1_000_000.0

Where = Callable[..., str]
"""Key by key → the file and line where it stands."""


class ProviderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``upstream``: a URL in the place of the vendor's own; ``region``: of those that have
    regions; ``credential``: the name of the service's credential that holds the key.
    """

    upstream: str = ""
    region: str = ""
    credential: str = ""


class PriceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars for a million tokens; the cache prices are those of input where they are
    not given.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    context: int = ModelPrice.__struct_defaults__[2]
    max_output: int = ModelPrice.__struct_defaults__[3]

    def price(self) -> ModelPrice:
        """The same in micro-USD."""
        return ModelPrice(
            input=_micro(self.input),
            output=_micro(self.output),
            cache_read=-1 if self.cache_read is None else _micro(self.cache_read),
            cache_write=-1 if self.cache_write is None else _micro(self.cache_write),
            context=self.context,
            max_output=self.max_output,
        )


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section; ``hosts`` maps names to addresses, ``prices`` models to prices."""

    roots: str = ""
    """Path of a file of PEM certificates."""
    hosts: dict[str, str] = {}
    providers: dict[str, ProviderConfig] = {}
    prices: dict[str, PriceConfig] = {}


def find_gateway_errors(config: GatewayConfig, where: Where) -> Iterator[AkiosError]:
    """What types cannot express; ``where`` gives file and line of a key."""
    if config.roots and not config.roots.startswith("/"):
        what = "gateway.roots is not an absolute path"
        yield AkiosError(what, where("gateway", "roots"), "write a path that starts with /")
    for host, address in config.hosts.items():
        place = where("gateway", "hosts", host)
        yield from _caught(_check_host, host, place)
        yield from _caught(_check_address, address, place)
    for provider, settings in config.providers.items():
        yield from _caught(_check_provider, provider, settings, where)
    for model, price in config.prices.items():
        yield from _caught(_check_price, model, price, where("gateway", "prices", model))


def _caught(check: Callable[..., None], *arguments: Any) -> Iterator[AkiosError]:
    try:
        check(*arguments)
    except AkiosError as error:
        yield error


def _check_provider(provider: str, settings: ProviderConfig, where: Where) -> None:
    if provider not in PROVIDERS:
        place = where("gateway", "providers", provider)
        raise AkiosError(
            f"there is no provider {provider}", place, "known: " + ", ".join(PROVIDERS)
        )
    _check_url(provider, settings.upstream, where("gateway", "providers", provider, "upstream"))
    if settings.region:
        check_region(provider, settings.region, where("gateway", "providers", provider, "region"))
    if settings.credential and not _CREDENTIAL.fullmatch(settings.credential):
        raise AkiosError(
            f"{settings.credential!r} is not the name of a credential",
            where("gateway", "providers", provider, "credential"),
            "write the name that LoadCredential= gives it, not a path",
        )


def check_region(provider: str, region: str, where: str) -> None:
    """Check a region, which becomes part of a host name.  Raises :class:`AkiosError`."""
    plain = (
        region.replace("-", "").isalnum()
        and region.isascii()
        and region == region.lower()
        and len(region) <= 32
    )
    having = with_regions()
    if provider not in having or not plain or region.startswith("-") or region.endswith("-"):
        if provider not in having:
            known = " and ".join(having)
            raise AkiosError(
                f"{provider} has no regions, only {known} has", where, "leave the region out here"
            )
        raise AkiosError(f"{region!r} is not a region", where, "write one as in eu-central-1")


def check_roots(pem: bytes, where: str) -> bytes:
    """Check PEM certificates and return them unchanged.  Raises :class:`AkiosError`."""
    try:
        if not x509.load_pem_x509_certificates(pem):
            raise ValueError
    except ValueError:
        raise AkiosError(
            "it is not a file of PEM certificates", where, "check gateway.roots in akiosd.yaml"
        ) from None
    if len(pem) > MAX_ROOTS_BYTES:
        raise AkiosError(
            f"it is larger than {MAX_ROOTS_BYTES} bytes",
            where,
            "keep only certificates that the host's own trust store lacks",
        )
    return pem


def find_expired(pem: bytes, now: datetime) -> list[str]:
    """In words, each certificate of a checked file that is not valid at ``now``: whatever it signed
    is not accepted.
    """
    return [
        f"{found.subject.rfc4514_string()} is valid from"
        f" {found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}"
        for found in (x509.load_pem_x509_certificates(pem) if pem else ())
        if not found.not_valid_before_utc <= now <= found.not_valid_after_utc
    ]


def _check_host(host: str, where: str) -> None:
    try:
        canonical = canonical_domain(host)
    except PolicyError as error:
        raise AkiosError(error.what, where, error.next) from None
    if canonical != host or "*" in host or ":" in host:
        raise AkiosError(
            f"{host!r} is not one plain name",
            where,
            "write it as in internal.example, without a port",
        )


def _check_address(text: str, where: str) -> None:
    match = _ADDRESS.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        bracketed, its_port, plain, port, bare = match.groups()
        ipaddress.ip_address(bracketed or plain or bare)
        if not 0 < int(its_port or port or 1) < 65536:
            raise ValueError
    except ValueError:
        words = f"{text!r} is not an address, or address:port"
        raise AkiosError(words, where, "as in 10.0.0.7:8443 or [fd00::7]:8443") from None


def _check_url(provider: str, url: str, where: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.port != 0 and bool(parts.hostname) and parts.scheme in ("https", "http")
    except ValueError:
        good = False
    if (
        not good
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not url.isascii()
        or not url.isprintable()
    ):
        raise AkiosError(
            f"{url!r} is not the URL of an API", where, "as in https://llm.internal.example"
        )
    facts = FACTS[provider]
    ends = [rf"/(?:{'|'.join(facts.begins)})"] * bool(facts.begins)
    ends += [facts.called_at] * bool(facts.called_at)
    found = re.search(rf"(?:{'|'.join(ends)})/*\Z", parts.path) if ends else None
    if found is not None:
        raise AkiosError(
            f"{url!r} ends in {found[0]}, which AKIOS adds to it for {provider}: it would be there"
            " twice",
            where,
            f"write the URL without that end: {url[: -len(found[0])]}",
        )


def _check_price(model: str, price: PriceConfig, where: str) -> None:
    dollars = (price.input, price.output, price.cache_read or 0.0, price.cache_write or 0.0)
    if not all(math.isfinite(value) and 0 <= value <= _DEAREST for value in dollars):
        raise AkiosError(
            f"a price of {model} is not an amount of dollars for a million tokens",
            where,
            "write 0 or more, as in 2.5",
        )
    if not (0 < price.context <= 1 << 40 and 0 < price.max_output <= 1 << 40):
        raise AkiosError(
            f"context and max_output of {model} are numbers of tokens", where, "write 1 or more"
        )


def _micro(dollars: float) -> int:
    return math.ceil(Decimal(str(dollars)) * _MICRO)
