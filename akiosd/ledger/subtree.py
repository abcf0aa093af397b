"""Subtrees of a Merkle tree: that an entry is in one, and that one is part of a tree.

As in draft-ietf-plants-merkle-tree-certs.  A subtree [start, end) is one the tree's own shape has room for: ``start``
is a multiple of the smallest power of two that is at least its width.  Its hash is the Merkle tree hash over its leaves
alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from akiosd.ledger.merkle import (
    HASH_BYTES,
    NodeReader,
    ProofError,
    inclusion_proof,
    node_hash,
    range_hash,
    split_point,
    verify_inclusion,
)


def is_subtree(start: int, end: int) -> bool:
    if not 0 <= start < end:
        return False
    return start % (1 << (end - start - 1).bit_length()) == 0


def _check(start: int, end: int) -> None:
    if not is_subtree(start, end):
        raise ProofError(f"entries {start} to {end} are no subtree")


def subtree_inclusion_proof(index: int, start: int, end: int, node: NodeReader) -> list[bytes]:
    """The audit path of leaf ``index`` within the subtree; ``node`` reads the whole tree."""
    _check(start, end)

    def inside(level: int, place: int) -> bytes:
        return node(level, place + (start >> level))

    return inclusion_proof(index - start, end - start, inside)


def verify_subtree_inclusion(
    leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise ``ProofError`` unless ``proof`` shows that ``leaf`` (a hash) stands at ``index`` in the subtree."""
    _check(start, end)
    verify_inclusion(leaf, index - start, end - start, proof, root)


def subtree_consistency_proof(start: int, end: int, size: int, node: NodeReader) -> list[bytes]:
    """The proof that the subtree is part of the tree of ``size``."""
    _check(start, end)
    if end > size:
        raise ProofError(f"the subtree ends at {end}, past the tree of {size}")
    first, last, path, whole = 0, size, list[tuple[int, int]](), True
    while (first, last) != (start, end):
        middle = first + split_point(last - first)
        if end <= middle:
            path.append((middle, last))
            last = middle
        elif middle <= start:
            path.append((first, middle))
            first = middle
        else:  # it begins with this whole left half
            path.append((first, middle))
            first, start, whole = middle, middle, False
    if not whole:
        path.append((first, last))
    return [range_hash(a, b, node) for a, b in reversed(path)]


def verify_subtree_consistency(
    start: int, end: int, size: int, subtree: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise ``ProofError`` unless ``proof`` shows that ``subtree`` hashes part of the tree of ``size``, as its root."""
    if any(len(value) != HASH_BYTES for value in (subtree, root, *proof)):
        raise ProofError("a hash is not 32 bytes")
    _check(start, end)
    if end > size:
        raise ProofError(f"the subtree ends at {end}, past the tree of {size}")
    first, last, top = start, end - 1, size - 1
    while first != last and (last & 1 or last == top):
        first, last, top = first >> 1, last >> 1, top >> 1
    path = list(proof)
    if first == last:
        part = whole = subtree
    elif path:
        part = whole = path.pop(0)
    else:
        raise ProofError("the subtree's proof is empty")
    for sibling in path:
        if top == 0:
            raise ProofError("the subtree's proof is too long")
        if last & 1 or last == top:
            if first < last:
                part = node_hash(sibling, part)
            whole = node_hash(sibling, whole)
            while not last & 1 and last:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            whole = node_hash(whole, sibling)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top != 0:
        raise ProofError("the subtree's proof is too short")
    if part != subtree or whole != root:
        raise ProofError("the proof leads to another subtree, or to another tree")
