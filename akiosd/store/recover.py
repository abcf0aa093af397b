"""Start-up: makes a ledger that can go on of whatever a stop, a crash or a full disk left.  There
is no other way in.

The caller holds the lock. Then: keys → WAL frames → each log's signed edge, checked → marks
replayed → heads checked. Nothing on disk is changed before everything was found sound.

The first frame is durable before there is a key, and a key before anything is signed. Where there
is a key, a checkpoint or a cage's log but no frame, frames were lost, and what was signed of them
is not signed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from akiosd.errors import LedgerError
from akiosd.ledger.edge import Edge
from akiosd.ledger.epochs import read_statement
from akiosd.ledger.frame import Entries, Forget, Head, Mark, decode_body, encode_mark
from akiosd.ledger.merkle import EMPTY_ROOT
from akiosd.ledger.note import MAX_NOTE_BYTES, is_signed_by
from akiosd.ledger.sequencer import Sequencer, check_heads
from akiosd.store.durable import Disk
from akiosd.store.keys import (
    KEY_PATH,
    NEXT_PATH,
    LedgerKey,
    drop_next,
    drop_old,
    install_next,
    load_key,
    make_key,
)
from akiosd.store.known_cages import CAGES, find_unknown
from akiosd.store.log_dir import archive, directory, discard_unpublished, load_edge, read_file
from akiosd.store.outgrown import Outgrown
from akiosd.store.wal import DIRECTORY as WAL_DIRECTORY
from akiosd.store.wal import SEGMENT_BYTES, Torn, Wal
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id
from akiosd.values.records import End, decode_entry

_FIRST = Head(HOST_LOG, 0, EMPTY_ROOT)
_ANEW = "begin a new history: stop akiosd, and move keys/ledger.key*, ledger and cages out of"
BEGIN_ANEW = f"{_ANEW} state_dir"
_WAY_OUT = f"restore all of state_dir from one backup; or {_ANEW} it"


@dataclass
class Opened:
    """A ledger that is ready to go on.

    ``unfinished`` logs have durable entries that are not published yet. ``interrupted`` cage logs
    are open, and the WAL holds no ``end`` record of them: their cages did not end in order.
    ``frame_ends`` says for each WAL frame how far it takes each log. ``behind`` maps open logs that
    name an earlier key to its epoch. Of ``forgotten`` logs, which are destroyed, the WAL still
    holds something.
    """

    key: LedgerKey
    wal: Wal
    sequencer: Sequencer
    torn: Torn | None
    unfinished: list[LogId]
    interrupted: list[LogId]
    frame_ends: list[tuple[int, dict[LogId, int]]]
    outgrown: Outgrown
    behind: dict[LogId, int] = field(default_factory=dict)
    forgotten: frozenset[LogId] = frozenset()

    @property
    def first_start(self) -> bool:
        """Whether the host's log is still empty."""
        return self.sequencer.logs[HOST_LOG].size == 0


@dataclass
class _Seen:
    """What the WAL says, apart from the entries themselves."""

    heads: dict[LogId, list[Head]] = field(default_factory=dict)
    first: dict[LogId, int] = field(default_factory=dict)
    last_entry: dict[LogId, bytes] = field(default_factory=dict)
    forgotten: set[LogId] = field(default_factory=set)
    frame_ends: list[tuple[int, dict[LogId, int]]] = field(default_factory=list)


