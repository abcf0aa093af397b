"""Tallies of logs, kept: a log is read once, and then only what is new in it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

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

    def read(self, client: Client, logs: Sequence[str]) -> tuple[dict[str, Tally], bool]:
        """The tallies of at most ``MOST_LOGS`` logs, and whether all of them was read.  A log that
        is gone has none.
        """
        found: dict[str, Tally] = {}
        with self._lock:
            until, complete = time.monotonic() + SECONDS, True
            for log in logs[:MOST_LOGS]:
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
