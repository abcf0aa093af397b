"""Records executed and written files: reads the kernel's reports about a cage, and says when some
were lost.
"""

from __future__ import annotations

import contextlib
import time

import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages import left_behind
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.errors import KernelError
from akiosd.kernel.fanotify import MAX_EVENTS, FileEvent, FileEvents
from akiosd.kernel.fds import Fd
from akiosd.values.records import FileUsed, Lost, Record

_log = get_log("files")
_OVERFLOW = (
    "the kernel had more names of executed and written files than its queue holds, or could not"
    " open a file"
)
_STALLED = "a file system did not answer when the kernel was to name executed and written files"
_LINGER_S = 0.005
_PATIENCE_S = 5.0


class FileRecorder:
    """Owns the fanotify group of a cage, charged to the host uid ``owner``.  ``missing`` says why
    there is none.

    ``caller`` is the uid of the user whose file systems the cage sees.
    """

    def __init__(self, owner: int, caller: int, group: Fd | None = None) -> None:
        """``group``: that of a cage which another akiosd began, owned from now on."""
        self.missing = ""
        self._caller = caller
        self._events: FileEvents | None = None
        self._waiting: trio.CancelScope | None = None
        self._finishing = False
        self._running = False
        self._done = trio.Event()
        # One thread for each cage: a file system that stalls holds up nobody else's names.
        self._limiter = trio.CapacityLimiter(1)
        try:
            self._events = FileEvents(owner, group)
        except KernelError as error:
            self.missing = f"{error.what}; {error.next}"

    @property
    def events(self) -> FileEvents | None:
        """The group; None where the kernel gives none."""
        return self._events

    async def run(self, book: Book) -> None:
        """Record until :meth:`finish` was called and the queue is empty."""
        self._running = True
        try:
            while self._events is not None:
                finishing = self._finishing
                if not finishing:
                    await self._wait()
                await self._drain(self._events, book)
                if finishing:
                    break
        finally:
            self._done.set()

    async def finish(self, book: Book) -> None:
        """Every process is dead: wait until all reports are in the log, five seconds at most."""
        self._finishing = True
        if not self._running:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        with trio.move_on_after(_PATIENCE_S) as patience:
            await self._done.wait()
        if patience.cancelled_caught:
            await book.append([Lost(ts=time.time_ns(), count=0, why=_STALLED)])

    async def _wait(self) -> None:
        """Wait for an event and a little longer: every read takes a thread, so several events are
        read at once.
        """
        assert self._events is not None
        with trio.CancelScope() as self._waiting:
            await trio.lowlevel.wait_readable(self._events.group.fileno())
            await trio.sleep(_LINGER_S)

    async def _drain(self, events: FileEvents, book: Book) -> None:
        while True:
            try:
                found, lost = await self._read(events)
            except OSError as error:
                _log.error("files executed and written are told no more", error=str(error))
                found, lost = [], 1
            now = time.time_ns()
            records: list[Record] = [
                FileUsed(ts=now, use=event.use, path=event.path, pid=event.pid, count=event.count)
                for event in found
            ]
            if lost:
                records.append(Lost(ts=now, count=lost, why=_OVERFLOW))
            if records:
                await book.append(records)
            if len(found) < MAX_EVENTS // 2:
                return

    async def _read(self, events: FileEvents) -> tuple[list[FileEvent], int]:
        """In a thread, which is left behind when this is cancelled, and counted until it comes
        back.
        """
        token, back, left = trio.lowlevel.current_trio_token(), False, False

        def come_back() -> None:
            nonlocal back
            back = True
            if left:
                left_behind.remove(self._caller)

        def read() -> tuple[list[FileEvent], int]:
            try:
                return events.read()
            finally:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(come_back)

        # From here on the thread is started whatever happens: the limiter is free, so there is
        # nothing to wait for.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return await trio.to_thread.run_sync(
                read, limiter=self._limiter, abandon_on_cancel=True
            )
        except trio.Cancelled:
            if not back:
                left = True
                left_behind.add(self._caller)
            raise

    def close(self) -> None:
        """Close the fanotify group; what it still held is lost."""
        if self._events is not None:
            self._events.close()
