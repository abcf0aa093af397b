"""The agent's side of HTTP: what is taken, what is refused, and what one connection survives."""

from __future__ import annotations

import gzip
import json
import socket
import zlib

import pytest
import trio
import trio.testing

from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.net.names import Rule
from akiosd.gateway.net.rates import RateLimiter
from akiosd.values.policy import Network
from akiosd.values.records import GatewayFailed, NetDenied, NetRequest
from tests.e2e.upstreams import Seen, Upstream, answer
from tests.unit.gateway.harness import NAME, connected, destination, make_context, socket_pair

GOOD = f"GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()


async def test_requests_of_one_connection_are_answered_in_order_also_when_they_come_together() -> (
    None
):
    def handler(seen: Seen) -> bytes:
        return answer(body=seen.target.encode())

    with Upstream(handler) as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            await agent.send(b"".join(GOOD.replace(b"/a", b"/%d" % n) for n in range(20)))
            bodies = [(await agent.answer())[2] for _ in range(20)]
    assert bodies == [b"/%d" % n for n in range(20)]
    assert up.connections == 1, "the upstream's connection is used again"
    assert [r.path for r in context.link.of(NetRequest)] == bodies


MALFORMED = {
    "both framings": b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "two unlike lengths": b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "a signed length": b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: +4\r\n\r\nabcd",
    "folded": b"GET / HTTP/1.1\r\nHost: H\r\nX: a\r\n b\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: H\n\n\r\n\r\n",
    "bare LF in a field": b"GET / HTTP/1.1\r\nHost: H\r\nX: a\nY: b\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: H\r\nX: a\rY: b\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: H\r\nX: a\x00b\r\n\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: H\r\n\r\n",
    "blank before the colon": b"GET / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "other coding": b"POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding hidden": b"POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: H\r\nHost: evil.example\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\nHost: H\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "expects more": b"POST / HTTP/1.1\r\nHost: H\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\na",
    "many fields": b"GET / HTTP/1.1\r\nHost: H\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "large head": b"GET / HTTP/1.1\r\nHost: H\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "head without end": b"GET / HTTP/1.1\r\nHost: H\r\nX: " + b"y" * 70_000,
    "absolute URI": b"GET http://H/ HTTP/1.1\r\nHost: H\r\n\r\n",
    "absolute URI of another": b"GET http://evil.example/ HTTP/1.1\r\nHost: H\r\n\r\n",
    "other host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "other port": b"GET / HTTP/1.1\r\nHost: H:8080\r\n\r\n",
    "user": b"GET / HTTP/1.1\r\nHost: user@H\r\n\r\n",
    "user and password": b"GET / HTTP/1.1\r\nHost: H:80@evil.example\r\n\r\n",
    "an address": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "allowed name inside another": b"GET / HTTP/1.1\r\nHost: H.evil.example\r\n\r\n",
    "other name before": b"GET / HTTP/1.1\r\nHost: xH\r\n\r\n",
    "no path": b"OPTIONS * HTTP/1.1\r\nHost: H\r\n\r\n",
    "CONNECT": b"CONNECT H:443 HTTP/1.1\r\nHost: H\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_may_be_read_in_two_ways_is_refused_recorded_and_reaches_nobody(
    case: str,
) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            # What stands behind it must not be taken for a request either.
            await agent.send(
                MALFORMED[case]
                .replace(b"H", NAME.encode())
                .replace(NAME.encode() + b"TTP", b"HTTP")
                .replace(NAME.encode() + b"ost:", b"Host:")
                + GOOD
            )
            said = (
                await agent.everything()
                if case != "head without end"
                else await agent.stream.receive_some()
            )
    assert said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), said
    assert (b"\n" + said).count(b"\nHTTP/1.1 ") == 1 and b"connection: close" in said.lower()
    assert b"x-should-retry: false" in said.lower()
    (record,) = context.link.durable
    assert isinstance(record, NetDenied) and record.protocol == "http"
    assert not up.requests and not up.received


async def test_the_control_of_that_table_is_let_through() -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            await agent.send(b"\r\n" + GOOD.replace(NAME.encode(), NAME.upper().encode() + b".:80"))
            assert (await agent.answer())[0] == 200
            await agent.send(
                GOOD.replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
            )
            await agent.send(b"3\r\nabc\r\n0\r\n\r\n")
            assert (await agent.answer())[0] == 200
    assert up.requests[1].body == b"abc" and not context.link.of(NetDenied)


