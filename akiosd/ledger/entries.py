"""Reads the entries of a log from its bundles, one after the other; verifies nothing."""

from __future__ import annotations

from collections.abc import Iterator

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle
from akiosd.ledger.report import LogReader, read_tile
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile, parse_path


def entries_of(reader: LogReader, size: int, first: int = 0) -> Iterator[bytes]:
    """The entries of a log of ``size`` from ``first`` on; raises ``LedgerError`` where a bundle is
    missing.
    """
    for index in range(first // WIDTH, -(-size // WIDTH)):
        tile = Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH))
        data = read_tile(reader, tile)
        if data is None:
            raise LedgerError(
                "a file of the log's records (an entry bundle) is missing", where=tile.path
            )
        yield from decode_bundle(data, tile.width)[max(first - index * WIDTH, 0) :]


def first_index(reader: LogReader) -> int:
    """The index of the first entry that exists, in a log that may have been pruned."""
    if reader.read(Tile(ENTRIES, 0).path, MAX_BUNDLE_BYTES) is not None:
        return 0
    found = (parse_path(path) for path in reader.files() if path.startswith("tile/entries/"))
    return min((tile.index for tile in found), default=0) * WIDTH
