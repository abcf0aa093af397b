"""One log's directory: tiles, bundles and the checkpoint, written in an order that no crash can
hurt.

    write_tiles → disk.sync(files, dirs) → head marks durable in the WAL → write_checkpoint → sync → reveal → sync

The caller syncs, so that many logs share one sync (:func:`publish_all`). Tiles are written in
place: the old checkpoint does not lead to their names, and their content follows from the WAL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from akiosd.errors import LedgerError
from akiosd.ledger import tiles
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle
from akiosd.ledger.edge import TILE_BYTES, Edge
from akiosd.ledger.frame import Head
from akiosd.ledger.merkle import HASH_BYTES, python_bundle
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, open_checkpoint
from akiosd.ledger.sequencer import Publication
from akiosd.ledger.tiles import ENTRIES, HEIGHT, WIDTH, Tile
from akiosd.store.durable import Disk, parent
from akiosd.store.keys import LedgerKey
from akiosd.store.outgrown import Outgrown
from akiosd.values.ids import HOST_LOG, LogId


def directory(log: LogId) -> str:
    """Where a log lives below the state directory; its public key is beside it as
    ``<this>.vkey``.
    """
    return "ledger/host" if log == HOST_LOG else f"cages/{log}/audit"


def archive(log: LogId) -> str:
    """The path of a finished log once it is packed; its directory is then gone, or about to go."""
    return f"cages/{log}/audit.tar"


def read_file(disk: Disk, log: LogId, path: str, limit: int) -> bytes | None:
    """A file of a log, by its path in the tree, from its directory or its archive; None where there
    is none.
    """
    packed = None if log == HOST_LOG else disk.archive(archive(log))
    return (
        disk.read(f"{directory(log)}/{path}", limit) if packed is None else packed.read(path, limit)
    )


@dataclass
class Touched:
    """What must be synced before the next step."""

    files: list[str]
    dirs: list[str]


def write_tiles(disk: Disk, key: LedgerKey, publication: Publication) -> Touched:
    """Write the tiles and bundles of a publication; durable only after the caller's sync."""
    base = directory(publication.log)
    touched = Touched([], [])
    if publication.old_size == 0:
        if read_file(disk, publication.log, "checkpoint", MAX_NOTE_BYTES) is not None:
            raise LedgerError(
                "a log of that name exists already", base, "move that one out of the directory"
            )
        touched.dirs += disk.make_dirs(parent(base), 0o700)
        _write(disk, touched, f"{base}.vkey", f"{key.vkey(publication.log)}\n".encode())
    _keep_checkpoint(disk, touched, publication)
    files = [(f"{base}/{path}", data) for path, data in publication.growth.files]
    folders = dict.fromkeys(parent(path) for path, _ in files)
    for folder in folders:
        touched.dirs += disk.make_dirs(folder, 0o755)
    disk.write_many(files)
    touched.files += [path for path, _ in files]
    touched.dirs += folders
    return touched


def _keep_checkpoint(disk: Disk, touched: Touched, publication: Publication) -> None:
    """Keep the last checkpoint before each new full bundle, beside the log as
    ``<log>.history/<size>``.

    It is written with the tiles, under their sync; written again after a stop, it is the same.
    """
    if not publication.old_size or publication.size // WIDTH == publication.old_size // WIDTH:
        return
    base = directory(publication.log)
    note = disk.read(f"{base}/checkpoint", MAX_NOTE_BYTES)
    if note is not None:
        touched.dirs += disk.make_dirs(f"{base}.history", 0o755)
        _write(disk, touched, f"{base}.history/{publication.old_size}", note)


def _write(disk: Disk, touched: Touched, path: str, data: bytes) -> None:
    disk.write(path, data)
    touched.files.append(path)
    touched.dirs.append(parent(path))


def write_checkpoint(disk: Disk, key: LedgerKey, publication: Publication) -> str:
    """Sign and write ``checkpoint.tmp``; returns its path, which the caller syncs before
    ``reveal``.
    """
    signer = key.signer(publication.log)
    note = signer.sign(Checkpoint(signer.vkey.name, publication.size, publication.root).text())
    path = f"{directory(publication.log)}/checkpoint.tmp"
    disk.write(path, note)
    return path


def reveal(disk: Disk, publication: Publication) -> str:
    """Put the new checkpoint in place; returns the directory to sync."""
    base = directory(publication.log)
    disk.replace(f"{base}/checkpoint.tmp", f"{base}/checkpoint")
    return base


def publish_all(
    disk: Disk,
    key: LedgerKey,
    publications: Sequence[Publication],
    commit_heads: Callable[[list[Head]], None],
) -> None:
    """Publish the trees of several logs, each step of all of them under one sync.

    ``commit_heads`` returns once the head marks are durable in the WAL.  Raises ``OSError``: ENOSPC
    from a write may be tried again (after ``discard_unpublished``), anything from a sync is final.
    """
    touched = [write_tiles(disk, key, publication) for publication in publications]
    disk.sync(
        [path for t in touched for path in t.files], [path for t in touched for path in t.dirs]
    )
    commit_heads([Head(p.log, p.size, p.root) for p in publications])
    disk.sync([write_checkpoint(disk, key, publication) for publication in publications], [])
    disk.sync([], [reveal(disk, publication) for publication in publications])


