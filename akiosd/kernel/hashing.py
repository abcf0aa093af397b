"""Computes many SHA-256 digests in one native call, for the ledger's trees (RFC 6962 §2.1).

The interpreter lock is released meanwhile, so a worker thread can hash while the event loop runs.
"""

from __future__ import annotations

import errno
import os
from array import array

from akiosd.errors import KernelError
from akiosd.kernel._shim import ffi, lib
from akiosd.ledger.bundle import decode_bundle
from akiosd.ledger.merkle import Hasher
from akiosd.ledger.tiles import WIDTH

DIGEST_SIZE = 32


def bundle_hashes(data: bytes, count: int) -> bytes:
    """The leaf hashes of the ``count`` entries of a bundle, which are not made into objects.

    Raises ``LedgerError`` as ``akiosd.ledger.bundle.decode_bundle`` does.
    """
    out = bytearray(DIGEST_SIZE * count)
    result = lib.akios_sha256_bundle(ffi.from_buffer(data), len(data), count, ffi.from_buffer(out))
    if result == -errno.EBADMSG:
        decode_bundle(data, count)  # says what is wrong with it
    _check(result)
    return bytes(out)


def bundle_ends(data: bytes, count: int, first: int) -> list[int]:
    """Where the first ``first`` of the ``count`` entries in ``data`` end, and each 256 after
    them.
    """
    many = max(count - first + WIDTH, 0) // WIDTH
    ends = array("Q", bytes(8 * many))
    result = lib.akios_bundle_ends(
        ffi.from_buffer(data), len(data), first, ffi.from_buffer("uint64_t[]", ends), many
    )
    if result < 0:
        decode_bundle(data, count)  # says what is wrong with it
    return ends.tolist()


def count_entries(data: bytes) -> int:
    """How many entries stand in ``data``, one after the other as in a bundle; KernelError if the
    last is cut short.
    """
    return _check(lib.akios_bundle_ends(ffi.from_buffer(data), len(data), 0, ffi.NULL, 0))


def node_hashes(pairs: bytes) -> bytes:
    """``SHA-256(0x01 || left || right)`` of each 64 bytes of ``pairs``; ValueError if they do not
    come out even.
    """
    count, rest = divmod(len(pairs), 2 * DIGEST_SIZE)
    if rest:
        raise ValueError(f"{len(pairs)} bytes are not pairs of digests")
    out = bytearray(DIGEST_SIZE * count)
    _check(lib.akios_sha256_nodes(ffi.from_buffer(pairs), count, ffi.from_buffer(out)))
    return bytes(out)


def _check(result: int) -> int:
    if result < 0:
        raise KernelError(
            f"SHA-256 hashes cannot be computed: {os.strerror(-result)}", "hashing", errno=-result
        )
    return result


NATIVE = Hasher(node_hashes, bundle_hashes, bundle_ends)
