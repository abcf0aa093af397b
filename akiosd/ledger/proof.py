"""Portable proofs (c2sp.org/tlog-proof@v1): an entry's index, its audit path and the checkpoint, in
one text file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from akiosd.ledger import tiles
from akiosd.ledger.merkle import (
    HASH_BYTES,
    NodeReader,
    ProofError,
    halve,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    NoteError,
    Vkey,
    decode_base64,
    decode_decimal,
    encode_base64,
    open_checkpoint,
)
from akiosd.ledger.tiles import HEIGHT, WIDTH, Tile

HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 63
_MEND = (
    "see what is damaged: sudo akiosctl ledger verify --all; if it is only tiles, make them again:"
    " sudo akiosctl ledger verify --dir DIRECTORY --rebuild-tiles"
)
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 16 * 1024
MAX_EXTRA_BYTES = 8 * 1024

# A tile's content, for a tile of the tree that the proof is about; raises ``LedgerError`` if it is
# missing.
TileReader = Callable[[Tile], bytes]


@dataclass(frozen=True)
class TlogProof:
    """A proof in parts.  ``checkpoint`` is the signed note as it stands in the file; nothing is
    verified yet.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        """The text file."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines += [f"index {self.index}", *map(encode_base64, self.path), ""]
        return "".join(line + "\n" for line in lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Strictly: one way to write each number and hash, no spare lines; raises
        ``ProofError``.
        """
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
            if len(data) > MAX_PROOF_BYTES or not blank or lines.pop(0) != HEADER:
                raise ProofError(f"this is not a proof file: its first line is not {HEADER}")
            extra = _take_extra(lines)
            index = _take_index(lines)
            path = tuple(map(decode_base64, lines))
        except (UnicodeDecodeError, IndexError, NoteError):
            raise ProofError("the proof is malformed") from None
        if len(path) > _MAX_PATH or any(len(value) != HASH_BYTES for value in path):
            raise ProofError("the proof's path is not at most 63 hashes of 32 bytes")
        return cls(index, path, checkpoint, extra)


def _take_extra(lines: list[str]) -> bytes:
    if not lines[0].startswith("extra "):
        return b""
    extra = decode_base64(lines.pop(0).removeprefix("extra "))
    if not extra or len(extra) > MAX_EXTRA_BYTES:
        raise ProofError("the proof's extra data is empty or too long")
    return extra


def _take_index(lines: list[str]) -> int:
    word, _, digits = lines.pop(0).partition(" ")
    if word != "index":
        raise ProofError("the proof has no index")
    try:
        return decode_decimal(digits)
    except NoteError as error:
        raise ProofError(f"the proof's index is {error.what}") from None


def prove_entry(
    index: int, checkpoint: Checkpoint, note: bytes, read_tile: TileReader, extra: bytes = b""
) -> TlogProof:
    """The proof that the entry at ``index`` is in the tree of ``checkpoint``, whose signed form is
    ``note``.
    """
    path = inclusion_proof(index, checkpoint.size, tile_nodes(checkpoint.size, read_tile))
    return TlogProof(index, tuple(path), note, extra)


def verify_proof(proof: TlogProof, entry: bytes, *vkeys: Vkey) -> Checkpoint:
    """The checkpoint, signed by one of the keys, whose tree holds ``entry``.

    Raises ``ProofError`` when the proof does not prove it, ``NoteError`` when no key signed.
    """
    checkpoint = open_checkpoint(proof.checkpoint, *vkeys)
    verify_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.path, checkpoint.root)
    return checkpoint


def tile_nodes(size: int, read_tile: TileReader) -> NodeReader:
    """Subtree hashes of the tree of ``size`` leaves, computed from its tiles; each tile is read
    once.
    """
    known: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        first = index << height  # in hashes of that tile level
        key = (tile_level, first // WIDTH)
        if key not in known:
            full, partial = tiles.widths(size)[tile_level]
            known[key] = read_tile(Tile(tile_level, key[1], WIDTH if key[1] < full else partial))
        start = first % WIDTH * HASH_BYTES
        row = known[key][start : start + (HASH_BYTES << height)]
        if len(row) != HASH_BYTES << height:
            full, partial = tiles.widths(size)[tile_level]
            path = Tile(tile_level, key[1], WIDTH if key[1] < full else partial).path
            raise ProofError(
                "a file of the log's hashes (a tile) is shorter than the log's size says",
                where=path,
                next=_MEND,
            )
        return halve(row, height)

    return node
