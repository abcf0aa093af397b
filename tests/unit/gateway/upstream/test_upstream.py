"""The way out: what is dialled is what was checked, TLS is for the name, and a broken answer never
looks whole.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import h11
import pytest
import trio
import trio.testing

from akiosd.gateway.net.limits import DEFAULT_LIMITS
from akiosd.gateway.upstream.client import UpstreamError
from akiosd.gateway.upstream.upstream import NotPublicError, Upstreams
from akiosd.values.policy import DEFAULT_POLICY
from akiosd.values.records import NetDenied, NetRequest
from akiosd.wire.gateway import ProviderSetup, Setup
from tests.e2e.upstreams import Authority, Seen, Upstream, answer
from tests.unit.gateway.harness import NAME, connected, make_context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def ask(
    upstreams: Upstreams, url: str, method: str = "GET", body: Any = b"", **more: Any
) -> tuple[int, bytes]:
    try:
        async with upstreams.request(
            method, url, more.pop("headers", []), body, **more
        ) as response:
            return response.status, b"".join([chunk async for chunk in response.chunks()])
    finally:
        await upstreams.aclose()


def lines(*several: str) -> bytes:
    return "\r\n".join([*several, "", ""]).encode()


class Resolver(trio.abc.HostnameResolver):
    """Answers as a test says, another answer each time; keeps what it was asked."""

    def __init__(self, *answers: str | list[str]) -> None:
        self.answers, self.asked = list(answers), []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if not self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in ([found] if isinstance(found, str) else found)
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


def resolve(*answers: str | list[str]) -> Resolver:
    resolver = Resolver(*answers)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "169.254.169.254",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "0.0.0.0",
    ],
)
async def test_a_name_that_leads_inside_is_refused_and_nobody_is_called(address: str) -> None:
    with Upstream() as up:
        resolve(address)
        with pytest.raises(NotPublicError):
            await ask(Upstreams(), f"http://{NAME}:{up.port}/")
        assert up.connections == 0
        # The control: with the administrator's word the same name is reached.
        assert await ask(Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"}), f"http://{NAME}/") == (
            200,
            b"ok",
        )
    assert up.requests[0].header("host") == NAME


async def test_a_name_that_changes_after_the_check_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialled = []

    async def connect(self: Any, address: Any) -> None:
        dialled.append(address)
        raise OSError("not in a test")

    monkeypatch.setattr(trio.socket.SocketType, "connect", connect, raising=False)
    monkeypatch.setattr("trio._socket._SocketType.connect", connect)
    resolver = resolve("93.184.216.34", "127.0.0.1")
    with pytest.raises(UpstreamError):
        await ask(Upstreams(), f"http://{NAME}/")
    assert (resolver.asked, dialled) == ([NAME.encode()], [("93.184.216.34", 80)])


async def test_of_several_addresses_only_public_ones_are_dialled() -> None:
    resolve(["10.0.0.1", "2606:4700::1", "93.184.216.34", "::1", "93.184.216.34"])
    found = await Upstreams().resolve(NAME, 443)
    assert found == [("93.184.216.34", 443), ("2606:4700::1", 443)]


async def test_an_address_of_this_host_is_refused_however_public_it_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("akiosd.gateway.upstream.upstream.is_public", lambda address: True)
    with Upstream() as up:
        resolve("127.0.0.1")
        with pytest.raises(NotPublicError):
            await Upstreams().resolve(NAME, up.port)
        assert up.connections == 0
    resolve("192.0.2.1", "2001:db8::1")
    assert await Upstreams().resolve(NAME, 80) == [("192.0.2.1", 80)], "the control"


async def test_a_trusted_upstream_is_its_host_and_port_and_no_other() -> None:
    with Upstream() as up, Upstream() as other:
        providers = (ProviderSetup("openai", f"http://127.0.0.1:{up.port}/base"),)
        setup = Setup(cage="c", policy=DEFAULT_POLICY, providers=providers)
        assert (
            await ask(
                Upstreams.from_setup(setup, DEFAULT_LIMITS), f"http://127.0.0.1:{up.port}/base"
            )
        )[0] == 200
        with pytest.raises(NotPublicError):
            await ask(
                Upstreams.from_setup(setup, DEFAULT_LIMITS), f"http://127.0.0.1:{other.port}/"
            )
    assert other.connections == 0


async def test_tls_is_for_the_name_while_the_bytes_go_to_the_address(authority: Authority) -> None:
    with Upstream(authority=authority, names=(NAME,)) as up:
        mapped = {"hosts": {NAME: f"127.0.0.1:{up.port}", "other.example": f"127.0.0.1:{up.port}"}}
        assert (await ask(Upstreams(**mapped, roots=authority.pem), f"https://{NAME}/"))[0] == 200
        assert up.requests[0].server_name == NAME
        with pytest.raises(UpstreamError, match="certificate"):
            await ask(Upstreams(**mapped, roots=authority.pem), "https://other.example/")
        with pytest.raises(UpstreamError, match="certificate"):
            await ask(Upstreams(**mapped), f"https://{NAME}/")
        with pytest.raises(UpstreamError, match="certificate") as caught:
            await ask(Upstreams(**mapped, roots=Authority("another").pem), f"https://{NAME}/")
        assert "gateway.roots" in caught.value.next
    assert len(up.requests) == 1


@pytest.mark.parametrize(
    ("said", "words"), [(b"", "broke off"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS with")]
)
async def test_roots_are_no_remedy_for_tls_that_fails_without_a_certificate(
    said: bytes, words: str
) -> None:
    async def say(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if said:
                await stream.send_all(said)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, say, [listener])
        with pytest.raises(UpstreamError, match=words) as caught:
            await ask(Upstreams(hosts={NAME: f"127.0.0.1:{port}"}), f"https://{NAME}/")
        nursery.cancel_scope.cancel()
    assert "gateway.roots" not in caught.value.next and "curl -v" in caught.value.next


async def test_redirects_come_back_and_the_environment_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        Upstream(lambda seen: answer(302, headers=[("Location", "http://127.0.0.1/")])) as up,
        Upstream() as proxy,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert (await ask(Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"}), f"http://{NAME}/"))[
            0
        ] == 302
    assert (len(up.requests), proxy.connections) == (1, 0)


async def test_the_target_goes_out_as_it_is() -> None:
    target = "/a//b/../%2e%2E/;x=1?&&a=%20+&b=?c/d:@"
    with Upstream() as up:
        await ask(Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"}), f"http://{NAME}{target}")
    assert up.requests[0].target == target


async def test_bodies_have_the_framing_they_came_with() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"abc"

    with Upstream() as up:
        for body, headers in (
            (b"abc", []),
            (pieces(), []),
            (pieces(), [(b"content-length", b"9")]),
            (b"", []),
        ):
            await ask(
                Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"}),
                f"http://{NAME}/",
                "POST",
                body,
                headers=headers,
            )
    framing = [
        (seen.header("content-length"), seen.header("transfer-encoding"), seen.body)
        for seen in up.requests
    ]
    assert framing == [
        ("3", "", b"abc"),
        ("", "chunked", b"abcabcabc"),
        ("9", "", b"abcabcabc"),
        ("0", "", b""),
    ]


# ---- connections are kept, where that is safe ----------------------------------------------------


async def get(upstreams: Upstreams, url: str, *, read: bool = True) -> bytes:
    async with upstreams.request("GET", url, []) as response:
        return b"".join([chunk async for chunk in response.chunks()]) if read else b""


def idle(upstreams: Upstreams) -> int:
    return sum(map(len, upstreams._idle.values()))


def age(upstreams: Upstreams, seconds: float) -> None:
    for connections in upstreams._idle.values():
        for connection in connections:
            connection.idle_since -= seconds


async def test_a_connection_is_used_again_for_its_origin_only(authority: Authority) -> None:
    with Upstream(authority=authority, names=(NAME, "other.example")) as up:
        mapped = {NAME: f"127.0.0.1:{up.port}", "other.example": f"127.0.0.1:{up.port}"}
        upstreams = Upstreams(hosts=mapped, roots=authority.pem)
        for name, connections in (
            (NAME, 1),
            (NAME, 1),
            ("other.example", 2),
            (NAME, 2),
            ("other.example", 2),
        ):
            assert await get(upstreams, f"https://{name}/") == b"ok"
            assert up.connections == connections
        assert all(seen.server_name == seen.header("host") for seen in up.requests)
        await upstreams.aclose()


async def test_requests_at_once_have_connections_of_their_own() -> None:
    gate = threading.Event()

    def handler(seen: Seen) -> bytes:
        assert gate.wait(10)
        return answer(body=seen.target.encode())

    with Upstream(handler) as up:
        upstreams, answers = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"}), set()

        async def one(number: int) -> None:
            answers.add(await get(upstreams, f"http://{NAME}/{number}"))

        async with trio.open_nursery() as nursery:
            for number in range(70):
                nursery.start_soon(one, number)
            while up.connections < 70:
                await trio.sleep(0.001)
            gate.set()
        assert answers == {b"/%d" % number for number in range(70)}
        assert idle(upstreams) == 64, "no more are kept"
        await upstreams.aclose()


ENDINGS = {
    "close": answer(headers=[("Connection", "close")]),
    "HTTP/1.0": lines("HTTP/1.0 200 OK", "Content-Length: 2") + b"ok",
    "more than was asked": answer() + answer(body=b"smuggled"),
    "half of another": answer() + b"HTTP/1.1 2",
}


@pytest.mark.parametrize("case", ENDINGS)
async def test_what_cannot_be_used_again_is_not(case: str) -> None:
    """An answer nobody asked for would be the next request's."""
    with Upstream(
        raw=lambda sock: (sock.recv(1 << 16), sock.sendall(ENDINGS[case]), sock.recv(1 << 16))
    ) as up:
        upstreams = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"})
        for number in (1, 2, 3):
            assert await get(upstreams, f"http://{NAME}/") == b"ok"
            assert up.connections == number
        await upstreams.aclose()


