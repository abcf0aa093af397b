"""The verifier of consistency proofs, as a witness has one: the product makes such proofs and never
checks one.
"""

from __future__ import annotations

from collections.abc import Sequence

from akiosd.ledger.merkle import HASH_BYTES, ProofError, node_hash


def verify_consistency(
    old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise ``ProofError`` unless ``proof`` shows the old tree to be a prefix of the new (RFC 9162,
    2.1.4.2).
    """
    if any(len(value) != HASH_BYTES for value in (old_root, root, *proof)):
        raise ProofError("a hash is not 32 bytes")
    if not 0 < old_size <= size:
        raise ProofError(f"no consistency proof exists from size {old_size} to {size}")
    if old_size == size:
        if proof:
            raise ProofError("the consistency proof of equal sizes is not empty")
        if old_root != root:
            raise ProofError("two roots at one size: a fork")
        return
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise ProofError("the consistency proof is empty")
    old_position, position = old_size - 1, size - 1
    while old_position & 1:
        old_position, position = old_position >> 1, position >> 1
    old_result = result = path[0]
    for sibling in path[1:]:
        if position == 0:
            raise ProofError("the consistency proof is too long")
        if old_position & 1 or old_position == position:
            old_result = node_hash(sibling, old_result)
            result = node_hash(sibling, result)
            while not old_position & 1 and old_position:
                old_position, position = old_position >> 1, position >> 1
        else:
            result = node_hash(result, sibling)
        old_position, position = old_position >> 1, position >> 1
    if position != 0:
        raise ProofError("the consistency proof is too short")
    if old_result != old_root:
        raise ProofError("the consistency proof leads to another old root")
    if result != root:
        raise ProofError("the consistency proof leads to another root")
