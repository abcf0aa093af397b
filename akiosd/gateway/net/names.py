"""Host names: which the policy allows and under which rule, and the address each has inside the
cage.  Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Literal
from urllib.parse import unquote

import msgspec

from akiosd.errors import PolicyError
from akiosd.values.domains import canonical_domain, is_of_host
from akiosd.values.policy import PROVIDERS, Network, Policy
from akiosd.values.providers import FACTS

RuleKind = Literal["llm", "inspect", "passthrough", "raw"]

PROVIDER_HOSTS: dict[str, tuple[str, ...]] = {name: facts.hosts for name, facts in FACTS.items()}
_REGIONS = {
    name: re.compile(facts.regions.label)
    for name, facts in FACTS.items()
    if facts.regions is not None
}
"""What the label ``*`` in a host of this provider may be."""

WEB_PORTS = (80, 443)
LOCAL_PORTS: dict[int, str] = {
    facts.local_port: name for name, facts in FACTS.items() if facts.local_port
}
"""The ports of providers on this machine."""
_DNS_PORT = 53
MAX_PORTS = 44
"""With DNS and ``LOCAL_PORTS`` they go to a gateway in one frame (``wire.frame.MAX_FDS``)."""

_RANGE = ipaddress.IPv4Network("198.18.0.0/15")
MAX_WILDCARD_NAMES = 2048
"""Most names that get an address although only a wildcard of the policy allows them."""


class Rule(msgspec.Struct, frozen=True):
    """Why a name may be reached and how.

    ``kind``: ``llm`` a provider's API, ``inspect`` an HTTP site, ``passthrough`` TLS that is not
    opened, ``raw`` TCP. ``pattern`` is the line of the policy that allows it, or the provider's
    host. ``port`` is the port asked for.
    """

    kind: RuleKind
    pattern: str
    provider: str = ""
    get_only: bool = False


def canonical(host: bytes | str) -> str:
    """The one spelling of a host name that rules are compared with: IDNA, lower case, without
    trailing dot.

    Raises ValueError, with words for the agent, for what is no host name.
    """
    if isinstance(host, bytes):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            raise ValueError("the name is not ASCII") from None
    if len(host) > 1024 or any(character.isspace() or character in ":*" for character in host):
        raise ValueError("the name has characters no host name has")
    try:
        return canonical_domain(host)
    except PolicyError as error:
        raise ValueError(error.what) from None


class _Entry(msgspec.Struct, frozen=True):
    """One line of a list of hosts in the policy, split into host and port (0: any)."""

    pattern: str
    host: str
    port: int

    @classmethod
    def parse(cls, pattern: str) -> _Entry:
        host, _, port = pattern.partition(":")
        return cls(pattern, host, int(port or 0))

    def holds(self, host: str) -> bool:
        return is_of_host(self.host, host)


class Names:
    """The policy's answers about (host, port).

    A provider's host is never treated as a site, also where the policy turns that provider off.
    """

    def __init__(
        self,
        policy: Policy,
        providers: Mapping[str, Sequence[str]] = PROVIDER_HOSTS,
        reserved: Iterable[tuple[str, int]] = (),
    ) -> None:
        """``reserved`` are (host, port) of upstreams that the administrator set for providers; they
        are no sites either.
        """
        network = policy.network
        self.reserved = frozenset(reserved)
        self._providers = [
            (name, name in _providers_of(network), host.split("."))
            for name, hosts in providers.items()
            for host in hosts
        ]
        self._allowed = [_Entry.parse(pattern) for pattern in network.allowed_domains]
        self._passthrough = [_Entry.parse(pattern) for pattern in network.passthrough]
        self._get_only = [_Entry.parse(pattern) for pattern in network.get_only]
        self._ports = frozenset((*WEB_PORTS, *network.ports))

    def find(self, host: str, port: int) -> Rule | None:
        """The rule for a canonical ``host`` and ``port``; None when it is denied."""
        provider = self._provider(host)
        if provider is not None:
            name, permitted, pattern = provider
            return Rule("llm", pattern, name) if permitted and port == 443 else None
        if (host, port) in self.reserved:
            return None
        return self._find_passthrough(host, port) or self._find_site(host, port)

    def resolves(self, host: str) -> bool:
        """Whether the canonical ``host`` may be reached on any port."""
        provider = self._provider(host)
        if provider is not None:
            return provider[1]
        return any(entry.holds(host) for entry in (*self._allowed, *self._passthrough))

    def is_literal(self, host: str) -> bool:
        """Whether ``host`` itself is named by the policy or is a provider's, so that the number of
        such names is bounded.
        """
        return any(entry.host == host for entry in (*self._allowed, *self._passthrough)) or any(
            ".".join(labels) == host for _, _, labels in self._providers
        )

    def _provider(self, host: str) -> tuple[str, bool, str] | None:
        labels = host.split(".")
        for name, permitted, pattern in self._providers:
            if len(pattern) == len(labels) and all(map(partial(_is_label, name), pattern, labels)):
                return name, permitted, ".".join(pattern)
        return None

    def _find_passthrough(self, host: str, port: int) -> Rule | None:
        for entry in self._passthrough:
            # Port 80 is plain text: there is no TLS to leave closed.
            ports = (entry.port,) if entry.port else self._ports - {80}
            if entry.holds(host) and port in ports:
                return Rule("passthrough", entry.pattern)
        return None

    def _find_site(self, host: str, port: int) -> Rule | None:
        for entry in self._allowed:
            if not entry.holds(host) or port not in ((entry.port,) if entry.port else self._ports):
                continue
            raw = port not in self._ports and not entry.host.startswith("*.")
            return Rule(
                "raw" if raw else "inspect", entry.pattern, get_only=self._is_get_only(host, port)
            )
        return None

    def _is_get_only(self, host: str, port: int) -> bool:
        return any(entry.holds(host) and entry.port in (0, port) for entry in self._get_only)


def _is_label(provider: str, pattern: str, label: str) -> bool:
    return bool(_REGIONS[provider].fullmatch(label)) if pattern == "*" else pattern == label


def _providers_of(network: Network) -> frozenset[str]:
    return frozenset(network.providers if network.llm else ()) & frozenset(PROVIDERS)


def local_ports(network: Network) -> tuple[int, ...]:
    """The ports at which the policy's providers on this machine are expected."""
    providers = _providers_of(network)
    return tuple(port for port, name in LOCAL_PORTS.items() if name in providers)


