"""Keeps the output of a cage in a bounded file (:mod:`akiosd.wire.output`), so that it can be read
later and cannot fill the disk.

What nobody is attached to, akiosd reads itself: then the agent waits for nobody, and output
beyond what is kept is read and dropped. Where a client copies the output, it sends akiosd a copy on
a pipe, and drops what akiosd is too slow for.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from akiosd.daemon.base.log import get_log
from akiosd.kernel.fds import Fd
from akiosd.wire.output import (
    FILE_HEADER,
    FRAME_HEADER,
    Layout,
    parts,
    read_part,
    read_size,
)

_log = get_log("output")
_CHUNK = 1 << 16
_COPY_PAUSE_S = 0.01
"""Between two chunks of a client's copy: at most some 6 MiB a second are kept, so that no agent
that prints without end keeps akiosd from its other cages.
"""


class OutputFile:
    """The file of one cage; made with the first output.  A disk without room loses output, and
    nothing else.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._layout = Layout(size)
        self._file: Fd | None = None
        self._failed = False
        self.closed = False
        self._news = trio.Event()

    @classmethod
    def resume(cls, path: Path, size: int) -> OutputFile:
        """Go on with the file of a cage that another akiosd began; a new one, where there is
        none.
        """
        output = cls(path, size)
        try:
            with Fd(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)) as file:
                found = read_size(os.pread(file.fileno(), FILE_HEADER.size, 0))
                if found is not None:
                    read = [
                        read_part(os.pread(file.fileno(), part.end - part.start, part.start))
                        for part in parts(found)
                    ]
                    output._layout = Layout.resume(found, read)
                    output._file = file.dup()
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.error("output of a cage is lost", file=str(path), error=str(error))
        return output

    @property
    def written(self) -> int:
        """How much output there was so far, kept or not."""
        return self._layout.offset

    def write(self, data: bytes) -> None:
        """Keep more output."""
        for at, piece in self._layout.place(data, time.time_ns()):
            try:
                file = self._open()
                if os.pwrite(file, piece, at) != len(piece):
                    os.pwrite(file, bytes(FRAME_HEADER.size), at)  # no half of a frame
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._layout.undo()
                if not self._failed:
                    _log.error("output of a cage is lost", file=str(self._path), error=str(error))
                self._failed = True
        self._tell()

    def _open(self) -> int:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with Fd(os.open(self._path, flags, 0o600)) as file:
                os.pwrite(file.fileno(), self._layout.header().data, 0)
                self._file = file.dup()
        return self._file.fileno()

    async def wait_beyond(self, offset: int) -> None:
        """Wait until there is output beyond ``offset``, or no more will come."""
        while not self.closed and self.written <= offset:
            await self._news.wait()

    def close(self) -> None:
        """No more output will come."""
        self.closed = True
        if self._file is not None:
            self._file.close()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


class Spool:
    """Reads a cage's output (pipes, or the master of its terminal), or a client's copy of it, into
    ``target``, or into nothing.

    ``on_read`` is called with the number of bytes that came, ``on_limit`` once more than ``limit``
    bytes (0: any number) have come, of which no more is kept.  Nothing is read before all of
    ``after`` have ended, whose output came before this.
    """

    def __init__(
        self,
        target: OutputFile | None,
        limit: int = 0,
        on_limit: Callable[[], None] | None = None,
        *,
        on_read: Callable[[int], None] = lambda size: None,
        pause_s: float = 0,
        after: Sequence[Spool] = (),
    ) -> None:
        self._target = target
        self._left = limit if limit else math.inf
        self._on_limit = on_limit
        self._on_read = on_read
        self._pause_s = pause_s
        self._after = after
        self._scope = trio.CancelScope()
        self.done = trio.Event()
        self.is_whole = False
        """Every source came to its end: nobody has to read on."""

    @classmethod
    def of_copy(cls, target: OutputFile) -> Spool:
        """For what a client says that it copied."""
        return cls(target, pause_s=_COPY_PAUSE_S)

    async def run(self, sources: list[Fd]) -> None:
        """Copy until every source has ended, or :meth:`stop`; the sources are closed then."""
        try:
            with self._scope:
                for earlier in self._after:
                    await earlier.done.wait()
                async with trio.open_nursery() as nursery:
                    for source in sources:
                        nursery.start_soon(self._copy, source)
                self.is_whole = True
        finally:
            for source in sources:
                source.close()
            self.done.set()

    async def _copy(self, source: Fd) -> None:
        os.set_blocking(source.fileno(), False)
        while True:
            await trio.lowlevel.wait_readable(source.fileno())
            try:
                data = os.read(source.fileno(), _CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return  # EIO: the last user of the terminal is gone
            if not data:
                return
            self._on_read(len(data))
            kept = data[: int(min(self._left, len(data)))]
            if self._target is not None and kept:
                self._target.write(kept)
            self._left -= len(kept)
            if len(kept) < len(data) and self._on_limit is not None:
                self._on_limit()
                self._on_limit = None
            await trio.sleep(self._pause_s)

    def stop(self) -> None:
        """Stop copying: somebody attached."""
        self._scope.cancel()

    def stop_in(self, seconds: float) -> None:
        """What is still in a pipe may be read for so long."""
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)
