"""One who asks for more than is his: others are served meanwhile, and the server stays small."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio

from akiosctl.api.connections import MOST_CONNECTIONS
from akiosctl.api.endpoints import BASE
from akiosctl.api.streams import MOST_OF_ONE
from tests.e2e.api_server import ApiServer
from tests.e2e.api_streams import connect
from tests.e2e.daemon import Daemon
from tests.e2e.test_api_running import begin
from tests.e2e.test_api_streams import descriptors, resident

DEAR = ("call 0161 496 0000, ssn 123-45-6789, +49 170 1234567\n" * 20_000)[: 1 << 17].encode()
"""Each piece of it is looked at in many ways."""


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


def test_texts_of_one_token_are_searched_one_by_one_and_others_are_served(
    server: ApiServer,
) -> None:
    other, greedy, plain = (
        server.new_token("redact", "read"),
        server.token,
        {"Content_Type": "text/plain"},
    )
    begun, ended = time.monotonic(), []

    def search() -> None:
        got = server.ask(f"{BASE}/redaction/scan", "POST", greedy, DEAR, **plain)
        assert got.status == 200, got.body[:500]
        ended.append(time.monotonic() - begun)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for one in threads:
        one.start()
    waited = []
    while any(one.is_alive() for one in threads):
        asked = time.monotonic()
        assert server.ask(f"{BASE}/version", token=other).status == 200
        waited.append(time.monotonic() - asked)
        small = server.ask(f"{BASE}/redaction/scan", "POST", other, b"ann@example.org", **plain)
        assert len(small.json()["findings"]) == 1
    for one in threads:
        one.join()
    # Together they would all have ended at the end.
    assert len(ended) == 4 and min(ended) < max(ended) / 2, ended
    assert len(waited) > 4 and sorted(waited)[len(waited) // 2] < 1, waited


PAUSE = 10
PATIENCE = 30
"""Seconds; a busy machine takes some for streams that begin all at once."""
FLOOD = "import sys\nfor n in range(2000): sys.stdout.write('x' * 8191 + chr(10))"
HEAD = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"


@pytest.mark.named_set("api")
def test_thousands_of_connections_keep_nobody_waiting(server: ApiServer) -> None:
    """Silent ones, half requests, streams and large answers that nobody reads."""
    greedy, other = server.token, server.new_token("read")
    cage = begin(server, argv=["python3", "-c", FLOOD]).json()["cage"]
    finish_cage(server, cage)
    before, port = resident(server), server.port

    async def ask() -> float:
        asked = trio.current_time()
        got = await trio.to_thread.run_sync(lambda: server.ask(f"{BASE}/version", token=other))
        assert got.status == 200
        return trio.current_time() - asked

    async def flood() -> None:
        open_: list[trio.SocketStream] = []
        waited: list[float] = []

        async def more(count: int, path: str, end: str) -> None:
            head = HEAD.format(path=path, port=port, token=greedy) + end if path else ""
            for _ in range(count):
                open_.append(stream := await connect(port, 4096))
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(head.encode())

        await more(40, f"{BASE}/cages/{cage}/output", "\r\n")
        waited.append(await ask())
        await more(MOST_OF_ONE + 20, f"{BASE}/events", "\r\n")
        waited.append(await ask())
        for _ in range(4):
            await more(400, "", "")
            waited.append(await ask())
            await more(400, f"{BASE}/version", "X-Half: ")
            waited.append(await ask())
        assert descriptors(server) < 2 * MOST_CONNECTIONS
        # Python keeps what it once took; a mebibyte for each would be far more.
        assert resident(server) - before < 200 << 20
        assert max(waited) < PATIENCE, waited
        for stream in open_:
            await trio.aclose_forcefully(stream)

    trio.run(flood)
    assert server.ask(f"{BASE}/health").status == 200


@pytest.mark.named_set("api")
def test_who_waits_for_cages_leaves_streams_to_others(server: ApiServer) -> None:
    """Each wait holds a connection to akiosd, of which a user has 256; it goes with its client."""
    cage = begin(server, argv=["sleep", "600"]).json()["cage"]
    greedy, other, port = server.new_token("read"), server.new_token("read", "events"), server.port
    wait, before = f"{BASE}/cages/{cage}?wait=25", descriptors(server)

    async def first(path: str, token: str) -> bytes:
        stream = await connect(port, 4096)
        await stream.send_all((HEAD.format(path=path, port=port, token=token) + "\r\n").encode())
        open_.append(stream)
        with trio.move_on_after(PAUSE):
            return bytes(await stream.receive_some(12))
        return b""

    async def ask() -> None:
        answered.append(await first(wait, greedy))

    async def flood() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(MOST_OF_ONE + 20):
                nursery.start_soon(ask)
                await trio.sleep(1 / 40)  # so many a second a token may ask for
        assert answered.count(b"HTTP/1.1 503") == 20 and answered.count(b"") == MOST_OF_ONE
        assert await first(f"{BASE}/events", other) == b"HTTP/1.1 200"
        assert (await first(f"{BASE}/cages/{cage}?wait=1", other)) == b"HTTP/1.1 200"
        for stream in open_:
            await trio.aclose_forcefully(stream)
        with trio.fail_after(PAUSE):  # those that wait would wait for longer
            while descriptors(server) > before + 8:
                await trio.sleep(0.1)

    open_: list[trio.SocketStream] = []
    answered: list[bytes] = []
    trio.run(flood)
    assert server.ask(f"{BASE}/cages/{cage}/stop?grace=0", "POST").status == 200


def finish_cage(server: ApiServer, cage: str) -> None:
    with_output = f"{BASE}/cages/{cage}/output"
    while not server.ask(f"{BASE}/cages/{cage}").json()["ended_ns"]:
        time.sleep(0.1)
    assert len(server.ask(with_output).body) > 1 << 20
