"""The host's write-ahead log: a ring of preallocated segment files.

Segments are written from front to back, one frame (:mod:`akiosd.ledger.frame`) for each group
commit. Once everything in a segment is published, it is overwritten with zeros and used again.

At most one frame is ever unacknowledged, so a bad frame with a good one behind it is damage, never
a torn write. Every frame names the oldest frame still needed, so a segment that was being
overwritten when the machine stopped is not mistaken for damage. A list names every segment that may
hold a frame: one that disappeared is missed at the next start.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from akiosd.errors import LedgerDiskError, LedgerError, LedgerStateError
from akiosd.ledger.frame import MAGIC_BYTES, WalFrame, encode_frame, scan_segment
from akiosd.store.durable import Disk, RegionFile, write_durably

DIRECTORY = "ledger/wal"
SEGMENT_BYTES = 8 << 20
_MAGIC_PATH = f"{DIRECTORY}/magic"
_LIST_PATH = f"{DIRECTORY}/segments"
_LONGEST_LIST = 1 << 20
_LARGEST_SEGMENT = 1 << 30
_RESTORE = "restore the state directory from a backup; nothing was changed"


@dataclass(frozen=True)
class Torn:
    """The frame that was being written when the daemon or the machine stopped; it was never
    acknowledged.
    """

    segment: str
    offset: int
    dropped_bytes: int


@dataclass
class _Used:
    name: str
    first_seq: int
    last_seq: int


@dataclass(frozen=True)
class _Found:
    """A segment's scan, without the bodies (they are read again, one segment at a time)."""

    name: str
    seqs: range
    base: int
    end: int
    stray: int
    torn_bytes: int


