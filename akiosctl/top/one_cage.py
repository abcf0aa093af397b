"""One cage looked at closely: its calls to models, the names it asked for, its money and its log.

Entries in, values out.  All of it is bounded, however much a cage does: the oldest records go, and
names past a number are only counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from akiosctl.records_text import read_record, record_line
from akiosd.values.records import LlmCall, NetDenied, NetRequest, Syscall
from akiosd.wire.messages import BudgetReply

MOST_RECORDS = 2000
"""Read back of a log when it is opened, and kept of it."""
MOST_CALLS = 500
MOST_NAMES = 500
_LONGEST_LINE = 2000


class Line(msgspec.Struct, frozen=True):
    """A record as text, printable; ``denied`` whether it is of something that was refused."""

    index: int
    text: str
    denied: bool = False


class Name(msgspec.Struct):
    """What became of requests to one name, since the first record that was read."""

    name: str
    allowed: int = 0
    denied: int = 0
    rule: str = ""
    bytes_out: int = 0
    bytes_in: int = 0
    last_ns: int = 0


class OneCage:
    """``start`` is the index from which its log is read; ``budget`` what akiosd last said of its
    money, None where it runs no more.
    """

    def __init__(self, cage: str, start: int = 0) -> None:
        self.cage = cage
        self.start = self.next = start
        self.log: deque[Line] = deque(maxlen=MOST_RECORDS)
        self.calls: deque[tuple[int, LlmCall]] = deque(maxlen=MOST_CALLS)
        self.names: dict[str, Name] = {}
        self.other_names = 0
        """Requests to names past the most that are told apart."""
        self.budget: BudgetReply | None = None

    def entries(self, start: int, entries: Iterable[bytes]) -> None:
        """Records of its log, the first of them number ``start``; what was seen already is left
        out.
        """
        for index, entry in enumerate(entries, start):
            if index >= self.next:
                self._add(index, entry)
                self.next = index + 1

    def gap(self, start: int, stop: int) -> None:
        """These were not sent: this reader was too slow, or they are gone."""
        if stop > self.next:
            count = stop - max(start, self.next)
            self.log.append(Line(start, f"({count:,} records are missing here)"))
            self.next = stop

    def _add(self, index: int, entry: bytes) -> None:
        record = read_record(entry)
        denied = isinstance(record, NetDenied) or (
            isinstance(record, Syscall) and record.verdict == "denied"
        )
        text = record_line(self.cage, index, entry)
        self.log.append(Line(index, text[:_LONGEST_LINE], denied))
        if isinstance(record, LlmCall):
            self.calls.append((index, record))
        elif isinstance(record, NetDenied):
            name = self._name(record.host.decode("utf-8", "backslashreplace"), record.count)
            if name is not None:
                name.denied += record.count
                name.rule, name.last_ns = record.rule, record.ts
        elif isinstance(record, NetRequest):
            name = self._name(record.host, 1)
            if name is not None:
                name.allowed += 1
                name.bytes_out += record.bytes_out
                name.bytes_in += record.bytes_in
                name.last_ns = record.ts

    def _name(self, name: str, count: int) -> Name | None:
        if name not in self.names:
            if len(self.names) >= MOST_NAMES:
                self.other_names += count
                return None
            self.names[name] = Name(name)
        return self.names[name]
