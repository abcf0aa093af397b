"""Verify a log from its files and its public key alone: one pass, in memory that does not grow with the log.

Strict where a lenient reader would let a change pass: every file in the log's directory must be one the tree has, with
exactly the bytes the entries lead to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

import msgspec

from akiosd.errors import LedgerError
from akiosd.ledger import tiles
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle
from akiosd.ledger.edge import TILE_BYTES, Edge
from akiosd.ledger.epochs import Statement, check_chain, key_in_force, read_statement
from akiosd.ledger.merkle import HASH_BYTES, PYTHON, Hasher, halve
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, NoteError, UntrustedNote, Vkey, open_checkpoint, parse_note
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile
from akiosd.values.records import Recovered, decode_entry

_BATCH = 32  # bundles hashed together: memory stays flat, the native hasher is kept busy
_MARKS = (b"recovered", b"key_epoch", b"log_open")  # kinds of records the verifier itself reads


class Verdict(Enum):
    """What was found, with the exit code of ``akiosctl ledger verify``."""

    OK = ("OK", 0)
    OK_RECOVERED = ("OK-RECOVERED", 0)
    DESTROYED = ("DESTROYED", 0)
    TAMPERED = ("TAMPERED", 1)
    ROLLBACK = ("ROLLBACK", 2)
    FORK = ("FORK", 2)
    INCOMPLETE = ("INCOMPLETE", 3)
    UNTRUSTED = ("UNTRUSTED", 4)

    @property
    def exit_code(self) -> int:
        return self.value[1]

    def __str__(self) -> str:
        return self.value[0]


@dataclass(frozen=True)
class Report:
    """The result.  ``anchored_to`` says what, apart from the log itself, vouches for it: ``nothing`` means that whoever
    holds the signing key could have rewritten everything.  ``first_bad`` is a path or ``entry N``.  ``vkey`` is the key
    that signs the log now, ``keys`` all the public keys it has named."""

    verdict: Verdict
    origin: str = ""
    size: int = 0
    root: bytes = b""
    anchored_to: str = "nothing"
    first_bad: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()
    vkey: str = ""
    keys: frozenset[bytes] = frozenset()

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code


@dataclass(frozen=True)
class Anchor:
    """A tree head known from elsewhere; ``name`` says from where (``pin``, ``host log``).

    Without a name it was kept beside the log: it must agree, but vouches for nothing.
    """

    name: str
    size: int
    root: bytes


class LogReader(Protocol):
    """The files of one log, by path below its directory."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The whole file; None if there is none; ``LedgerError`` if it is no regular file or larger than ``limit``."""

    def files(self) -> Iterator[str]:
        """Every file there is; ``LedgerError`` at anything that is neither file nor directory."""


class Bad(Exception):
    """Verification ends here."""

    def __init__(self, verdict: Verdict, first_bad: str, detail: str) -> None:
        super().__init__(detail)
        self.verdict, self.first_bad, self.detail = verdict, first_bad, detail


def verify_log(
    reader: LogReader,
    vkey: Vkey,
    anchors: tuple[Anchor, ...] = (),
    hasher: Hasher = PYTHON,
    kin: frozenset[bytes] = frozenset(),
) -> Report:
    """The report on one log.  Raises ``OSError`` only when reading itself fails.

    ``kin``: public keys that a verified host log names; they are trusted if ``vkey`` is one of them.
    """
    report = Report(Verdict.OK, vkey.name)
    untrusted: Bad | None = None
    try:
        note = _read_note(reader)
        checkpoint, untrusted = _open_checkpoint(note, vkey)
        report = replace(report, size=checkpoint.size, root=checkpoint.root)
        walk, notes = _walk(reader, checkpoint, anchors, hasher)
        signer = _check_keys(note, walk.statements, vkey, kin)
    except Bad as bad:
        # What is signed by no trusted key has no other faults worth naming, whatever its entries say.
        bad = untrusted or bad
        return replace(report, verdict=bad.verdict, first_bad=bad.first_bad, detail=bad.detail)
    except LedgerError as error:
        if untrusted is not None:
            return replace(report, verdict=untrusted.verdict, first_bad=untrusted.first_bad, detail=untrusted.detail)
        return replace(report, verdict=Verdict.TAMPERED, first_bad=error.where, detail=error.what)
    return replace(
        report,
        verdict=Verdict.OK_RECOVERED if walk.recoveries else Verdict.OK,
        anchored_to=", ".join(anchor.name for anchor in anchors if anchor.name) or "nothing",
        detail=f"{walk.recoveries} recoveries recorded" if walk.recoveries else "",
        notes=tuple(notes),
        vkey=str(signer),
        keys=frozenset(statement.epoch.public_key for statement in walk.statements) | {signer.public_key},
    )


