"""Entry bundles (c2sp.org/tlog-tiles): big-endian uint16 length, entry, and again."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from akiosd.errors import LedgerError
from akiosd.values.records import MAX_ENTRY_BYTES

MAX_BUNDLE_BYTES = 256 * (2 + MAX_ENTRY_BYTES)

_length = Struct(">H").pack


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The entries with their length prefixes, end to end."""
    parts = [b""] * (2 * len(entries))
    parts[::2] = map(_length, map(len, entries))
    parts[1::2] = entries
    return b"".join(parts)


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """Exactly ``count`` entries and not one byte more; raises ``LedgerError`` otherwise."""
    entries: list[bytes] = []
    offset, end = 0, len(data)
    for _ in range(count):
        start = offset + 2
        if start > end:
            raise LedgerError(f"the bundle ends before entry {len(entries)}")
        offset = start + (data[offset] << 8 | data[offset + 1])
        if offset > end:
            raise LedgerError(f"entry {len(entries)} of the bundle is cut short")
        entries.append(data[start:offset])
    if offset != end:
        raise LedgerError(f"{end - offset} bytes follow the last entry of the bundle")
    return entries
