"""Answers to questions, and to what is none."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.gateway.net.dns import MAX_QUERY, MAX_TCP_QUERY, Reply, answer
from akiosd.gateway.net.remedies import Asked, find_remedy
from akiosd.values.policy import Policy

KNOWN = {"example.com": "198.18.0.1", "a.wild.org": "198.18.0.2"}


def ask(name: str, kind: str = "A", **more: object) -> bytes:
    return dns.message.make_query(name, kind, **more).to_wire()  # type: ignore[arg-type]


def read(reply: Reply) -> dns.message.Message:
    return dns.message.from_wire(reply.wire)


def addresses(message: dns.message.Message) -> list[str]:
    return [str(item) for record in message.answer for item in record]


@pytest.mark.parametrize("spelled", ["example.com", "EXAMPLE.com", "eXaMpLe.CoM.", "a.wild.org"])
def test_an_allowed_name_has_one_address(spelled: str) -> None:
    query = ask(spelled)
    message = read(answer(query, KNOWN.get))
    assert addresses(message) == [KNOWN[spelled.lower().rstrip(".")]]
    assert message.id == dns.message.from_wire(query).id and message.rcode() == dns.rcode.NOERROR
    assert message.flags & dns.flags.QR and message.flags & dns.flags.RA
    # 0x20: clients compare the question they sent, letter by letter.
    assert message.question == dns.message.from_wire(query).question
    assert str(message.question[0].name) == str(dns.message.from_wire(query).question[0].name)


@pytest.mark.parametrize(
    "kind", ["AAAA", "HTTPS", "SVCB", "TXT", "MX", "NS", "SOA", "CNAME", "SRV", "ANY", "PTR"]
)
def test_other_types_have_no_data(kind: str) -> None:
    reply = answer(ask("example.com", kind), KNOWN.get)
    message = read(reply)
    assert (message.rcode(), message.answer, reply.denied) == (dns.rcode.NOERROR, [], b"")


@pytest.mark.parametrize("kind", ["A", "AAAA", "HTTPS", "TXT", "ANY"])
@pytest.mark.parametrize(
    "name", ["denied.test", "com", "example.com.evil.org", "1.0.18.198.in-addr.arpa"]
)
def test_every_other_name_does_not_exist(name: str, kind: str) -> None:
    reply = answer(ask(name, kind), KNOWN.get)
    assert read(reply).rcode() == dns.rcode.NXDOMAIN and not read(reply).answer
    assert reply.denied == name.encode()


def test_a_name_no_host_has_is_denied_without_being_looked_up() -> None:
    def never(name: str) -> str | None:
        raise AssertionError(name)

    reply = answer(ask("not\\032a\\000host.example"), never)
    assert read(reply).rcode() == dns.rcode.NXDOMAIN
    assert reply.denied == b"not\\032a\\000host.example"
    asked = Asked("network.allowed_domains", reply.denied.decode())
    assert find_remedy(asked, Policy()).edits == ()


def test_localhost_is_this_machine() -> None:
    assert addresses(read(answer(ask("localhost"), KNOWN.get))) == ["127.0.0.1"]
    assert addresses(read(answer(ask("app.localhost", "AAAA"), KNOWN.get))) == ["::1"]


def test_edns_is_answered_with_edns() -> None:
    message = read(answer(ask("example.com", use_edns=0, payload=4096), KNOWN.get))
    assert message.edns == 0 and addresses(message) == ["198.18.0.1"]
    assert read(answer(ask("example.com"), KNOWN.get)).edns == -1


def test_a_refusal_names_itself_where_the_client_can_read_it() -> None:
    message = read(answer(ask("denied.test", use_edns=0), KNOWN.get))
    [option] = message.options
    assert option.code == dns.edns.EDECode.BLOCKED  # type: ignore[attr-defined]
    assert message.rcode() == dns.rcode.NXDOMAIN and "AKIOS" in option.text  # type: ignore[attr-defined]
    # RFC 6891, 7: a client that does not say that it knows EDNS gets none.
    assert read(answer(ask("denied.test"), KNOWN.get)).edns == -1
    assert not read(answer(ask("example.com", use_edns=0), KNOWN.get)).options


def test_another_class_is_refused() -> None:
    message = read(answer(ask("version.bind", "TXT", rdclass="CH"), KNOWN.get))
    assert message.rcode() == dns.rcode.REFUSED


def _looped() -> bytes:
    # A name of one compression pointer that points at itself (RFC 1035, 4.1.4).
    return b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"\xc0\x0c" + b"\x00\x01\x00\x01"


QUERY = ask("example.com")
NONSENSE = {
    "nothing": b"",
    "half a header": QUERY[:7],
    "a response": dns.message.make_response(dns.message.from_wire(QUERY)).to_wire(),
    "an update": bytes([*QUERY[:2], dns.opcode.UPDATE << 3, *QUERY[3:]]),
    "no question": QUERY[:4] + b"\0\0" + QUERY[6:12],
    "two questions": QUERY[:4] + b"\0\2" + QUERY[6:] + QUERY[12:],
    "a question cut off": QUERY[:-3],
    "bytes behind it": QUERY + b"x",
    "a pointer to itself": _looped(),
    "a pointer past the end": _looped().replace(b"\xc0\x0c", b"\xff\xff"),
    "a label of 64 bytes": QUERY[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    "too long": QUERY + b"\0" * MAX_QUERY,
    "a signature nobody made": QUERY[:10] + b"\0\1" + QUERY[12:] + b"\0\0\xfa\0\xff\0\0\0\0\0\0",
}


@pytest.mark.parametrize("what", NONSENSE)
def test_what_is_no_question_is_dropped(what: str) -> None:
    assert answer(NONSENSE[what], KNOWN.get) == Reply()


def test_a_stream_may_carry_longer_ones() -> None:
    query = dns.message.make_query("example.com", "A", use_edns=0, pad=1500)
    padded = query.to_wire(max_size=MAX_TCP_QUERY)
    assert answer(padded, KNOWN.get) == Reply()
    assert addresses(read(answer(padded, KNOWN.get, MAX_TCP_QUERY))) == ["198.18.0.1"]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_break_it(tail: bytes) -> None:
    """Behind a plausible header, so that most of the parser is reached."""
    for header in (b"\0\1\1\0\0\1\0\0\0\0\0\0", b"\0\1\1\0\0\1\0\1\0\1\0\2", b""):
        reply = answer(header + tail, KNOWN.get)
        if reply.wire:
            dns.message.from_wire(reply.wire)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 200), st.integers(0, 255), st.sampled_from(["A", "TSIG", "OPT", "SVCB", "NAPTR"])
)
def test_no_changed_byte_breaks_it(at: int, value: int, kind: str) -> None:
    query = bytearray(
        ask(
            "example.com",
            "A" if kind in ("OPT", "TSIG") else kind,
            use_edns=0,
            want_dnssec=True,
            pad=64,
        )
    )
    query[at % len(query)] = value
    answer(bytes(query), KNOWN.get)
