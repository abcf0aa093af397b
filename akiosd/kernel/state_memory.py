"""The state memory of one cage: a memfd (memfd_create(2)) that outlives akiosd, because the keeper
holds a copy of its descriptor.  Its form is :mod:`akiosd.cage.state_format`.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from akiosd.cage import state_format
from akiosd.cage.state_format import StateError, Writer
from akiosd.kernel.fds import Fd


def read_boot() -> str:
    """A text that differs after every start of the host (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class StateMemory:
    """A state memory that this process alone writes.  :attr:`fd` is owned here."""

    def __init__(self, fd: Fd, boot: str) -> None:
        """Believe what is in ``fd``, which is owned from now on, also when this fails: then it is
        closed.  Raises StateError, OSError.
        """
        self.fd = fd
        self.sections: dict[str, bytes] = {}
        """What was in it at first."""
        try:
            size = os.fstat(fd.fileno()).st_size
            if not state_format.FIRST_BYTES <= size <= state_format.MAX_BYTES:
                raise StateError(f"a state memory of {size} bytes", "header")
            self._map = mmap.mmap(fd.fileno(), size)
            with memoryview(self._map) as view:
                self.sections = state_format.read(bytes(view), boot)
                self._writer = Writer.resume(bytes(view), self._store, self._grow)
        except BaseException:
            fd.close()
            raise

    @classmethod
    def create(cls, boot: str) -> StateMemory:
        """A new, empty memory.  Raises OSError."""
        fd = Fd(os.memfd_create("akios-cage", os.MFD_CLOEXEC))
        try:
            os.write(fd.fileno(), state_format.new(boot))
        except BaseException:
            fd.close()
            raise
        return cls(fd, boot)

    def write(self, name: str, data: bytes) -> None:
        """Replace the content of a section; it is there, whole, when this returns.  Raises
        StateError when there is no room, OSError.
        """
        self._writer.write(name, data)

    def spoil(self) -> None:
        """Make it a memory that nobody believes: what it says does not hold any more."""
        self._map[:8] = bytes(8)

    def close(self) -> None:
        """Unmap it and close the descriptor; whoever else holds one still has it."""
        if not self.fd.closed:
            self._map.close()
            self.fd.close()

    def _store(self, at: int, data: bytes) -> None:
        self._map[at : at + len(data)] = data

    def _grow(self, size: int) -> None:
        self._map.resize(size)
