"""Cages that take room which is not there stand still, others go on, and none begins."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from akiosd.cage.room import Room
from akiosd.daemon.cages import watch_disk
from akiosd.daemon.cages.watch_disk import DiskWatch
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError

TOO_MUCH = 1 << 60


class Writer:
    """A cage."""

    def __init__(self) -> None:
        self.taken = self.left = self.dirty = 0
        self.why = ""
        self.took, self.says, self.waited_before_it_went_on = 0, True, False
        self.stops, self.ended, self.allowed, self.has_more = True, 0, 0, True

    def room_taken(self) -> tuple[int, int]:
        return self.taken, self.left

    def wait_for_room(self, why: str) -> None:
        self.why = why

    def is_still(self) -> bool:
        return self.stops

    def end_for_room(self, why: str) -> None:
        assert "will be free" in why
        self.ended += 1

    def allow(self, more: int) -> bool:
        self.allowed = more
        return self.has_more

    def unwritten(self) -> int:
        return self.dirty

    @asynccontextmanager
    async def held_on_disk(self) -> AsyncIterator[None]:
        self.took += self.dirty
        if self.says:
            self.taken += self.dirty
        self.dirty = 0
        yield
        self.waited_before_it_went_on = bool(self.why)


def host(state: Path, keep_free: int = 0) -> Host:
    made = SimpleNamespace(
        config=SimpleNamespace(quotas=SimpleNamespace(keep_free_bytes=keep_free)),
        settings=SimpleNamespace(config_file="/etc/akios/akiosd.yaml"),
        state_dir=state,
    )
    return cast(Host, made)


def test_who_takes_more_of_too_little_waits_and_others_go_on(tmp_path: Path) -> None:
    writer, other = Writer(), Writer()
    watch = DiskWatch(host(tmp_path), {"c": writer, "other": other}, lambda: 0)
    enough, too_little = Room(0, TOO_MUCH), Room(-1, TOO_MUCH)
    other.taken = 500 << 20
    watch.look(enough)
    writer.taken = 200 << 20
    watch.look(enough)
    assert writer.why == other.why == ""
    writer.taken += 1 << 20
    watch.look(too_little)
    assert str(tmp_path) in writer.why and "0 B will be free" in writer.why
    watch.look(too_little)
    assert writer.why and other.why == "", "who takes no more goes on, however much it has"
    other.taken += (1 << 20) - 1
    watch.look(too_little)
    assert other.why == ""
    other.taken += 1
    watch.look(too_little)
    assert other.why
    watch.look(enough)
    assert writer.why == other.why == ""


async def test_no_cage_begins_without_room(tmp_path: Path) -> None:
    writer = Writer()
    watch = DiskWatch(host(tmp_path), {"c": writer}, lambda: 0)
    await watch.check()
    writer.left = TOO_MUCH
    with pytest.raises(DeniedError, match="No space left on device") as refused:
        await watch.check()
    assert f"df -h {tmp_path}" in refused.value.next
    with pytest.raises(DeniedError):
        await DiskWatch(host(tmp_path), {}, lambda: TOO_MUCH).check()


async def test_it_looks_by_itself_also_after_a_disk_that_could_not_be_measured(
    tmp_path: Path,
) -> None:
    state, writer = tmp_path / "later", Writer()
    writer.left = TOO_MUCH
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(DiskWatch(host(state), {"c": writer}, lambda: 0).run)
            await trio.testing.wait_all_tasks_blocked()
            state.mkdir()
            while not writer.why:
                writer.taken += 1 << 20
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()


GIB, MIB = 1 << 30, 1 << 20


def test_what_no_disk_tells_of_counts_as_far_as_it_may_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_disk, "unwritten_of_all", lambda: 3 * GIB)
    hidden, idle = Writer(), Writer()
    watch = DiskWatch(host(tmp_path, GIB), {"hidden": hidden, "idle": idle}, lambda: 0)
    room = Room(4 * GIB - 1, TOO_MUCH)
    hidden.dirty, idle.dirty = 3 * GIB, MIB - 1
    least, unsure = watch.find_unsure(room, room)
    assert least.free == GIB - MIB and not unsure, "who is known to take more waits first"
    hidden.dirty += GIB // 8
    assert watch.find_unsure(room, room)[1] == {"hidden"}
    # Nothing is asked of cages where all that the host has to write has room.
    monkeypatch.setattr(watch_disk, "unwritten_of_all", lambda: 3 * GIB - MIB)
    assert watch.find_unsure(room, room) == (Room(GIB + MIB - 1, TOO_MUCH), frozenset())


@pytest.mark.parametrize("is_shared", [False, True])
async def test_it_is_brought_there_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    """Where all share an image the disk's own word does not grow by what is written."""
    monkeypatch.setattr(watch_disk, "unwritten_of_all", lambda: 2 * GIB)
    hidden = Writer()
    image = (lambda: -hidden.took) if is_shared else lambda: 0
    watch = DiskWatch(host(tmp_path, GIB), {"hidden": hidden}, image, is_shared=is_shared)
    free = 2 * GIB
    hidden.dirty = GIB + GIB // 4
    hidden.says = not is_shared

    async def measure() -> Room:
        return Room(free - hidden.took, TOO_MUCH)

    monkeypatch.setattr(watch, "_measure", measure)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            while not hidden.why:
                await trio.sleep(0.01)
            assert hidden.took == GIB + GIB // 4 and hidden.dirty == 0
            assert hidden.waited_before_it_went_on
            nursery.cancel_scope.cancel()


