"""A program in a cage, with its pipes: output as it comes, input, and its end.

Two threads read its outputs into a bounded buffer, so a program that prints faster than anybody
reads waits; a third hears of its end (``follow.py``).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, get_args

from akiosctl.begin_program import begin_program
from akiosctl.client import PATIENCE_S, GoneError
from akiosctl.library.follow import Followed
from akiosctl.library.values import (
    Done,
    ProgramTimeout,
    Stream,
    as_bytes,
    done_of,
    input_bytes,
    too_slow,
)
from akiosd.errors import AkiosError

_READ = 1 << 16
_MOST_WAITING = 64
_MOST_LATE = 2 * _MOST_WAITING * _READ
"""Bytes beyond the bound that one may have printed which ended before it could be killed: what
waits here, and what two pipes hold.
"""
_LONGER_S = 10.0


class Program:
    """Started when it is made; it has to be iterated or waited for to its end.  ``number`` is its
    own in its cage, ``command`` its first word.
    """

    def __init__(self, path: str, request: dict[str, object], command: str) -> None:
        self.command = command
        client, asked, started, fds = begin_program(path, lambda client: request)
        self.number = int(started.get("program", 0))
        whom: dict[str, object] = {"cage": started["cage"], "program": self.number}
        come_back_s = int(started.get("come_back_s", 0))
        self._followed = Followed(client, asked, whom, come_back_s)
        self._longest_kill_s = come_back_s + PATIENCE_S + _LONGER_S
        self._killing = threading.Lock()
        self._killed_until: float | None = None
        """Until when whoever kills it waits."""
        self._left: float = int(started.get("output", 0)) or math.inf
        self._is_late = False
        self._timeout: float | None = None
        self._until: float | None = None
        self._pieces = _Pieces(len(fds) - 1)
        stdin, *outputs = fds
        self._stdin = os.fdopen(stdin, "wb", buffering=0)
        for fd, name in zip(outputs, get_args(Stream), strict=True):
            threading.Thread(target=self._read, args=(fd, name), daemon=True).start()

    def write(self, data: bytes | str) -> None:
        """Write to its standard input.  A program that reads no more is no error: its end tells."""
        view = memoryview(as_bytes(data))
        try:
            while view:
                view = view[self._stdin.write(view) :]
        except (OSError, ValueError):
            pass  # EPIPE; or it was killed meanwhile, and this end is closed

    def give(self, data: bytes | str) -> None:
        """Give it ``data`` and no more, by a thread: it may print before it has read all."""
        threading.Thread(target=self._give, args=(as_bytes(data),), daemon=True).start()

    def close_input(self) -> None:
        """Let it see the end of its input."""
        self._stdin.close()

    def pieces(self, timeout: float | None = None) -> Iterator[tuple[Stream, bytes]]:
        """(stream, bytes) as they come, up to the end of both, or to the policy's bound on output.
        Raises :class:`ProgramTimeout` when that takes longer than ``timeout`` seconds, which hold
        for :meth:`finish`, too.
        """
        if timeout is not None:
            self._timeout, self._until = timeout, time.monotonic() + timeout
        while True:
            try:
                piece = self._pieces.get(self._seconds_left())
            except TimeoutError:
                raise self._kill_for_time() from None
            if piece is None:
                return
            name, data = piece
            if len(data) > self._left and self._is_ended_for_output():
                if self._left:
                    yield name, data[: int(self._left)]
                self._pieces.close()
                return
            self._left -= len(data)
            yield piece

    def finish(self) -> dict[str, Any]:
        """Wait for its end, which akiosd tells: ``exit_code``, ``kind``, ``reason``.  Raises
        :class:`ProgramTimeout` where :meth:`pieces` got a ``timeout``, and that is over;
        ``GoneError`` where akiosd stays away for so long that its cage ends.
        """
        try:
            if not self._followed.wait(self._seconds_left()):
                raise self._kill_for_time()
            return self._followed.end()
        finally:
            self._close()

    def collect(self, timeout: float | None = None, input: bytes | str | None = None) -> Done:
        """Give it ``input`` and no more; all of its output, and its end.  Raises
        :class:`ProgramTimeout` when that takes longer than ``timeout`` seconds.
        """
        self.give(input_bytes(input))
        found: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}
        try:
            for name, data in self.pieces(timeout):
                found[name].append(data)
            ended = self.finish()
        except ProgramTimeout:
            out, err = (b"".join(found[name]) for name in get_args(Stream))
            raise too_slow(timeout or 0, self.command, out, err) from None
        return done_of(ended, *(b"".join(found[name]) for name in get_args(Stream)))

    def kill(self) -> None:
        """End it at once, and whoever iterates; returns when it has ended, so while akiosd is
        restarted it waits for that.  Any thread may.  Raises ``GoneError`` where akiosd is there,
        and does not answer; that is waited for once, however often this is called.
        """
        try:
            if self._followed.wait(0):
                return
            # Where akiosd stays away its cage ends, and it is gone all the same.
            if not self._followed.wait(self._ask_to_kill() - time.monotonic()):
                what = "akiosd was asked to end the program, and has not answered"
                raise GoneError(what, self.command, "see whether akiosd hangs: akiosctl doctor")
        finally:
            self._close()

    def _ask_to_kill(self) -> float:
        """Until when that is waited for."""
        with self._killing:
            if self._killed_until is None:
                self._killed_until = time.monotonic() + self._longest_kill_s
                self._followed.stop(grace_ns=0)
            return self._killed_until

    def _seconds_left(self) -> float | None:
        return None if self._until is None else max(self._until - time.monotonic(), 0)

    def _kill_for_time(self) -> ProgramTimeout:
        self.kill()
        return too_slow(self._timeout or 0, self.command)

    def _is_ended_for_output(self) -> bool:
        """It printed more than it may: whether it was ended for that, and not by itself before.

        Nobody reads its outputs meanwhile, so it waits.
        """
        if self._is_late:
            return True
        if not self._followed.wait(0):
            self._followed.stop(cause="output")
            if not self._followed.wait(self._seconds_left()):
                raise self._kill_for_time()
        try:
            if self._followed.end().get("kind") == "output":
                return True
        except AkiosError:
            return True  # finish tells
        self._is_late, self._left = True, _MOST_LATE
        return False

    def _close(self) -> None:
        self._pieces.close()
        self._stdin.close()

    def _give(self, data: bytes) -> None:
        self.write(data)
        self.close_input()

    def _read(self, fd: int, name: Stream) -> None:
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            while (data := pipe.read(_READ)) and self._pieces.put((name, data)):
                pass
        self._pieces.end_one()


class _Pieces:
    """A bounded buffer that ``ends`` threads fill and one empties."""

    def __init__(self, ends: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Stream, bytes]] = deque()
        self._ends, self._closed = ends, False

    def put(self, piece: tuple[Stream, bytes]) -> bool:
        """Waits for room; False when nobody takes it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < _MOST_WAITING)
            if not self._closed:
                self._waiting.append(piece)
                self._changed.notify_all()
            return not self._closed

    def end_one(self) -> None:
        """One of the threads brings no more."""
        with self._changed:
            self._ends -= 1
            self._changed.notify_all()

    def get(self, timeout: float | None) -> tuple[Stream, bytes] | None:
        """The next; None at the end.  Raises ``TimeoutError``."""
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._waiting or not self._ends or self._closed, timeout
            )
            if not ready:
                raise TimeoutError
            if not self._waiting:
                return None
            piece = self._waiting.popleft()
            self._changed.notify_all()
            return piece

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
