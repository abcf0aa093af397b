"""Which names a policy allows, on which ports, as what; and the address each has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import PolicyError
from akiosd.gateway.net.names import (
    MAX_PORTS,
    PROVIDER_HOSTS,
    Addresses,
    Names,
    Rule,
    canonical,
    capture_ports,
    local_ports,
)
from akiosd.values.policy import PROVIDERS, Network, Policy
from akiosd.wire.frame import MAX_FDS


def names(**network: object) -> Names:
    return Names(Policy(network=Network(**network)))  # type: ignore[arg-type]


SITES = names(
    allowed_domains=(
        "example.com",
        "*.wild.org",
        "git.example.net:22",
        "plain.example.net:80",
        "*.ports.example:8443",
        "both.example",
        "*.x.ai",
    ),
    passthrough=("pinned.example", "*.closed.example", "odd.example:9443"),
    get_only=("docs.example.com", "*.wild.org"),
    ports=(8080,),
)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("example.com", 443, Rule("inspect", "example.com")),
        ("example.com", 80, Rule("inspect", "example.com")),
        ("example.com", 8080, Rule("inspect", "example.com")),
        ("example.com", 22, None),
        ("www.example.com", 443, None),
        ("notexample.com", 443, None),
        ("a.wild.org", 443, Rule("inspect", "*.wild.org", get_only=True)),
        ("a.b.wild.org", 80, Rule("inspect", "*.wild.org", get_only=True)),
        ("wild.org", 443, None),
        ("evilwild.org", 443, None),
        ("git.example.net", 22, Rule("raw", "git.example.net:22")),
        ("git.example.net", 443, None),
        ("plain.example.net", 80, Rule("inspect", "plain.example.net:80")),
        ("plain.example.net", 443, None),
        # A wildcard never gives raw bytes: which host it was would be the agent's word alone.
        ("a.ports.example", 8443, Rule("inspect", "*.ports.example:8443")),
        ("pinned.example", 443, Rule("passthrough", "pinned.example")),
        ("pinned.example", 80, None),
        ("a.closed.example", 8080, Rule("passthrough", "*.closed.example")),
        ("odd.example", 9443, Rule("passthrough", "odd.example:9443")),
        ("odd.example", 443, None),
        # A provider's host is the provider's, whatever else covers it.
        ("api.x.ai", 443, Rule("llm", "api.x.ai", "xai")),
        ("api.x.ai", 80, None),
        ("api.openai.com", 443, Rule("llm", "api.openai.com", "openai")),
        ("bedrock-runtime.eu-west-1.amazonaws.com", 443,
         Rule("llm", "bedrock-runtime.*.amazonaws.com", "bedrock")),
        ("bedrock-runtime.a.b.amazonaws.com", 443, None),
        ("s3.eu-west-1.amazonaws.com", 443, None),
        # Buckets that anybody may own, and names of no region.
        ("bedrock-runtime.s3.amazonaws.com", 443, None),
        ("bedrock-runtime.s3-us-west-2.amazonaws.com", 443, None),
        ("bedrock-runtime.my-secret-1234567.amazonaws.com", 443, None),
        ("bedrock-runtime.us-gov-west-1.amazonaws.com", 443,
         Rule("llm", "bedrock-runtime.*.amazonaws.com", "bedrock")),
    ],
)  # fmt: skip
def test_the_rule_of_a_host_and_a_port(host: str, port: int, expected: Rule | None) -> None:
    assert SITES.find(host, port) == expected


@pytest.mark.parametrize("network", [{"llm": False}, {"providers": ("openai",)}])
def test_a_provider_that_is_off_is_no_site_either(network: dict[str, object]) -> None:
    found = names(
        **network, allowed_domains=("*.anthropic.com",), passthrough=("api.anthropic.com",)
    )
    assert found.find("api.anthropic.com", 443) is None
    assert not found.resolves("api.anthropic.com")
    assert found.find("www.anthropic.com", 443) is not None, "the control"


def test_every_provider_has_its_hosts_and_they_resolve() -> None:
    assert set(PROVIDER_HOSTS) == set(PROVIDERS)
    default = Names(Policy())
    for hosts in PROVIDER_HOSTS.values():
        for host in hosts:
            assert default.resolves(host.replace("*", "us-east-1"))
    assert not default.resolves("example.com")


@pytest.mark.parametrize(
    "name", ["example.com", "a.wild.org", "git.example.net", "pinned.example", "api.x.ai"]
)
def test_what_has_a_rule_resolves(name: str) -> None:
    assert SITES.resolves(name)


@pytest.mark.parametrize("name", ["wild.org", "com", "example.org", "www.example.com", "xai"])
def test_what_has_none_does_not(name: str) -> None:
    assert not SITES.resolves(name)


def test_an_upstream_that_the_administrator_set_is_no_site() -> None:
    network = Network(
        allowed_domains=("*.inside.example", "llm.inside.example:8443", "api.openai.com")
    )
    found = Names(
        Policy(network=network), reserved={("llm.inside.example", 443), ("api.openai.com", 443)}
    )
    assert found.find("llm.inside.example", 443) is None
    assert (
        found.find("other.inside.example", 443) is not None
        and found.find("llm.inside.example", 8443) is not None
    )
    assert found.find("api.openai.com", 443) == Rule("llm", "api.openai.com", "openai")


def test_literal_names_are_told_from_those_of_wildcards() -> None:
    assert SITES.is_literal("example.com") and SITES.is_literal("api.openai.com")
    assert not SITES.is_literal("a.wild.org")
    assert not SITES.is_literal("bedrock-runtime.us-east-1.amazonaws.com")


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("EXAMPLE.com", "example.com"), (b"example.com.", "example.com"), ("bücher.example", "xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"), (b"XN--BCHER-KVA.example", "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_one_spelling(spelled: bytes | str, expected: str) -> None:
    assert canonical(spelled) == expected


@pytest.mark.parametrize(
    "spelled",
    [
        "", ".", "a..b", "*.example.com", "example.com:443", " example.com", "example.com\n", "1.2.3.4", "0x7f.1",
        "[::1]", "::1", "2130706433", "-a.example", "a" * 64 + ".example", ".".join(["a" * 60] * 5), "exa mple.com",
        "example.com\0", b"\xc3\xa4.example", "ex%61mple.com", "example.com..", "127.1", "x" * 5000, "user@example.com",
        "example.com/", b"example.com\x1f", b"\x1cexample.com", "example.com\x85", "example.com\u2028",
    ],
)  # fmt: skip
def test_what_is_no_host_name(spelled: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        canonical(spelled)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40))
def test_canonical_is_a_name_or_an_error(spelled: str | bytes) -> None:
    try:
        found = canonical(spelled)
    except ValueError:
        return
    assert canonical(found) == found
    assert (
        found.isascii()
        and found == found.lower()
        and not found.startswith(("*", "."))
        and ":" not in found
    )


def test_ports() -> None:
    network = Network(
        allowed_domains=("a.example:22", "b.example", "c.example:443"), ports=(8443, 8080)
    )
    assert capture_ports(network) == (80, 443, 22, 8080, 8443)
    assert capture_ports(Network()) == (80, 443)
    assert MAX_PORTS + 3 <= MAX_FDS


def test_ports_that_cannot_be_listened_on() -> None:
    with pytest.raises(PolicyError, match="port 53"):
        capture_ports(Network(ports=(53,)))
    with pytest.raises(PolicyError, match="port 11434"):
        capture_ports(Network(allowed_domains=("ollama.example:11434",)))
    assert capture_ports(Network(llm=False, ports=(11434,))) == (80, 443, 11434)
    with pytest.raises(PolicyError, match="names 60 ports"):
        capture_ports(Network(ports=tuple(range(9000, 9060))))


def test_ollama() -> None:
    assert local_ports(Network())
    assert not local_ports(Network(llm=False))
    assert not local_ports(Network(providers=("openai",)))


def test_addresses_are_stable_and_apart() -> None:
    addresses = Addresses()
    first = addresses.allocate("a.example")
    assert first == "198.18.0.1" and addresses.allocate("b.example") != first
    assert addresses.allocate("a.example") == first and addresses.name_of(first) == "a.example"
    assert addresses.name_of("198.18.0.0") is None and addresses.address_of("c.example") is None


def test_wildcards_are_capped_and_literals_are_not() -> None:
    addresses = Addresses(wildcards=3)
    got = [addresses.allocate(f"{n}.wild.org", literal=False) for n in range(5)]
    assert None not in got[:3] and got[3:] == [None, None]
    assert addresses.allocate("0.wild.org", literal=False) == got[0]
    assert addresses.allocate("literal.example") is not None


def test_a_next_gateway_goes_on_with_the_addresses() -> None:
    first = Addresses()
    known = {name: str(first.allocate(name)) for name in ("a.example", "b.example")}
    second = Addresses(known)
    assert second.address_of("b.example") == known["b.example"]
    assert second.allocate("c.example") not in known.values()


@pytest.mark.parametrize(
    "bad",
    [
        {"a.example": "10.0.0.1"}, {"a.example": "198.20.0.1"}, {"a.example": "nonsense"}, {"A.example": "198.18.0.9"},
        {"1.2.3.4": "198.18.0.9"}, {"a.example": "::1"},
    ],
)  # fmt: skip
def test_what_a_broken_gateway_remembered_is_left_out(bad: dict[str, str]) -> None:
    addresses = Addresses(bad)
    assert all(addresses.address_of(name) is None for name in bad)


def test_two_names_never_share_an_address() -> None:
    addresses = Addresses({"a.example": "198.18.0.1", "b.example": "198.18.0.1"})
    assert (addresses.address_of("a.example"), addresses.address_of("b.example")) == (
        "198.18.0.1",
        None,
    )


@pytest.mark.parametrize(
    "spelled", ["fa\u00df.example", "\u03c3\u03c2.example", "a\u200db.example", "a\u200c.example"]
)
def test_what_two_standards_read_as_two_names_is_none(spelled: str) -> None:
    with pytest.raises(ValueError, match="one domain by IDNA 2003"):
        canonical(spelled)
