"""Which files a whole log has (c2sp.org/tlog-tiles)."""

from __future__ import annotations

from collections.abc import Iterator

from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile, widths


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile and entry bundle a tree of ``size`` leaves has, bundles first, then level by
    level.
    """
    for level, (full, partial) in [(ENTRIES, divmod(size, WIDTH)), *enumerate(widths(size))]:
        for index in range(full):
            yield Tile(level, index)
        if partial:
            yield Tile(level, full, partial)
