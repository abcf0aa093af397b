"""Hashing and proofs against RFC 6962's definitions, written down here a second time, and against
known answers.
"""

from __future__ import annotations

import pytest
from akiosd.ledger.merkle import (
    EMPTY_ROOT,
    ProofError,
    consistency_proof,
    halve,
    inclusion_proof,
    leaf_hash,
    node_hash,
    python_leaves,
    range_hash,
    root_of,
    verify_inclusion,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ledger.consistency import verify_consistency

LEAVES = [leaf_hash(b"%d" % i) for i in range(70)]


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def node(level: int, index: int) -> bytes:
    return mth(LEAVES[index << level : (index + 1) << level])


def test_known_answers() -> None:
    entries = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243")]
    hashes = python_leaves(entries)
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert hashes[:32].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert (
        root_of(hashes[:64]).hex()
        == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    )
    assert (
        root_of(hashes).hex() == "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"
    )


@pytest.mark.parametrize("size", range(70))
def test_root_is_the_definitions(size: int) -> None:
    assert root_of(b"".join(LEAVES[:size])) == mth(LEAVES[:size])


def test_halve_gives_all_subtree_roots() -> None:
    assert halve(b"".join(LEAVES[:64]), 4) == b"".join(
        mth(LEAVES[i : i + 16]) for i in range(0, 64, 16)
    )


@given(st.integers(1, 70), st.data())
def test_every_entry_is_provable_and_only_in_its_place(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, size, node), mth(LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, proof, root)
    other = data.draw(st.integers(-1, size + 1).filter(lambda i: i != index))
    with pytest.raises(ProofError):
        verify_inclusion(LEAVES[index], other, size, proof, root)
    for wrong in (
        ([*proof, root], proof[:-1], [*proof[:-1], proof[-1][:-1]]) if proof else ([*proof, root],)
    ):
        with pytest.raises(ProofError):
            verify_inclusion(LEAVES[index], index, size, wrong, root)


@given(st.integers(1, 70), st.integers(1, 70), st.data())
def test_every_prefix_is_provable_and_no_fork_is(a: int, b: int, data: st.DataObject) -> None:
    old, new = min(a, b), max(a, b)
    proof, old_root, root = consistency_proof(old, new, node), mth(LEAVES[:old]), mth(LEAVES[:new])
    verify_consistency(old, new, old_root, root, proof)
    forged = mth([LEAVES[-1], *LEAVES[1:old]])
    with pytest.raises(ProofError):
        verify_consistency(old, new, forged, root, proof)
    with pytest.raises(ProofError):
        verify_consistency(old, new, old_root, forged, proof)
    with pytest.raises(ProofError):
        verify_consistency(old, new, old_root, root, [*proof, root])
    if proof:
        bad = data.draw(st.integers(0, len(proof) - 1))
        with pytest.raises(ProofError):
            verify_consistency(
                old, new, old_root, root, [*proof[:bad], bytes(32), *proof[bad + 1 :]]
            )


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5)])
def test_no_proof_from_nothing_or_backwards(old: int, new: int) -> None:
    with pytest.raises(ProofError):
        verify_consistency(old, new, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(ProofError):
        consistency_proof(old, new, node)


def test_hashes_are_32_bytes() -> None:
    with pytest.raises(ProofError):
        verify_inclusion(b"", 0, 1, [], b"")
    with pytest.raises(ProofError):
        verify_consistency(1, 1, b"x", b"x", [])


def test_range_hash_wants_a_range() -> None:
    with pytest.raises(ValueError, match="empty"):
        range_hash(3, 3, node)
    for size in range(1, 70):
        assert range_hash(0, size, node) == mth(LEAVES[:size])