async def test_what_came_with_an_answer_in_a_record_of_its_own_ends_the_connection(
    authority: Authority,
) -> None:
    """It has left the socket when the answer is read, and is not decrypted yet."""

    def raw(sock: socket.socket) -> None:
        while sock.recv(1 << 16):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            sock.sendall(answer())
            sock.sendall(answer(body=b"smuggled"))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    with Upstream(raw=raw, authority=authority, names=(NAME,)) as up:
        upstreams = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"}, roots=authority.pem)
        for number in (1, 2, 3):
            assert await get(upstreams, f"https://{NAME}/") == b"ok"
            assert up.connections == number
        await upstreams.aclose()


async def test_an_answer_that_was_not_read_ends_its_connection() -> None:
    with Upstream(lambda seen: answer(body=bytes(1 << 20))) as up:
        upstreams = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"})
        await get(upstreams, f"http://{NAME}/", read=False)
        assert not idle(upstreams)
        await get(upstreams, f"http://{NAME}/")
        assert up.connections == 2 and idle(upstreams), "the control: read to its end it is kept"
        await upstreams.aclose()


async def test_what_comes_on_an_idle_connection_ends_it() -> None:
    """The end, or an answer that is sent ahead of a question."""
    for late in (b"", answer(body=b"smuggled")):
        go, gone = threading.Event(), threading.Event()

        def raw(
            sock: socket.socket, late: bytes = late, go: threading.Event = go, gone: Any = gone
        ) -> None:
            sock.recv(1 << 16)
            sock.sendall(answer())
            assert go.wait(10)
            sock.sendall(late) if late else sock.shutdown(socket.SHUT_WR)
            gone.set()
            sock.recv(1 << 16)

        with Upstream(raw=raw) as up:
            upstreams = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"})
            assert await get(upstreams, f"http://{NAME}/") == b"ok" and idle(upstreams)
            go.set()
            assert await trio.to_thread.run_sync(gone.wait, 10)
            assert await get(upstreams, f"http://{NAME}/") == b"ok"
            assert up.connections == 2
            await upstreams.aclose()


