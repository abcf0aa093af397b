"""The pass over all bundles of a log, in constant memory: they are hashed, and compared with the
tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge

import msgspec

from akiosd.errors import LedgerError
from akiosd.ledger import tiles
from akiosd.ledger.bundle import decode_bundle
from akiosd.ledger.edge import TILE_BYTES, Edge
from akiosd.ledger.epochs import Statement, read_statement
from akiosd.ledger.merkle import HASH_BYTES, Hasher, halve
from akiosd.ledger.report import Anchor, History, LogReader, Verdict, VerdictError, read_tile
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile
from akiosd.values.records import LogPruned, Recovered, decode_entry

_BATCH = 32  # bundles hashed together: memory stays flat, the native hasher is kept busy
_MARKS = (
    b"recovered",
    b"key_epoch",
    b"log_open",
    b"log_pruned",
)  # kinds of records the verifier itself reads


@dataclass
class Walk:
    """A log of ``size`` entries, read from ``first`` on, which begins a bundle; what is before
    follows from its tiles.

    ``stored``: the tiles are files of their own; otherwise the reader derives them from the
    entries, and they are not compared. After :meth:`run` this object holds the roots at the sizes
    of ``anchors``, what contradicts the kept checkpoints, and what the entries say about the log
    itself.
    """

    reader: LogReader
    size: int
    hasher: Hasher
    first: int = 0
    anchors: tuple[Anchor, ...] = ()
    history: History | None = None
    stored: bool = True
    roots: dict[int, bytes] = field(default_factory=dict)
    fork: VerdictError | None = None
    recoveries: int = 0
    statements: list[Statement] = field(default_factory=list)
    pruned: LogPruned | None = None
    _levels: list[bytes] = field(default_factory=list)
    _done: int = 0
    _wanted: Iterator[tuple[int, bool]] = field(default_factory=lambda: iter(()))
    _next: tuple[int, bool] | None = None

    def run(self) -> None:
        """Raises ``VerdictError``, and ``LedgerError`` from the reader."""
        self._start()
        self._snapshot(b"", 0)
        full, partial = divmod(self.size, WIDTH)
        for index in range(self.first // WIDTH, full, _BATCH):
            batch = [Tile(ENTRIES, i) for i in range(index, min(index + _BATCH, full))]
            # A root asked for costs the hashing of what stands before it in its batch.
            alone = self._next is not None and self._next[0] <= (batch[-1].index + 1) * WIDTH
            for part in [[tile] for tile in batch] if alone else [batch]:
                self._bundles(part)
        if partial:
            self._bundles([Tile(ENTRIES, full, partial)])
        for level, (index, width) in enumerate(tiles.widths(self.size)):
            if width:
                self._compare(Tile(level, index, width), self._levels[level])

    def edge(self) -> Edge:
        """The edge after the last bundle."""
        return Edge(self.size, tuple(self._levels))

    def _start(self) -> None:
        """The edge at ``first``, from the tiles of the present size, which the root vouches for at
        the end.
        """
        self._done = self.first
        widths = tiles.widths(self.size)
        for level, (index, width) in enumerate(tiles.widths(self.first)):
            content = b""
            if width:
                full, partial = widths[level]
                tile = Tile(level, index, WIDTH if index < full else partial)
                content = self._read(tile)[: width * HASH_BYTES]
                if len(content) != width * HASH_BYTES:
                    raise VerdictError(
                        Verdict.TAMPERED, tile.path, "the tile is shorter than the tree says"
                    )
            self._levels.append(content)
        kept = (
            ((size, True) for size in self.history.sizes if size >= self.first)
            if self.history
            else iter(())
        )
        anchors = sorted(
            {(anchor.size, False) for anchor in self.anchors if anchor.size >= self.first}
        )
        self._wanted = merge(kept, anchors)
        self._next = next(self._wanted, None)

    def _snapshot(self, leaves: bytes, count: int) -> None:
        """Note the roots asked for among the sizes that end within the leaves at hand."""
        while self._next is not None and self._next[0] <= self._done + count:
            size, is_kept = self._next
            root = _grown(
                self._levels, leaves[: (size - self._done) * HASH_BYTES], self.hasher
            ).root()
            if not is_kept:
                self.roots[size] = root
            elif (
                self.fork is None
                and self.history is not None
                and self.history.read(size)[2].root != root
            ):
                detail = f"at size {size} the log had another root (kept checkpoint): two histories"
                self.fork = VerdictError(Verdict.FORK, f"before entry {size}", detail)
            self._next = next(self._wanted, None)

    def _bundles(self, batch: list[Tile]) -> None:
        leaves = b"".join([self._leaves(tile) for tile in batch])
        count = len(leaves) // HASH_BYTES
        self._snapshot(leaves, count)
        first, self._done = self._done, self._done + count
        self._push(0, first, leaves)

    def _leaves(self, tile: Tile) -> bytes:
        """The leaf hashes of a bundle; entries become objects only where one may concern the
        verifier.
        """
        data = self._read(tile)
        try:
            leaves = self.hasher.bundle(data, tile.width)
        except LedgerError as error:
            raise VerdictError(Verdict.TAMPERED, tile.path, error.what) from None
        if any(mark in data for mark in _MARKS):
            for index, entry in enumerate(decode_bundle(data, tile.width), tile.index * WIDTH):
                if any(mark in entry for mark in _MARKS):
                    self._note(index, entry)
        return leaves

    def _note(self, index: int, entry: bytes) -> None:
        statement = read_statement(index, entry)
        if statement is not None:
            self.statements.append(statement)
        try:
            record = decode_entry(entry)
        except msgspec.DecodeError:
            return
        self.recoveries += isinstance(record, Recovered)
        if isinstance(record, LogPruned) and record.minimum <= index:
            self.pruned = record

    def _push(self, level: int, first: int, hashes: bytes) -> None:
        """Put hashes behind a level's unfinished tile; ``first`` is the first of them, counted in
        that level.
        """
        if not hashes:
            return
        while len(self._levels) <= level:
            self._levels.append(b"")
        content = self._levels[level] + hashes
        index, whole = first // WIDTH, len(content) // TILE_BYTES * TILE_BYTES
        for start in range(0, whole, TILE_BYTES):
            self._compare(
                Tile(level, index + start // TILE_BYTES), content[start : start + TILE_BYTES]
            )
        self._levels[level] = content[whole:]
        self._push(level + 1, index, halve(content[:whole], tiles.HEIGHT, self.hasher))

    def _compare(self, tile: Tile, content: bytes) -> None:
        if not self.stored:
            return
        data = self._read(tile)
        if data == content:
            return
        if len(data) != len(content):
            raise VerdictError(
                Verdict.TAMPERED,
                tile.path,
                f"the tile is {len(data)} bytes long, not {len(content)}",
            )
        place = next(
            i
            for i in range(tile.width)
            if data[32 * i : 32 * i + 32] != content[32 * i : 32 * i + 32]
        )
        if tile.level:
            raise VerdictError(
                Verdict.TAMPERED, tile.path, "the tile does not follow from the tiles below it"
            )
        index = tile.index * WIDTH + place
        raise VerdictError(
            Verdict.TAMPERED,
            f"entry {index}",
            f"entry {index} does not hash to what {tile.path} says",
        )

    def _read(self, tile: Tile) -> bytes:
        data = read_tile(self.reader, tile)
        if data is None:
            raise VerdictError(
                Verdict.INCOMPLETE, tile.path, "a file of the signed tree is missing"
            )
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
