"""How far a follower of events has come: the id of an event, read and written.  Pure.

An id is ``log:index``, the number of the event itself.  Where several logs are followed, the next
wanted numbers of the others stand behind it, as in ``c-4f7k2m9q1x8d:17,host:5``: the id alone then
says how to go on, whatever server is asked.  At most ``MOST`` others are named, those that spoke
last.
"""

from __future__ import annotations

import re
from collections import OrderedDict

MOST = 64
PATTERN = r"(c-[0-9a-z]{12}|host):[0-9]{1,15}(,(c-[0-9a-z]{12}|host):[0-9]{1,15}){0,64}"
_WHOLE = re.compile(PATTERN)


class Positions:
    """Log → the number of its next wanted record, in the order in which they last spoke."""

    def __init__(self, wanted: dict[str, int] | None = None) -> None:
        self._next: OrderedDict[str, int] = OrderedDict(wanted or {})

    def move(self, log: str, next: int) -> str:
        """The record before ``next`` was sent; returns its id."""
        self._next.pop(log, None)
        if len(self._next) > MOST:
            self._next.popitem(last=False)
        others = ",".join(f"{name}:{number}" for name, number in reversed(self._next.items()))
        self._next[log] = next
        return f"{log}:{next - 1}" + (f",{others}" if others else "")

    def as_dict(self) -> dict[str, int]:
        """A copy."""
        return dict(self._next)


def parse_id(text: str) -> tuple[str, int, dict[str, int]] | None:
    """(log, index, next wanted numbers) of an event's id; None for what is none."""
    if _WHOLE.fullmatch(text) is None:
        return None
    first, *others = text.split(",")
    log, _, index = first.partition(":")
    wanted = {name: int(number) for name, _, number in (one.partition(":") for one in others)}
    return log, int(index), {**wanted, log: int(index) + 1}