async def test_what_was_idle_for_long_is_closed() -> None:
    with Upstream() as up, Upstream() as other:
        hosts = {NAME: f"127.0.0.1:{up.port}", "other.example": f"127.0.0.1:{other.port}"}
        upstreams = Upstreams(hosts=hosts)
        await get(upstreams, f"http://{NAME}/")
        age(upstreams, 29)
        await get(upstreams, f"http://{NAME}/")
        assert up.connections == 1, "the control"
        age(upstreams, 31)
        await get(upstreams, "http://other.example/")
        assert [origin.host for origin in upstreams._idle] == ["other.example"]
        await get(upstreams, f"http://{NAME}/")
        assert up.connections == 2
        await upstreams.aclose()


async def test_requests_at_once_after_a_while_close_what_was_idle() -> None:
    """What one of them closes, and what it forgets, the others look at meanwhile."""
    with Upstream() as up:
        upstreams = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"})
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(get, upstreams, f"http://{NAME}/")
            assert idle(upstreams) == 3
            age(upstreams, 31)
        await upstreams.aclose()
    assert up.connections == 15


async def test_a_body_that_fails_ends_its_connection_and_nothing_of_the_request_was_sent() -> None:
    async def fails() -> AsyncIterator[bytes]:
        raise KeyError
        yield b""

    with Upstream() as up:
        upstreams = Upstreams(hosts={NAME: f"127.0.0.1:{up.port}"})
        assert await get(upstreams, f"http://{NAME}/") == b"ok"
        with pytest.raises(KeyError):
            async with upstreams.request("POST", f"http://{NAME}/x", [], fails()):
                pass
        assert not idle(upstreams) and b"POST" not in bytes(up.received)
        for short in (b"abc", b"abcdef"):

            async def wrong(piece: bytes = short) -> AsyncIterator[bytes]:
                yield piece

            with pytest.raises(UpstreamError, match="not one of HTTP"):
                async with upstreams.request(
                    "POST", f"http://{NAME}/x", [(b"content-length", b"5")], wrong()
                ):
                    pass
        assert not idle(upstreams) and len(up.requests) == 1
        await upstreams.aclose()


