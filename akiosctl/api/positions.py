"""How far a follower of events has come: the id of an event, read and written.  Pure.

An id is ``log:index``, the number of the event itself.  Where several logs are followed, the next
wanted numbers of the others stand behind it, as in ``c-4f7k2m9q1x8d:17,host:5``: the id alone then
says how to go on, whatever server is asked.  At most ``MOST`` others are named, those that spoke
last.
"""

from __future__ import annotations

import re

MOST = 64
PATTERN = r"(c-[0-9a-z]{12}|host):[0-9]{1,15}(,(c-[0-9a-z]{12}|host):[0-9]{1,15}){0,64}"
_WHOLE = re.compile(PATTERN)


def note_place(places: dict[str, int], log: str, wanted: int, most: int) -> None:
    """Of ``log``, the record ``wanted`` is the next.  ``most`` logs are kept, those that spoke
    last: the others have most likely ended.
    """
    places.pop(log, None)
    places[log] = wanted
    if len(places) > most:
        del places[next(iter(places))]


class Positions:
    """Log → the number of its next wanted record, in the order in which they last spoke."""

    def __init__(self, wanted: dict[str, int] | None = None) -> None:
        self._next = dict(wanted or {})

    def move(self, log: str, next: int) -> str:
        """The record before ``next`` was sent; returns its id."""
        note_place(self._next, log, next, MOST + 1)
        _, *others = reversed(self._next.items())
        return ",".join((f"{log}:{next - 1}", *(f"{name}:{number}" for name, number in others)))

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
