"""Entry bundles (c2sp.org/tlog-tiles): for each entry a big-endian uint16 length, then the entry.

Entries travel in this form from where they are encoded to the disk, so that a million of them need
not be a million objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

from akiosd.errors import LedgerError
from akiosd.values.records import MAX_ENTRY_BYTES

MAX_BUNDLE_BYTES = 256 * (2 + MAX_ENTRY_BYTES)

_length = Struct(">H").pack


@dataclass(frozen=True, slots=True)
class Batch:
    """``count`` entries, encoded as in a bundle; a batch may hold any number."""

    count: int = 0
    data: bytes = b""

    @classmethod
    def of(cls, entries: Sequence[bytes]) -> Batch:
        """A batch of these entries."""
        return cls(len(entries), encode_bundle(entries))

    @classmethod
    def join(cls, batches: Iterable[Batch]) -> Batch:
        """One batch of all entries of ``batches``, in order."""
        several = tuple(batches)
        return cls(
            sum(batch.count for batch in several), b"".join([batch.data for batch in several])
        )

    def __len__(self) -> int:
        return self.count

    def entries(self) -> list[bytes]:
        """The entries as objects.  Raises ``LedgerError`` when ``data`` does not hold exactly
        ``count``.
        """
        return decode_bundle(self.data, self.count)

    def split(self, limit: int) -> Iterable[Batch]:
        """The same entries in batches of at most ``limit`` bytes each, or of one entry where that
        is larger.
        """
        if len(self.data) <= limit or self.count < 2:
            return (self,)
        parts, part, used = [], list[bytes](), 0
        for entry in self.entries():
            if part and used + 2 + len(entry) > limit:
                parts.append(Batch.of(part))
                part, used = [], 0
            part.append(entry)
            used += 2 + len(entry)
        return (*parts, Batch.of(part))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The entries with their length prefixes, one after the other."""
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
            raise LedgerError(
                f"an entry bundle (a file of the log's records) ends before entry {len(entries)}"
            )
        offset = start + (data[offset] << 8 | data[offset + 1])
        if offset > end:
            raise LedgerError(
                f"entry {len(entries)} of an entry bundle (a file of the log's records) is cut"
                " short"
            )
        entries.append(data[start:offset])
    if offset != end:
        raise LedgerError(
            f"{end - offset} bytes follow the last entry of an entry bundle (a file of the log's"
            " records)"
        )
    return entries
