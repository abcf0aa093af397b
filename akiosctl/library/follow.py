"""What akiosd says of one program, heard by a thread of its own, over restarts of akiosd.

Whoever reads the program's outputs, or does something else meanwhile, hears nothing of akiosd; and
one that was restarted gives a program's client a minute to come back, and then ends the program.
"""

from __future__ import annotations

import threading
from typing import Any

from akiosctl.client import DaemonError, GoneError, PlainClient
from akiosctl.come_back import Absence
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds


class Followed:
    """The program of the request ``asked`` on ``client``, which is this object's from here on, and
    closed at the program's end.  ``whom`` names it, ``come_back_s`` is of its ``Started``.
    """

    def __init__(
        self, client: PlainClient, asked: int, whom: dict[str, object], come_back_s: int
    ) -> None:
        self._client, self._asked, self._whom = client, asked, whom
        self._come_back_s = come_back_s
        self._absence: Absence | None = None
        self._lock = threading.Lock()
        """Of the connection, which its thread changes, and of what is wanted."""
        self._wanted: dict[str, object] | None = None
        self._ended: dict[str, Any] | None = None
        self._failure: Exception | None = None
        self._over = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def stop(self, **how: object) -> None:
        """Have akiosd end it, now or once it is back.  Does not wait.  Any thread may."""
        with self._lock:
            self._wanted = {**self._whom, **how}
            if self._absence is None and not self._over.is_set():
                self._client.request("stop", self._wanted)

    def wait(self, seconds: float | None) -> bool:
        """Wait until it has ended, or nothing can be heard of it any more."""
        return self._over.wait(seconds)

    def end(self) -> dict[str, Any]:
        """How it ended, in akiosd's words; after :meth:`wait`.  Raises what kept them from being
        heard: ``DaemonError``, or ``GoneError`` where akiosd stayed away and its cage ended.
        """
        if self._ended is None:
            raise self._failure or AssertionError("it has not ended")
        return self._ended

    def _follow(self) -> None:
        try:
            self._ended = self._hear()
        except Exception as error:
            self._failure = error
        finally:
            with self._lock:
                self._client.close()
                self._over.set()

    def _hear(self) -> dict[str, Any]:
        while True:
            try:
                message, fds = self._client.receive()
            except GoneError as gone:
                self._come_back(gone)
                continue
            close_fds(fds)
            self._is_back()
            if message.get("id", 0) not in (0, self._asked):
                continue
            if message["m"] == "error":
                what, where = message.get("what", ""), message.get("where", "")
                raise DaemonError(what, where, message.get("next", ""))
            if message["m"] == "ended":
                return message

    def _come_back(self, gone: AkiosError) -> None:
        """akiosd was restarted; the program goes on, if it may."""
        if not self._come_back_s:
            raise gone
        with self._lock:
            self._client.close()
            if self._absence is None:
                self._absence = Absence(self._client.path, self._whom, gone, self._come_back_s)
            absence = self._absence
        back = absence.wait()
        with self._lock:
            self._client, self._asked = back

    def _is_back(self) -> None:
        """akiosd answers.  What it was asked before its restart it may never have read."""
        with self._lock:
            if self._absence is None:
                return
            self._absence = None
            if self._wanted is not None:
                self._client.request("stop", self._wanted)
