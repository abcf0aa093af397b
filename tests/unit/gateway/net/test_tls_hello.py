"""The first message of TLS, as real clients send it and as nobody should."""

from __future__ import annotations

import ssl

import pytest
from akiosd.gateway.net.tls_hello import MAX_HELLO, BadHelloError, Hello, alert, parse_hello
from hypothesis import given, settings
from hypothesis import strategies as st


def real_hello(
    name: str | None = "api.example.com", alpn: tuple[str, ...] = ("h2", "http/1.1")
) -> bytes:
    """What OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def hello(extensions: bytes, *, tail: bytes = b"") -> bytes:
    """One made by hand: a version, a random, no session, one suite, no compression."""
    body = (
        b"\3\3"
        + b"r" * 32
        + vector(1, b"")
        + vector(2, b"\x13\1")
        + vector(1, b"\0")
        + vector(2, extensions)
        + tail
    )
    return records(b"\1" + vector(3, body))


def records(message: bytes, size: int = 16384) -> bytes:
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + vector(2, piece) for piece in pieces)


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def test_a_real_one() -> None:
    assert parse_hello(real_hello()) == Hello(b"api.example.com", (b"h2", b"http/1.1"))
    assert parse_hello(real_hello(None, ())) == Hello(None, ())


def test_it_is_read_in_whatever_pieces_it_comes() -> None:
    whole = real_hello()
    assert all(parse_hello(whole[:count]) is None for count in range(len(whole)))
    assert parse_hello(whole + b"and early data") == parse_hello(whole)


def test_it_may_be_cut_into_records() -> None:
    message = real_hello()[5:]
    for size in (1, 3, 100):
        assert parse_hello(records(message, size)) == Hello(
            b"api.example.com", (b"h2", b"http/1.1")
        )


def test_one_made_by_hand() -> None:
    assert parse_hello(hello(server_name(b"a.example"))) == Hello(b"a.example")
    assert parse_hello(hello(extension(16, vector(2, vector(1, b"h2"))))) == Hello(None, (b"h2",))
    without = b"\1" + vector(
        3, b"\3\1" + b"r" * 32 + vector(1, b"") + vector(2, b"\0/") + vector(1, b"\0")
    )
    assert parse_hello(records(without)) == Hello(None), "extensions may be absent"


BAD = {
    "plain HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SSL 2": b"\x80\x2e\1\3\1\0\x15\0\0\0\x10",
    "another handshake message": records(b"\2" + vector(3, b"x" * 40)),
    "another first byte of one": records(b"\2"),
    "an empty record": b"\x16\3\1\0\0",
    "a record too long": b"\x16\3\1\xff\xff",
    "a message too long": records(b"\1\xff\xff\xff"),
    "an extension past the end": hello(b"\0\0\0\x20abc"),
    "a name past the end": hello(extension(0, b"\0\x20\0\0\x30a")),
    "two names": hello(server_name(b"a.example", b"b.example")),
    "two server name extensions": hello(server_name(b"a.example") + server_name(b"b.example")),
    "a name of another kind": hello(server_name(b"a.example", kind=7)),
    "an empty name": hello(server_name(b"")),
    "no name at all": hello(extension(0, vector(2, b""))),
    "bytes behind the list of names": hello(
        extension(0, vector(2, b"\0" + vector(2, b"a.example")) + b"x")
    ),
    "bytes behind the extensions": hello(server_name(b"a.example"), tail=b"x"),
    "a body too short": records(b"\1" + vector(3, b"\3\3short")),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    with pytest.raises(BadHelloError):
        parse_hello(BAD[what])


def test_it_must_end() -> None:
    endless = records(b"\1" + MAX_HELLO.to_bytes(3, "big") + b"\0" * MAX_HELLO)
    assert parse_hello(endless[: MAX_HELLO - 1]) is None
    with pytest.raises(BadHelloError, match="does not end"):
        parse_hello(endless[:MAX_HELLO])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 600), st.integers(0, 255))
def test_no_changed_byte_breaks_it(at: int, value: int) -> None:
    changed = bytearray(_WHOLE)
    changed[at % len(changed)] = value
    try:
        parse_hello(bytes(changed))
    except BadHelloError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    for prefix in (b"", b"\x16\3\1", records(b"\1\0\0\x50")[:-1]):
        try:
            parse_hello(prefix + data)
        except BadHelloError:
            pass


_WHOLE = real_hello()


def test_an_alert_is_understood() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(alert(112))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        client.do_handshake()
