"""The sequencer under random histories: nothing is lost, doubled or out of order, and one log never
delays another.
"""

from __future__ import annotations

import random

import pytest
from akiosd.errors import LedgerError
from akiosd.ledger.bundle import Batch, decode_bundle
from akiosd.ledger.edge import Edge
from akiosd.ledger.frame import Entries
from akiosd.ledger.merkle import python_leaves, root_of
from akiosd.ledger.sequencer import SHARE_BYTES, Publication, Sequencer, prepare
from akiosd.values.ids import LogId

LOGS = [LogId(f"c-00000000000{number}") for number in range(3)]


def some_entries(rng: random.Random) -> list[bytes]:
    return [rng.randbytes(rng.choice((0, 1, 30, 400))) for _ in range(rng.choice((1, 1, 3, 300)))]


@pytest.mark.parametrize("seed", range(12))
def test_any_history_keeps_every_entry_in_its_place(seed: int) -> None:
    rng = random.Random(seed)
    sequencer = Sequencer(max_commit_bytes=rng.choice((200, 4096, 2 << 20)))
    appended: dict[LogId, list[bytes]] = {log: [] for log in LOGS}
    durable = dict.fromkeys(LOGS, 0)
    published = {
        log: Publication(log, 0, prepare(log, Edge(), Batch()).growth, b"") for log in LOGS
    }
    for log in LOGS:
        sequencer.open_log(log)
    for _ in range(120):
        log = rng.choice(LOGS)
        entries = some_entries(rng)
        given = Batch.of(entries) if rng.random() < 0.5 else entries
        assert sequencer.append(log, given) == len(appended[log])
        appended[log] += entries
        if rng.random() < 0.6 and (commit := sequencer.take_commit()) is not None:
            for mark in sequencer.committed():
                assert mark.first == durable[mark.log]
                assert mark.batch.entries() == appended[mark.log][mark.first : mark.end]
                durable[mark.log] = mark.end
            assert all(isinstance(mark, Entries) for mark in commit.marks)
        if rng.random() < 0.3 and durable[log] > published[log].size:
            edge, batch = sequencer.work(log)
            tree = prepare(log, edge, batch)
            ahead = prepare(log, *sequencer.work(log, tree))
            assert (tree.size, ahead.size) == (durable[log], durable[log])
            sequencer.published(tree)
            published[log] = tree
        start, stop = sorted(rng.choices(range(len(appended[log]) + 2), k=2))
        first, found = sequencer.entries(log, start, stop)
        assert (
            found == appended[log][first : min(stop, durable[log])]
            if found
            else first >= min(stop, durable[log])
        )
        assert first == max(start, published[log].size)
    for log in LOGS:
        size = published[log].size
        assert published[log].growth.edge.root() == root_of(python_leaves(appended[log][:size]))
    queued = sum(len(entry) + 2 for log in LOGS for entry in appended[log][durable[log] :])
    waiting = sum(
        len(entry) + 2
        for log in LOGS
        for entry in appended[log][published[log].size : durable[log]]
    )
    assert (sequencer.queued_bytes, sequencer.waiting_bytes) == (queued, waiting)


def test_a_flood_leaves_room_in_every_commit() -> None:
    sequencer = Sequencer(max_commit_bytes=4 * SHARE_BYTES)
    flooding, quiet = LOGS[:2]
    sequencer.open_log(flooding)
    sequencer.open_log(quiet)
    sequencer.append(flooding, [bytes(1000)] * 5000)
    sequencer.append(quiet, [b"birth"])
    commit = sequencer.take_commit()
    assert commit is not None
    assert {mark.log for mark in commit.marks} == {flooding, quiet}
    assert len(commit.body) <= 5 * SHARE_BYTES
    batches = [mark.batch for mark in sequencer.committed() if mark.log == quiet]
    assert [decode_bundle(batch.data, batch.count) for batch in batches] == [[b"birth"]]


def test_an_entry_is_at_most_65535_bytes() -> None:
    sequencer = Sequencer()
    sequencer.open_log(LOGS[0])
    assert sequencer.append(LOGS[0], [bytes(65_535)]) == 0
    with pytest.raises(LedgerError, match="65535"):
        sequencer.append(LOGS[0], [b"", bytes(65_536)])
    assert sequencer.logs[LOGS[0]].size == 1
