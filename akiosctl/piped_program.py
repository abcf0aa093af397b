"""A program in a standing cage whose pipes akiosctl itself holds."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

from akiosctl.client import PlainClient
from akiosctl.verbs.run import take_started
from akiosd.errors import AkiosError

_KEPT_WORDS = 1 << 16


class Piped:
    """A started program: ``stdin`` to write, ``stdout`` to read; what it says on stderr is kept for
    the error.
    """

    def __init__(self, client: PlainClient, cage: str, argv: list[str], copies: str = "") -> None:
        """Start it; ``argv[0]`` is a path inside, ``copies`` what the log says that it is for."""
        self._client = client
        request: dict[str, object] = {
            "cage": cage,
            "argv": [os.fsencode(word) for word in argv],
            "command": os.fsencode(argv[0]),
            "cwd": b"/",
            "env": {b"LC_ALL": b"C"},
            "copies": os.fsencode(copies),
        }
        number = client.request("program", request)
        _, fds = take_started(client, number)
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
        """Close its input, wait for its end; returns its exit code."""
        try:
            self.stdin.close()
        except BrokenPipeError:
            pass  # it has ended before it had read everything; its exit code tells
        while True:
            message, _ = self._client.receive()
            if message["m"] in ("ended", "error"):
                break
        self.stdout.close()
        self._reader.join()
        if message["m"] == "error":
            raise AkiosError(str(message.get("what", "")), str(message.get("where", "")))
        return int(message.get("exit_code", 0))

    @property
    def words(self) -> str:
        """What it said on stderr, in the C locale."""
        return self._words.decode("utf-8", "backslashreplace")