async def test_in_a_shared_image_nobody_waits_for_what_others_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes over what the image has, while another takes all room."""
    monkeypatch.setattr(watch_disk, "unwritten_of_all", lambda: 2 * GIB)
    rewrites, takes, free = Writer(), Writer(), 2 * GIB
    rewrites.says = False
    rewrites.dirty = GIB + GIB // 4
    cages = {"rewrites": rewrites, "takes": takes}
    watch = DiskWatch(host(tmp_path, GIB), cages, lambda: 0, is_shared=True)

    async def measure() -> Room:
        takes.taken = rewrites.took
        return Room(free - rewrites.took, TOO_MUCH)

    monkeypatch.setattr(watch, "_measure", measure)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            while not takes.why:
                await trio.sleep(0.01)
            assert rewrites.took and not rewrites.why
            nursery.cancel_scope.cancel()


def test_no_call_under_way_takes_more_than_there_is(tmp_path: Path) -> None:
    cages = {name: Writer() for name in ("first", "second", "third")}
    watch = DiskWatch(host(tmp_path, GIB), cages, lambda: 0)
    for free in (3 * GIB, GIB, GIB // 2 + 100 * MIB):
        cages["second"].taken += 1
        watch.look(Room(free, TOO_MUCH))
        allowed = [cage.allowed for cage in cages.values()]
        assert sum(allowed) <= free - GIB // 2
        assert allowed[1] >= 7 * allowed[0] or free == 3 * GIB, "who writes gets more"
    cages["third"].taken += GIB // 4
    watch.look(Room(GIB - 1, TOO_MUCH))
    assert cages["third"].why and cages["third"].allowed == MIB, "who waits may end its call"
    assert cages["second"].allowed > 100 * MIB


def test_who_goes_on_writing_is_ended_once_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    goes_on, stops, takes_none = (Writer() for _ in range(3))
    goes_on.stops = takes_none.stops = False
    cages = {"goes on": goes_on, "stops": stops, "takes none": takes_none}
    watch = DiskWatch(host(tmp_path, GIB), cages, lambda: 0)
    watch.look(Room(2 * GIB, TOO_MUCH))
    for free in (GIB - 1, GIB // 2, GIB // 2 - 1):
        goes_on.taken += MIB
        stops.taken += MIB
        watch.look(Room(free, TOO_MUCH))
        assert not goes_on.ended, "it had no time"
    now = 1.0
    watch.look(Room(GIB // 2, TOO_MUCH))
    assert not goes_on.ended, "there is room"
    for free in (GIB // 2 - 1, GIB // 2 - MIB):
        watch.look(Room(free, TOO_MUCH))
        assert not goes_on.ended, "it becomes no less"
    for _ in range(3):
        watch.look(Room(GIB // 2 - 1 - MIB, TOO_MUCH))
    assert [one.ended for one in cages.values()] == [1, 0, 0]
