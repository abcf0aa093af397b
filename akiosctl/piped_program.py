"""A program in a standing cage whose pipes akiosctl itself holds."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import BinaryIO

from akiosctl.begin_program import begin_program
from akiosctl.client import GoneError
from akiosctl.library.follow import Followed
from akiosd.errors import AkiosError

_KEPT_WORDS = 1 << 16
_TIDIES_S = 5.0


class Piped:
    """A started program: ``stdin`` to write, ``stdout`` to read; what it says on stderr is kept for
    the error.  It may be begun twice, where akiosd is restarted in the midst of that.
    """

    def __init__(self, path: str, cage: str, argv: list[str], copies: str = "") -> None:
        """Start it by the akiosd at ``path``; ``argv[0]`` is a path inside, ``copies`` what the log
        says that it is for.
        """
        request: dict[str, object] = {
            "cage": cage,
            "argv": [os.fsencode(word) for word in argv],
            "command": os.fsencode(argv[0]),
            "cwd": b"/",
            "env": {b"LC_ALL": b"C"},
            "copies": os.fsencode(copies),
        }
        begun = begin_program(path, lambda client: request, is_repeatable=True)
        client, number, started, fds = begun
        whom: dict[str, object] = {"cage": cage, "program": int(started.get("program", 0))}
        self._cage = cage
        self._followed = Followed(client, number, whom, int(started.get("come_back_s", 0)))
        self.stdin: BinaryIO = os.fdopen(fds[0], "wb")
        self.stdout: BinaryIO = os.fdopen(fds[1], "rb")
        self._words = b""
        self._reader = threading.Thread(target=self._read_words, args=(fds[2],), daemon=True)
        self._reader.start()

    def _read_words(self, fd: int) -> None:
        with os.fdopen(fd, "rb") as stderr:
            while data := stderr.read1(1 << 16):
                self._words = (self._words + data)[:_KEPT_WORDS]

    def finish(self) -> int:
        """Close its input, wait for its end, also while akiosd is restarted; returns its exit code.
        Raises AkiosError where nobody says how it ended.
        """
        try:
            self.stdin.close()
        except BrokenPipeError:
            pass  # it has ended before it had read everything; its exit code tells
        self._followed.wait(None)
        self.stdout.close()
        try:
            ended = self._followed.end()
        except GoneError as gone:
            raise AkiosError(
                f"akiosd ended, and {self._cage} with it; the copy is incomplete",
                gone.where,
                f"start akiosd, make the cage anew (akiosctl cage down {self._cage}, akiosctl cage"
                " up), and copy again",
            ) from None
        self._reader.join()
        return int(ended.get("exit_code", 0))

    def abandon(self) -> None:
        """Let it see the end of its input before that is whole, and tidy up; have it ended where it
        does not.
        """
        with suppress(OSError):
            self.stdin.close()
        if not self._followed.wait(_TIDIES_S):
            self.stop()

    def stop(self) -> None:
        """Have it ended: what it was to do is not wanted any more.  Does not wait."""
        self._followed.stop(grace_ns=0)

    @property
    def words(self) -> str:
        """What it said on stderr, in the C locale."""
        return self._words.decode("utf-8", "backslashreplace")