class Wal:
    """Use :meth:`open`, read :meth:`frames`, call :meth:`start`, then :meth:`write`.

    ``write`` belongs to one thread; ``release`` and ``make_spare`` may run beside it in another.
    """

    def __init__(self, disk: Disk, magic: bytes, segment_bytes: int) -> None:
        self._disk = disk
        self._magic = magic
        self.segment_bytes = segment_bytes
        self._lock = threading.Lock()  # over the two rings and the next name
        self._used: deque[_Used] = deque()  # oldest first; the last is being written
        self._free: deque[str] = deque()  # all zeros
        self._file: RegionFile | None = None
        self._offset = 0
        self._next_name = 0
        self.seq = 0  # of the next frame
        self.base = 0  # the oldest frame still needed, to be said in the next frame
        self._said_base = 0  # as said in the last durable frame
        self.torn: Torn | None = None
        self._leave_segment = False
        self._is_new = False
        self._opening = b""
        self._listed = b""

    @classmethod
    def open(
        cls, disk: Disk, random: Callable[[int], bytes], segment_bytes: int = SEGMENT_BYTES
    ) -> Wal:
        """The WAL as it was left.  The disk is not changed; ``wal.torn`` says what was dropped.

        Raises ``LedgerError`` on damage in the middle.
        """
        names = [name for name in disk.names(DIRECTORY) if name.endswith(".seg")]
        magic = disk.read(_MAGIC_PATH, MAGIC_BYTES)
        is_new = magic is None and not names
        if magic is None and is_new:
            magic = random(MAGIC_BYTES)
        if magic is None or len(magic) != MAGIC_BYTES:
            raise LedgerError(
                "the first file of the write-ahead log is missing or damaged",
                where=_MAGIC_PATH,
                next=_RESTORE,
            )
        wal = cls(disk, magic, segment_bytes)
        wal._is_new = is_new
        wal._listed = disk.read(_LIST_PATH, _LONGEST_LIST) or b""
        for name in sorted({*wal._listed.decode("ascii", "replace").split()} - {*names}):
            raise LedgerError(
                "a file of the write-ahead log is missing",
                where=f"{DIRECTORY}/{name}",
                next=_RESTORE,
            )
        wal._take_over([wal._look(name) for name in names])
        return wal

    def _read(self, name: str) -> bytes:
        return self._disk.read(f"{DIRECTORY}/{name}", _LARGEST_SEGMENT) or b""

    def _look(self, name: str) -> _Found:
        if not name[:-4].isdigit():
            raise LedgerError(
                "this file does not belong to the write-ahead log",
                where=f"{DIRECTORY}/{name}",
                next="move it out of the directory",
            )
        self._next_name = max(self._next_name, int(name[:-4]) + 1)
        scan = scan_segment(self._magic, self._read(name))
        seqs = range(scan.frames[0].seq, scan.frames[-1].seq + 1) if scan.frames else range(0)
        base = scan.frames[-1].base if scan.frames else 0
        return _Found(name, seqs, base, scan.end, scan.stray, scan.torn_bytes)

    def _take_over(self, found: list[_Found]) -> None:
        """Put the segments in order and see that no needed frame is missing."""
        newest = max(
            (item for item in found if item.seqs), key=lambda item: item.seqs[-1], default=None
        )
        last = newest.seqs[-1] if newest else -1
        self.base = self._said_base = newest.base if newest else 0
        self.seq = last + 1
        needed = sorted(
            (i for i in found if i.seqs and i.seqs[-1] >= self.base), key=lambda item: item.seqs[0]
        )
        expected = needed[0].seqs[0] if needed and needed[0].seqs[0] <= self.base else self.base
        for item in needed:
            if item.seqs[0] != expected:
                self._refuse(expected, item.name)
            expected = item.seqs[-1] + 1
        for item in found:
            if item.stray > last:
                self._refuse(last + 1, item.name)
        self._used.extend(_Used(item.name, item.seqs[0], item.seqs[-1]) for item in needed)
        self._offset = newest.end if newest else 0
        for item in found:
            torn = item.torn_bytes and item.stray < 0 and (item is newest or not item.seqs)
            if torn and self.torn is None:
                self.torn = Torn(item.name, item.end, item.torn_bytes)

    def _refuse(self, seq: int, name: str) -> None:
        raise LedgerError(
            f"frame {seq} of the write-ahead log is missing or damaged",
            where=f"{DIRECTORY}/{name}",
            next=_RESTORE,
        )

    def frames(self) -> Iterator[WalFrame]:
        """The frames still needed, and perhaps some before them, oldest first; only before
        :meth:`start`.
        """
        for used in self._used:
            yield from scan_segment(self._magic, self._read(used.name)).frames

    def start(self) -> None:
        """After recovery has read the frames: clear the torn tail, and every segment that is not
        needed.
        """
        if self._is_new:
            self._disk.sync([], self._disk.make_dirs(DIRECTORY, 0o700))
            write_durably(self._disk, _MAGIC_PATH, self._magic, 0o600)
        used = {item.name for item in self._used}
        for name in self._disk.names(DIRECTORY):
            if name.endswith(".seg") and name not in used:
                self._clear(name)
        self._list_segments()
        kept = {*used, *self._free}
        for name in self._disk.names(DIRECTORY):
            if name.endswith(".tmp") or (name.endswith(".seg") and name not in kept):
                self._disk.remove(f"{DIRECTORY}/{name}")
        if self._used:
            data = self._read(self._used[-1].name)
            self._overwrite(
                self._used[-1].name, self._offset, len(data[self._offset :].rstrip(b"\0"))
            )
            # A segment of another size than configured is read, never extended.
            if len(data) != self.segment_bytes:
                self._offset = self.segment_bytes

    def _clear(self, name: str) -> None:
        data = self._read(name)
        self._overwrite(name, 0, len(data.rstrip(b"\0")))
        if len(data) == self.segment_bytes:
            self._free.append(name)

    def _overwrite(self, name: str, offset: int, length: int) -> None:
        if length <= 0:
            return
        file = self._disk.open_region(f"{DIRECTORY}/{name}")
        try:
            file.write_at(offset, bytes(length))
            file.data_sync()
        finally:
            file.close()

    @property
    def is_empty(self) -> bool:
        """Whether no frame is left, or there never was one."""
        return self.seq == 0

    def keep_from(self, seq: int, opening: bytes) -> None:
        """Frames before ``seq`` are no longer needed.  ``opening`` are marks that every new segment
        begins with.
        """
        self._opening = opening  # first: it says what the older frames said
        self.base = seq

    def write(self, body: bytes) -> int:
        """Write one frame and make it durable; returns its sequence number.

        Raises ``OSError`` when a new segment was needed and could not be had (ENOSPC): nothing was
        written, the same frame may be tried again later.  ``LedgerError`` is final: the frame's
        state is unknown.
        """
        base = self.base
        frame = encode_frame(self._magic, self.seq, base, body)
        if self._leave_segment or not self._used or self._offset + len(frame) > self.segment_bytes:
            frame = encode_frame(self._magic, self.seq, base, self._opening + body)
            if len(frame) > self.segment_bytes:
                raise LedgerStateError(
                    f"a frame of {len(frame)} bytes does not fit a file of the write-ahead log"
                )
            self._next_segment()
        name = self._used[-1].name
        try:
            if self._file is None:
                self._file = self._disk.open_region(f"{DIRECTORY}/{name}")
            self._file.write_at(self._offset, frame)
            self._file.data_sync()
        except OSError as error:
            raise LedgerDiskError(
                f"the write-ahead log cannot be written: {error.strerror}",
                where=f"{DIRECTORY}/{name}",
            ) from error
        self._offset += len(frame)
        self._used[-1].last_seq = self.seq
        self._said_base = base
        self.seq += 1
        return self.seq - 1

    def _next_segment(self) -> None:
        self.make_spare()
        with self._lock:
            self._used.append(_Used(self._free.popleft(), self.seq, self.seq - 1))
        self._leave_segment = False
        self.close()
        self._offset = 0

    def leave_segment(self) -> None:
        """Let the next frame begin a new segment, so that the present one can be released and
        overwritten.
        """
        self._leave_segment = True

    @property
    def oldest_seq(self) -> int:
        """The oldest frame whose bytes are still in a segment."""
        return self._used[0].first_seq if self._used else self.seq

    @property
    def has_spare(self) -> bool:
        """Whether a prepared segment is ready for when the present one is full."""
        return bool(self._free)

    def make_spare(self) -> None:
        """Have a free segment ready: zeros written, file and directory synced.  Raises ``OSError``
        (ENOSPC).
        """
        with self._lock:
            if self._free:
                return
            name = f"{self._next_name:08d}.seg"
            path = f"{DIRECTORY}/{name}"
            self._disk.write(f"{path}.tmp", bytes(self.segment_bytes), 0o600)
            self._disk.sync([f"{path}.tmp"], [])
            self._disk.replace(f"{path}.tmp", path)
            self._disk.sync([], [DIRECTORY])
            self._next_name += 1
            self._free.append(name)
            try:
                self._list_segments()
            except OSError:
                self._disk.remove(f"{DIRECTORY}/{self._free.pop()}")
                raise

    def release(self, keep_free: int = 4) -> None:
        """Overwrite segments that the last durable frame no longer needs; more than ``keep_free``
        free ones are removed.
        """
        while len(self._used) > 1 and self._used[0].last_seq < self._said_base:
            name = self._used[0].name
            self._overwrite(name, 0, self.segment_bytes)
            with self._lock:
                self._used.popleft()
                self._free.append(name)
        with self._lock:
            surplus = [self._free.popleft() for _ in range(len(self._free) - keep_free)]
            if surplus:
                self._list_segments()
            for name in surplus:
                self._disk.remove(f"{DIRECTORY}/{name}")
            if surplus:
                self._disk.sync([], [DIRECTORY])

    def _list_segments(self) -> None:
        """Durable on return: before a segment is first written to, and before one is removed."""
        names = sorted([*(item.name for item in self._used), *self._free])
        data = "".join(f"{name}\n" for name in names).encode()
        if data != self._listed:
            write_durably(self._disk, _LIST_PATH, data, 0o600)
            self._listed = data

    def close(self) -> None:
        """Close the present segment's file; what was written is durable already."""
        if self._file is not None:
            self._file.close()
            self._file = None
