"""Equal denials within one second are reported as one record with a count.

Pure: the time is an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from akiosd.values.records import NetDenied
from akiosd.wire.gateway import GatewayRecord

WINDOW_S = 1.0
_MAX_OPEN = 4096
"""How many different denials are remembered at once."""


class Folder:
    """Coalesces equal denials.

    The first denial of its kind is reported at once, so that none is known to the agent and missing
    from the log. Those that follow within ``WINDOW_S`` are counted, and reported as one record when
    the window is over.
    """

    def __init__(self) -> None:
        self._open: dict[NetDenied, tuple[float, int]] = {}

    def fold(self, records: Iterable[GatewayRecord], now: float) -> tuple[GatewayRecord, ...]:
        """Returns the records to report now: all that are no denials, and each denial that is the
        first of its kind.

        ``now`` is in seconds. Records are equal when they differ in nothing but time and count.
        """
        told: list[GatewayRecord] = []
        for record in records:
            if not isinstance(record, NetDenied):
                told.append(record)
                continue
            key = msgspec.structs.replace(record, ts=0, count=1)
            if key in self._open:
                since, count = self._open[key]
                self._open[key] = since, count + record.count
                continue
            if len(self._open) >= _MAX_OPEN:
                told += self.take_due(float("inf"))
                self._open.clear()
            self._open[key] = now, 0
            told.append(record)
        return tuple(told)

    def take_due(self, now: float) -> list[NetDenied]:
        """Remove and return one record with its count for each kind of denial whose window is over
        at ``now`` (seconds).

        ``now=inf`` returns everything that is still counted.
        """
        due = []
        for key, (since, count) in list(self._open.items()):
            if now - since < WINDOW_S:
                continue
            if count:
                due.append(msgspec.structs.replace(key, count=count))
                self._open[key] = now, 0
            else:
                del self._open[key]
        return due
