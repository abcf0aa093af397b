"""What the REST API costs: requests a second and the slowest of a hundred, streams to many, a run
by the API beside one by the socket; and what a log of a million records does to it.

    sudo python -m tests.bench.api [RECORDS]

All figures are from the same run: akiosd, the server and whoever asks share the machine.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import trio

from akiosctl.api.endpoints import BASE
from akiosctl.client import Client
from akiosctl.run_detached import run_detached
from akiosctl.run_options import RunOptions
from akiosd.wire.messages import Records, Subscribe
from tests.e2e.api_server import ApiServer
from tests.e2e.api_streams import Followed, follow
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.test_api_streams import flood, resident, seen_of_one_cage

CLIENTS, REQUESTS, TOKENS = 4, 100, 12
FOLLOWERS, EVENTS, RUNS = 50, 1000, 30


class Asker:
    """Asks by connections that stay open, with tokens in turn: one may ask 50 times a second."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._tokens = itertools.cycle([server.new_token("read", "ledger") for _ in range(TOKENS)])

    def measure(self, what: str, path: str) -> None:
        """Print how ``CLIENTS`` fare that ask at once, and the memory of the server."""
        times: list[float] = []
        threads = [
            threading.Thread(target=self._ask_often, args=(path, times)) for _ in range(CLIENTS)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rate = len(times) / (time.perf_counter() - start)
        times.sort()
        middle, slow = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99) - 1] * 1e3
        memory = resident(self._server) >> 20
        print(f"{what:<44} {rate:7.0f}/s  p50 {middle:7.1f} ms  p99 {slow:7.1f} ms  {memory} MiB")

    def _ask_often(self, path: str, times: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=120)
        for _ in range(REQUESTS // CLIENTS):
            headers = {"Authorization": f"Bearer {next(self._tokens)}"}
            start = time.perf_counter()
            connection.request("GET", f"{BASE}{path}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            times.append(time.perf_counter() - start)
            assert answer.status == 200, body
        connection.close()


def views(asker: Asker, cage: str, records: int) -> None:
    asker.measure("list of cages", "/cages?limit=100")
    asker.measure("one cage", f"/cages/{cage}")
    asker.measure("entries, the first 100", f"/ledger/{cage}/entries?limit=100")
    last = max(0, records - 100)
    asker.measure("entries, the last 100", f"/ledger/{cage}/entries?limit=100&cursor={last}")
    asker.measure("entries of a kind that is rare", f"/ledger/{cage}/entries?kind=end&limit=100")
    asker.measure("checkpoint", f"/ledger/{cage}/checkpoint")
    asker.measure("inclusion proof", f"/ledger/{cage}/inclusion/{records // 2}")
    asker.measure("what it was denied", f"/cages/{cage}/why")


def fan_out(daemon: Daemon, server: ApiServer) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(follow(server)) for _ in range(FOLLOWERS)]
            start = time.perf_counter()
            process = flood(daemon, EVENTS)
            counts: list[int] = []

            async def read(stream: Followed) -> None:
                counts.append(len(await seen_of_one_cage(stream.events())))

            await _all([lambda one=one: read(one) for one in streams])  # type: ignore[misc]
            took = time.perf_counter() - start
            await trio.to_thread.run_sync(process.wait)
        print(f"{FOLLOWERS} followers of one cage: {sum(counts) / took:,.0f} events/s in all")

    trio.run(work)


async def _all(works: list[Callable[[], Awaitable[None]]]) -> None:
    async with trio.open_nursery() as nursery:
        for work in works:
            nursery.start_soon(work)


def run_to_exit(daemon: Daemon, server: ApiServer) -> None:
    by_api, by_socket = [], []
    place = str(daemon.workspace())
    for _ in range(RUNS):
        start = time.perf_counter()
        _by_api(server)
        by_api.append(time.perf_counter() - start)
        start = time.perf_counter()
        _by_socket(daemon, place)
        by_socket.append(time.perf_counter() - start)
        time.sleep(0.025)
    api, socket = (sorted(times)[RUNS // 2] * 1e3 for times in (by_api, by_socket))
    print(f"run to exit: by API {api:.1f} ms, by socket {socket:.1f} ms, {api / socket:.2f}×")


def _by_api(server: ApiServer) -> None:
    body = json.dumps({"argv": ["/bin/true"]}).encode()
    begun = server.ask(f"{BASE}/cages", "POST", body=body, Content_Type="application/json")
    assert begun.status == 202, begun.body
    ended = server.ask(f"{begun.headers['location']}?wait=20").json()
    assert ended["ended_ns"] and ended["exit_code"] == 0, ended


def _by_socket(daemon: Daemon, place: str) -> None:
    options = RunOptions(["/bin/true"], {"workspace": [place], "discard": [], "quiet": []})
    cage, _ = run_detached(options, str(daemon.socket), place)
    events = daemon.socket.with_name("events.sock")
    with Client(str(events)) as client:
        client.send(Subscribe(kinds=("end",), cages=(cage,), cursors={cage: 0}))
        assert isinstance(client.receive().message, Records)


def main(records: int) -> None:
    daemon = Daemon().start()
    try:
        with ApiServer(daemon) as server:
            run_to_exit(daemon, server)
            fan_out(daemon, server)
            print(f"server at rest: {resident(server) >> 20} MiB; {records:,} records are made")
            assert flood(daemon, records).wait() == 0
            told: list[dict[str, Any]] = server.ask(f"{BASE}/cages?limit=500").json()["cages"]
            cage = max(told, key=lambda one: one["started_ns"])["cage"]
            assert told and os.geteuid() != NOBODY
            views(Asker(server), cage, records)
    finally:
        daemon.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