def capture_ports(network: Network) -> tuple[int, ...]:
    """The ports of the cage on which connections are accepted; 80 and 443 come first.

    Raises :class:`PolicyError` for a port that the gateway needs itself, and for too many ports.
    """
    entries = [
        _Entry.parse(pattern) for pattern in (*network.allowed_domains, *network.passthrough)
    ]
    named = {*network.ports, *(entry.port for entry in entries if entry.port)} - set(WEB_PORTS)
    taken = {_DNS_PORT, *local_ports(network)} & named
    if taken:
        what = f"port {min(taken)} is used by AKIOS itself in every cage"
        local = " and ".join(LOCAL_PORTS.values())
        raise PolicyError(
            what, "network.ports", f"remove the port here, or {local} from network.providers"
        )
    if len(named) + len(WEB_PORTS) > MAX_PORTS:
        what = f"the policy names {len(named)} ports, at most {MAX_PORTS - len(WEB_PORTS)} can be"
        raise PolicyError(what, "network.ports", "name fewer ports")
    return (*WEB_PORTS, *sorted(named))


def named_path(entries: Iterable[str], provider: str, path: str) -> bool:
    """Whether ``entries`` of the policy name ``provider:path``, exactly or as a leading directory.

    A path with ``.``, ``..``, empty parts or backslashes is never named.
    """
    plain = unquote(path)
    if "\\" in plain or any(part in (".", "..", "") for part in plain.rstrip("/").split("/")[1:]):
        return False
    for entry in entries:
        owner, _, allowed = entry.partition(":")
        if owner == provider and (path == allowed or path.startswith(allowed.rstrip("/") + "/")):
            return True
    return False


class Addresses:
    """The addresses of names in one cage, from 198.18.0.0/15; a name keeps its address as long as
    the cage lives.

    ``known`` are those that an earlier gateway of the cage reported, ``wildcards`` the bound on
    names that are not literal.
    """

    def __init__(self, known: Mapping[str, str] = {}, wildcards: int = MAX_WILDCARD_NAMES) -> None:
        self._by_name: dict[str, str] = {}
        self._by_address: dict[str, str] = {}
        self._wildcards_left = wildcards
        self._next = 1
        for name, address in known.items():
            self._restore(name, address)

    def allocate(self, name: str, *, literal: bool = True) -> str | None:
        """The address of a canonical name; a new one if it has none.

        ``literal``: the name itself stands in the policy. None when too many names have one that
        only a wildcard allows.
        """
        found = self._by_name.get(name)
        if found is not None:
            return found
        if not literal:
            if self._wildcards_left <= 0:
                return None
            self._wildcards_left -= 1
        while (address := str(_RANGE[self._next])) in self._by_address:
            self._next += 1
        self._put(name, address)
        return address

    def address_of(self, name: str) -> str | None:
        """The address of a canonical name; None when it has none."""
        return self._by_name.get(name)

    def name_of(self, address: str) -> str | None:
        """The name that ``address`` stands for; None when it stands for none."""
        return self._by_address.get(address)

    def names(self) -> Iterable[str]:
        """All names that have an address."""
        return self._by_name.keys()

    def _restore(self, name: str, address: str) -> None:
        """Take over a pair that an earlier gateway reported, if it is one that this class could
        have made.

        That gateway may have been taken over by an attacker, so every pair is checked.
        """
        try:
            good = ipaddress.IPv4Address(address) in _RANGE and canonical(name) == name
        except ValueError:
            return
        if good and address not in self._by_address and name not in self._by_name:
            self._wildcards_left -= 1
            self._put(name, address)

    def _put(self, name: str, address: str) -> None:
        self._by_name[name], self._by_address[address] = address, name
