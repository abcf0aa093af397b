"""Verifies a log from its files and its public key alone: one pass, in memory that does not grow
with the log.

Strict where a lenient reader would miss a change: every file in the log's directory must be one
that the tree has, with exactly the bytes that the entries lead to.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace

from akiosd.errors import LedgerError
from akiosd.ledger import tiles
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle
from akiosd.ledger.edge import TILE_BYTES
from akiosd.ledger.epochs import Epoch, Statement, check_chain, key_in_force
from akiosd.ledger.merkle import HASH_BYTES, PYTHON, Hasher
from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    NoteError,
    UntrustedNoteError,
    Vkey,
    open_checkpoint,
    parse_note,
)
from akiosd.ledger.report import Anchor, History, LogReader, Report, Verdict, VerdictError
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile
from akiosd.ledger.walk import Walk


def verify_log(
    reader: LogReader,
    vkey: Vkey,
    anchors: tuple[Anchor, ...] = (),
    hasher: Hasher = PYTHON,
    kin: frozenset[bytes] = frozenset(),
    *,
    history: History | None = None,
    stored: bool = True,
) -> Report:
    """The report on one log.

    ``anchors`` are tree heads to compare with; ``kin`` are public keys that a verified host log
    names, trusted if ``vkey`` is one of them. ``stored``: the log's tiles are files; otherwise the
    reader derives them from the entries, and only entries are checked. Raises ``OSError`` only when
    reading itself fails.
    """
    report = Report(Verdict.OK, vkey.name)
    untrusted: VerdictError | None = None
    try:
        note = _read_note(reader)
        checkpoint, untrusted = _open_checkpoint(note, vkey)
        report = replace(report, size=checkpoint.size, root=checkpoint.root)
        _check_sizes(checkpoint.size, anchors, history)
        names = _Names(checkpoint.size)
        if stored:
            names.check(reader)
        walk = Walk(reader, checkpoint.size, hasher, names.first, anchors, history, stored)
        walk.run()
        _check_roots(walk, checkpoint)
        statements = _check_pruned(walk, names)
        signer = _check_keys(note, statements, vkey, kin)
    except VerdictError as bad:
        # What is signed by no trusted key has no other faults worth naming, whatever its entries
        # say.
        bad = untrusted or bad
        return replace(report, verdict=bad.verdict, first_bad=bad.first_bad, detail=bad.detail)
    except LedgerError as error:
        if untrusted is not None:
            return replace(
                report,
                verdict=untrusted.verdict,
                first_bad=untrusted.first_bad,
                detail=untrusted.detail,
            )
        return replace(report, verdict=Verdict.TAMPERED, first_bad=error.where, detail=error.what)
    return replace(
        report,
        verdict=Verdict.OK_RECOVERED if walk.recoveries else Verdict.OK,
        anchors=tuple((a.name, a.size) for a in anchors if a.vouches and a.size >= names.first),
        detail=f"{walk.recoveries} recoveries recorded" if walk.recoveries else "",
        notes=(*names.notes(), *_pruned_notes(walk)),
        vkey=str(signer),
        keys=frozenset(statement.epoch.public_key for statement in statements)
        | {signer.public_key},
        minimum=names.first,
    )


def _read_note(reader: LogReader) -> bytes:
    note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise VerdictError(Verdict.INCOMPLETE, "checkpoint", "there is no checkpoint")
    return note


def _open_checkpoint(note: bytes, vkey: Vkey) -> tuple[Checkpoint, VerdictError | None]:
    """The checkpoint, and why it is not trusted yet: it may be signed by another key of the log."""
    try:
        try:
            return open_checkpoint(note, vkey), None
        except UntrustedNoteError as error:
            bad = VerdictError(Verdict.UNTRUSTED, "checkpoint", error.what)
            checkpoint = Checkpoint.parse(parse_note(note).text)
            if checkpoint.origin != vkey.name:
                raise bad from None
            return checkpoint, bad
    except NoteError as error:
        raise VerdictError(Verdict.TAMPERED, "checkpoint", error.what) from None


def _check_sizes(size: int, anchors: tuple[Anchor, ...], history: History | None) -> None:
    known = [(anchor.size, anchor.name) for anchor in anchors]
    if history is not None and history.sizes:
        known.append((history.sizes[-1], "kept checkpoint"))
    for longer, name in known:
        if longer > size:
            raise VerdictError(
                Verdict.ROLLBACK, "checkpoint", f"the log was {longer} entries long ({name})"
            )


def _check_roots(walk: Walk, checkpoint: Checkpoint) -> None:
    if walk.edge().root() != checkpoint.root:
        raise VerdictError(
            Verdict.TAMPERED, "checkpoint", "the log's records do not lead to the signed hash"
        )
    for anchor in walk.anchors:
        if walk.roots.get(anchor.size, anchor.root) != anchor.root:
            detail = (
                f"at size {anchor.size} the log had another root ({anchor.name}): two histories"
            )
            raise VerdictError(Verdict.FORK, f"before entry {anchor.size}", detail)
    if walk.fork is not None:
        raise walk.fork


def _check_pruned(walk: Walk, names: _Names) -> list[Statement]:
    """What stands about keys in the log and, for what was pruned, in the record of that; only there
    may files lack.
    """
    stated = walk.pruned.minimum if walk.pruned is not None else 0
    if walk.first > stated:
        raise VerdictError(
            Verdict.INCOMPLETE, names.missing_from(stated), "a file of the signed tree is missing"
        )
    if walk.pruned is None or not walk.first:
        return walk.statements
    found = {statement.epoch.public_key for statement in walk.statements}
    gone = [Epoch(*epoch) for epoch in walk.pruned.epochs]
    return [
        *(Statement(-1, epoch) for epoch in gone if epoch.public_key not in found),
        *walk.statements,
    ]


def _pruned_notes(walk: Walk) -> list[str]:
    if walk.pruned is None or not walk.first:
        return []
    return [
        f"entries before {walk.first} were pruned, as the log's record of {walk.pruned.ts} ns says"
    ]


def _check_keys(
    note: bytes, statements: list[Statement], vkey: Vkey, kin: frozenset[bytes]
) -> Vkey:
    """The key in force at this size, which must be the one that signed."""
    check_chain(vkey.name, statements)
    try:
        signer = key_in_force(statements, vkey, kin)
        open_checkpoint(note, signer)
    except UntrustedNoteError as error:
        why = "it is not signed by the key in force at its size" if statements else error.what
        raise VerdictError(Verdict.UNTRUSTED, "checkpoint", why) from None
    except NoteError as error:
        raise VerdictError(Verdict.TAMPERED, "checkpoint", error.what) from None
    return signer


@dataclass
class _Names:
    """Every file must have its place in the tree of ``size``; old partial tiles must be what the
    full ones begin with.

    ``first`` is where the bundles begin that are there without a gap up to the end: 0, but for a
    pruned log.
    """

    size: int
    first: int = 0

    def __post_init__(self) -> None:
        self._levels = tiles.widths(self.size)
        self._beyond = self._below = 0
        self._bundles = array("Q")
        self._ends = array("Q")  # of whole tiles and bundles, in entries

    def check(self, reader: LogReader) -> None:
        for path in reader.files():
            if path not in ("checkpoint", "checkpoint.tmp"):
                self._check(reader, tiles.parse_path(path))
        self._bundles = array("Q", sorted(self._bundles))
        self.first = self._find_first() * WIDTH
        self._below = sum(1 for end in self._ends if end <= self.first)

    def _check(self, reader: LogReader, tile: Tile) -> None:
        level = max(tile.level, 0)
        full, width = self._levels[level] if level < len(self._levels) else (0, 0)
        if tile.index > full or (tile.index == full and tile.width > width):
            self._beyond += 1
            if tile == Tile(ENTRIES, full) and width:
                self._bundles.append(full)  # it holds what the partial one held
        elif tile.width < WIDTH and (tile.index < full or tile.width < width):
            _check_old_partial(
                reader, tile, Tile(tile.level, tile.index, width if tile.index == full else WIDTH)
            )
        else:
            self._ends.append((tile.index + 1) << (tiles.HEIGHT * (level + 1)))
            if tile.level == ENTRIES:
                self._bundles.append(tile.index)

    def _find_first(self) -> int:
        """The index of the bundle from which on all are there; 0 when already the last is
        missing.
        """
        expected = -(-self.size // WIDTH)
        for index in reversed(self._bundles):
            if index < expected - 1:
                break
            expected = index
        return 0 if expected == -(-self.size // WIDTH) else expected

    def missing_from(self, minimum: int) -> str:
        """The first bundle that is missing though its entries are not below ``minimum``."""
        expected = minimum // WIDTH
        for index in self._bundles:
            if index > expected:
                break
            expected = max(expected, index + 1)
        return Tile(ENTRIES, expected).path

    def notes(self) -> list[str]:
        texts = (
            (
                self._beyond,
                "files lie beyond the checkpoint: a publication under way, or an older checkpoint",
            ),
            (self._below, "files of pruned entries are still there, and were not looked at"),
        )
        return [f"{count} {text}" for count, text in texts if count]


def _check_old_partial(reader: LogReader, old: Tile, new: Tile) -> None:
    limit = MAX_BUNDLE_BYTES if old.level == ENTRIES else TILE_BYTES
    data, whole = reader.read(old.path, limit), reader.read(new.path, limit)
    if data is None or whole is None:
        return  # the pass over the tree names what is missing
    if not whole.startswith(data) or (old.level != ENTRIES and len(data) != old.width * HASH_BYTES):
        raise VerdictError(
            Verdict.TAMPERED, old.path, "a partial tile is not what the later one begins with"
        )
    if old.level == ENTRIES:
        try:
            decode_bundle(data, old.width)
        except LedgerError as error:
            raise VerdictError(Verdict.TAMPERED, old.path, error.what) from None