BAD_CHUNKS = [
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcXX0\r\n\r\n",
    b"-1\r\n\r\n",
    b"3;" + b"x" * 70_000,
]


@pytest.mark.parametrize("body", BAD_CHUNKS)
async def test_a_chunked_body_that_is_none_ends_the_connection(body: bytes) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            await agent.send(
                f"POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                + body
            )
            said = await agent.everything()
    assert said.startswith(b"HTTP/1.1 400") and said.count(b"HTTP/1.1") == 1
    assert not up.requests and context.link.of(NetDenied)


async def test_a_body_is_asked_for_only_by_who_reads_it() -> None:
    head = f"PUT / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            await agent.send(head)
            assert (await agent.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            await agent.send(b"hello")
            assert (await agent.answer())[0] == 200
        async with connected(make_context(port=up.port), destination(get_only=True)) as agent:
            await agent.send(head)
            said = await agent.everything()
    assert said.startswith(b"HTTP/1.1 403") and b"connection: close" in said
    assert [seen.body for seen in up.requests] == [b"hello"]


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate", "bare deflate", "two members"])
async def test_a_compressed_body_is_undone_before_it_is_read(name: str) -> None:
    plain = b"mail john.doe@example.org " + b"and some more text " * 5000
    packed = {
        "gzip": gzip.compress(plain),
        "x-gzip": gzip.compress(plain),
        "deflate": zlib.compress(plain),
        "bare deflate": zlib.compress(plain)[2:-4],
        "two members": gzip.compress(plain[:10]) + gzip.compress(plain[10:]),
    }[name]
    coding = {"bare deflate": "deflate", "two members": "gzip"}.get(name, name)
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            headers = [("Content-Encoding", coding), ("Content-Type", "text/plain")]
            assert (await agent.ask("POST", "/", packed, headers))[0] == 200
    (seen,) = up.requests
    assert seen.body == plain.replace(b"john.doe@example.org", b"[EMAIL]") and not seen.header(
        "content-encoding"
    )


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", gzip.compress(bytes(64 << 20), mtime=0), 413),
        ("gzip", b"not gzip at all", 400),
        ("gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9], 400),
        ("br", b"\x0b\x02\x80", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), 415),
    ],
)  # fmt: skip
async def test_bombs_and_unknown_codings_are_refused_and_the_connection_goes_on(
    coding: str, body: bytes, status: int
) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            said, _, _ = await agent.ask("POST", "/", body, [("Content-Encoding", coding)])
            assert said == status
            assert (await agent.ask("GET", "/after"))[0] == 200
    assert [seen.target for seen in up.requests] == ["/after"]
    assert [record.rule for record in context.link.of(NetDenied)] == ["http"]


async def test_a_refusal_keeps_the_connection_and_says_what_would_help() -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context, destination(get_only=True)) as agent:
            status, headers, body = await agent.ask("POST", "/<script>", b"x" * 100_000)
            assert (status, headers["x-should-retry"]) == (403, "false")
            error = json.loads(body)
            assert (
                error["type"] == "akios_denied"
                and error["rule"] == "network.get_only"
                and error["host"] == NAME
            )
            assert b"<script>" not in body
            assert (await agent.ask("HEAD", "/"))[0] == 200
    assert [seen.method for seen in up.requests] == ["HEAD"]


async def test_upgrades_and_methods_that_are_not_passed() -> None:
    socket = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")]
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context, destination(kind="llm", provider="openai")) as agent:
            status, headers, _ = await agent.ask("GET", "/v1/responses", headers=socket)
            assert (status, headers["upgrade"]) == (426, "HTTP/1.1")
        async with connected(context, destination(tls=True)) as agent:
            status, _, body = await agent.ask("GET", "/", headers=socket)
            assert status == 403 and "passthrough" in json.loads(body)["hint"]
        async with connected(context) as agent:
            # What is no TLS cannot be passed through: that line would not help.
            status, _, body = await agent.ask("GET", "/", headers=socket)
            assert status == 403 and "passthrough" not in json.loads(body)["hint"]
            assert (await agent.ask("TRACE", "/"))[0] == 405
            # h2c is an offer that a server may leave (RFC 9110 §7.8).
            offer = [
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", "h2c"),
                ("HTTP2-Settings", "AAMA"),
            ]
            assert (await agent.ask("GET", "/", headers=offer))[0] == 200
    (seen,) = up.requests
    assert not {"upgrade", "connection", "http2-settings"} & {name for name, _ in seen.headers}


