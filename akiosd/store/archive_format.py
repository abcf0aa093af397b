"""The format of an archived log, which verifies as it is: a tar file (POSIX ustar) of the log's
files, and its key.

``audit.vkey`` comes first, then ``audit/…`` sorted by name, then ``host.keys`` if the list of the
host's keys was included. All are regular files of root, mode 0644, time 0: the same log gives the
same bytes. Any tar unpacks it into a tlog-tiles directory. Reading accepts only what ``pack`` would
have written, so that no byte can change unnoticed.
"""

from __future__ import annotations

import os
import stat
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from akiosd.errors import AGAIN, LedgerError
from akiosd.ledger.note import MAX_NOTE_BYTES, Vkey

_BLOCK = 512
_RECORD = 20 * _BLOCK  # tar pads an archive to whole records
_KEY = "audit.vkey"
_PREFIX = "audit/"
KEYS_IN_ARCHIVE = "host.keys"
_FETCH = (
    "fetch the archive again from where it came, or restore it from a backup; if it stays so, do"
    " not trust it"
)


class Source(Protocol):
    """The files of a log (``akiosd.ledger.verify.LogReader``)."""

    def read(self, path: str, limit: int) -> bytes | None: ...
    def files(self) -> Iterator[str]: ...


def header(name: str, size: int) -> bytes:
    """The one header this archive has for a file (POSIX.1-2017, pax, "ustar Interchange Format").

    Not by ``tarfile``, whose headers have changed with the versions of Python (in the numbers of a
    device): every byte of an archive is compared with this when it is read, and those written
    before must stay right.
    """
    if not name.isascii() or len(name) > 100 or size >= 1 << 33:
        raise LedgerError(
            "the log holds a file that does not belong in a log: its name or its size is out of"
            " bounds",
            name,
            "see whether the log is damaged: sudo akiosctl ledger verify --all",
        )
    fields = (
        name.encode().ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0" * 2,
        b"%011o\0" % size,
        b"%011o\0" % 0,
    )
    rest = (
        b"0"
        + bytes(100)
        + b"ustar\x0000"
        + b"root".ljust(32, b"\0") * 2
        + b"0000000\0" * 2
        + bytes(167)
    )
    raw = b"".join(fields)
    checksum = sum(raw) + 8 * ord(" ") + sum(rest)
    return raw + b"%06o\0 " % checksum + rest


