"""Requests that begin something, sent twice: the second one gets what the first one began."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from akiosctl.api.problems import Refusal

_MOST = 1024
_PATIENCE_S = 25.0


class _Begun:
    """``what`` was asked for; ``made`` is set when it is known what came of it."""

    def __init__(self, what: bytes) -> None:
        self.what = what
        self.ended = threading.Event()
        self.made = ""


class Once:
    """Remembers the last requests that had an Idempotency-Key, in memory, by token and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: OrderedDict[tuple[str, str], _Begun] = OrderedDict()

    def do(self, owner: str, key: str, asked: bytes, work: Callable[[], str]) -> str:
        """What ``work`` returns, or what it returned when the same was asked for with this key.

        A second request waits for the first; where that failed, it does the work itself.
        """
        if not key:
            return work()
        what = hashlib.sha256(asked).digest()
        while True:
            with self._lock:
                begun = self._begun.get((owner, key))
                if begun is None:
                    begun = self._begun[owner, key] = _Begun(what)
                    self._forget()
                    break
            if begun.what != what:
                raise Refusal(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "this Idempotency-Key was sent with another request before",
                    "Idempotency-Key",
                    "use a new key for each piece of work",
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
            begun.made = work()
        finally:
            if not begun.made:
                with self._lock:
                    del self._begun[owner, key]
            begun.ended.set()
        return begun.made

    def _forget(self) -> None:
        for name in [name for name, one in self._begun.items() if one.ended.is_set()]:
            if len(self._begun) <= _MOST:
                return
            del self._begun[name]
