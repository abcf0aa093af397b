"""Sends akiosd a copy of what a cage writes, for ``akiosctl logs``, and never waits for it: neither
agent nor caller is to notice that something is kept.
"""

from __future__ import annotations

import _thread
import os
import select
import time

_PENDING = 1 << 20
"""Bytes that wait for akiosd at most; beyond them the oldest are dropped, and that is said."""
_FINISH_SECONDS = 2.0


class OutputCopy:
    """Owns ``fd``, the writing end of akiosd's pipe.  Several threads may call :meth:`take`."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lock = _thread.allocate_lock()
        self._flushing = False
        self._pending = bytearray()
        self._dropped = 0
        self._gone = self._stalled = False

    def go_on(self, fd: int) -> None:
        """Another akiosd takes the copy, on ``fd``, owned from now on: what waits goes first."""
        os.set_blocking(fd, False)
        with self._lock:
            os.dup2(fd, self._fd, inheritable=False)
            os.close(fd)
            self._stalled = False
        self.take(b"")

    def take(self, data: bytes) -> None:
        """One more piece of output."""
        with self._lock:
            if self._gone:
                return
            self._pending += data
            if self._flushing or self._stalled:
                self._bound()
            elif not self._write_some():
                self._flushing = True
                _thread.start_new_thread(self._flush, ())

    def _bound(self) -> None:
        excess = len(self._pending) - _PENDING
        if excess > 0:
            del self._pending[:excess]
            self._dropped += excess

    def _write_some(self) -> bool:
        """True when nothing is left."""
        while self._pending or self._dropped:
            if self._dropped:
                said = f"\n[akiosctl: {self._dropped:,} bytes of output were not kept]\n".encode()
                self._pending[:0] = said
                self._dropped = 0
            try:
                del self._pending[: os.write(self._fd, self._pending)]
            except BlockingIOError:
                return False
            except OSError:
                self._stalled = True  # akiosd does not take any more, unless it comes back
                self._bound()
                return True
        return True

    def _flush(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while True:
            poll.poll()
            with self._lock:
                if self._gone or self._write_some():
                    self._flushing = False
                    return

    def finish(self) -> None:
        """There is no more; what waits is given a moment."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        deadline = time.monotonic() + _FINISH_SECONDS
        while True:
            left = deadline - time.monotonic()
            with self._lock:
                if self._gone or self._stalled or self._write_some() or left <= 0:
                    self._gone = True
                    os.close(self._fd)
                    return
            poll.poll(left * 1000)
