"""Subscriptions: who sees what, gaps that name every missing entry, and replay that meets live
without a seam.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import pytest
import trio
from akiosd.daemon.base.peers import Gate, Peer
from akiosd.daemon.sockets.serve_clients import open_unix_listener
from akiosd.daemon.sockets.serve_events import MESSAGE_BYTES, Subscription, peek_kind, serve_events
from akiosd.errors import DeniedError
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import End, Started, encode_entry
from akiosd.wire.messages import Error, Gap, Message, Records, Subscribe
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.daemon.caller import Caller, connect

MINE, OTHERS = LogId("c-0000000000aa"), LogId("c-0000000000bb")
OWNERS = {MINE: 1000, OTHERS: 2000}
USER = Peer(1000, 1000, 1, (), "user")
ADMIN = Peer(3000, 3000, 1, (), "admin", reads_all=True)


class MemoryLedger:
    """Logs in memory with the ledger service's contract: read back what was announced, announce in
    order.
    """

    def __init__(self) -> None:
        self.logs: dict[LogId, list[bytes]] = {}
        self.callbacks: list[Callable[[LogId, int, list[bytes]], None]] = []
        self.first: dict[LogId, int] = {}

    def first_index(self, log: LogId) -> int:
        return self.first.get(log, 0)

    def append(self, log: LogId, *entries: bytes) -> None:
        kept = self.logs.setdefault(log, [])
        first = len(kept)
        kept += entries
        for callback in self.callbacks:
            callback(log, first, list(entries))

    def subscribe(self, callback: Callable[[LogId, int, list[bytes]], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    async def read(self, log: LogId, start: int, end: int) -> list[tuple[int, bytes]]:
        found = list(enumerate(self.logs.get(log, [])))[start:end]
        await trio.lowlevel.checkpoint()
        return found


class Sent:
    """A client connection that keeps what is sent, and can be made slow."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.open = trio.Event()

    async def reply(self, message: Message, fds: object = ()) -> None:
        await self.open.wait()
        self.messages.append(message)
        await trio.lowlevel.checkpoint()


def test_users_see_their_own_cages_and_admins_everything() -> None:
    for peer, expected in ((USER, [MINE]), (ADMIN, [MINE, OTHERS, HOST_LOG])):
        subscription = Subscription(peer, Subscribe(), OWNERS.get)
        for log in (MINE, OTHERS, HOST_LOG):
            subscription.offer(log, 0, [b"x"])
        assert [item.log for item in subscription._queue] == expected


@pytest.mark.parametrize("request_", [Subscribe(cages=(OTHERS,)), Subscribe(cursors={HOST_LOG: 0})])
def test_asking_for_another_users_log_is_refused(request_: Subscribe) -> None:
    with pytest.raises(DeniedError):
        Subscription(USER, request_, OWNERS.get)
    Subscription(ADMIN, request_, OWNERS.get)


def test_kinds_are_peeked_and_split_into_runs() -> None:
    started, end = encode_entry(Started(ts=1, pid=2)), encode_entry(End(ts=1, exit_code=0))
    assert [peek_kind(entry) for entry in (started, end, b"\xc1", b"\x91\x01")] == [
        "started",
        "end",
        "",
        "",
    ]
    subscription = Subscription(USER, Subscribe(kinds=("started",)), OWNERS.get)
    subscription.offer(MINE, 5, [end, started, started, end, started])
    assert [
        (item.start, len(item.entries)) for item in subscription._queue if isinstance(item, Records)
    ] == [
        (6, 2),
        (9, 1),
    ]


def covered(messages: list[Message], log: str) -> list[tuple[int, bytes | None]]:
    """(index, entry or None for a gap) in the order of sending."""
    found: list[tuple[int, bytes | None]] = []
    for message in messages:
        if isinstance(message, Records) and message.log == log:
            found += enumerate(message.entries, message.start)
        elif isinstance(message, Gap) and message.log == log:
            found += [(index, None) for index in range(message.start, message.stop)]
    return found


batches = st.lists(
    st.tuples(
        st.sampled_from([MINE, OTHERS]),
        st.lists(st.integers(0, 400), min_size=1, max_size=5),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(0, 3))
def test_every_entry_is_sent_or_named_by_a_gap_in_order(
    steps: list[tuple[LogId, list[int], bool]], cursor: int
) -> None:
    async def main() -> None:
        ledger, sent = MemoryLedger(), Sent()
        ledger.append(MINE, b"0", b"1", b"2")
        subscription = Subscription(
            ADMIN, Subscribe(cursors={MINE: cursor}), OWNERS.get, queue_bytes=2000
        )
        stop = ledger.subscribe(subscription.offer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscription.send_live, sent)
            nursery.start_soon(subscription.replay, MINE, ledger, sent)
            for log, sizes, flow in steps:
                ledger.append(log, *(bytes([size % 251]) * size for size in sizes))
                if flow:
                    sent.open.set()
                    await trio.lowlevel.checkpoint()
            sent.open.set()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        stop()
        for log, start in ((MINE, cursor), (OTHERS, 0)):
            got = covered(sent.messages, log)
            kept = ledger.logs.get(log, [])
            assert [index for index, _ in got] == list(range(start, len(kept)))
            assert all(entry is None or entry == kept[index] for index, entry in got)

    trio.run(main)


async def test_what_was_pruned_is_a_gap() -> None:
    ledger, sent = MemoryLedger(), Sent()
    ledger.append(MINE, b"0", b"1", b"2", b"3")
    ledger.first[MINE] = 3
    sent.open.set()
    await Subscription(ADMIN, Subscribe(cursors={MINE: 1}), OWNERS.get).replay(MINE, ledger, sent)
    assert covered(sent.messages, MINE) == [(1, None), (2, None), (3, b"3")]


async def test_subscribers_over_the_socket_get_replay_then_live_and_no_frame_is_too_long() -> None:
    ledger = MemoryLedger()
    ledger.append(HOST_LOG, *(b"x" * 65_000 for _ in range(40)))
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "e")
        async with await open_unix_listener(path) as listener, trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve_events(
                    listener, Gate(), ledger, OWNERS.get, task_status=task_status
                )
            )
            caller: Caller = await connect(path)
            await caller.send(Subscribe(id=1, cursors={HOST_LOG: 1}))
            got: list[tuple[int, bytes | None]] = []
            while len(got) < 39:
                message = await caller.answer()
                assert (
                    isinstance(message, Records) and sum(map(len, message.entries)) <= MESSAGE_BYTES
                )
                got += covered([message], HOST_LOG)
            await trio.testing.wait_all_tasks_blocked()
            ledger.append(HOST_LOG, b"live")
            message = await caller.answer()
            assert message == Records(id=1, log=HOST_LOG, start=40, entries=(b"live",))
            assert [index for index, _ in got] == list(range(1, 40))
            await caller.send(Subscribe(id=2, cages=("../x",)))
            assert isinstance(await caller.answer(), Error)
            caller.close()
            with trio.fail_after(10):
                while ledger.callbacks:
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