def open_ledger(
    disk: Disk, random: Callable[[int], bytes], segment_bytes: int = SEGMENT_BYTES
) -> Opened:
    """Recover and open.  Raises ``LedgerError`` when the state is damaged: fail closed, change
    nothing.
    """
    # What a killed daemon left in the page cache must be on disk before it is believed.
    disk.sync_everything()
    wal = Wal.open(disk, random, segment_bytes)
    key, newer = _open_keys(disk, wal)
    if key is None:
        key = _found(disk, wal, random)
        wal = Wal.open(disk, random, segment_bytes)
    seen = _survey(wal)
    sequencer = Sequencer(max_commit_bytes=min(2 << 20, segment_bytes // 4))
    sequencer.open_log(HOST_LOG, load_edge(disk, newer or key, HOST_LOG))
    for frame in wal.frames():
        for mark in decode_body(frame.body):
            if isinstance(mark, Entries) and mark.log not in seen.forgotten:
                if mark.log not in sequencer.logs:
                    sequencer.open_log(mark.log, load_edge(disk, newer or key, mark.log))
                sequencer.replay(mark)
    for log in sequencer.logs:
        edge, batch = sequencer.work(log)
        _check_log(edge, batch.entries(), seen, log)
    _check_names(newer or key, sequencer)
    _check_cages(disk, seen, sequencer)
    wal.start()
    wal.keep_from(wal.base, published_host(sequencer))
    key = _settle_rotation(disk, key, newer, sequencer)
    unfinished, outgrown = sequencer.unpublished(), Outgrown(disk)
    for log, state in list(sequencer.logs.items()):
        discard_unpublished(outgrown, log, state.published.size)
        if log != HOST_LOG and _has_ended(seen.last_entry[log]):
            sequencer.close_log(log)
    interrupted = [
        log for log, state in sequencer.logs.items() if log != HOST_LOG and not state.closed
    ]
    behind = {
        log: epoch_of(disk, key, log, sequencer.work(log)[1].entries()) for log in sequencer.logs
    }
    behind = {log: epoch for log, epoch in behind.items() if 0 < epoch < key.epochs[-1].number}
    forgotten = frozenset(seen.forgotten)
    return Opened(
        key,
        wal,
        sequencer,
        wal.torn,
        unfinished,
        interrupted,
        seen.frame_ends,
        outgrown,
        behind,
        forgotten,
    )


def published_host(sequencer: Sequencer) -> bytes:
    """The mark that every new WAL segment begins with: how far the host log is published."""
    edge = sequencer.logs[HOST_LOG].published
    return encode_mark(Head(HOST_LOG, edge.size, edge.root(), published=True))


def _open_keys(disk: Disk, wal: Wal) -> tuple[LedgerKey | None, LedgerKey | None]:
    """The signing key, None where nothing was ever signed, and the one a rotation was about to put
    in its place.
    """
    key, newer = load_key(disk), load_key(disk, NEXT_PATH)
    doubtful = key is None or wal.is_empty
    signed = doubtful and (disk.names(directory(HOST_LOG)) or _any_cage_log(disk))
    if key is None and (signed or newer or _says_something(wal)):
        raise LedgerError("the signing key of an existing ledger is missing", KEY_PATH, _WAY_OUT)
    if wal.is_empty and (key or signed):
        what = (
            "the write-ahead log of an existing ledger is missing: records that were acknowledged"
            " may be lost"
        )
        raise LedgerError(what, WAL_DIRECTORY, _WAY_OUT)
    if key is not None and newer is not None and newer.earlier != key.epochs:
        what = "the next signing key does not belong to keys/ledger.key"
        raise LedgerError(
            what, NEXT_PATH, "restore the directory keys in state_dir from one backup"
        )
    return key, newer


def _any_cage_log(disk: Disk) -> bool:
    """Whether anything of any cage's log is on disk: asked only where a key or the WAL is
    missing.
    """
    cages = [LogId(name) for name in disk.names(CAGES) if is_cage_id(name)]
    return any(disk.names(directory(log)) or disk.size(archive(log)) is not None for log in cages)


def _says_something(wal: Wal) -> bool:
    return any(mark != _FIRST for frame in wal.frames() for mark in decode_body(frame.body))


def _found(disk: Disk, wal: Wal, random: Callable[[int], bytes]) -> LedgerKey:
    """The very first start, or one that was stopped before it had a key."""
    wal.start()
    if wal.is_empty:
        wal.write(encode_mark(_FIRST))
    wal.close()
    return make_key(disk, random)


def _check_names(key: LedgerKey, sequencer: Sequencer) -> None:
    """A host log that has yet to be published must not name another key than the one that would
    sign it.
    """
    edge, waiting = sequencer.work(HOST_LOG)
    named = [
        read_statement(index, entry) for index, entry in enumerate(waiting.entries(), edge.size)
    ]
    known = {epoch.public_key for epoch in key.epochs}
    if any(
        statement is not None and statement.epoch.public_key not in known for statement in named
    ):
        raise LedgerError(
            "the signing key is not the one that the host log names", KEY_PATH, _WAY_OUT
        )


def _check_cages(disk: Disk, seen: _Seen, sequencer: Sequencer) -> None:
    """A host's log that is older than the logs of cages would be gone on with otherwise than it
    was.
    """
    edge, waiting = sequencer.work(HOST_LOG)
    known = {*seen.first, *seen.heads, *seen.forgotten}
    unknown = find_unknown(disk, known, waiting.entries(), edge.size)
    if unknown:
        log = min(unknown)
        what = (
            f"the host's log does not list {log}, and the log of that cage is there: the host's log"
            " has lost records"
        )
        next = (
            f"if that log came from another host, move cages/{log} out of state_dir; if not,"
            " restore all of state_dir from one backup"
        )
        raise LedgerError(what, directory(log), next)


def _settle_rotation(
    disk: Disk, key: LedgerKey, newer: LedgerKey | None, sequencer: Sequencer
) -> LedgerKey:
    """A rotation has happened if the host log, durable as it is now, names the new key; else it
    never began.
    """
    drop_old(disk)
    if newer is None:
        return key
    if (
        epoch_of(disk, newer, HOST_LOG, sequencer.work(HOST_LOG)[1].entries())
        == newer.epochs[-1].number
    ):
        install_next(disk)
        return newer
    drop_next(disk)
    return key


def epoch_of(disk: Disk, key: LedgerKey, log: LogId, waiting: Sequence[bytes]) -> int:
    """The epoch whose key signs the next checkpoint of a log with these unpublished entries; 0 when
    nothing says so.
    """
    numbers = {epoch.public_key: epoch.number for epoch in key.epochs}
    named = [
        statement.epoch.public_key
        for i, e in enumerate(waiting)
        if (statement := read_statement(i, e))
    ]
    if named:
        return numbers.get(named[-1], 0)
    note = read_file(disk, log, "checkpoint", MAX_NOTE_BYTES)
    if note is None:
        return 0
    return next(
        (numbers[vkey.public_key] for vkey in key.vkeys(log) if is_signed_by(note, vkey)), 0
    )


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
        what = "the write-ahead log has records of this log from after it was destroyed"
        raise LedgerError(what, where=mark.log)
    match mark:
        case Entries():
            seen.first.setdefault(mark.log, mark.first)
            said = [entry for entry in mark.batch.entries() if not _names_a_key(entry)]
            seen.last_entry[mark.log] = said[-1] if said else seen.last_entry.get(mark.log, b"")
            ends[mark.log] = mark.end
        case Head():
            seen.heads.setdefault(mark.log, []).append(mark)
        case Forget():
            seen.forgotten.add(mark.log)


def _check_log(edge: Edge, entries: list[bytes], seen: _Seen, log: LogId) -> None:
    heads = seen.heads.get(log, [])
    check_heads(edge, entries, heads, log)
    first = seen.first.get(log)
    # The WAL still holds an entry or an older checkpoint under this one, so it must also hold the
    # head that was recorded before signing: else one of the two is from another time.
    begun = (first is not None and first < edge.size) or any(
        h.published and h.size <= edge.size for h in heads
    )
    if begun and all(head.size != edge.size for head in heads):
        what = (
            f"the log has a checkpoint of {edge.size} records, and the write-ahead log does not say"
            " that it was to be signed"
        )
        raise LedgerError(what, directory(log), _WAY_OUT)


def _names_a_key(entry: bytes) -> bool:
    """A rotation may add to a log that has ended: that does not open it again."""
    return read_statement(-1, entry) is not None


def _has_ended(entry: bytes) -> bool:
    try:
        return isinstance(decode_entry(entry), End)
    except msgspec.DecodeError:
        return False
