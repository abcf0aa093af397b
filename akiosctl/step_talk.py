"""What is said between the client of a step and its cage: the request goes in, the result comes
out, and akiosd tells of the end, if need be the next akiosd.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from akiosctl.client import GoneError, PlainClient
from akiosctl.come_back import Absence
from akiosctl.reconnect import Told, wait_for_daemon
from akiosctl.render import note
from akiosctl.stdio import write_all
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.step_call import MAX_RESULT

_PIECE = 1 << 16
_MAX_ERRORS = 1 << 14


def connect(path: str) -> PlainClient:
    """A connection; an akiosd that is being restarted is waited for: nothing of the step was begun.

    Raises :class:`AkiosError`, and never :class:`GoneError`, which would leave open whether the
    step was done.
    """
    try:
        try:
            return PlainClient(path)
        except GoneError:
            told = Told()
            told.gone()
            wait_for_daemon(path)
            client = PlainClient(path)
            told.back()
            return client
    except GoneError as gone:
        raise AkiosError(gone.what, gone.where, gone.next) from None


class Talk:
    """With one cage that was started.  Owns ``client`` and ``fds``; use in ``with``."""

    def __init__(self, client: PlainClient, number: int, started: dict[str, Any], fds: list[int]):
        """``number`` is the request to run, ``started`` its answer, with stdin, stdout, stderr."""
        self._client, self._number = client, number
        self.cage = str(started["cage"])
        self._come_back_s = int(started.get("come_back_s", 0))
        self._absence: Absence | None = None
        self._stdin, self._stdout, self._stderr = fds
        self.said, self.errors = bytearray(), bytearray()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        close_fds([self._stdout, self._stderr])
        self._client.close()

    def hear(self, data: bytes) -> dict[str, Any]:
        """Give the request, take what is said, and wait: what akiosd says of the end.

        Raises :class:`AkiosError` where nobody says how it ended.
        """
        threads = [
            threading.Thread(
                target=_drain, args=(self._stdout, self.said, MAX_RESULT), daemon=True
            ),
            threading.Thread(
                target=_drain, args=(self._stderr, self.errors, _MAX_ERRORS), daemon=True
            ),
            threading.Thread(target=_give, args=(self._stdin, data), daemon=True),
        ]
        for thread in threads:
            thread.start()
        ended = self._wait_end()
        for thread in threads[:2]:
            thread.join()
        return ended

    def _wait_end(self) -> dict[str, Any]:
        while True:
            try:
                message, received = self._client.receive()
            except GoneError as gone:
                if not self._come_back_s:
                    raise
                self._come_back(gone)
                continue
            self._absence = None
            close_fds(received)
            if message["m"] == "ended":
                return message
            if message["m"] == "error" and message.get("id", 0) in (0, self._number):
                words = (str(message.get(name, "")) for name in ("what", "where", "next"))
                raise AkiosError(*words)
            if message["m"] == "started":
                note(f"akiosd was restarted; {self.cage} goes on")

    def _come_back(self, gone: AkiosError) -> None:
        self._client.close()
        if self._absence is None:
            whom: dict[str, object] = {"cage": self.cage}
            self._absence = Absence(self._client.path, whom, gone, self._come_back_s)
        self._client, self._number = self._absence.wait()


def _drain(fd: int, into: bytearray, most: int) -> None:
    """To the end: what is more than ``most`` and one byte is read and forgotten."""
    while piece := os.read(fd, _PIECE):
        into += piece[: most + 1 - len(into)]


def _give(fd: int, data: bytes) -> None:
    try:
        write_all(fd, data)
    finally:
        os.close(fd)
