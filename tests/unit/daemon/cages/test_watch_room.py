"""A file system in trouble ends no cage: what cannot be measured may be full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from akiosd.cage.room import Room
from akiosd.daemon.cages.watch_room import RoomWatch
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd

GIB = 1 << 30


def host(keep_free: int) -> Host:
    made = SimpleNamespace(
        config=SimpleNamespace(quotas=SimpleNamespace(keep_free_bytes=keep_free)),
        settings=SimpleNamespace(config_file="/etc/akios/akiosd.yaml"),
    )
    return cast(Host, made)


class Frozen:
    """What the watch asked for; ``asked`` is set each time."""

    def __init__(self) -> None:
        self.is_so, self.stops = False, True
        self.asked = trio.Event()
        self.ended: list[str] = []

    def wait_where_written(self, frozen: bool) -> None:
        self.is_so = frozen
        self.asked.set()

    def is_still(self) -> bool:
        return self.stops

    async def next(self) -> bool:
        await self.asked.wait()
        self.asked = trio.Event()
        return self.is_so


def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> os.statvfs_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "fstatvfs", fail)


async def test_it_stands_still_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Frozen()
    with Fd(os.open(tmp_path, os.O_PATH)) as directory:
        watch = RoomWatch(host(1), "c", directory, frozen, frozen.ended.append)
        break_it(monkeypatch)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.run)
                assert await frozen.next()
                assert watch.why == (
                    f"the room on the file system of {tmp_path} cannot be measured:"
                    f" {os.strerror(errno.ESTALE)}"
                )
                monkeypatch.undo()
                assert not await frozen.next()
                assert watch.why == ""
                nursery.cancel_scope.cancel()


async def test_nothing_begins_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Fd(os.open(tmp_path, os.O_PATH)) as directory:
        watch = RoomWatch(host(1), "c", directory, Frozen(), str)
        await watch.check()  # the control
        break_it(monkeypatch)
        with pytest.raises(DeniedError, match="cannot be measured") as caught:
            await watch.check()
        assert "dmesg" in caught.value.next


async def test_where_nothing_is_to_stay_free_nothing_has_to_be_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Fd(os.open(tmp_path, os.O_PATH)) as directory:
        watch = RoomWatch(host(0), "c", directory, Frozen(), str)
        break_it(monkeypatch)
        await watch.check()


@pytest.mark.parametrize("stops", [False, True])
async def test_who_goes_on_writing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    frozen, room, looks = Frozen(), Room(GIB - 1, 100 * GIB), 0
    frozen.stops = stops
    with Fd(os.open(tmp_path, os.O_PATH)) as directory:
        watch = RoomWatch(host(GIB), "c", directory, frozen, frozen.ended.append)

        async def measure() -> Room:
            nonlocal looks
            looks += 1
            return room

        monkeypatch.setattr(watch, "_measure", measure)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.run)
                assert await frozen.next()
                while looks < 4:
                    await trio.sleep(0.05)
                assert not frozen.ended, "there is room"
                room, looks = Room(GIB // 2 - 1, 100 * GIB), 0
                while looks < 4:
                    await trio.sleep(0.05)
                assert not frozen.ended, "it becomes no less"
                room, looks = Room(GIB // 4, 100 * GIB), 0
                while looks < 2 or (not stops and not frozen.ended):
                    await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
    assert len(frozen.ended) == (not stops) and all("must stay free" in why for why in frozen.ended)
