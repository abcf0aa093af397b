"""A program in a cage, with its pipes: output as it comes, input, and its end.

Two threads read its outputs into a bounded buffer, so a program that prints faster than anybody
reads waits.  The connection belongs to the one thread that iterates and waits for the end; whoever
kills asks by another connection, and wakes that thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, get_args

from akiosctl.client import DaemonError, GoneError, PlainClient
from akiosctl.come_back import Absence
from akiosctl.library.values import Done, ProgramTimeout, Stream, as_bytes, done_of, too_slow
from akiosctl.verbs.run import take_started
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

_READ = 1 << 16
_MOST_WAITING = 64


class Program:
    """Started when it is made; it has to be iterated or waited for to its end.  ``number`` is its
    own in its cage, ``command`` its first word.
    """

    def __init__(self, path: str, request: dict[str, object], command: str) -> None:
        self._path, self.command = path, command
        self._client = PlainClient(path)
        try:
            self._asked = self._client.request("program", request)
            started, fds = take_started(self._client, self._asked)
        except BaseException:
            self._client.close()
            raise
        self._whom: dict[str, object] = {"cage": started["cage"]}
        self.number = int(started.get("program", 0))
        self._whom["program"] = self.number
        self._come_back_s = int(started.get("come_back_s", 0))
        self._absence: Absence | None = None
        self._left = int(started.get("output", 0)) or None
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
        threading.Thread(target=self._give, args=(data,), daemon=True).start()

    def close_input(self) -> None:
        """Let it see the end of its input."""
        self._stdin.close()

    def pieces(self, timeout: float | None = None) -> Iterator[tuple[Stream, bytes]]:
        """(stream, bytes) as they come, up to the end of both.  Raises :class:`ProgramTimeout` when
        that takes longer than ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if until is None else max(until - time.monotonic(), 0)
            try:
                piece = self._pieces.get(left)
            except TimeoutError:
                self.end()
                raise too_slow(timeout or 0, self.command) from None
            if piece is None:
                return
            self._count(len(piece[1]))
            yield piece

    def finish(self) -> dict[str, Any]:
        """Wait for its end, which akiosd tells: ``exit_code``, ``kind``, ``reason``."""
        try:
            while True:
                try:
                    message, fds = self._client.receive()
                except GoneError as gone:
                    self._come_back(gone)
                    continue
                self._absence = None
                close_fds(fds)
                if message.get("id", 0) not in (0, self._asked):
                    continue
                if message["m"] == "error":
                    what, where = message.get("what", ""), message.get("where", "")
                    raise DaemonError(what, where, message.get("next", ""))
                if message["m"] == "ended":
                    return message
        finally:
            self._close()

    def collect(self, timeout: float | None = None, input: bytes | str | None = None) -> Done:
        """Give it ``input`` and no more; all of its output, and its end."""
        self.give(input or b"")
        found: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}
        try:
            for name, data in self.pieces(timeout):
                found[name].append(data)
        except ProgramTimeout:
            out, err = (b"".join(found[name]) for name in get_args(Stream))
            raise too_slow(timeout or 0, self.command, out, err) from None
        return done_of(self.finish(), *(b"".join(found[name]) for name in get_args(Stream)))

    def kill(self) -> None:
        """End it at once, and whoever iterates.  Any thread may."""
        client = PlainClient(self._path)
        try:
            client.request("stop", {**self._whom, "grace_ns": 0})
            _, fds = client.receive()
            close_fds(fds)
        finally:
            client.close()
            self._pieces.close()

    def end(self) -> None:
        """Kill it, and wait until akiosd says that it ended.  By the thread that iterated."""
        self.kill()
        with contextlib.suppress(AkiosError):  # its cage was taken down: it is gone all the same
            self.finish()

    def _close(self) -> None:
        self._pieces.close()
        self._stdin.close()
        self._client.close()

    def _give(self, data: bytes | str) -> None:
        self.write(data)
        self.close_input()

    def _read(self, fd: int, name: Stream) -> None:
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            while (data := pipe.read(_READ)) and self._pieces.put((name, data)):
                pass
        self._pieces.end_one()

    def _count(self, size: int) -> None:
        """The bound of the policy on output is held where the output is read."""
        if self._left is None:
            return
        self._left -= size
        if self._left < 0:
            self._left = None
            self._client.request("stop", {**self._whom, "cause": "output"})

    def _come_back(self, gone: AkiosError) -> None:
        """akiosd was restarted; the program goes on, if it may."""
        if not self._come_back_s:
            raise gone
        self._client.close()
        if self._absence is None:
            self._absence = Absence(self._path, self._whom, gone, self._come_back_s)
        self._client, self._asked = self._absence.wait()


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