def _read_note(reader: LogReader) -> bytes:
    note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise Bad(Verdict.INCOMPLETE, "checkpoint", "there is no checkpoint")
    return note


def _open_checkpoint(note: bytes, vkey: Vkey) -> tuple[Checkpoint, Bad | None]:
    """The checkpoint, and why it is not to be trusted yet: another key of the log may have signed it."""
    try:
        try:
            return open_checkpoint(note, vkey), None
        except UntrustedNote as error:
            bad = Bad(Verdict.UNTRUSTED, "checkpoint", error.what)
            checkpoint = Checkpoint.parse(parse_note(note).text)
            if checkpoint.origin != vkey.name:
                raise bad from None
            return checkpoint, bad
    except NoteError as error:
        raise Bad(Verdict.TAMPERED, "checkpoint", error.what) from None


def _walk(
    reader: LogReader, checkpoint: Checkpoint, anchors: tuple[Anchor, ...], hasher: Hasher
) -> tuple[_Walk, list[str]]:
    for anchor in anchors:
        if anchor.size > checkpoint.size:
            raise Bad(
                Verdict.ROLLBACK,
                "checkpoint",
                f"the log was {anchor.size} entries long ({anchor.name or 'kept checkpoint'})",
            )
    walk = _Walk(reader, checkpoint.size, {anchor.size for anchor in anchors}, hasher)
    notes = _check_names(reader, checkpoint.size)
    walk.run()
    _check_roots(walk, checkpoint, anchors)
    return walk, notes


def _check_keys(note: bytes, statements: list[Statement], vkey: Vkey, kin: frozenset[bytes]) -> Vkey:
    """The key in force at this size, which must be the one that signed."""
    check_chain(vkey.name, statements)
    try:
        signer = key_in_force(statements, vkey, kin)
        open_checkpoint(note, signer)
    except UntrustedNote as error:
        why = "it is not signed by the key in force at its size" if statements else error.what
        raise Bad(Verdict.UNTRUSTED, "checkpoint", why) from None
    except NoteError as error:
        raise Bad(Verdict.TAMPERED, "checkpoint", error.what) from None
    return signer


def _check_roots(walk: _Walk, checkpoint: Checkpoint, anchors: tuple[Anchor, ...]) -> None:
    if walk.edge().root() != checkpoint.root:
        raise Bad(Verdict.TAMPERED, "checkpoint", "the entries do not lead to the signed root")
    for anchor in anchors:
        if walk.roots[anchor.size] != anchor.root:
            detail = (
                f"at size {anchor.size} the log had another root ({anchor.name or 'kept checkpoint'}): two histories"
            )
            raise Bad(Verdict.FORK, f"before entry {anchor.size}", detail)


def _check_names(reader: LogReader, size: int) -> list[str]:
    """Every file must have its place in the tree; old partial tiles must be what the full ones begin with."""
    beyond = 0
    levels = tiles.widths(size)
    for path in reader.files():
        if path in ("checkpoint", "checkpoint.tmp"):
            continue
        tile = tiles.parse_path(path)
        full, width = levels[max(tile.level, 0)] if max(tile.level, 0) < len(levels) else (0, 0)
        if tile.index > full or (tile.index == full and tile.width > width):
            beyond += 1
        elif tile.width < WIDTH and (tile.index < full or tile.width < width):
            _check_old_partial(reader, tile, Tile(tile.level, tile.index, width if tile.index == full else WIDTH))
    return [f"{beyond} files lie beyond the checkpoint: a publication under way, or an older checkpoint"] * bool(beyond)


def _check_old_partial(reader: LogReader, old: Tile, new: Tile) -> None:
    limit = MAX_BUNDLE_BYTES if old.level == ENTRIES else TILE_BYTES
    data, whole = reader.read(old.path, limit), reader.read(new.path, limit)
    if data is None or whole is None:
        return  # the pass over the tree names what is missing
    if not whole.startswith(data) or (old.level != ENTRIES and len(data) != old.width * HASH_BYTES):
        raise Bad(Verdict.TAMPERED, old.path, "a partial tile is not what the later one begins with")
    if old.level == ENTRIES:
        _decode(data, old)


def _decode(data: bytes, tile: Tile) -> list[bytes]:
    try:
        return decode_bundle(data, tile.width)
    except LedgerError as error:
        raise Bad(Verdict.TAMPERED, tile.path, error.what) from None


