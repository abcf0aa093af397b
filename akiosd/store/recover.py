"""Start-up: from whatever a stop, a crash or a full disk left to a ledger that can go on.  There is no other way in.

Lock held by the caller → key → WAL frames → each log's signed edge, checked → marks replayed → heads checked.
Nothing on disk is changed before everything was found sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from akiosd.errors import LedgerError
from akiosd.ledger.edge import Edge
from akiosd.ledger.frame import Entries, Forget, Head, Mark, decode_body
from akiosd.ledger.sequencer import Sequencer, check_heads
from akiosd.store.durable import Disk
from akiosd.store.keys import LedgerKey, load_key, make_key
from akiosd.store.log_dir import directory, discard_unpublished, load_edge
from akiosd.store.wal import DIRECTORY, SEGMENT_BYTES, Torn, Wal
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import End, decode_entry


@dataclass
class Opened:
    """A ledger ready to go on.

    ``unfinished`` logs have durable entries that are not yet published.  ``interrupted`` cage logs are open and have
    no ``end`` record among what the WAL still holds: their cages did not end in order.  ``frame_ends`` says for each
    WAL frame how far it takes each log.
    """

    key: LedgerKey
    wal: Wal
    sequencer: Sequencer
    torn: Torn | None
    unfinished: list[LogId]
    interrupted: list[LogId]
    frame_ends: list[tuple[int, dict[LogId, int]]]

    @property
    def first_start(self) -> bool:
        return self.sequencer.logs[HOST_LOG].size == 0


@dataclass
class _Seen:
    """What the WAL says, apart from the entries themselves."""

    heads: dict[LogId, list[Head]] = field(default_factory=dict)
    first: dict[LogId, int] = field(default_factory=dict)
    last_entry: dict[LogId, bytes] = field(default_factory=dict)
    forgotten: set[LogId] = field(default_factory=set)
    frame_ends: list[tuple[int, dict[LogId, int]]] = field(default_factory=list)


def open_ledger(disk: Disk, random: Callable[[int], bytes], segment_bytes: int = SEGMENT_BYTES) -> Opened:
    """Recover and open.  Raises ``LedgerError`` when the state is damaged: fail closed, change nothing."""
    # What a killed daemon left in the page cache must be on disk before it is believed.
    disk.sync_everything()
    key = _open_key(disk, random)
    wal = Wal.open(disk, random, segment_bytes)
    seen = _survey(wal)
    sequencer = Sequencer(max_commit_bytes=min(2 << 20, segment_bytes // 4))
    sequencer.open_log(HOST_LOG, load_edge(disk, key, HOST_LOG))
    for frame in wal.frames():
        for mark in decode_body(frame.body):
            if isinstance(mark, Entries) and mark.log not in seen.forgotten:
                if mark.log not in sequencer.logs:
                    sequencer.open_log(mark.log, load_edge(disk, key, mark.log))
                sequencer.replay(mark)
    for log in sequencer.logs:
        _check_log(*sequencer.work(log), seen, log)
    wal.start()
    unfinished = sequencer.unpublished()
    for log, state in list(sequencer.logs.items()):
        discard_unpublished(disk, log, state.published.size)
        if log != HOST_LOG and _has_ended(seen.last_entry[log]):
            sequencer.close_log(log)
    interrupted = [log for log, state in sequencer.logs.items() if log != HOST_LOG and not state.closed]
    return Opened(key, wal, sequencer, wal.torn, unfinished, interrupted, seen.frame_ends)


def _open_key(disk: Disk, random: Callable[[int], bytes]) -> LedgerKey:
    key = load_key(disk)
    if key is None and (disk.names(DIRECTORY) or disk.names(directory(HOST_LOG))):
        raise LedgerError("the signing key of an existing ledger is missing", next="restore it from a backup")
    return key or make_key(disk, random)


def _survey(wal: Wal) -> _Seen:
    seen = _Seen()
    for frame in wal.frames():
        ends: dict[LogId, int] = {}
        for mark in decode_body(frame.body):
            _note(seen, ends, mark)
        seen.frame_ends.append((frame.seq, ends))
    return seen


def _note(seen: _Seen, ends: dict[LogId, int], mark: Mark) -> None:
    if mark.log in seen.forgotten and not isinstance(mark, Forget):
        raise LedgerError("the WAL has entries of a log after its destruction", where=mark.log)
    match mark:
        case Entries():
            seen.first.setdefault(mark.log, mark.first)
            seen.last_entry[mark.log] = mark.entries[-1]
            ends[mark.log] = mark.first + len(mark.entries)
        case Head():
            seen.heads.setdefault(mark.log, []).append(mark)
        case Forget():
            seen.forgotten.add(mark.log)


def _check_log(edge: Edge, entries: list[bytes], seen: _Seen, log: LogId) -> None:
    heads = seen.heads.get(log, [])
    check_heads(edge, entries, heads, log)
    first = seen.first.get(log)
    # The WAL still holds an entry under this checkpoint, so it must also hold the head recorded before signing.
    if first is not None and first < edge.size and all(head.size != edge.size for head in heads):
        raise LedgerError(
            f"the checkpoint of size {edge.size} was signed without being recorded first", where=directory(log)
        )


def _has_ended(entry: bytes) -> bool:
    try:
        return isinstance(decode_entry(entry), End)
    except msgspec.DecodeError:
        return False
