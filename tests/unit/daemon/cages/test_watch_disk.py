"""Cages whose disks find no room below akiosd stand still, and others do not begin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from akiosd.daemon.cages.watch_disk import DiskWatch
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError

TOO_MUCH = 1 << 60


class Writer:
    """A cage; ``asked`` is set with each word to it."""

    def __init__(self, unwritten: int) -> None:
        self.left = unwritten
        self.why = ""
        self.asked = trio.Event()

    def unwritten(self) -> int:
        return self.left

    def wait_for_room(self, why: str) -> None:
        self.why = why
        self.asked.set()
        self.asked = trio.Event()


def host(state: Path) -> Host:
    made = SimpleNamespace(
        config=SimpleNamespace(quotas=SimpleNamespace(keep_free_bytes=0)),
        settings=SimpleNamespace(config_file="/etc/akios/akiosd.yaml"),
        state_dir=state,
    )
    return cast(Host, made)


async def test_who_writes_too_much_waits_and_goes_on(tmp_path: Path) -> None:
    writer, idle = Writer(TOO_MUCH), Writer(0)
    watch = DiskWatch(host(tmp_path), {"c": writer, "idle": idle})
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            asked = writer.asked
            nursery.start_soon(watch.run)
            await asked.wait()
            assert str(tmp_path) in writer.why and "still to write there" in writer.why
            with pytest.raises(DeniedError, match="No space left on device") as refused:
                await watch.check()
            assert f"df -h {tmp_path}" in refused.value.next
            asked, writer.left = writer.asked, 0
            await asked.wait()
            assert writer.why == "" and idle.why == ""
            await watch.check()
            nursery.cancel_scope.cancel()


async def test_a_disk_that_cannot_be_measured_is_looked_at_again(tmp_path: Path) -> None:
    state = tmp_path / "later"
    writer = Writer(TOO_MUCH)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            asked = writer.asked
            nursery.start_soon(DiskWatch(host(state), {"c": writer}).run)
            await trio.testing.wait_all_tasks_blocked()
            state.mkdir()
            await asked.wait()
            nursery.cancel_scope.cancel()
