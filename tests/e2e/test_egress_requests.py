"""Requests that want to be read in two ways, names that want to be taken for others: from real
cages, over real TLS.

Each attack is refused, reaches no upstream, and is in the log exactly once, with the name it was
about.  The control is the same request without its trick, in the same cage: it reaches the
upstream.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from akiosd.values.policy import Network
from tests.e2e.caged import Caged, caged, question
from tests.e2e.daemon import Daemon
from tests.e2e.upstreams import Authority, Seen, Upstream, answer

NAME, CLOSED, READ_ONLY = "allowed.example", "closed.example", "docs.example"
NETWORK = Network(
    allowed_domains=(NAME, "*.wild.example", READ_ONLY, "xn--bcher-kva.example"),
    passthrough=(CLOSED,),
    get_only=(READ_ONLY,),
    requests_per_minute=0,
)


class Site(NamedTuple):
    daemon: Daemon
    open: Upstream
    closed: Upstream


def echo(seen: Seen) -> bytes:
    return answer(200, f"{seen.method} {seen.target} {seen.body.decode('latin-1')}".encode())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def site(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    roots = Path(tmp_path_factory.mktemp("roots")) / "roots.pem"
    roots.write_bytes(authority.pem)
    names = (NAME, READ_ONLY, "a.wild.example", "xn--bcher-kva.example")
    closed = Upstream(echo, authority, (CLOSED, NAME))
    with Upstream(echo, authority, names) as up, closed:
        hosts = {**dict.fromkeys(names, up.port), CLOSED: closed.port}
        config = f"gateway:\n  roots: {roots}\n  hosts:\n"
        config += "".join(f"    {name}: 127.0.0.1:{port}\n" for name, port in hosts.items())
        daemon = Daemon(config, "allow_widening: true\n")
        try:
            yield Site(daemon.start(), up, closed)
        finally:
            daemon.close()


# ---- requests ------------------------------------------------------------------------------------

HEAD = f"Host: {NAME}\r\n"
GOOD = f"GET /behind HTTP/1.1\r\n{HEAD}\r\n"


def post(fields: str, body: str = "0\r\n\r\n") -> str:
    return f"POST /smuggled HTTP/1.1\r\n{HEAD}{fields}\r\n{body}"


SMUGGLED: dict[str, str] = {
    "length and coding": post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    "coding and length": post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    "two lengths": post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
    "equal lengths": post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
    "lengths in a list": post("Content-Length: 5, 5\r\n", "hello"),
    "a signed length": post("Content-Length: +5\r\n", "hello"),
    "a negative length": post("Content-Length: -1\r\n", ""),
    "a length in hex": post("Content-Length: 0x5\r\n", "hello"),
    "an empty length": post("Content-Length: \r\n", ""),
    "two codings": post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    "codings in a list": post("Transfer-Encoding: gzip, chunked\r\n"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked\r\n"),
    "an unknown coding": post("Transfer-Encoding: xchunked\r\n"),
    "a coding in quotes": post('Transfer-Encoding: "chunked"\r\n'),
    "a blank before the colon": post("Transfer-Encoding : chunked\r\n"),
    "a tab before the colon": post("Transfer-Encoding\t: chunked\r\n"),
    "a vertical tab": post("Transfer-Encoding:\x0bchunked\r\n"),
    "a NUL in the coding": post("Transfer-Encoding: chunked\x00\r\n"),
    "a bare LF in a field": post("X: a\nTransfer-Encoding: chunked\r\n"),
    "a bare CR in a field": post("X: a\rTransfer-Encoding: chunked\r\n"),
    "a folded field": post("Transfer-Encoding:\r\n chunked\r\n"),
    "a field folded by a tab": post("X: a\r\n\tTransfer-Encoding: chunked\r\n"),
    "a first field folded": f"GET / HTTP/1.1\r\n {HEAD}\r\n",
    "coding in HTTP/1.0": f"POST / HTTP/1.0\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "LF line ends": f"GET / HTTP/1.1\n{HEAD}\n\r\n\r\n",
    "no colon": f"GET / HTTP/1.1\r\n{HEAD}nocolon\r\n\r\n",
    "an empty name": f"GET / HTTP/1.1\r\n{HEAD}: x\r\n\r\n",
    "an odd name": f"GET / HTTP/1.1\r\n{HEAD}Content-Length\xa0: 5\r\n\r\n",
    "a lower-case method": f"get / HTTP/1.1\r\n{HEAD}\r\n",
    "two blanks": f"GET  / HTTP/1.1\r\n{HEAD}\r\n",
    "a tab in the request line": f"GET\t/\tHTTP/1.1\r\n{HEAD}\r\n",
    "a version of one's own": f"GET / HTTP/1.2\r\n{HEAD}\r\n",
    "HTTP/0.9": "GET /\r\n\r\n",
    "HTTP/2 at once": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a NUL in the target": f"GET /\x00 HTTP/1.1\r\n{HEAD}\r\n",
    "a target that is not ASCII": f"GET /\xff HTTP/1.1\r\n{HEAD}\r\n",
    "an expectation": f"POST / HTTP/1.1\r\n{HEAD}Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx",
    "TLS in TLS": "\x16\x03\x01\x00\x05hello\r\n\r\n",
}
MISDIRECTED: dict[str, tuple[str, str]] = {
    # The request, and the host in the log.
    "no Host": ("GET / HTTP/1.1\r\n\r\n", NAME),
    "two Hosts": (f"GET / HTTP/1.1\r\n{HEAD}Host: evil.example\r\n\r\n", NAME),
    "another Host": ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "evil.example"),
    "an allowed Host, but not this": (f"GET / HTTP/1.1\r\nHost: {READ_ONLY}\r\n\r\n", READ_ONLY),
    "the allowed in front": (f"GET / HTTP/1.1\r\nHost: {NAME}.evil.example\r\n\r\n", f"{NAME}.evil.example"),
    "the allowed behind": (f"GET / HTTP/1.1\r\nHost: x{NAME}\r\n\r\n", f"x{NAME}"),
    "a subdomain": (f"GET / HTTP/1.1\r\nHost: a.{NAME}\r\n\r\n", f"a.{NAME}"),
    "a user": (f"GET / HTTP/1.1\r\nHost: {NAME}@evil.example\r\n\r\n", f"{NAME}@evil.example"),
    "an evil user": (f"GET / HTTP/1.1\r\nHost: evil.example@{NAME}\r\n\r\n", f"evil.example@{NAME}"),
    "another port": (f"GET / HTTP/1.1\r\nHost: {NAME}:8443\r\n\r\n", f"{NAME}:8443"),
    "a port in letters": (f"GET / HTTP/1.1\r\nHost: {NAME}:https\r\n\r\n", f"{NAME}:https"),
    "a path in the Host": (f"GET / HTTP/1.1\r\nHost: {NAME}/x\r\n\r\n", f"{NAME}/x"),
    "two dots": (f"GET / HTTP/1.1\r\nHost: {NAME}..\r\n\r\n", f"{NAME}.."),
    "an address": ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "127.0.0.1"),
    "escapes": ("GET / HTTP/1.1\r\nHost: allowed%2eexample\r\n\r\n", "allowed%2eexample"),
    "letters of others": ("GET / HTTP/1.1\r\nHost: \u0430llowed.example\r\n\r\n".encode().decode("latin-1"),
                          "\u0430llowed.example"),
    "absolute URI": (f"GET https://{NAME}/ HTTP/1.1\r\n{HEAD}\r\n", f"https://{NAME}/"),
    "absolute URI of another": (f"GET http://evil.example/ HTTP/1.1\r\n{HEAD}\r\n", "http://evil.example/"),
    "no path": (f"OPTIONS * HTTP/1.1\r\n{HEAD}\r\n", "*"),
    "authority form": (f"CONNECT {NAME}:443 HTTP/1.1\r\n{HEAD}\r\n", f"{NAME}:443"),
    "CONNECT to another": (f"CONNECT evil.example:443 HTTP/1.1\r\n{HEAD}\r\n", "evil.example:443"),
}  # fmt: skip


def refused(agent: Caged, site: Site, data: str, **more: object) -> str:
    """Send it with a good request behind it; what was said, when nothing reached anybody."""
    seen, received = len(site.open.requests), len(site.open.received)
    words = "".join(f", {name}={value!r}" for name, value in more.items())
    text, how, _ms = agent.do(f"talk({NAME!r}, {data + GOOD!r}{words})")
    assert how != "timeout", "it fails fast: nothing is waited for"
    assert f"\n{text}".count("\nHTTP/1.1 ") == 1, "what stands behind is no request either"
    assert (len(site.open.requests), len(site.open.received)) == (seen, received)
    return str(text)


@pytest.fixture(scope="module")
def smuggler(site: Site) -> Iterator[Caged]:
    """One cage for all that is smuggled; at its end every attempt is in its log, once."""
    with caged(site.daemon, NETWORK) as agent:
        assert agent.do(f"get('https://{NAME}/')") == [200, "GET / "]
        yield agent
        agent.end()
        assert agent.denials() == attempted
        assert not agent.records("gateway_failed")
        hosts = [record["host"] for record in agent.records("net_request")]
        assert set(hosts) == {NAME} and len(hosts) < 10, "only controls got through"


attempted: Counter[tuple[str, str, str]] = Counter()


@pytest.mark.parametrize("case", SMUGGLED)
def test_what_is_read_in_two_ways(smuggler: Caged, site: Site, case: str) -> None:
    port, tls = (443, True) if case in list(SMUGGLED)[::2] else (80, False)
    text = refused(smuggler, site, SMUGGLED[case], port=port, tls=tls)
    assert text.startswith(("HTTP/1.1 400", "HTTP/1.1 417", "HTTP/1.1 501")), text
    assert json.loads(text.partition("\r\n\r\n")[2])["rule"] == "http"
    attempted["http", "http", NAME] += 1


@pytest.mark.parametrize("case", MISDIRECTED)
def test_what_is_for_another(smuggler: Caged, site: Site, case: str) -> None:
    data, host = MISDIRECTED[case]
    text = refused(smuggler, site, data, port=443, tls=True)
    assert text.startswith(("HTTP/1.1 400", "HTTP/1.1 421")), text
    attempted["http", "http", host] += 1


def test_the_controls_of_these(smuggler: Caged, site: Site) -> None:
    """The same words without a trick, and what a strict reader takes: it goes out as one plain
    request.
    """
    before = len(site.open.requests)
    odd = (
        f"GET /1 HTTP/1.1\r\nHOST: {NAME.upper()}.:443\r\nX:\t a \r\nConnection: x\r\nX: b\r\n\r\n"
    )
    chunked = (
        f"POST /2 HTTP/1.1\r\n{HEAD}Transfer-Encoding: CHUNKED\r\nTrailer: Host\r\n\r\n"
        "3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil.example\r\nX-Late: 1\r\n\r\n"
    )
    last = f"GET /3 HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n"
    text, how, _ms = smuggler.do(f"talk({NAME!r}, {odd + chunked + last!r}, port=443, tls=True)")
    assert (text.count("HTTP/1.1 200"), how) == (3, "end"), "three in one packet are three"
    found = site.open.requests[before:]
    assert [(seen.target, seen.body) for seen in found] == [
        ("/1", b""),
        ("/2", b"abcde"),
        ("/3", b""),
    ]
    for seen in found:
        assert seen.header("host") == NAME
        assert not {name for name, _ in seen.headers} & {
            "connection",
            "trailer",
            "x-late",
            "keep-alive",
            "te",
        }


@pytest.mark.parametrize(
    "body",
    [
        "0x3\r\nabc\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n", "3\nabc\n0\n\n", "zz\r\n", "-1\r\n",
        "3\r\nabcX0\r\n\r\n", "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n", ";x\r\nabc\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_a_body_that_is_not_framed(site: Site, body: str) -> None:
    before = len(site.open.requests)
    with caged(site.daemon, NETWORK) as agent:
        head = f"POST /framed HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n"
        text, how, _ms = agent.do(f"talk({NAME!r}, {head + body + GOOD!r}, port=443, tls=True)")
        agent.end()
        assert (
            text.startswith("HTTP/1.1 400")
            and f"\n{text}".count("\nHTTP/1.1 ") == 1
            and how != "timeout"
        ), text
        assert sum(agent.denials().values()) == 1
        assert not agent.records("gateway_failed")
    assert len(site.open.requests) == before


# ---- names ---------------------------------------------------------------------------------------

NOT_THESE = [
    f"{NAME}.evil.example", f"x{NAME}", f"a.{NAME}", "wild.example", "xwild.example", "example", "allowed",
    "evil.example", "allowed-example", "allowedxexample", "xn--allwed-yxa.example", "xn--llowed-2nf.example",
    "docs.example.example",
]  # fmt: skip
SAME = [
    NAME, NAME.upper(), f"{NAME}.", "Allowed.eXample", "A.Wild.example", "b.a.wild.example", "XN--bcher-kva.example",
]  # fmt: skip
ODD = [
    f"{NAME}\0.evil.example",
    f"{NAME}\0",
    f"{NAME} ",
    f"{NAME}\n",
    f"{NAME}/",
    f"*.{NAME}",
    "\xffllowed.example",
]


def test_names_that_look_like_others(site: Site) -> None:
    with caged(site.daemon, NETWORK) as agent:
        for name in SAME:
            assert str(agent.do(f"look({name!r})")[0]).startswith("198.18."), name
        for name in NOT_THESE:
            assert agent.do(f"look({name!r})") == -2, name
        assert agent.do("look('bücher.example')") == agent.do("look('xn--bcher-kva.example')")
        for odd in ODD:
            found = agent.do(f"ask({question(odd)!r})")
            assert bytes.fromhex(found)[3] & 15 == 3, odd
        agent.end()
        denied = {host for _, _, host in agent.denials()}
    assert set(NOT_THESE) <= denied and len(denied) == len(NOT_THESE) + len(ODD)
    hints = {
        record["host"]: record["hint"]
        for record in agent.records("net_denied")
        if record.get("hint")
    }
    assert all(
        hints[name].startswith(f"network: {{allowed_domains: [{name}]}} in ") for name in NOT_THESE
    )


SERVER_NAMES = [
    "evil.example", f"{NAME}.evil.example", f"x{NAME}", READ_ONLY, "allowed", f"a.{NAME}",
]  # fmt: skip


@pytest.mark.parametrize("name", [NAME, CLOSED])
@pytest.mark.parametrize("asked", SERVER_NAMES)
def test_a_server_name_that_is_not_the_name(site: Site, name: str, asked: str) -> None:
    """TLS opened here, and TLS passed through: the name in the hello must be the one that was
    resolved.
    """
    before = site.open.connections, site.closed.connections
    with caged(site.daemon, NETWORK) as agent:
        said = agent.do(f"talk({name!r}, 'x', port=443, tls=True, sni={asked!r})")
        agent.end()
        assert said[0] == "" and "UNRECOGNIZED_NAME" in said[1], said
        assert agent.denials() == {("tls", "tls.server_name", name): 1}
    assert (site.open.connections, site.closed.connections) == before


def test_a_hello_without_a_name_and_what_is_no_hello(site: Site) -> None:
    before = site.open.connections, site.closed.connections
    with caged(site.daemon, NETWORK) as agent:
        for name in (NAME, CLOSED):
            plain = f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"
            assert agent.do(f"talk({name!r}, {plain!r}, port=443)")[0] == "", (
                "plain HTTP at the port of TLS"
            )
            address = agent.do(f"look({name!r})")[0]
            assert (
                "UNRECOGNIZED_NAME"
                in agent.do(f"talk({name!r}, 'x', port=443, tls=True, sni={address!r})")[1]
            )
        agent.end()
        assert agent.denials() == Counter(
            {("tls", "tls", name): 1 for name in (NAME, CLOSED)}
        ) + Counter({("tls", "tls.server_name", name): 1 for name in (NAME, CLOSED)})
    assert (site.open.connections, site.closed.connections) == before


def test_a_hello_cut_at_every_byte_is_read_all_the_same(site: Site, authority: Authority) -> None:
    """The control of those above: the right name, however slowly it comes, is let through, also
    closed.
    """
    program = (
        "(lambda c, s: (s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), c.set_alpn_protocols(['http/1.1']), "
        "handshake_in_pieces(c, s, {name!r}))[-1])(ssl.create_default_context(cadata={ca!r}), "
        "socket.create_connection((look({name!r})[0], 443)))"
    )
    with caged(site.daemon, NETWORK) as agent:
        ca = agent.do("open('/etc/akios/ca.pem').read()")
        assert agent.do(program.format(name=NAME, ca=ca)).startswith("HTTP/1.1 200")
        assert agent.do(program.format(name=CLOSED, ca=authority.pem.decode())).startswith(
            "HTTP/1.1 200"
        )
    assert site.closed.requests[-1].server_name == CLOSED


def test_another_cages_authority(site: Site) -> None:
    """Each cage believes its own alone: what another's gateway signs is a stranger's."""
    with caged(site.daemon, NETWORK) as one, caged(site.daemon, NETWORK) as other:
        theirs = other.do("open('/etc/akios/ca.pem').read()")
        request = f"GET / HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n"
        said = one.do(f"talk({NAME!r}, {request!r}, port=443, tls=True, ca={theirs!r})")
        assert (said[0], said[1]) == ("", "CERTIFICATE_VERIFY_FAILED")
        said = one.do(f"talk({NAME!r}, {request!r}, port=443, tls=True)")
        assert said[0].startswith("HTTP/1.1 200"), "the control"
        one.end()
        assert one.denials() == {("tls", "tls.handshake", NAME): 1}, (
            "that a client does not trust it is told"
        )


def test_a_relay_in_one_cage_is_nothing_to_another(site: Site) -> None:
    """A server in a cage serves that cage; its own gateway's ports it cannot take, and no other
    cage sees it.
    """
    listen = (
        "(lambda s: (s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), s.bind(('0.0.0.0', {port})), s.listen(), "
        "background.append(s), 'listens')[-1])(socket.socket())"
    )
    with caged(site.daemon, NETWORK) as relay, caged(site.daemon, NETWORK) as other:
        assert relay.do(listen.format(port=8080)) == "listens"
        address = relay.do(f"look({NAME!r})")[0]
        reached = "(lambda s: (s.settimeout(5), s.connect_ex(({address!r}, {port})))[-1])(socket.socket())"
        assert relay.do(reached.format(address="127.0.0.1", port=8080)) == 0, "the control"
        assert relay.do(reached.format(address=address, port=8080)) == 0, (
            "its own relay, in its own cage"
        )
        for there in ("127.0.0.1", address):
            assert other.do(reached.format(address=there, port=8080)) == 111, "ECONNREFUSED"
        for port in (53, 80, 443):
            program = f"get_error(lambda: {listen.format(port=port)})"
            assert relay.do(program) in ("EACCES", "EADDRINUSE"), port


# ---- sizes and speeds ----------------------------------------------------------------------------


def test_what_is_too_large_is_refused_at_once(site: Site) -> None:
    before = len(site.open.requests)
    many = "".join(f"X-{n}: y\r\n" for n in range(200))
    with caged(site.daemon, NETWORK) as agent:
        for fields in (f"X: {'y' * 70_000}\r\n", many):
            head = f"GET / HTTP/1.1\r\n{HEAD}{fields}\r\n"
            said = agent.do(f"talk({NAME!r}, {head!r})")
            assert said[0].startswith("HTTP/1.1 431"), said
        huge = f"POST / HTTP/1.1\r\n{HEAD}Content-Length: {9 << 30}\r\nExpect: 100-continue\r\n\r\n"
        said = agent.do(f"talk({NAME!r}, {huge!r})")
        assert not said[0].startswith("HTTP/1.1 2"), said
        agent.end()
    assert len(site.open.requests) == before


BOMBS = {
    # Content-Encoding, what makes the body, the status.
    "gzip": ("gzip", "gzip.compress(b'a' * (64 << 20))", "413"),
    "deflate": ("deflate", "zlib.compress(b'a' * (64 << 20))", "413"),
    "bare deflate": ("deflate", "raw_deflate(b'a' * (64 << 20))", "413"),
    "members of gzip": ("gzip", "gzip.compress(b'a' * (1 << 20)) * 64", "413"),
    "gzip in gzip": ("gzip, gzip", "gzip.compress(gzip.compress(b'a' * (64 << 20)))", "415"),
    "two fields": ("gzip\r\nContent-Encoding: gzip", "gzip.compress(b'a' * (1 << 20))", "415"),
    "br": ("br", "bytes.fromhex('5bffffff') + b'a' * 100", "415"),
    "zstd": ("zstd", "bytes.fromhex('28b52ffd') + b'a' * 100", "415"),
    "compress": ("compress", "bytes.fromhex('1f9d90') + b'a' * 100", "415"),
    "no gzip": ("gzip", "b'this is not gzip at all'", "400"),
    "cut gzip": ("gzip", "gzip.compress(b'hello')[:-4]", "400"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_compressed_body_that_explodes(site: Site, case: str) -> None:
    coding, body, status = BOMBS[case]
    before = len(site.open.requests)
    with caged(site.daemon, NETWORK) as agent:
        said = agent.do(f"bomb({NAME!r}, {coding!r}, {body})")
        assert said[0].startswith(f"HTTP/1.1 {status}"), said[0][:200]
        good = agent.do(f"bomb({NAME!r}, 'gzip', gzip.compress(b'hello' * 1000))")
        assert good[0].startswith("HTTP/1.1 200") and "hellohello" in good[0], "the control"
        agent.end()
        assert sum(agent.denials().values()) == 1
        assert not agent.records("gateway_failed")
    assert [seen.body for seen in site.open.requests[before:]] == [b"hello" * 1000]


def test_who_is_slow_is_left_and_the_others_are_served(site: Site) -> None:
    """Heads that come a byte at a time, on three hundred connections: others are answered
    meanwhile, then they end.
    """
    with caged(site.daemon, NETWORK) as agent:
        assert agent.do(f"slow_heads({NAME!r}, 300)") == 300
        found = agent.do(f"times('https://{NAME}/', 50)")
        print(f"beside 300 slow heads: {sorted(found)[25]:.1f} ms a request")
        begin = time.monotonic()
        ended = agent.do("slow_heads_end(60)")
        print(f"they ended after {time.monotonic() - begin:.0f} s more: {ended}")
        assert ended == {"HTTP/1.1 408": 300}
        agent.end()
        assert agent.denials() == {("http", "http", NAME): 300}


def test_ten_thousand_connections(site: Site) -> None:
    """All at once: as many as may be are held, the others are closed and counted; then the cage
    goes on as before.
    """
    with caged(site.daemon, NETWORK) as agent:
        before = sorted(agent.do(f"times('https://{NAME}/', 20)"))[10]
        taken, closed, given_back = agent.do(f"open_many({NAME!r}, 10_000)")
        print(f"10,000 connections: {taken} held, {closed} closed at once, {given_back} given back")
        assert taken + closed + given_back == 10_000 and closed > 0
        agent.do("close_many()")
        after = sorted(agent.do(f"times('https://{NAME}/', 20)"))[10]
        print(f"a request before and after: {before:.1f} and {after:.1f} ms")
        agent.end()
        assert set(agent.denials()) <= {("tcp", "connections", "")}
        assert not agent.records("gateway_failed")