@dataclass
class _Walk:
    """The pass over all bundles: hashes them, compares with the tiles, level by level."""

    reader: LogReader
    size: int
    wanted: set[int]
    hasher: Hasher
    roots: dict[int, bytes] = field(default_factory=dict)
    recoveries: int = 0
    statements: list[Statement] = field(default_factory=list)
    _levels: list[bytes] = field(default_factory=list)
    _done: int = 0
    _next: list[int] = field(default_factory=list)

    def run(self) -> None:
        self._next = sorted(self.wanted, reverse=True)
        self._snapshot(b"", 0)
        full, partial = divmod(self.size, WIDTH)
        for index in range(0, full, _BATCH):
            batch = [Tile(ENTRIES, i) for i in range(index, min(index + _BATCH, full))]
            # A root asked for costs the hashing of what stands before it in its batch.
            alone = bool(self._next) and self._next[-1] <= (batch[-1].index + 1) * WIDTH
            for part in [[tile] for tile in batch] if alone else [batch]:
                self._bundles(part)
        if partial:
            self._bundles([Tile(ENTRIES, full, partial)])
        for level, (index, width) in enumerate(tiles.widths(self.size)):
            if width:
                self._compare(Tile(level, index, width), self._levels[level])

    def edge(self) -> Edge:
        return Edge(self.size, tuple(self._levels))

    def _snapshot(self, leaves: bytes, count: int) -> None:
        """Note the roots asked for among the sizes that end within the leaves at hand."""
        while self._next and self._next[-1] <= self._done + count:
            size = self._next.pop()
            self.roots[size] = _grown(self._levels, leaves[: (size - self._done) * HASH_BYTES], self.hasher).root()

    def _bundles(self, batch: list[Tile]) -> None:
        leaves = b"".join([self._leaves(tile) for tile in batch])
        count = len(leaves) // HASH_BYTES
        self._snapshot(leaves, count)
        first, self._done = self._done, self._done + count
        self._push(0, first, leaves)

    def _leaves(self, tile: Tile) -> bytes:
        """The leaf hashes of a bundle; entries become objects only where one may concern the verifier."""
        data = self._read(tile, MAX_BUNDLE_BYTES)
        try:
            leaves = self.hasher.bundle(data, tile.width)
        except LedgerError as error:
            raise Bad(Verdict.TAMPERED, tile.path, error.what) from None
        if any(mark in data for mark in _MARKS):
            for index, entry in enumerate(_decode(data, tile), tile.index * WIDTH):
                self.recoveries += b"recovered" in entry and _is_recovered(entry)
                statement = read_statement(index, entry)
                if statement is not None:
                    self.statements.append(statement)
        return leaves

    def _push(self, level: int, first: int, hashes: bytes) -> None:
        """Put hashes behind a level's unfinished tile; ``first`` is the first of them, counted in that level."""
        if not hashes:
            return
        while len(self._levels) <= level:
            self._levels.append(b"")
        content = self._levels[level] + hashes
        index, whole = first // WIDTH, len(content) // TILE_BYTES * TILE_BYTES
        for start in range(0, whole, TILE_BYTES):
            self._compare(Tile(level, index + start // TILE_BYTES), content[start : start + TILE_BYTES])
        self._levels[level] = content[whole:]
        self._push(level + 1, index, halve(content[:whole], tiles.HEIGHT, self.hasher))

    def _compare(self, tile: Tile, content: bytes) -> None:
        data = self._read(tile, TILE_BYTES)
        if data == content:
            return
        if len(data) != len(content):
            raise Bad(Verdict.TAMPERED, tile.path, f"the tile is {len(data)} bytes long, not {len(content)}")
        place = next(i for i in range(tile.width) if data[32 * i : 32 * i + 32] != content[32 * i : 32 * i + 32])
        if tile.level:
            raise Bad(Verdict.TAMPERED, tile.path, "the tile does not follow from the tiles below it")
        index = tile.index * WIDTH + place
        raise Bad(Verdict.TAMPERED, f"entry {index}", f"entry {index} does not hash to what {tile.path} says")

    def _read(self, tile: Tile, limit: int) -> bytes:
        data = self.reader.read(tile.path, limit)
        if data is None:
            raise Bad(Verdict.INCOMPLETE, tile.path, "a file of the signed tree is missing")
        return data


def _grown(levels: list[bytes], leaves: bytes, hasher: Hasher) -> Edge:
    """The edge ``levels`` with more leaves behind it."""
    grown, row = [], leaves
    for old in [*levels, b"", b""]:
        content = old + row
        whole = len(content) // TILE_BYTES * TILE_BYTES
        grown.append(content[whole:])
        row = halve(content[:whole], tiles.HEIGHT, hasher)
    return Edge(0, tuple(grown))


def _is_recovered(entry: bytes) -> bool:
    try:
        return isinstance(decode_entry(entry), Recovered)
    except msgspec.DecodeError:
        return False


def describe(report: Report) -> Mapping[str, object]:
    """The report as plain values, for ``--json``."""
    return {
        "verdict": str(report.verdict),
        "exit_code": report.exit_code,
        "origin": report.origin,
        "size": report.size,
        "root": report.root.hex(),
        "anchored_to": report.anchored_to,
        "first_bad": report.first_bad,
        "detail": report.detail,
        "notes": list(report.notes),
        "vkey": report.vkey,
    }
