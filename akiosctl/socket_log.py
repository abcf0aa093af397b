"""A log read through the daemon, entry by entry, by somebody who may not read its files: streamed, never held.

Its tiles follow from its entries.  Those of level 0 are made again whenever they are asked for; the others, an eight
thousandth of the log, are made in one pass when the first of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from akiosd.errors import AkiosError
from akiosd.ledger.bundle import encode_bundle
from akiosd.ledger.edge import Edge, extend_hashes
from akiosd.ledger.merkle import Hasher
from akiosd.ledger.note import Checkpoint, parse_note
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile, parse_path, tiles_of

# (start, stop) → the index of the first entry there is, and some entries from there on
Fetch = Callable[[int, int], tuple[int, tuple[bytes, ...]]]


class SocketLog:
    """A ``LogReader``.  ``checkpoint`` is the daemon's word; everything else is made of what ``fetch`` gives."""

    def __init__(self, checkpoint: bytes, fetch: Fetch, hasher: Hasher) -> None:
        self._checkpoint, self._fetch, self._hasher = checkpoint, fetch, hasher
        self._size = Checkpoint.parse(parse_note(checkpoint).text).size
        self._ahead: list[bytes] = []  # entries from _at on, read ahead
        self._at = 0
        self._upper: dict[str, bytes] | None = None

    def read(self, path: str, limit: int) -> bytes | None:
        if path == "checkpoint":
            return self._checkpoint
        tile = parse_path(path)
        if (tile.index * WIDTH + tile.width) * WIDTH ** max(tile.level, 0) > self._size:
            return None
        if tile.level == ENTRIES:
            return self._bundle(tile)
        if tile.level == 0:
            return self._hasher.bundle(self._bundle(tile), tile.width)
        if self._upper is None:
            self._upper = self._make_upper()
        return self._upper.get(path)

    def files(self) -> Iterator[str]:
        yield "checkpoint"
        for tile in tiles_of(self._size):
            yield tile.path

    def _bundle(self, tile: Tile) -> bytes:
        first, stop = tile.index * WIDTH, tile.index * WIDTH + tile.width
        if not self._at <= first < self._at + len(self._ahead):
            self._at, self._ahead = first, []
        del self._ahead[: first - self._at]
        self._at = first
        while len(self._ahead) < tile.width:
            start = first + len(self._ahead)
            found, entries = self._fetch(start, self._size)
            if entries and found > start:
                what = f"entries before {found} of this log were pruned: its files are needed"
                raise AkiosError(what, "ledger", "ask an administrator; akiosctl ledger show prints the others")
            if not entries or found != start:
                raise AkiosError("akiosd does not give all entries of this log", f"entry {start}")
            self._ahead += entries
        return encode_bundle(self._ahead[: stop - first])

    def _make_upper(self) -> dict[str, bytes]:
        edge, made = Edge(), dict[str, bytes]()
        for tile in tiles_of(self._size):
            if tile.level != ENTRIES:
                break
            growth = extend_hashes(edge, self._hasher.bundle(self._bundle(tile), tile.width), self._hasher)
            edge = growth.edge
            made.update((path, data) for path, data in growth.files if not path.startswith("tile/0/"))
        wanted = {tile.path for tile in tiles_of(self._size) if tile.level > 0}
        return {path: data for path, data in made.items() if path in wanted}
