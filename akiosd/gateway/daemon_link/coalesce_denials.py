"""Equal denials within a second are told as one.  Pure: time is an argument, in seconds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from akiosd.values.records import NetDenied
from akiosd.wire.gateway import GatewayRecord

WINDOW_S = 1.0
_MAX_OPEN = 4096


class Folder:
    """The first of its kind is told at once, so that no denial is known to the agent and not to the log; those that
    follow within a second are one record with their count."""

    def __init__(self) -> None:
        self._open: dict[NetDenied, tuple[float, int]] = {}

    def fold(self, records: Iterable[GatewayRecord], now: float) -> tuple[GatewayRecord, ...]:
        """The records to be told now."""
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
        """What was folded into records whose second is over; for infinity, into all."""
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
