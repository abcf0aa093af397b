"""A pump that waits for a file system keeps neither its cage's end nor, uncounted, a thread."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from akiosd.daemon.cages import left_behind, record_calls
from akiosd.daemon.cages.record_calls import CallRecorder
from akiosd.kernel.fds import Fd
from akiosd.policy.compile.limits import HostPools
from akiosd.values.ids import LogId
from akiosd.values.policy import Limits

OURS = 1003


class Pump:
    """``answers``: whether it ends when it is told to."""

    answers = True

    def __init__(self, *_arguments: Any, **_more: Any) -> None:
        self.ended, self.closed = trio.Event(), False

    def stop(self) -> None:
        if self.answers:
            self.ended.set()

    def counters(self) -> Any:
        assert not self.closed, "as of the real one, the memory is gone then"
        return SimpleNamespace(ended=self.ended.is_set(), records=7, denials=3)

    async def entries(self) -> AsyncIterator[Any]:
        await self.ended.wait()
        for nothing in ():
            yield nothing

    def close(self) -> None:
        self.closed = True


class Leaf:
    def open_v2(self) -> Fd:
        return Fd(os.eventfd(0, os.EFD_CLOEXEC))


async def end_one(said: list[Any]) -> Pump:
    ledger = SimpleNamespace(has_room=True, append=lambda _log, record: said.append(record))
    compiled = SimpleNamespace(pump_table=b"")
    recorder = CallRecorder(
        cast(Any, ledger), LogId("c-1"), cast(Any, compiled), Limits(), cast(Any, None), OURS
    )
    recorder.start(Fd(os.eventfd(0, os.EFD_CLOEXEC)), cast(Any, Leaf()), HostPools())
    pump = cast(Pump, recorder._pump)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        await recorder.finish()
        nursery.cancel_scope.cancel()
    assert (recorder.records, recorder.denials) == (7, 3)
    recorder.close()
    # Others may measure it still: its numbers stay.
    assert (recorder.records, recorder.denials) == (7, 3)
    return pump


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_calls, "Pump", Pump)


@pytest.mark.parametrize("answers", [False, True])
def test_an_end_comes_although_a_pump_waits(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    async def scene() -> None:
        said: list[Any] = []
        pump = await end_one(said)
        waits = not answers
        assert (left_behind._waiting[OURS], pump.closed, len(said)) == (waits, answers, waits)
        pump.ended.set()
        await trio.sleep(2)
        assert (left_behind._waiting[OURS], pump.closed) == (0, True), (
            "when it is over, all is given back"
        )

    monkeypatch.setattr(Pump, "answers", answers)
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(scene, clock=clock)
    assert clock.current_time() < 30
