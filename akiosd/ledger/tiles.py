"""Tile paths and geometry (c2sp.org/tlog-tiles): which files a tree of a given size consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from akiosd.errors import LedgerError

WIDTH = 256
HEIGHT = 8
ENTRIES = -1  # the "level" of entry bundles

_PATH = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile or entry bundle: ``level`` (or ``ENTRIES``), ``index`` in that level, ``width``
    1..256 hashes.
    """

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path in the log's directory."""
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """``tile/<L>/<N>[.p/<W>]``, N in groups of three digits, all but the last prefixed with x."""
    name = f"{index % 1000:03d}"
    rest = index // 1000
    while rest:
        name = f"x{rest % 1000:03d}/{name}"
        rest //= 1000
    kind = "entries" if level == ENTRIES else str(level)
    return f"tile/{kind}/{name}" if width == WIDTH else f"tile/{kind}/{name}.p/{width}"


def parse_path(path: str) -> Tile:
    """The strict inverse of ``tile_path``; raises ``LedgerError`` for anything it would not have
    written.
    """
    match = _PATH.fullmatch(path)
    if match is not None:
        index = int(match[2].replace("x", "").replace("/", ""))
        level = ENTRIES if match[1] == "entries" else int(match[1])
        tile = Tile(level, index, int(match[3]) if match[3] else WIDTH)
        if tile.path == path:
            return tile
    raise LedgerError("a file of this path does not belong in a log", where=path)


def widths(size: int) -> list[tuple[int, int]]:
    """(full tiles, width of the partial tile or 0) for each tile level of a tree of ``size``
    leaves.
    """
    levels = []
    while size:
        levels.append(divmod(size, WIDTH))
        size //= WIDTH
    return levels


def edge_of(size: int) -> list[Tile]:
    """The partial tiles of a tree of ``size`` leaves: enough, with the size, to go on growing
    it.
    """
    return [
        Tile(level, full, partial) for level, (full, partial) in enumerate(widths(size)) if partial
    ]
