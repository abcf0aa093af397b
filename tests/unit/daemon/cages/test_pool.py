"""The pool on a host without room: it tries once, and again when somebody wants a cage."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from akiosd.daemon.cages.pool import Pool


async def test_a_host_without_room_is_not_kept_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    async def make(self: Pool, wait: object = None) -> Any:
        tried.append(self)
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOSPC, "No space left on device", "here")

    monkeypatch.setattr(Pool, "_make", make)
    host: Any = SimpleNamespace(
        policy=SimpleNamespace(limits=None), uids=SimpleNamespace(left=100), hurry=None
    )
    pool = Pool(host, 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.refill)
        pool._size = 1
        for attempt in (1, 2):
            pool.refill_soon()
            with trio.fail_after(60):
                # It rests only where it does not try again and again.
                await trio.testing.wait_all_tasks_blocked()
            assert len(tried) == attempt
        nursery.cancel_scope.cancel()
