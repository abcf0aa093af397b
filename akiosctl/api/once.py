"""Requests that begin something, sent twice: the second one gets what the first one began."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from akiosctl.api.kept_keys import KeptKeys, Line, State, name_of
from akiosctl.api.problems import Refusal
from akiosd.errors import AkiosError

MOST = 1024
"""Keys of a token that are remembered, and of all that outlive the server."""
_PATIENCE_S = 25.0


def other_request() -> Refusal:
    """What a request is told whose key is that of another one."""
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "this Idempotency-Key was sent with another request before",
        "Idempotency-Key",
        "use a new key for each piece of work",
    )


class _Begun:
    """``what`` was asked for; ``made`` is set when it is known what came of it.  ``is_lost``: an
    earlier server was ended while it was at it.  ``owner`` is the token, "" for an earlier
    server's.
    """

    def __init__(self, what: bytes, owner: str = "") -> None:
        self.what = what
        self.owner = owner
        self.ended = threading.Event()
        self.made = ""
        self.is_lost = False


class Once:
    """Remembers the last requests that had an Idempotency-Key, by token and key; with ``kept`` also
    those of the server before.
    """

    def __init__(self, kept: KeptKeys | None = None) -> None:
        self._lock = threading.Lock()
        self._kept, self._writing = kept, threading.Lock()
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        for name, line in (kept.read() if kept is not None else {}).items():
            begun = self._begun[name] = _Begun(bytes.fromhex(line.what))
            begun.made, begun.is_lost = line.made, not line.made
            begun.ended.set()

    def do(
        self,
        owner: str,
        key: str,
        asked: bytes,
        work: Callable[[], str],
        seen: str = "GET /api/v1/cages",
    ) -> str:
        """What ``work`` returns, or what it returned when the same was asked for with this key.
        ``seen``: the request that shows what was begun.

        A second request waits for the first; where that failed, it does the work itself.
        """
        if not key:
            return work()
        name, what = name_of(owner, key), hashlib.sha256(asked).digest()
        while True:
            with self._lock:
                begun = self._begun.get(name)
                if begun is None:
                    begun = self._begun[name] = _Begun(what, owner)
                    self._forget(owner)
                    break
            if begun.what != what:
                raise other_request()
            if begun.is_lost:
                raise Refusal(
                    HTTPStatus.CONFLICT,
                    "the server was ended while it was at the first request with this key",
                    "Idempotency-Key",
                    f"see whether the work began: {seen}; if not, ask with a new key",
                )
            if not begun.ended.wait(_PATIENCE_S):
                raise Refusal(
                    HTTPStatus.CONFLICT,
                    "the first request with this key is still at work",
                    "Idempotency-Key",
                    "ask again with the same key",
                )
            if begun.made:
                return begun.made
        try:
            self._write(name, what, "begun")
            begun.made = work()
        finally:
            if not begun.made:
                with self._lock:
                    del self._begun[name]
            # What is not written now is unknown to the next server, which says so.
            with contextlib.suppress(AkiosError):
                self._write(name, what, "made" if begun.made else "failed", begun.made)
            begun.ended.set()
        return begun.made

    def _write(self, name: str, what: bytes, state: State, made: str = "") -> None:
        if self._kept is not None:
            with self._writing:
                self._kept.write(Line(name, what.hex(), state, made))

    def _forget(self, owner: str) -> None:
        """The oldest of ``owner`` go: nobody's are forgotten because of another's."""
        own = [name for name, one in self._begun.items() if one.owner == owner]
        for name in own[: max(0, len(own) - MOST)]:
            if self._begun[name].ended.is_set():
                del self._begun[name]
