"""Copies between the caller's descriptors and a cage's pipes or terminal, at the speed of a plain
pipe copy.

One thread for each direction, so that none waits for another; the main thread watches the control
socket, signals and the threads' ends.  The caller's descriptors are never switched to non-blocking
mode: others share them.  Pipes are spliced.  Splicing holds the pipe's lock while it waits for the
other side, so it is used only where the other side is a pipe or a plain file; a blocked terminal
would else stop the agent in the kernel. Never into a plain file: splice(2) takes the file's
position before it waits for data, and what others wrote there meanwhile (``>log 2>&1``) would be
overwritten.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import functools
import os
import select
import stat
from collections.abc import Callable

from akiosctl.terminal import DetachKeys

_CHUNK = 1 << 16
_SPLICE = 1 << 20
_PIPE_SIZE = 1 << 20
_HEAVY = 8 << 20
_NULL_DEVICE = os.makedev(1, 3)
_END_OF_INPUT, _INTERRUPT = b"\x04", b"\x03"
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
# What a reader that left, or a terminal that is gone, looks like.
_ENDS = (errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.EBADF, errno.ENXIO)


Keep = Callable[[bytes], None]
"""Gets output besides whom it is for; it must not wait."""


class CopyEnds:
    """Why a copy ended: the source was at its end, or the target does not take any more."""

    SOURCE = "source"
    TARGET = "target"


def copy(
    source: int, target: int, limit: OutputLimit | None = None, keep: Keep | None = None
) -> str:
    """Copy until one side ends; blocks, and closes nothing.  ``keep`` gets what passes.

    What ``limit`` does not let pass is read and dropped: a blocked writer could not tell why it
    waits. Raises OSError for errors that are no end, such as ENOSPC.
    """
    if (
        limit is None
        and keep is None
        and _may_splice(source)
        and _may_splice(target)
        and _is_for_splicing(source, target)
    ):
        try:
            return _copy_by_splice(source, target)
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
    return _copy_by_write(source, target, limit, keep)


def _copy_by_splice(source: int, target: int) -> str:
    copied = 0
    while True:
        try:
            count = os.splice(source, target, _SPLICE)
            if not count:
                return CopyEnds.SOURCE
            if copied < _HEAVY <= copied + count:
                _widen(source)
                _widen(target)
            copied += count
        except BlockingIOError:
            wait_ready(source, target)
        except OSError as error:
            if error.errno in _ENDS:
                return CopyEnds.TARGET if error.errno != errno.EIO else CopyEnds.SOURCE
            raise


def _widen(fd: int) -> None:
    """A bigger pipe for a heavy stream.  Not for every stream: pipe memory is limited for each
    user.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass  # no pipe, or the user's share of pipe memory is used up: slower, not wrong


def _copy_by_write(source: int, target: int, limit: OutputLimit | None, keep: Keep | None) -> str:
    while True:
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            wait_ready(source, None)
            continue
        except OSError as error:
            if error.errno in _ENDS:
                return CopyEnds.SOURCE
            raise
        if not data:
            return CopyEnds.SOURCE
        passed = limit.take(data) if limit is not None else data
        if keep is not None:
            keep(passed)
        if not write_all(target, passed):
            return CopyEnds.TARGET


def write_all(target: int, data: bytes) -> bool:
    """Write everything; False when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            wait_ready(None, target)
        except OSError as error:
            if error.errno in _ENDS:
                return False
            raise
    return True


def wait_ready(source: int | None, target: int | None) -> None:
    """Wait until ``source`` can be read and ``target`` written: for descriptors somebody made
    non-blocking.
    """
    for fd, event in ((source, select.POLLIN), (target, select.POLLOUT)):
        if fd is not None:
            poll = select.poll()
            poll.register(fd, event)
            poll.poll()


def _is_pipe(fd: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _is_for_splicing(source: int, target: int) -> bool:
    return _is_pipe(target) or (_is_pipe(source) and not stat.S_ISREG(os.fstat(target).st_mode))


def _may_splice(fd: int) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return (
        stat.S_ISFIFO(status.st_mode)
        or stat.S_ISREG(status.st_mode)
        or (stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE)
    )


def is_one_output() -> bool:
    """Whether 1 and 2 are one file, pipe or terminal, where what is written to either stands in the
    order of its writing (``2>&1``).
    """
    first, second = os.fstat(1), os.fstat(2)
    if (first.st_dev, first.st_ino) != (second.st_dev, second.st_ino):
        return False
    # Opened twice (``>log 2>log``), a plain file has two positions, and each writes over the other.
    if not stat.S_ISREG(first.st_mode):
        return True
    flags = fcntl.fcntl(1, fcntl.F_GETFL) & fcntl.fcntl(2, fcntl.F_GETFL)
    if flags & os.O_APPEND:
        return True
    from akiosd.kernel.syscalls import is_same_open_file

    return is_same_open_file(1, 2)


def open_missing_stdio() -> None:
    """Give 0, 1 and 2 something to be, so that nothing opened later takes their place (``<&-`` in a
    shell).
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)


