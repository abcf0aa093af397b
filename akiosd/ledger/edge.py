"""The edge of a growing log (its partial tiles and the entries of its partial bundle), and how
entries extend it.
"""

from __future__ import annotations

from dataclasses import dataclass

from akiosd.ledger import tiles
from akiosd.ledger.bundle import Batch
from akiosd.ledger.merkle import HASH_BYTES, PYTHON, Hasher, halve, root_of
from akiosd.ledger.tiles import ENTRIES, HEIGHT, WIDTH, Tile

TILE_BYTES = WIDTH * HASH_BYTES


@dataclass(frozen=True)
class Edge:
    """A tree of ``size`` leaves, as much of it as growing needs: a few KiB whatever the size.

    ``levels[i]`` is the content of the partial tile at level i, possibly empty; ``tail`` that of
    the partial bundle.
    """

    size: int = 0
    levels: tuple[bytes, ...] = ()
    tail: bytes = b""

    def root(self) -> bytes:
        """The root at ``size``, computed level by level: the hash of each level's partial tile is
        appended to the next.
        """
        below = b""
        for hashes in self.levels:
            row = hashes + below
            below = root_of(row) if row else b""
        return below or root_of(b"")


@dataclass(frozen=True)
class Growth:
    """The result of extending: the new edge, and the files (path, bytes) of the new size that the
    old size lacks.
    """

    edge: Edge
    files: tuple[tuple[str, bytes], ...]


def extend(edge: Edge, batch: Batch, hasher: Hasher = PYTHON) -> Growth:
    """Append the entries of ``batch``.  Takes time linear in their number, and one hash of each
    partial tile.
    """
    if not batch:
        return Growth(edge, ())
    leaves = hasher.bundle(batch.data, batch.count)  # which sees that so many are there
    files, tail = _bundles(edge, batch, hasher)
    grown = extend_hashes(edge, leaves, hasher)
    return Growth(Edge(grown.edge.size, grown.edge.levels, tail), (*files, *grown.files))


def extend_hashes(edge: Edge, leaves: bytes, hasher: Hasher = PYTHON) -> Growth:
    """The same where only the tree is wanted: takes leaf hashes, returns tiles; the new edge has no
    tail.
    """
    files: list[tuple[str, bytes]] = []
    levels, row, level = [], leaves, 0
    while row or level < len(edge.levels):
        old = edge.levels[level] if level < len(edge.levels) else b""
        partial, row = _level(level, edge.size, old + row, files, hasher) if row else (old, b"")
        levels.append(partial)
        level += 1
    return Growth(Edge(edge.size + len(leaves) // HASH_BYTES, tuple(levels)), tuple(files))


def _level(
    level: int, size: int, content: bytes, files: list[tuple[str, bytes]], hasher: Hasher
) -> tuple[bytes, bytes]:
    """Cut a level's hashes, from its partial tile on, into tiles; returns the new partial and the
    row above.
    """
    index, whole = size >> (HEIGHT * (level + 1)), len(content) // TILE_BYTES * TILE_BYTES
    for start in range(0, whole, TILE_BYTES):
        files.append((tiles.tile_path(level, index), content[start : start + TILE_BYTES]))
        index += 1
    partial = content[whole:]
    if partial:
        files.append((tiles.tile_path(level, index, len(partial) // HASH_BYTES), partial))
    return partial, halve(content[:whole], HEIGHT, hasher)


def _bundles(edge: Edge, batch: Batch, hasher: Hasher) -> tuple[list[tuple[str, bytes]], bytes]:
    """The bundles, the partial one first, and what the last one holds if that is partial: the new
    tail.
    """
    files, index, begun = [], edge.size // WIDTH, edge.size % WIDTH
    head, start = edge.tail, 0
    for end in hasher.ends(batch.data, batch.count, WIDTH - begun):
        files.append((tiles.tile_path(ENTRIES, index), head + batch.data[start:end]))
        head, start, index = b"", end, index + 1
    tail = head + batch.data[start:]
    if tail:
        files.append((tiles.tile_path(ENTRIES, index, (edge.size + batch.count) % WIDTH), tail))
    return files, tail


def outgrown(old_size: int, new_size: int) -> list[str]:
    """The ``.p`` directories whose full tile exists at ``new_size`` but not at ``old_size``: they
    may be dropped.
    """
    gone = []
    for level, tile_level in ((0, ENTRIES), *((i, i) for i in range(len(tiles.widths(new_size))))):
        shift = HEIGHT * (level + 1)
        # Only the tile that was partial at old_size can have partial files: later ones were written
        # whole.
        if new_size >> shift > old_size >> shift and (old_size >> (HEIGHT * level)) % WIDTH:
            gone.append(Tile(tile_level, old_size >> shift).path + ".p")
    return gone
