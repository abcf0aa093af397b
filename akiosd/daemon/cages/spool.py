"""Keeps the output of a detached cage in a bounded file, so that nobody has to read it and it
cannot fill the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import trio

from akiosd.kernel.fds import Fd

SPOOL_BYTES = 16 << 20
"""Most bytes that are kept."""
_CHUNK = 1 << 16


class Spool:
    """Copies the cage's output (pipes, or the master of its terminal) to a file while nobody is
    attached.

    After ``SPOOL_BYTES`` the output is read and dropped, so that the agent never blocks on it.
    ``on_limit`` is called once more than ``limit`` bytes (0: any number) have come.
    """

    def __init__(self, path: Path, limit: int, on_limit: Callable[[], None]) -> None:
        self.path = path
        self._left = limit
        self._on_limit = on_limit if limit else None
        self._scope: trio.CancelScope | None = None

    async def run(self, sources: list[Fd]) -> None:
        """Copy until every source has ended, or :meth:`stop`; the sources stay the caller's."""
        with (
            trio.CancelScope() as self._scope,
            Fd(
                os.open(
                    self.path,
                    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW,
                    0o600,
                )
            ) as target,
        ):
            async with trio.open_nursery() as nursery:
                for source in sources:
                    nursery.start_soon(self._copy, source.dup(), target.fileno())

    async def _copy(self, source: Fd, target: int) -> None:
        with source:
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
                self._count(len(data))
                room = SPOOL_BYTES - os.fstat(target).st_size
                if room > 0:
                    os.write(target, data[:room])

    def _count(self, size: int) -> None:
        self._left -= size
        if self._on_limit is not None and self._left < 0:
            self._on_limit()
            self._on_limit = None

    def stop(self) -> None:
        """Stop copying: somebody attached."""
        if self._scope is not None:
            self._scope.cancel()