async def test_fields_of_the_hop_stay_here_in_both_directions() -> None:
    def handler(seen: Seen) -> bytes:
        return answer(
            headers=[
                ("Connection", "X-Theirs"),
                ("X-Theirs", "1"),
                ("X-Kept", "2"),
                ("Alt-Svc", "h3"),
            ]
        )

    sent = [
        ("Connection", "X-Mine, Host"),
        ("X-Mine", "1"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("Keep-Alive", "timeout=5"),
        ("X-Other", "2"),
    ]
    with Upstream(handler) as up:
        async with connected(make_context(port=up.port)) as agent:
            _, headers, _ = await agent.ask("GET", "/", headers=sent)
    assert set(headers) == {"x-kept", "content-length"}
    assert up.requests[0].headers == [("host", NAME), ("x-other", "2")]


# ---- time: MockClock jumps to the next deadline when nothing can run -----------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", b""), (b"GET / HT", b"408"), (b"\r\n\r\n", b""), (GOOD[:-2], b"408")],
)  # fmt: skip
async def test_who_does_not_finish_a_head_is_left(
    sent: bytes, status: bytes, autojump_clock: object
) -> None:
    context = make_context()
    async with connected(context) as agent:
        await agent.send(sent) if sent else None
        said = await agent.everything()
    assert said[9:12] == status and len(context.link.durable) == bool(status)
    waited = context.limits.head_seconds if status else context.limits.idle_seconds
    assert trio.current_time() == pytest.approx(waited, abs=1)


async def test_a_byte_now_and_then_does_not_lengthen_the_deadline(autojump_clock: object) -> None:
    context = make_context()
    async with connected(context) as agent:
        try:
            for byte in GOOD[:-1]:
                await agent.send(bytes([byte]))
                await trio.sleep(1)
        except trio.BrokenResourceError:
            pass
    assert trio.current_time() < context.limits.head_seconds + 2 and len(context.link.durable) == 1


async def test_a_body_that_stops_coming_ends_the_connection(autojump_clock: object) -> None:
    context = make_context()
    async with connected(context) as agent:
        await agent.send(
            f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 10\r\n\r\nabc".encode()
        )
        assert await agent.everything() == b""
    assert trio.current_time() >= context.limits.body_seconds
    assert context.link.of(NetRequest)[0].error == "the agent went away"


async def test_a_site_has_its_rate() -> None:
    with Upstream() as up:
        network = Network(allowed_domains=(NAME,), requests_per_minute=3)
        context = make_context(port=up.port, network=network)
        async with connected(context) as agent:
            found = [await agent.ask() for _ in range(4)]
    assert [status for status, _, _ in found] == [200, 200, 200, 429]
    assert int(found[3][1]["retry-after"]) <= 21 and found[3][1]["x-should-retry"] == "false"


async def test_the_names_of_a_wildcard_are_one_site() -> None:
    with Upstream() as up:
        context = make_context(
            port=up.port, network=Network(allowed_domains=(f"*.{NAME}",), requests_per_minute=2)
        )
        found = []
        for number in range(3):
            name = f"{number}.{NAME}"
            context.upstreams._hosts[name] = f"127.0.0.1:{up.port}"
            place = Destination(name, 80, False, Rule("inspect", f"*.{NAME}"))
            async with connected(context, place) as agent:
                found.append((await agent.ask(host=name))[0])
    assert found == [200, 200, 429]


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "x-http-method", "X-METHOD-OVERRIDE"])
async def test_only_get_is_only_get_also_in_a_header(header: str) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context, destination(get_only=True)) as agent:
            assert (await agent.ask("POST", body=b"x"))[0] == 403
            assert (await agent.ask(headers=[(header, "DELETE")]))[0] == 403
            assert (await agent.ask())[0] == 200, "the control"
        async with connected(make_context(port=up.port)) as agent:
            assert (await agent.ask("POST", body=b"", headers=[(header, "DELETE")]))[0] == 200, (
                "the control"
            )
    assert [seen.method for seen in up.requests] == ["GET", "POST"]


def test_the_bucket_of_a_rate() -> None:
    rates = RateLimiter(60)
    assert [rates.take("a", 0.0) for _ in range(61)] == [0] * 60 + [1.0]
    assert rates.take("b", 0.0) == 0 and rates.take("a", 0.5) == 0.5 and rates.take("a", 1.5) == 0
    assert all(RateLimiter(0).take("a", 0.0) == 0 for _ in range(1000))


