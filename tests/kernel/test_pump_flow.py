"""The life of a pump: pressure, pace, targets that stop, die or are many, and an end that leaves
nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest
import trio
from akiosd.errors import KernelError
from tests.kernel import raw_records as module
from tests.kernel.pump_harness import (
    CHMOD,
    collect,
    encode_table,
    has_userfaultfd,
    needs_root,
    open_target,
    run_target,
    wait_until,
)
from tests.kernel.raw_records import RawPump

SMALL = 1 << 16
needs_userfaultfd = pytest.mark.skipif(not has_userfaultfd(), reason="userfaultfd(2) is not there")


def count_pump_threads() -> int:
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            names.append(path.read_text())
    return names.count("akios-pump\n")


async def wait_no_pump_threads() -> set[str]:
    """A thread says that it ended a moment before it is gone; returns the descriptors that are open
    then.
    """
    await wait_until(lambda: count_pump_threads() == 0)
    return set(os.listdir("/proc/self/fd"))


@needs_root
async def test_nothing_is_lost_and_order_is_kept_when_the_ring_is_full() -> None:
    with (
        open_target("sequence", 3000) as target,
        RawPump(target.listener, encode_table(), ring_size=SMALL) as pump,
    ):
        target.go()
        await wait_until(lambda: pump.counters().waits_full)
        assert target.process.poll() is None
        before = pump.counters()
        events = await collect(pump, CHMOD)
        assert [event.path for event in events] == [b"/sequence/%d" % n for n in range(3000)]
        assert (before.records < 3000, pump.counters().records >= 3000) == (True, True)
        assert await target.wait_output() == ["done"]


@needs_root
async def test_a_record_is_there_before_its_call_proceeds() -> None:
    """The target is killed while it waits; what it did is in the ring although nobody read until
    then.
    """
    with (
        open_target("sequence", 100_000) as target,
        RawPump(target.listener, encode_table(), ring_size=SMALL) as pump,
    ):
        target.go()
        await wait_until(lambda: pump.counters().waits_full)
        target.kill()
        events = await collect(pump, CHMOD)
        counters = pump.counters()
    assert [event.path for event in events] == [b"/sequence/%d" % n for n in range(len(events))]
    assert (counters.ended, counters.error) == (True, 0)


@needs_root
async def test_a_stopped_target_wedges_nothing() -> None:
    with (
        open_target("sequence", 3000) as target,
        RawPump(target.listener, encode_table(), ring_size=SMALL) as pump,
    ):
        target.go()
        await wait_until(lambda: pump.counters().waits_full)
        os.kill(target.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, target.pid, os.WSTOPPED | os.WNOWAIT)
        first = await pump.next_batch()
        os.kill(target.pid, signal.SIGCONT)
        events = [event for event in first or () if event.kind == CHMOD] + await collect(
            pump, CHMOD
        )
        # Stopping takes back a call that waited and was not received yet: it comes again, never too
        # rarely.
        assert [event.path for event in events] == [b"/sequence/%d" % n for n in range(3000)]


@needs_root
async def test_events_per_second_delays_the_calls() -> None:
    with open_target("sequence", 40) as target:
        with RawPump(target.listener, encode_table(), 1000, burst=10) as pump:
            target.go()
            events = await collect(pump, CHMOD)
            assert [event.path for event in events] == [b"/sequence/%d" % n for n in range(40)]
            # 10 at once, one more that fell due while the pump waited for the first, the others 1
            # ms apart.
            assert events[-1].time_ns - events[0].time_ns >= (40 - 11) * 1_000_000
            assert pump.counters().waits_rate > 0


@needs_root
async def test_stop_ends_a_pump_that_waits_for_its_pace() -> None:
    with (
        open_target("repeat", "/nowhere", 1_000_000) as target,
        RawPump(target.listener, encode_table(), 1, burst=1) as pump,
    ):
        target.go()
        await wait_until(lambda: pump.counters().waits_rate)
        pump.stop()
        await collect(pump)
        assert pump.counters().error == errno.ECANCELED
        assert pump.counters().records < 10


@needs_root
async def test_stop_ends_a_pump_whose_ring_is_full_and_keeps_what_is_in_it() -> None:
    with (
        open_target("sequence", 100_000) as target,
        RawPump(target.listener, encode_table(), ring_size=SMALL) as pump,
    ):
        target.go()
        await wait_until(lambda: pump.counters().waits_full)
        pump.stop()
        await wait_until(lambda: pump.counters().ended)
        events = await collect(pump)
        assert sum(event.count for event in events) == pump.counters().records


@needs_root
async def test_without_its_pump_a_notified_call_is_enosys() -> None:
    with (
        open_target("repeat", "/nowhere", 10) as target,
        RawPump(target.listener, encode_table()) as pump,
    ):
        pump.stop()
        assert await collect(pump) == []
        target.go()
        assert await target.wait_output() == ["ENOSYS 10"]


@needs_root
async def test_records_gather_in_the_ring_and_fold_into_one() -> None:
    with (
        open_target("repeat", "/nowhere", 1000) as target,
        RawPump(target.listener, encode_table()) as pump,
    ):
        target.go()
        assert await target.wait_output() == ["ENOENT 1000"]
        events = await collect(pump, CHMOD)
        assert [(event.count, event.path) for event in events] == [(1000, b"/nowhere")]


@needs_root
async def test_a_cancelled_reader_loses_nothing() -> None:
    with open_target("sequence", 2000) as target, RawPump(target.listener, encode_table()) as pump:
        target.go()
        events = []
        cancelled = 0
        while True:
            with trio.move_on_after(0.0005) as scope:
                batch = await pump.next_batch()
                if batch is None:
                    break
                events += [event for event in batch if event.kind == CHMOD]
            cancelled += scope.cancelled_caught
        assert [event.path for event in events] == [b"/sequence/%d" % n for n in range(2000)]


@needs_root
async def test_threads_keep_their_own_order() -> None:
    events, output = await run_target("threads", 8, 200, kind=CHMOD)
    assert output == ["done"]
    by_pid: dict[int, list[bytes | None]] = {}
    for event in events:
        by_pid.setdefault(event.pid, []).append(event.path)
    assert sorted(by_pid.values()) == [
        [b"/thread/%d/%d" % (name, n) for n in range(200)] for name in range(8)
    ]


@needs_root
async def test_an_interrupted_call_is_recorded_again_and_never_missed() -> None:
    events, output = await run_target("interrupted", 2000, kind=CHMOD)
    assert output == ["done"]
    answered = [event.path for event in events if not event.flags & module.GONE]
    assert set(answered) == {b"/interrupted/%d" % n for n in range(2000)}


@needs_userfaultfd
@needs_root
async def test_contents_of_a_target_that_died_meanwhile_are_not_kept() -> None:
    """The path lies in a page that userfaultfd(2) holds back, so the pump is surely reading when
    the target dies.
    """
    with (
        open_target("held", "/from-the-dead") as target,
        RawPump(target.listener, encode_table()) as pump,
    ):
        target.go()
        held = target.take_fd()
        await trio.lowlevel.wait_readable(held)
        target.kill()
        os.close(held)
        [event] = await collect(pump, CHMOD)
        assert (event.flags, event.path, event.err) == (module.GONE, None, 0)
        assert pump.counters().gone == 1


@needs_userfaultfd
@needs_root
async def test_close_does_not_wait_for_a_thread_that_the_target_holds_up() -> None:
    fds = await wait_no_pump_threads()
    with open_target("held", "/late") as target:
        pump = RawPump(target.listener, encode_table())
        target.go()
        held = target.take_fd()
        await trio.lowlevel.wait_readable(held)
        pump.close()
        assert count_pump_threads() == 1
        os.close(held)
    assert await wait_no_pump_threads() == fds


@needs_root
async def test_a_hundred_pumps_at_once_leave_nothing_behind() -> None:
    await trio.to_thread.run_sync(lambda: None)
    fds = await wait_no_pump_threads()
    seen: list[bytes | None] = []

    async def serve(listener: int) -> None:
        with RawPump(listener, encode_table()) as pump:
            seen.extend(event.path for event in await collect(pump, CHMOD))
            assert pump.counters().error == 0

    with open_target("many", 100) as target:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, target.listener)
            for _ in range(99):
                nursery.start_soon(serve, target.take_fd())
        assert await target.wait_output() == ["failed 0"]
    assert sorted(filter(None, seen)) == sorted(b"/child/%d" % n for n in range(100))
    assert await wait_no_pump_threads() == fds


async def test_a_descriptor_that_is_no_listener_ends_the_pump_with_the_reason() -> None:
    with RawPump(os.eventfd(1), encode_table()) as pump:
        assert await collect(pump) == []
        assert pump.counters().error == errno.ENOTTY


async def test_a_closed_pump_says_so() -> None:
    pump = RawPump(os.eventfd(0), encode_table())
    pump.close()
    pump.close()
    pump.stop()
    with pytest.raises(KernelError):
        await pump.next_batch()
