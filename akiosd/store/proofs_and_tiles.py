"""Derives from a log's files, without a daemon: portable proofs, and tiles that were lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import decode_bundle
from akiosd.ledger.edge import TILE_BYTES, Edge, extend_hashes
from akiosd.ledger.merkle import (
    HASH_BYTES,
    PYTHON,
    Hasher,
    consistency_proof,
    leaf_hash,
    verify_inclusion,
)
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, Vkey, open_checkpoint, parse_note
from akiosd.ledger.proof import TlogProof, prove_entry, tile_nodes
from akiosd.ledger.report import LogReader, read_tile
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile, edge_of, parse_path, widths
from akiosd.ledger.verify import verify_log
from akiosd.store.log_files import LogFiles
from akiosd.store.scratch import open_folder, open_scratch


def read_checkpoint(reader: LogReader, vkey: Vkey) -> tuple[Checkpoint, bytes]:
    """The log's checkpoint and the note that signs it; raises ``LedgerError``."""
    note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise LedgerError("there is no checkpoint", where="checkpoint")
    return open_checkpoint(note, vkey), note


def prove_from(
    reader: LogReader, index: int, vkey: Vkey, max_extra_bytes: int = 0, under: bytes | None = None
) -> tuple[TlogProof, bytes]:
    """The proof of the entry at ``index`` under the log's present checkpoint, and the entry itself.

    An entry of at most ``max_extra_bytes`` is the proof's extra data.

    An entry of at most ``max_extra_bytes`` becomes the proof's extra data. ``under``: an earlier
    checkpoint of the log, perhaps a cosigned one, to be used instead of the present one.
    """
    present, note = read_checkpoint(reader, vkey)
    checkpoint = Checkpoint.parse(parse_note(under).text) if under is not None else present
    proof = prove_entry(
        index, checkpoint, under or note, lambda tile: _tile_of(reader, tile, present.size)
    )
    entry = _bundle(reader, index // WIDTH, present.size)[index % WIDTH]
    if under is not None:
        verify_inclusion(leaf_hash(entry), index, checkpoint.size, proof.path, checkpoint.root)
    return (replace(proof, extra=entry) if len(entry) <= max_extra_bytes else proof), entry


def prove_consistency_from(reader: LogReader, old_size: int, checkpoint: Checkpoint) -> list[bytes]:
    """The proof that the log's tree of ``old_size`` is a prefix of the ``checkpoint``'s."""
    nodes = tile_nodes(checkpoint.size, lambda tile: _tile(reader, tile))
    return consistency_proof(old_size, checkpoint.size, nodes)


def rebuild_tiles(path: Path, vkey: Vkey, hasher: Hasher = PYTHON) -> list[str]:
    """Write every tile that is missing or wrong again, byte for byte, from the entry bundles;
    returns their paths.

    Raises ``LedgerError``, having changed nothing, unless the bundles lead to the signed root,
    which those of a pruned log do not. Bundles are never written: they are the log.
    """
    with LogFiles(path) as reader:
        report = verify_log(reader, vkey, (), hasher, stored=False)
        if report.exit_code != 0:
            what = f"the log's records do not lead to the signed hash: {report.detail}"
            raise LedgerError(
                what,
                report.first_bad,
                "restore the log from a backup: records cannot be made from hashes",
            )
        wrong = [
            name
            for name, data in _derived(reader, report.size, hasher)
            if _restore(path, reader, name, data)
        ]
        return wrong + _rebuild_old_partials(path, reader)


def _derived(reader: LogFiles, size: int, hasher: Hasher) -> Iterator[tuple[str, bytes]]:
    """The tiles, not the bundles, of the tree of ``size``."""
    edge = Edge()
    for index in range(-(-size // WIDTH)):
        bundle = Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH))
        growth = extend_hashes(
            edge, hasher.bundle(_read_bundle(reader, bundle), bundle.width), hasher
        )
        edge = growth.edge
        for name, data in growth.files:
            if parse_path(name).width == WIDTH:
                yield name, data
    for tile in edge_of(size):
        yield tile.path, edge.levels[tile.level]


def _rebuild_old_partials(path: Path, reader: LogFiles) -> list[str]:
    """Partial tiles of earlier checkpoints are what the later tile of that place begins with."""
    widest: dict[tuple[int, int], Tile] = {}
    partial: list[Tile] = []
    for name in reader.files():
        if name.startswith("tile/") and not name.endswith(".tmp"):
            tile = parse_path(name)
            if tile.level != ENTRIES:
                known = widest.setdefault((tile.level, tile.index), tile)
                widest[tile.level, tile.index] = max(tile, known, key=lambda other: other.width)
                partial += [tile] * (tile.width < WIDTH)
    restored = []
    for tile in partial:
        data = _tile(reader, widest[tile.level, tile.index])[: tile.width * HASH_BYTES]
        if _restore(path, reader, tile.path, data):
            restored.append(tile.path)
    return restored


def _restore(path: Path, reader: LogFiles, name: str, data: bytes) -> bool:
    try:
        if reader.read(name, TILE_BYTES) == data:
            return False
    except FileNotFoundError:
        pass
    with open_folder(path, os.path.dirname(name)) as folder:
        last = os.path.basename(name)
        fd = open_scratch(f"{last}.tmp", folder)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(fd)
        os.replace(f"{last}.tmp", last, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    return True


def _tile_of(reader: LogReader, tile: Tile, size: int) -> bytes:
    """A tile of an earlier tree, of what the tree of ``size`` has in its place: only that is sure
    to be there.
    """
    full, partial = widths(size)[tile.level]
    whole = _tile(reader, Tile(tile.level, tile.index, WIDTH if tile.index < full else partial))
    return whole[: tile.width * HASH_BYTES]


def _bundle(reader: LogReader, index: int, size: int) -> list[bytes]:
    tile = Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH))
    return decode_bundle(_read_bundle(reader, tile), tile.width)


def _read_bundle(reader: LogReader, tile: Tile) -> bytes:
    data = read_tile(reader, tile)
    if data is None:
        raise LedgerError(
            "a file of the log's records (an entry bundle) is missing", where=tile.path
        )
    return data


def _tile(reader: LogReader, tile: Tile) -> bytes:
    data = read_tile(reader, tile)
    if data is None:
        raise LedgerError("a file of the log's hashes (a tile) is missing", where=tile.path)
    return data
