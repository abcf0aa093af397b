"""Batch hashing gives the bytes of hashlib, and the known answers of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from akiosd.errors import KernelError, LedgerError
from akiosd.kernel.hashing import NATIVE, count_entries, node_hashes
from akiosd.ledger.bundle import encode_bundle
from akiosd.ledger.merkle import PYTHON
from hypothesis import example, given
from hypothesis import strategies as st

DIGESTS = st.binary(min_size=32, max_size=32)


def bundled(entries: list[bytes]) -> bytes:
    return NATIVE.bundle(encode_bundle(entries), len(entries))


@given(st.lists(st.binary(max_size=200), max_size=40))
@example([])
@example([b""])
@example([bytes(65_535), b"", b"x"])
@example([bytes(n) for n in range(130)])
def test_leaves_are_those_of_hashlib(entries: list[bytes]) -> None:
    assert bundled(entries) == b"".join(hashlib.sha256(b"\0" + entry).digest() for entry in entries)


@given(st.lists(st.tuples(DIGESTS, DIGESTS), max_size=40))
def test_nodes_are_those_of_hashlib(pairs: list[tuple[bytes, bytes]]) -> None:
    joined = [left + right for left, right in pairs]
    assert node_hashes(b"".join(joined)) == b"".join(
        hashlib.sha256(b"\1" + pair).digest() for pair in joined
    )


def test_known_answers() -> None:
    empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert bundled([b""]).hex() == empty
    # The tree over b"" and b"\x00", as in the test vectors of RFC 6962 implementations.
    root = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert node_hashes(bundled([b"", b"\0"])).hex() == root


@pytest.mark.parametrize("size", [1, 32, 63, 65])
def test_half_a_pair_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="pairs"):
        node_hashes(bytes(size))


def test_the_same_bytes_from_many_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    entries = [bytes([n % 256]) * (n % 97) for n in range(2000)]
    expected = b"".join(hashlib.sha256(b"\0" + entry).digest() for entry in entries)
    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(bundled, [entries] * 16))


@given(st.lists(st.binary(max_size=300), max_size=40))
@example([])
@example([b""])
@example([bytes(65_535), b"", b"x"])
def test_a_bundle_is_hashed_as_its_entries_are(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert NATIVE.bundle(data, len(entries)) == PYTHON.bundle(data, len(entries))


@given(st.lists(st.integers(0, 3), max_size=900), st.integers(1, 256))
@example([0] * 256, 256)
@example([1] * 512, 256)
@example([1] * 513, 1)
@example([], 256)
def test_a_batch_is_cut_alike(lengths: list[int], first: int) -> None:
    entries = [bytes(length) for length in lengths]
    data = encode_bundle(entries)
    ends = NATIVE.ends(data, len(entries), first)
    assert ends == PYTHON.ends(data, len(entries), first)
    assert ends == [
        len(encode_bundle(entries[:stop])) for stop in range(first, len(entries) + 1, 256)
    ]
    assert count_entries(data) == len(entries)


@pytest.mark.parametrize("data", [b"\0", b"\0\2x", b"\0\1x\0"])
def test_what_is_cut_short_has_no_count(data: bytes) -> None:
    with pytest.raises(KernelError):
        count_entries(data)


@given(st.binary(max_size=60), st.integers(0, 40))
@example(b"\0", 1)
@example(b"\0\2x", 1)
@example(b"\0\1x\0", 1)
@example(b"\xff\xff", 1)
@example(b"", 1)
def test_what_is_no_bundle_is_refused_alike(data: bytes, count: int) -> None:
    results = []
    for hasher in (NATIVE, PYTHON):
        try:
            results.append(hasher.bundle(data, count))
        except LedgerError as error:
            results.append(error.what.encode())
    assert results[0] == results[1]