async def test_an_agent_that_leaves_ends_its_request_at_the_upstream() -> None:
    gone = trio.Event()

    async def upstream(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await agent.stream.aclose()
        # The head of an answer never comes: only the end of the connection.
        assert await stream.receive_some() == b""
        gone.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, upstream, 0)
        context = make_context(port=listeners[0].socket.getsockname()[1])
        async with connected(context) as agent:
            await agent.send(GOOD)
            await gone.wait()
        nursery.cancel_scope.cancel()
    assert context.link.of(NetRequest)[0].error == "the agent went away"


async def test_a_fault_of_ours_ends_one_connection_and_says_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("john.doe@example.org")

    with Upstream() as up:
        context = make_context(port=up.port)
        with monkeypatch.context() as patch:
            patch.setattr("akiosd.gateway.sites.sites.handle", fail)
            async with connected(context) as agent:
                status, _, body = await agent.ask()
        async with connected(context) as agent:
            assert (await agent.ask())[0] == 200
    assert status == 500 and b"john" not in body
    (record,) = context.link.of(GatewayFailed)
    assert "KeyError" in record.what and "john" not in record.what


async def test_what_fails_between_requests_ends_the_connection_and_not_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise KeyError("john.doe@example.org")

    monkeypatch.setattr("akiosd.gateway.http.exchange.Exchange.drain", fail)
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context, pair=socket_pair) as agent:
            await agent.send(GOOD)
            await agent.everything()
    (record,) = context.link.of(GatewayFailed)
    assert "KeyError" in record.what and "john" not in record.what


async def test_a_body_that_nobody_reads_and_is_no_body_ends_the_connection() -> None:
    context = make_context()
    async with connected(context, pair=socket_pair) as agent:
        await agent.send(
            f"TRACE / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n".encode()
        )
        assert b" 405 " in await agent.everything()
    assert not context.link.of(GatewayFailed)


@pytest.mark.parametrize(
    "waiting", [True, False], ids=["while it waits for an answer", "between requests"]
)
async def test_who_asks_for_new_keys_and_does_not_read_is_given_up(waiting: bool) -> None:
    """TLS answers new keys while it reads: reading may find that the agent does not take what is
    sent.
    """

    class Stuck(PromptStream):
        asked = not waiting

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            if self.asked:
                raise trio.TooSlowError
            self.asked = True
            return await super().receive_some(max_bytes)

    def silent(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            pass

    def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        ours, theirs = (trio.SocketStream(one) for one in trio.socket.socketpair())
        return ours, Stuck(theirs, send_seconds=60)

    with Upstream(raw=silent) as up:
        context = make_context(port=up.port)
        async with connected(context, pair=pair) as agent:
            await agent.send(GOOD)
            assert await agent.everything() == b""
    assert not context.link.of(GatewayFailed)
    assert [record.error for record in context.link.of(NetRequest)] == [
        "the agent went away"
    ] * waiting


async def test_absolute_form_finds_its_own_rule() -> None:
    with Upstream() as up:
        network = Network(allowed_domains=(f"{NAME}:{up.port}", NAME), ports=(up.port,))
        context = make_context(port=up.port, network=network)
        async with connected(context, proxy=True) as agent:
            assert (await agent.ask("GET", f"http://{NAME}/a?b"))[0] == 200
            where = f"{NAME}:{up.port}"
            assert (await agent.ask("GET", f"http://{where}", host=where))[0] == 200
            status, _, body = await agent.ask("GET", "http://other.example/", host="other.example")
    assert [seen.target for seen in up.requests] == ["/a?b", "/"]
    error = json.loads(body)
    assert status == 403 and error["hint"].startswith(
        "network: {allowed_domains: [other.example]} in "
    )


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::1]/", "http://0x7f.1/", "ftp://site.example/", "http://site.example@evil.example/",
     "http://site.example:99999/", "http://2130706433/", "/path", "http:///", "https://site.example.evil.example/"],
)  # fmt: skip
async def test_absolute_form_reaches_only_names_of_the_policy(url: str) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context, proxy=True) as agent:
            status, _, _ = await agent.ask("GET", url)
    assert status in (400, 403) and len(context.link.durable) == 1 and not up.requests
