"""What a fault of one task takes along: nothing, unless akiosd cannot go on without it."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from akiosd.daemon.base.guarded import Tasks, Vital
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.errors import CageFailedError

DAEMON = Path(__file__).parents[4] / "akiosd" / "daemon"
SHARED = [
    *(DAEMON / "requests").glob("*.py"),
    *(DAEMON / "sockets").glob("*.py"),
    DAEMON / "main.py",
]
OWN = {
    # Nurseries of one subscription and of one request, in which a fault ends just that.
    "serve_events.py": {"_catch"},
    "http_requests.py": {"self._run"},
    "serve_clients.py": {"guarded"},
}


async def fail(told: list[str]) -> None:
    told.append("began")
    raise ValueError("a fault")


def test_a_fault_is_told_and_leaves_the_neighbours_alone() -> None:
    async def neighbour(told: list[str], tasks: Tasks) -> None:
        tasks.start("one", fail, told, on_fault=lambda: told.append("told"))
        tasks.start("two", fail, told, on_fault=lambda: 1 // 0)
        await trio.testing.wait_all_tasks_blocked()
        told.append("lives")

    async def main() -> list[str]:
        told = list[str]()
        async with trio.open_nursery() as nursery:
            await neighbour(told, Tasks(nursery))
        return told

    assert sorted(trio.run(main)) == ["began", "began", "lives", "told"]


def test_without_the_guard_the_same_fault_ends_all() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, [])
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup):
        trio.run(main)


def test_what_is_vital_is_told_before_anything_is_unwound() -> None:
    seen: list[str] = []

    async def neighbour() -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("unwound")

    async def main() -> None:
        vital = Vital()
        vital.on_fault = lambda error: seen.append(str(error))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(vital.run, fail, [])

    with pytest.raises(ExceptionGroup):
        trio.run(main)
    assert seen == ["a fault", "unwound"]


def started(file: Path) -> Iterator[str]:
    """The jobs that a file gives to a nursery with its own hands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".start_soon"):
            yield ast.unparse(node.args[0])


@pytest.mark.parametrize("file", SHARED, ids=lambda file: file.name)
def test_no_task_of_a_request_is_started_bare(file: Path) -> None:
    assert set(started(file)) <= OWN.get(file.name, set())


def test_an_init_that_is_gone_is_no_error_and_one_that_cannot_be_told_is() -> None:
    async def send(channel: StatusChannel) -> None:
        await channel.send("signal", 15)

    async def main() -> None:
        gone, theirs = StatusChannel.pair()
        theirs.close()
        await send(gone)
        gone.close()
        await send(gone)  # its cage has ended meanwhile

        ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            channel = StatusChannel(ours)

            await channel.send("signal", 15)
            channel._socket.send = refuse  # type: ignore[method-assign,assignment]
            with pytest.raises(CageFailedError):
                await send(channel)
            channel.close()

    async def refuse(data: bytes) -> int:
        raise OSError(105, "No buffer space available")

    trio.run(main)
