"""Cages that take room which is not there stand still, others go on, and none begins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from akiosd.cage.room import Room
from akiosd.daemon.cages.watch_disk import DiskWatch
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError

TOO_MUCH = 1 << 60


class Writer:
    """A cage."""

    def __init__(self) -> None:
        self.taken = self.left = 0
        self.why = ""

    def room_taken(self) -> tuple[int, int]:
        return self.taken, self.left

    def wait_for_room(self, why: str) -> None:
        self.why = why


def host(state: Path) -> Host:
    made = SimpleNamespace(
        config=SimpleNamespace(quotas=SimpleNamespace(keep_free_bytes=0)),
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