class OutputLimit:
    """How much of a cage's output may still be copied; ``reached`` is an eventfd, readable once
    that was too little.
    """

    def __init__(self, left: int) -> None:
        self.reached = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._left = left
        self._lock = _thread.allocate_lock()

    def take(self, data: bytes) -> bytes:
        """What of ``data`` may pass."""
        with self._lock:
            passed = data[: self._left]
            self._left -= len(passed)
        if len(passed) < len(data):
            os.eventfd_write(self.reached, 1)
        return passed


class Copiers:
    """The copying threads of one run.  ``ended`` is an eventfd readable once every output has
    ended.
    """

    def __init__(
        self,
        limit: OutputLimit | None = None,
        keep: Keep | None = None,
        leave: Callable[[], None] | None = None,
    ) -> None:
        """``leave``: the cage is only watched.  It is called, in a thread, when nobody reads any
        more; then, and at a key that interrupts, nothing of it reaches the agent.
        """
        self._limit, self._keep, self._leave = limit, keep, leave
        self.ended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.failure: OSError | None = None
        self._lock = _thread.allocate_lock()
        self._outputs = 0
        self._is_left = False
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)

    def start_pipes(self, outputs: list[int], *, stdin: int | None) -> None:
        """Take the cage's pipes (closed here at their ends) and copy 0, 1 and 2; one output is
        both.
        """
        self._outputs = len(outputs)
        if stdin is not None:
            self._start(lambda: self._input(stdin))
        for target, pipe in enumerate(outputs, 1):
            self._start(functools.partial(self._output, pipe, target))

    def start_terminal(self, master: int, keys: bytes, detach: Callable[[], None]) -> None:
        """Copy between 0, 1 and a terminal's master, which stays the caller's.  ``detach`` is
        called in a thread.
        """
        self._outputs = 1
        self._start(lambda: self._typed(master, DetachKeys(keys), detach))
        self._start(lambda: self._show(master))

    def finish(self) -> None:
        """Stop copying from a terminal once all is shown."""
        os.eventfd_write(self._stop, 1)

    def leave(self) -> None:
        """Stop copying at once: who comes next shows the rest."""
        self._is_left = True
        os.eventfd_write(self._stop, 1)

    def _start(self, job: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                job()
            except OSError as error:
                self.failure = error

        _thread.start_new_thread(guarded, ())

    def _input(self, pipe: int) -> None:
        try:
            copy(0, pipe)
        except OSError:
            pass  # stdin that cannot be read (a directory, say) is an empty one
        finally:
            os.close(pipe)

    def _output(self, pipe: int, target: int) -> None:
        if self._leave is not None:
            self._show(pipe, target)
            os.close(pipe)
            return
        try:
            copy(pipe, target, self._limit, self._keep)
        finally:
            # When our reader left, the agent's next write must get SIGPIPE as it would without us.
            os.close(pipe)
            self._note_end()

    def _typed(self, master: int, keys: DetachKeys, detach: Callable[[], None]) -> None:
        while True:
            try:
                data = os.read(0, _CHUNK)
            except BlockingIOError:
                wait_ready(0, None)
                continue
            except OSError:
                return
            if not data:
                # A terminal has no half-close; its end of input is typed.
                if self._leave is None:
                    write_all(master, _END_OF_INPUT)
                return
            passed, detached = keys.feed(data)
            if self._leave is not None and _INTERRUPT in passed:
                passed, detached = passed[: passed.index(_INTERRUPT)], True
            if not write_all(master, passed):
                return
            if detached:
                detach()
                return

    def _show(self, source: int, target: int = 1) -> None:
        """Copy until the source ends, nobody reads any more, or :meth:`finish`."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if source not in ready or self._is_left:
                    return
                if not self._show_once(source, target):
                    return
        finally:
            self._note_end()

    def _show_once(self, source: int, target: int) -> bool:
        try:
            data = os.read(source, _CHUNK)
        except OSError:
            return False  # EIO: every process inside has closed the terminal
        passed = self._limit.take(data) if self._limit is not None else data
        if self._keep is not None:
            self._keep(passed)
        if data and write_all(target, passed):
            return True
        if data and self._leave is not None:
            self._leave()
        return False

    def _note_end(self) -> None:
        with self._lock:
            self._outputs -= 1
            if self._outputs == 0:
                os.eventfd_write(self.ended, 1)
