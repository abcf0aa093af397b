"""Proofs about subtrees against their definition, every subtree of every small tree, and everything changed in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.ledger.merkle import ProofError, leaf_hash, root_of
from akiosd.ledger.subtree import (
    is_subtree,
    subtree_consistency_proof,
    subtree_inclusion_proof,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

LEAVES = [leaf_hash(b"%d" % i) for i in range(40)]


def node(level: int, index: int) -> bytes:
    return root_of(b"".join(LEAVES[index << level : (index + 1) << level]))


def hash_of(start: int, end: int) -> bytes:
    return root_of(b"".join(LEAVES[start:end]))


def test_known_shapes() -> None:
    assert [end for end in range(5, 20) if is_subtree(4, end)] == [5, 6, 7, 8]
    assert [start for start in range(8) if is_subtree(start, 8)] == [0, 4, 6, 7]
    assert not is_subtree(3, 3) and not is_subtree(-1, 1) and is_subtree(0, 1)


SUBTREES = [(a, b) for b in range(1, 41) for a in range(b) if is_subtree(a, b)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 31, 32, 40])
def test_every_subtree_of_a_tree_is_part_of_it(size: int) -> None:
    root = hash_of(0, size)
    for start, end in SUBTREES:
        if end > size:
            with pytest.raises(ProofError):
                subtree_consistency_proof(start, end, size, node)
            continue
        proof = subtree_consistency_proof(start, end, size, node)
        verify_subtree_consistency(start, end, size, hash_of(start, end), root, proof)
        for wrong in ([*proof, root], proof[:-1], [bytes(32), *proof[1:]]):
            if wrong != proof:
                with pytest.raises(ProofError):
                    verify_subtree_consistency(start, end, size, hash_of(start, end), root, wrong)
        with pytest.raises(ProofError):
            verify_subtree_consistency(start, end, size, bytes(32), root, proof)


@given(st.sampled_from(SUBTREES), st.data())
def test_an_entry_is_in_its_subtree_and_in_no_other(place: tuple[int, int], data: st.DataObject) -> None:
    start, end = place
    index = data.draw(st.integers(start, end - 1))
    proof = subtree_inclusion_proof(index, start, end, node)
    verify_subtree_inclusion(LEAVES[index], index, start, end, proof, hash_of(start, end))
    for wrong in ((index + 1, start, end), (index, start + 1, end), (index - 1, start, end)):
        with pytest.raises(ProofError):
            verify_subtree_inclusion(LEAVES[index], *wrong, proof, hash_of(start, end))


def test_ranges_that_are_no_subtrees_are_refused() -> None:
    for start, end in ((3, 5), (5, 5), (2, 5), (-1, 0)):
        with pytest.raises(ProofError, match="no subtree"):
            subtree_inclusion_proof(start, start, end, node)
        with pytest.raises(ProofError, match="no subtree"):
            verify_subtree_consistency(start, end, 40, bytes(32), bytes(32), [])
