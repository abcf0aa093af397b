"""The state memory of one cage: a memfd (memfd_create(2)) that outlives akiosd, because the keeper
holds a copy of its descriptor.  Its form is :mod:`akiosd.cage.state_format`.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

from akiosd.cage import state_format
from akiosd.cage.state_format import StateError, Writer
from akiosd.kernel.fds import Fd


@functools.cache
def read_boot() -> str:
    """A text that differs after every start of the host (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class StateMemory:
    """A state memory that this process alone writes.  :attr:`fd` is owned here."""

    def __init__(self, fd: Fd, content: mmap.mmap, writer: Writer) -> None:
        """For :meth:`create` and :meth:`open`."""
        self.fd = fd
        self.sections: dict[str, bytes] = {}
        """What was in it when it was opened."""
        self._map, self._writer = content, writer
        writer.write_into(self._store, self._grow)

    @classmethod
    def open(cls, fd: Fd, boot: str) -> StateMemory:
        """Believe what is in ``fd``, which is owned from now on, also when this fails: then it is
        closed.  Raises StateError, OSError.
        """
        try:
            size = os.fstat(fd.fileno()).st_size
            if not state_format.FIRST_BYTES <= size <= state_format.MAX_BYTES:
                raise StateError(
                    f"what akiosd kept of a running cage cannot have {size} bytes", "header"
                )
            content = mmap.mmap(fd.fileno(), size)
            data = bytes(content)
            sections = state_format.read(data, boot)
            memory = cls(fd, content, Writer.resume(data))
        except BaseException:
            fd.close()
            raise
        memory.sections = sections
        return memory

    @classmethod
    def create(cls, boot: str, sections: Mapping[str, bytes]) -> StateMemory:
        """A new memory with these sections.  Raises StateError when there is no room, OSError."""
        content, writer = state_format.new(boot, sections)
        fd = Fd(os.memfd_create("akios-cage", os.MFD_CLOEXEC))
        try:
            os.write(fd.fileno(), content)
            return cls(fd, mmap.mmap(fd.fileno(), len(content)), writer)
        except BaseException:
            fd.close()
            raise

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
