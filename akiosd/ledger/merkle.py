"""RFC 6962 Merkle trees: hashing, the edge of a growing tree, inclusion and consistency proofs.

Hashes are 32 bytes of SHA-256; a leaf is prefixed with 0x00, a node with 0x01 (RFC 6962 section
2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import decode_bundle
from akiosd.ledger.tiles import WIDTH

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

# A perfect subtree's hash by (level, index): it covers leaves [index << level, (index + 1) <<
# level).
NodeReader = Callable[[int, int], bytes]


def python_leaves(entries: Sequence[bytes]) -> bytes:
    """The leaf hash of each entry, 32 bytes each, in plain Python."""
    return b"".join([sha256(b"\x00" + entry).digest() for entry in entries])


def python_nodes(pairs: bytes) -> bytes:
    """The node hash of each pair of hashes (64 bytes), in plain Python."""
    return b"".join(
        [sha256(b"\x01" + pairs[i : i + 64]).digest() for i in range(0, len(pairs), 64)]
    )


def python_bundle(data: bytes, count: int) -> bytes:
    """The leaf hashes of a bundle's ``count`` entries, in plain Python."""
    return python_leaves(decode_bundle(data, count))


def python_ends(data: bytes, count: int, first: int) -> list[int]:
    """Where ``first`` entries of ``data``, and each 256 after them, end; the data holds
    ``count``.
    """
    ends, end = [], 0
    for number in range(1, count + 1):
        end += 2 + (data[end] << 8 | data[end + 1])
        if number >= first and (number - first) % WIDTH == 0:
            ends.append(end)
    return ends


@dataclass(frozen=True)
class Hasher:
    """Batch hashing: ``nodes`` gives 32 bytes for each pair of hashes (64 bytes).

    ``bundle`` gives the leaf hashes of a whole bundle, ``LedgerError`` if it does not hold exactly
    that many entries. ``ends`` says where such data is to be cut so that ``first`` entries, then
    256 at a time, stand together. The native one is ``akiosd.kernel.hashing.NATIVE``; ``PYTHON``
    gives the same bytes without it.
    """

    nodes: Callable[[bytes], bytes]
    bundle: Callable[[bytes, int], bytes]
    ends: Callable[[bytes, int, int], list[int]]


PYTHON = Hasher(python_nodes, python_bundle, python_ends)


class ProofError(LedgerError):
    """A proof does not prove what it claims."""

    NEXT = (
        "have the proof made again on the log's host: akiosctl ledger prove INDEX CAGE; if it stays"
        " so, do not trust it"
    )


def leaf_hash(entry: bytes) -> bytes:
    """``SHA-256(0x00 || entry)``."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 || left || right)``."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: bytes, hasher: Hasher = PYTHON) -> bytes:
    """The Merkle tree hash over already hashed leaves; linear, pairing each level from the left.

    An odd last node moves up unchanged, which is RFC 6962's split at the largest power of two.
    """
    if not hashes:
        return EMPTY_ROOT
    while len(hashes) > HASH_BYTES:
        even = len(hashes) // (2 * HASH_BYTES) * 2 * HASH_BYTES
        hashes = hasher.nodes(hashes[:even]) + hashes[even:]
    return hashes


def halve(hashes: bytes, times: int, hasher: Hasher = PYTHON) -> bytes:
    """The roots of consecutive perfect subtrees of ``2**times`` leaves each, all of them at
    once.
    """
    for _ in range(times):
        hashes = hasher.nodes(hashes)
    return hashes


def range_hash(start: int, end: int, node: NodeReader) -> bytes:
    """The Merkle tree hash over leaves [start, end) of a larger tree; ``start`` is a multiple of
    the range's span.
    """
    width = end - start
    if width < 1:
        raise ValueError("an empty range has no hash in a tree")
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, start >> level)
    middle = start + split_point(width)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


def split_point(width: int) -> int:
    """The largest power of two smaller than ``width`` (RFC 6962's k)."""
    return 1 << ((width - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves, leaf's sibling first
    (section 2.1.1).
    """
    if not 0 <= index < size:
        raise ProofError(
            f"entry {index} is not among the {size} of the log",
            next="ask for an index below the size",
        )
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + split_point(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return [range_hash(first, last, node) for first, last in reversed(path)]


def consistency_proof(old_size: int, size: int, node: NodeReader) -> list[bytes]:
    """The proof that the tree of ``old_size`` is a prefix of the tree of ``size`` (section
    2.1.2).
    """
    if not 0 < old_size <= size:
        raise ProofError(
            f"no consistency proof exists from size {old_size} to {size}",
            next="give two sizes of this log, the smaller one first",
        )
    start, end, path, whole = 0, size, [], True
    while end != old_size:
        middle = start + split_point(end - start)
        if old_size <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, whole = middle, False
    if not whole:
        path.append((start, end))
    return [range_hash(first, last, node) for first, last in reversed(path)]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise ``ProofError`` unless ``proof`` shows that ``leaf`` (a hash) stands at ``index`` (RFC
    9162, 2.1.3.2).
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofError(f"entry {index} is not among the {size} of the log")
    position, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            result = node_hash(sibling, result)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if result != root:
        raise ProofError("the inclusion proof leads to another root")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofError("a hash is not 32 bytes")