# ---- upstreams that do not do their part: through the gateway, as the agent sees it --------------


def reset(sock: socket.socket) -> None:
    sock.recv(1 << 16)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


NO_ANSWERS = {
    "closes at once": lambda sock: None,
    "closes after the request": lambda sock: sock.recv(1 << 16),
    "resets": reset,
    "is no HTTP": lambda sock: (sock.recv(1 << 16), sock.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")),
    "closes inside the head": lambda sock: (sock.recv(1 << 16), sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")),
    "sends a head without end": lambda sock: (
        sock.recv(1 << 16), sock.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000)
    ),
    "switches protocols": lambda sock: (sock.recv(1 << 16), sock.sendall(lines("HTTP/1.1 101 X", "Upgrade: x"))),
    "has two lengths": lambda sock: (
        sock.recv(1 << 16), sock.sendall(lines("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + b"ab")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_ANSWERS)
async def test_an_upstream_without_an_answer_is_a_502_and_the_connection_goes_on(case: str) -> None:
    with Upstream(raw=NO_ANSWERS[case]) as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            for _ in range(2):
                status, headers, body = await agent.ask()
                assert status == 502 and b"akios_failed" in body and "x-should-retry" not in headers
                assert (
                    case != "closes after the request"
                    or b"closed the connection without an answer" in body
                )
    found = context.link.of(NetRequest)
    assert len(found) == 2 and all(record.status == 502 or record.error for record in found)
    assert not context.link.of(NetDenied)


BROKEN = {
    "short of its length": lines("HTTP/1.1 200 OK", "Content-Length: 10") + b"abc",
    "short of its last chunk": lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
    + b"3\r\nabc\r\n",
    "inside a chunk": lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"30\r\nabc",
}


@pytest.mark.parametrize("case", BROKEN)
async def test_an_answer_that_breaks_off_is_broken_off(case: str) -> None:
    with Upstream(raw=lambda sock: (sock.recv(1 << 16), sock.sendall(BROKEN[case]))) as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            with pytest.raises(h11.RemoteProtocolError):
                await agent.ask()
    (record,) = context.link.of(NetRequest)
    assert record.status == 200 and record.error


async def test_an_answer_that_breaks_before_any_of_it_was_sent_is_a_502() -> None:
    raw = lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"3\r\nabc\r\nzz\r\n"
    with Upstream(raw=lambda sock: (sock.recv(1 << 16), sock.sendall(raw))) as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            status, _, body = await agent.ask()
    assert status == 502 and b"akios_failed" in body and b"abc" not in body
    (record,) = context.link.of(NetRequest)
    assert record.error


async def test_an_answer_without_length_ends_with_its_connection() -> None:
    with Upstream(
        raw=lambda sock: (sock.recv(1 << 16), sock.sendall(lines("HTTP/1.0 200 OK") + b"abc"))
    ) as up:
        async with connected(make_context(port=up.port)) as agent:
            status, headers, body = await agent.ask()
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"abc")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_answers_without_a_body(method: str) -> None:
    reply = (
        lines("HTTP/1.1 200 OK", "Content-Length: 5")
        if method == "HEAD"
        else lines("HTTP/1.1 304 X", "ETag: a")
    )
    with Upstream(lambda seen: reply) as up:
        async with connected(make_context(port=up.port)) as agent:
            for _ in range(2):
                status, headers, body = await agent.ask(method)
                assert body == b"" and (headers.get("content-length"), status) in (
                    ("5", 200),
                    (None, 304),
                )


async def test_an_early_answer_ends_an_upload() -> None:
    def refuse(sock: socket.socket) -> None:
        sock.recv(1 << 16)
        sock.sendall(answer(413, b"no"))
        # Read on, so that closing does not turn the answer into a reset.
        while sock.recv(1 << 16):
            pass

    with Upstream(raw=refuse) as up:
        async with connected(make_context(port=up.port)) as agent:
            body = bytes(6 << 20)
            assert (await agent.ask("POST", "/", body, [("Content-Type", "image/png")]))[0] == 413


async def test_hanging_upstreams_time_out(autojump_clock: object) -> None:
    # The kernel takes the connection into the backlog; nobody ever answers it.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = make_context(port=listener.getsockname()[1], first_byte_seconds=100)
        async with connected(context) as agent:
            status, _, body = await agent.ask()
    assert (
        status == 504
        and b"akios_failed" in body
        and trio.current_time() == pytest.approx(100, abs=5)
    )


async def test_names_without_address_and_ports_without_listener_are_502() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    context = make_context(port=free)
    async with connected(context) as agent:
        assert (await agent.ask())[0] == 502
    with pytest.raises(UpstreamError, match="no address"):
        resolve()
        await ask(Upstreams(), "http://name.invalid/")


def test_a_stream_of_pieces_comes_as_it_is_made() -> None:
    # Each piece is sent only when the agent has the one before: nothing is collected on the way.
    turns = [threading.Event() for _ in range(5)]

    def handler(seen: Seen) -> Iterator[bytes]:
        yield lines("HTTP/1.1 200 OK", "Content-Type: text/event-stream")
        for turn in turns:
            assert turn.wait(10)
            yield b"data: x\n\n"

    async def main(port: int) -> None:
        async with connected(make_context(port=port)) as agent:
            await agent.send(lines("GET / HTTP/1.1", f"Host: {NAME}"))
            data = b""
            for number, turn in enumerate(turns, 1):
                turn.set()
                while data.count(b"data: x") < number:
                    data += await agent.stream.receive_some()

    with Upstream(handler) as up:
        trio.run(main, up.port)
