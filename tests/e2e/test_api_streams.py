"""Streams of events: many at once, one that is slow, one that never reads, and a server that is
killed; by Server-Sent Events and by WebSocket.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import ApiServer
from tests.e2e.api_streams import Conversation, Followed, follow
from tests.e2e.daemon import NOBODY, Daemon

MANY, RECORDS = 200, 60_000
PATIENCE = 240
FLOOD = "import os\nfor n in range({n}):\n try: os.unlink(f'/tmp/no-such-file-{{n}}')\n except OSError: pass"


@pytest.fixture(scope="module")
def server(private: Daemon) -> Iterator[ApiServer]:
    with ApiServer(private) as made:
        yield made


def flood(daemon: Daemon, records: int) -> subprocess.Popen[Any]:
    """A cage that does so many things that are recorded, each another."""
    words = ("/usr/bin/python3", "-c", FLOOD.format(n=records))
    workspace = daemon.workspace(uid=NOBODY)
    return daemon.popen(
        *("run", "-q", "--workspace", workspace, "--", *words), uid=NOBODY, cwd=workspace
    )


def resident(server: ApiServer) -> int:
    """Bytes of memory of the server."""
    with open(f"/proc/{server.process.pid}/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def descriptors(server: ApiServer) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


async def seen_of_one_cage(events: Any) -> list[int]:
    """Numbers of the records of the first cage that is born, up to its end."""
    cage, seen = "", []
    async for event in events:
        if event["event"] != "record":
            continue
        data = event["data"]
        if data["log"] == "host":
            continue
        cage = cage or data["log"]
        if data["log"] == cage:
            seen.append(data["index"])
            if data["kind"] == "end":
                return seen
    raise AssertionError(f"the stream ended after {len(seen)} records")


def test_a_websocket_tells_the_same_and_resumes(private: Daemon, server: ApiServer) -> None:
    cage = str(private.report("true", uid=NOBODY)["cage"])

    async def read(query: str) -> list[dict[str, Any]]:
        found = []
        async for event in Conversation(server, query).events():
            if event["event"] == "record":
                found.append(event)
                if event["data"]["kind"] == "end":
                    return found
        raise AssertionError(found)

    async def read_sse() -> list[dict[str, Any]]:
        found = []
        async with follow(server, f"cage={cage}&replay=true") as stream:
            async for event in stream.events():
                found.append(event)
                if event.get("data", {}).get("kind") == "end":
                    return found
        raise AssertionError(found)

    async def work() -> None:
        whole = await read(f"cage={cage}&replay=true")
        assert whole == await read_sse()
        assert await read(f"cage={cage}&after={whole[1]['id']}") == whole[2:]
        for query, status in ((f"cage={'c-' + '0' * 12}", 404), ("kind=none", 422)):
            refused = Conversation(server, query)
            assert [event async for event in refused.events()] == []
            assert refused.refused == status
        page = Conversation(server, Origin="http://evil.example")
        assert [event async for event in page.events()] == [] and page.refused == 403
        wrong = Conversation(server, Authorization="Bearer akt_00000000_" + "x" * 43)
        assert [event async for event in wrong.events()] == [] and wrong.refused == 401

    trio.run(limited, work)


@pytest.mark.named_set("api")
def test_two_hundred_follow_and_one_that_never_reads_delays_nobody(
    private: Daemon, server: ApiServer
) -> None:
    before, results = resident(server), list[list[int]]()

    async def read(stream: Followed) -> None:
        results.append(await seen_of_one_cage(stream.events()))

    async def work() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(follow(server, buffer=4096))
            streams = [await stack.enter_async_context(follow(server)) for _ in range(MANY)]
            over = await stack.enter_async_context(trio.open_nursery())
            for stream in streams:
                over.start_soon(read, stream)
            over.start_soon(trio.to_thread.run_sync, flood(private, 400).wait)

    trio.run(limited, work)
    assert len(results) == MANY and len(results[0]) > 400
    assert all(numbers == list(range(len(results[0]))) for numbers in results)
    more = resident(server) - before
    print(f"{MANY} followers of {len(results[0])} records: {more >> 20} MiB more")
    assert more < 256 << 20


@pytest.mark.named_set("api")
def test_a_slow_one_gets_a_gap_and_catches_up_and_one_that_never_reads_is_cut_off(
    private: Daemon, server: ApiServer
) -> None:
    before = resident(server)
    told: dict[str, Any] = {}

    async def slow(stream: Followed, go: trio.Event) -> None:
        await go.wait()
        got, missing, cage = set[int](), set[int](), ""
        async for event in stream.events():
            data = event["data"]
            if data.get("log", "host") == "host":
                continue
            cage = data["log"]
            if event["event"] == "gap":
                missing |= set(range(*data["gap"]))
            else:
                got.add(data["index"])
            # Its end may be within a gap.
            if len(told["whole"]) - 1 in got | missing:
                break
        told.update(got=got, missing=missing, cage=cage)

    async def work() -> None:
        async with follow(server, buffer=4096) as idle, follow(server, buffer=4096) as lazy:
            async with follow(server) as stream, trio.open_nursery() as nursery:
                go = trio.Event()
                nursery.start_soon(slow, lazy, go)
                process = flood(private, RECORDS)
                told["whole"] = await seen_of_one_cage(stream.events())
                told["memory"] = resident(server)
                go.set()
                await trio.to_thread.run_sync(process.wait)
            # The one that never read is still here; the server lets it go.
            while idle.is_held(server):
                await trio.sleep(0.2)
            assert lazy.is_held(server)

    trio.run(limited, work)
    whole = told["whole"]
    assert whole == list(range(len(whole))) and len(whole) > RECORDS
    print(f"{len(whole)} records, {len(told['missing'])} of them left out for the slow one;")
    print(f"memory of the server: {(told['memory'] - before) >> 20} MiB more")
    assert told["missing"] and told["got"] | told["missing"] >= set(whole)
    assert told["memory"] - before < 64 << 20  # what it did not read is larger than that
    first = min(told["missing"])
    page = server.ask(f"{BASE}/ledger/{told['cage']}/entries?cursor={first}&limit=1").json()
    assert page["records"][0]["index"] == first


@pytest.mark.named_set("api")
def test_followers_of_a_server_that_is_killed_resume_without_loss(private: Daemon) -> None:
    first = ApiServer(private)
    token = first.token
    seen: list[int] = []

    async def work() -> None:
        last, cage, server, process = "", "", first, None
        for round in range(4):
            async with follow(server, last_id=last) as stream:
                process = process or flood(private, 4000)
                count = 0
                async for event in stream.events():
                    data = event["data"]
                    last = event.get("id", last)
                    if event["event"] != "record" or data["log"] == "host":
                        continue
                    cage = cage or data["log"]
                    if data["log"] != cage:
                        continue
                    seen.append(data["index"])
                    count += 1
                    if data["kind"] == "end":
                        await trio.to_thread.run_sync(process.wait)
                        return
                    if count == 500 and round < 3:
                        os.kill(server.process.pid, signal.SIGKILL)
                        server.process.wait()
            server = await trio.to_thread.run_sync(again, server)

    def again(server: ApiServer) -> ApiServer:
        made = ApiServer(private, port=server.port)
        made._token = token
        servers.append(made)
        return made

    servers = [first]
    try:
        trio.run(limited, work)
    finally:
        for server in servers:
            server.__exit__()
    assert seen == list(range(len(seen))) and len(seen) > 4000 and len(servers) == 4


async def limited(work: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(PATIENCE):
        await work()