def pack(reader: Source, vkey: Vkey, limit: int, out: int, key_list: bytes | None = None) -> int:
    """Write the archive to the open file ``out``; returns its length in bytes.

    ``limit`` bounds each file. With ``key_list`` the archive verifies under any key of its host
    (``akiosd.ledger.key_list``). The caller verifies what was written before anything is removed,
    and syncs it. Raises ``LedgerError``, ``OSError``.
    """
    length = _write(out, _KEY, f"{vkey}\n".encode())
    for path in sorted(reader.files()):
        if path.endswith(".tmp"):
            continue
        data = reader.read(path, limit)
        if data is None:
            raise LedgerError("the file disappeared while the log was packed", path, AGAIN)
        length += _write(out, _PREFIX + path, data)
    if key_list is not None:
        length += _write(out, KEYS_IN_ARCHIVE, key_list)
    end = -(-(length + 2 * _BLOCK) // _RECORD) * _RECORD - length
    _write_all(out, bytes(end))
    return length + end


def _write(out: int, name: str, data: bytes) -> int:
    padded = header(name, len(data)) + data + bytes(-len(data) % _BLOCK)
    _write_all(out, padded)
    return len(padded)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class PackedLog:
    """A ``LogReader`` over an archive.  Raises ``LedgerError`` at the first byte ``pack`` would not
    have written.

    Owns the fd it opens; ``close`` it, use it in ``with``, or forget it.  An fd that is given is
    duplicated.  Of each file in it only the offset is kept: names are sorted, and read again from
    the archive.
    """

    def __init__(self, path: Path | int) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.dup(path) if isinstance(path, int) else os.open(path, flags)
        self._name = (
            os.readlink(f"/proc/self/fd/{self._fd}") if isinstance(path, int) else str(path)
        )
        self._close = weakref.finalize(self, os.close, self._fd)
        self._offsets = array("Q")
        self._last: dict[
            str, int
        ] = {}  # folder → the place of the file last read in it: the next one follows
        try:
            status = os.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):
                raise LedgerError(
                    "this is not a regular file, so it cannot be an archive",
                    self._name,
                    "name the archive's file, which ledger export --out wrote",
                )
            self._scan(status.st_size)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> PackedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._close()

    def _scan(self, length: int) -> None:
        offset, last = 0, ""
        while (block := os.pread(self._fd, _BLOCK, offset)) and any(block):
            name = block[:100].rstrip(b"\0").decode("ascii", "replace")
            digits = block[124:135]
            size = int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1
            if (
                size < 0
                or not name.isascii()
                or block != header(name, size)
                or (last and name <= last)
                or (not last and name != _KEY)
            ):
                raise LedgerError(
                    "this is not an archive of a log, or it is damaged: a file header in it is not"
                    " as AKIOS writes it",
                    f"byte {offset}",
                    _FETCH,
                )
            start, last = offset + _BLOCK, name
            self._offsets.append(offset)
            offset = start + -(-size // _BLOCK) * _BLOCK
            padding = os.pread(self._fd, offset - start - size, start + size)
            if offset > length or any(padding):
                raise LedgerError(
                    "the archive is damaged: it is cut short, or has bytes behind this file",
                    name,
                    _FETCH,
                )
        end = -(-(offset + 2 * _BLOCK) // _RECORD) * _RECORD
        if length != end or any(os.pread(self._fd, end - offset, offset)):
            raise LedgerError(
                "the archive is damaged: it is cut short, or has bytes behind its last file",
                f"byte {offset}",
                _FETCH,
            )

    def _file(self, place: int) -> tuple[str, int]:
        """The name and the size of a file, from its header, which was found to be right."""
        block = os.pread(self._fd, _BLOCK, self._offsets[place])
        try:
            return block[:100].rstrip(b"\0").decode("ascii", "replace"), int(block[124:135], 8)
        except ValueError:
            raise LedgerError(
                "the archive was changed while it was read",
                f"byte {self._offsets[place]} of {self._name}",
                "see who writes to that file, and run the command again when nobody does",
            ) from None

    def _find(self, name: str) -> tuple[int, int] | None:
        folder = name.rpartition("/")[0]
        place = self._last.get(folder, -1) + 1
        if place >= len(self._offsets) or self._file(place)[0] != name:
            place = bisect_left(
                range(len(self._offsets)), name, key=lambda place: self._file(place)[0]
            )
        if place == len(self._offsets):
            return None
        found, size = self._file(place)
        if found != name:
            return None
        self._last[folder] = place
        return self._offsets[place] + _BLOCK, size

    def _read(self, name: str, limit: int) -> bytes | None:
        found = self._find(name)
        if found is None:
            return None
        start, size = found
        if size > limit:
            raise LedgerError(
                f"a file in the archive has {size} bytes; a file of this kind has {limit} at most",
                name,
                _FETCH,
            )
        return os.pread(self._fd, size, start)

    def read(self, path: str, limit: int) -> bytes | None:
        return self._read(_PREFIX + path, limit)

    def files(self) -> Iterator[str]:
        for name in (self._file(place)[0] for place in range(len(self._offsets))):
            if name.startswith(_PREFIX):
                yield name.removeprefix(_PREFIX)
            elif name not in (_KEY, KEYS_IN_ARCHIVE):
                raise LedgerError(
                    "the archive holds a file that does not belong in a log", name, _FETCH
                )

    def vkey_text(self) -> bytes:
        """The public key in the archive, as text."""
        return self._read(_KEY, MAX_NOTE_BYTES) or b""

    def key_list(self) -> bytes | None:
        """The list of the host's keys, if the archive holds it."""
        return self._read(KEYS_IN_ARCHIVE, MAX_NOTE_BYTES)