def drop_outgrown(outgrown: Outgrown, publication: Publication) -> None:
    """Move partial tiles away whose full tile is published.  Not synced: the next start moves what
    is left.
    """
    base = directory(publication.log)
    for folder in publication.outgrown:
        outgrown.take(f"{base}/{folder}")


def load_edge(disk: Disk, key: LedgerKey, log: LogId) -> Edge:
    """The edge at the log's checkpoint (size 0 when there is none), checked against signature and
    root.

    Raises ``LedgerError`` when what is on disk is not what was signed: nothing is ever repaired by
    signing again.
    """
    base = directory(log)
    note = read_file(disk, log, "checkpoint", MAX_NOTE_BYTES)
    if note is None:
        return Edge()
    checkpoint = open_checkpoint(note, *key.vkeys(log))
    levels = [b""] * len(tiles.widths(checkpoint.size))
    for tile in tiles.edge_of(checkpoint.size):
        levels[tile.level] = _read_tile(disk, log, tile, TILE_BYTES)
        if len(levels[tile.level]) != tile.width * HASH_BYTES:
            raise LedgerError(
                "a file of the log's hashes (a tile) has the wrong length",
                where=f"{base}/{tile.path}",
            )
    edge = Edge(checkpoint.size, tuple(levels), _read_tail(disk, log, checkpoint.size, levels))
    if edge.root() != checkpoint.root:
        raise LedgerError(
            "the log's hashes do not lead to the signed hash",
            where=base,
            next="see what is damaged: sudo akiosctl ledger verify --all; then restore the log from a"
            " backup",
        )
    return edge


def _read_tail(disk: Disk, log: LogId, size: int, levels: list[bytes]) -> bytes:
    full, width = divmod(size, WIDTH)
    if not width:
        return b""
    tile = Tile(ENTRIES, full, width)
    tail = _read_tile(disk, log, tile, MAX_BUNDLE_BYTES)
    if python_bundle(tail, width) != levels[0]:
        raise LedgerError(
            "a file of the log's records (an entry bundle) is not what was signed",
            where=f"{directory(log)}/{tile.path}",
        )
    return tail


def _read_tile(disk: Disk, log: LogId, tile: Tile, limit: int) -> bytes:
    data = read_file(disk, log, tile.path, limit)
    if data is None:
        raise LedgerError(
            "a file of the log's hashes (a tile) is missing", where=f"{directory(log)}/{tile.path}"
        )
    return data


def read_entries(
    disk: Disk, log: LogId, start: int, end: int, size: int, max_bytes: int | None = None
) -> list[bytes]:
    """Published entries [start, end) of a log of ``size``, read by bundles, without hashing.

    ``max_bytes``: no further bundle is read after so many bytes. Raises ``LedgerError``.
    """
    entries, total = list[bytes](), 0
    end = min(end, size)
    for index in range(start // WIDTH, -(-end // WIDTH)):
        first = index * WIDTH
        tile = Tile(ENTRIES, index, min(WIDTH, size - first))
        data = read_file(disk, log, tile.path, MAX_BUNDLE_BYTES)
        if data is None:
            tile = Tile(ENTRIES, index)
            data = read_file(disk, log, tile.path, MAX_BUNDLE_BYTES)
        if data is None:
            raise LedgerError(
                "a file of the log's records (an entry bundle) is missing",
                where=f"{directory(log)}/{tile.path}",
            )
        bundle = decode_bundle(data, tile.width)
        entries += bundle[max(start - first, 0) : end - first]
        total += len(data)
        if max_bytes is not None and total >= max_bytes:
            break
    return entries


def discard_unpublished(outgrown: Outgrown, log: LogId, size: int) -> None:
    """Move away what a half-done publication left beyond ``size``: partial tiles, and a checkpoint
    not yet in place.

    Full tiles beyond it stay: the next publication writes the same bytes. Directories that it made
    may not be synced: the caller calls ``disk.sync_everything`` before it publishes again.
    """
    base, disk = directory(log), outgrown.disk
    names = disk.names(base)
    for name in names:
        if name.endswith(".tmp"):
            disk.remove(f"{base}/{name}")
    if "tile" in names:
        for kind in disk.names(f"{base}/tile"):
            level = ENTRIES if kind == "entries" else int(kind)
            _discard_level(outgrown, f"{base}/tile/{kind}", max(level, 0), size, 0)


def _discard_level(outgrown: Outgrown, folder: str, level: int, size: int, prefix: int) -> None:
    edge, width = divmod(size >> (HEIGHT * level), WIDTH)
    for name in outgrown.disk.names(folder):
        number = prefix * 1000 + int(name.removeprefix("x").partition(".")[0])
        if name.startswith("x"):
            _discard_level(outgrown, f"{folder}/{name}", level, size, number)
        elif name.endswith(".p") and (number > edge or number == edge - 1):
            outgrown.take(f"{folder}/{name}")
        elif name.endswith(".p") and number == edge:
            for partial in outgrown.disk.names(f"{folder}/{name}"):
                if int(partial) > width:
                    outgrown.take(f"{folder}/{name}/{partial}")
