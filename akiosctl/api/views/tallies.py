"""Tallies of logs, kept: a log is read once, and then only what is new in it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from akiosctl.api.problems import Refusal
from akiosctl.api.views.decisions import Tally
from akiosctl.client import Client, DaemonError
from akiosd.wire.messages import LogEntries, ReadLog

MOST_LOGS = 64
SECONDS = 3.0
"""How long one request reads; what is left, the next one reads."""


class Tallies:
    """Threads may ask; one reads at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Tally] = OrderedDict()

    @contextmanager
    def read(self, client: Client, logs: Sequence[str]) -> Iterator[tuple[dict[str, Tally], bool]]:
        """The tallies of at most ``MOST_LOGS`` logs, and whether all of them was read; to be used
        in ``with``, and not behind it.  A log that is gone has none.
        """
        if not self._lock.acquire(timeout=2 * SECONDS):
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise Refusal(
                status,
                "the server is reading logs for other requests",
                "decisions",
                "ask again in a second",
            )
        try:
            yield self._read(client, logs[:MOST_LOGS])
        finally:
            self._lock.release()

    def _read(self, client: Client, logs: Sequence[str]) -> tuple[dict[str, Tally], bool]:
        found: dict[str, Tally] = {}
        until, complete = time.monotonic() + SECONDS, True
        for log in logs:
            tally = self._kept.setdefault(log, Tally())
            self._kept.move_to_end(log)
            try:
                complete = self._read_one(client, log, tally, until) and complete
            except DaemonError:
                del self._kept[log]
                continue
            found[log] = tally
        while len(self._kept) > MOST_LOGS:
            self._kept.popitem(last=False)
        return found, complete

    def _read_one(self, client: Client, log: str, tally: Tally, until: float) -> bool:
        """Whether there is nothing more to read now."""
        while time.monotonic() < until:
            request = ReadLog(cage=log, start=tally.next, stop=1 << 62)
            reply, _ = client.call(request, LogEntries)
            if not reply.entries:
                return True
            tally.next = reply.start
            tally.add(reply.entries)
        return False
