"""What was decided about names, files, calls, models and personal data, from entries of logs:
alike decisions together, by the minute.  Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from akiosctl.api.view_forms import Decision, DecisionsView, RuleCount
from akiosctl.records_text import address_text
from akiosctl.render import escape
from akiosd.values.records import (
    FileUsed,
    LlmCall,
    NetDenied,
    NetRequest,
    Redaction,
    SpendWarning,
    Syscall,
    decode_entry,
)

MOST_CELLS = 5_000
"""Of one log: a cell is alike decisions within one span of time.  When there is no room for more,
the spans become longer; what does not fit even so is only counted.
"""
_LONGEST = 400
_MOST_CAGES = 5
_SHORTEST_NS, _LONGEST_NS = 60 * 10**9, 30 * 86_400 * 10**9
_LONGER = 8
_DEFAULT_PORTS = (0, 80, 443)
Key = tuple[str, str, str, str]
"""Verdict, sort, subject, rule."""


class Cell(msgspec.Struct):
    count: int
    first_ns: int
    last_ns: int


class Tally:
    """The decisions of one log.  ``next`` is the number of the record that was not seen yet."""

    def __init__(self) -> None:
        self.next = 0
        self.left_out = 0
        self._span_ns = _SHORTEST_NS
        self._cells: dict[Key, dict[int, Cell]] = {}
        self._count = 0

    def add(self, entries: Iterable[bytes]) -> None:
        """The log's next entries."""
        for entry in entries:
            self.next += 1
            try:
                record = decode_entry(entry)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            for key, count in decide(record):
                self._put(key, Cell(count, record.ts, record.ts))

    def __iter__(self) -> Iterator[tuple[Key, Iterable[Cell]]]:
        for key, cells in self._cells.items():
            yield key, cells.values()

    def _put(self, key: Key, new: Cell) -> None:
        cells = self._cells.get(key, {})
        cell = cells.get(new.first_ns // self._span_ns)
        if cell is not None:
            cell.count += new.count
            cell.first_ns = min(cell.first_ns, new.first_ns)
            cell.last_ns = max(cell.last_ns, new.last_ns)
            return
        while self._count >= MOST_CELLS and self._span_ns < _LONGEST_NS:
            self._lengthen()
        if self._count >= MOST_CELLS:
            self.left_out += new.count
            return
        self._count += 1
        self._cells.setdefault(key, {})[new.first_ns // self._span_ns] = new

    def _lengthen(self) -> None:
        before, self._cells, self._count = self._cells, {}, 0
        self._span_ns *= _LONGER
        for key, cells in before.items():
            for cell in cells.values():
                self._put(key, cell)


def decide(record: object) -> Iterator[tuple[Key, int]]:
    """The decisions that a record tells, and how often each was made."""
    if isinstance(record, Syscall):
        verdict = "denied" if record.verdict == "denied" else "requested"
        yield (verdict, *_describe_call(record)), record.count
    elif isinstance(record, FileUsed):
        yield ("allowed", "file", _text(record.path), record.use), record.count
    elif isinstance(record, NetRequest):
        yield ("allowed", "name", _name(record.host, record.port), record.mode), 1
    elif isinstance(record, NetDenied):
        port = 0 if record.protocol == "dns" else record.port
        subject = _name(_text(record.host) or record.protocol, port)
        yield ("denied", "name", subject, record.rule), record.count
    elif isinstance(record, LlmCall):
        yield ("allowed", "model", f"{record.provider} {_text(record.model)}", record.outcome), 1
    elif isinstance(record, SpendWarning):
        yield ("denied", "model", f"{record.provider} {_text(record.model)}", record.rule), 1
    elif isinstance(record, Redaction):
        for finding in record.findings:
            subject = f"{finding.type} to {_text(record.towards)}"
            yield ("redacted", "data", subject, record.mode), finding.count


def _describe_call(record: Syscall) -> tuple[str, str, str]:
    if record.path is not None:
        return "file", _text(record.path), record.name
    if record.address is not None:
        return "call", f"{record.name} {_text(address_text(record.address))}", "syscalls"
    return "call", record.name, "syscalls"


def _name(host: str, port: int) -> str:
    return _text(host) if port in _DEFAULT_PORTS else f"{_text(host)}:{port}"


def _text(text: bytes | str) -> str:
    """Printable, and not longer than a line needs."""
    shown = escape(text[:_LONGEST])
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


class Filter(msgspec.Struct, frozen=True):
    """Which decisions are wanted; empty is all.  ``without``: subjects and rules that are not.
    Times are Unix time in ns; ``to_ns`` 0 is now.
    """

    verdict: str = ""
    sort: str = ""
    rule: str = ""
    words: str = ""
    without: frozenset[str] = frozenset()
    from_ns: int = 0
    to_ns: int = 0

    def takes(self, key: Key) -> bool:
        """By everything but the time."""
        verdict, sort, subject, rule = key
        if self.verdict not in ("", verdict) or self.sort not in ("", sort):
            return False
        if self.rule not in ("", rule) or subject in self.without or rule in self.without:
            return False
        return self.words.casefold() in subject.casefold()

    def sees(self, cell: Cell) -> bool:
        """Whether it has to do with the time; what reaches into it counts as a whole."""
        return cell.last_ns >= self.from_ns and (not self.to_ns or cell.first_ns < self.to_ns)


def show(
    tallies: Mapping[str, Tally], wanted: Filter, order: str, start: int, limit: int, complete: bool
) -> DecisionsView:
    """One page over the tallies of some cages.  ``order``: ``last`` or ``count``."""
    found: dict[Key, Decision] = {}
    for cage, tally in tallies.items():
        for key, cells in tally:
            if wanted.takes(key):
                _merge(found, key, cage, [cell for cell in cells if wanted.sees(cell)])
    rows = sorted(found.values(), key=lambda one: (-getattr(one, _ORDERS[order]), one.subject))
    rules: Counter[tuple[str, str]] = Counter()
    for one in rows:
        rules[one.verdict, one.rule] += one.count
    return DecisionsView(
        decisions=rows[start : start + limit],
        matched=len(rows),
        rules=[RuleCount(*key, count) for key, count in rules.most_common(30)],
        next=start + limit if len(rows) > start + limit else None,
        complete=complete,
        records=sum(tally.next for tally in tallies.values()),
        logs=len(tallies),
        left_out=sum(tally.left_out for tally in tallies.values()),
    )


_ORDERS = {"last": "last_ns", "count": "count"}


def _merge(found: dict[Key, Decision], key: Key, cage: str, cells: Sequence[Cell]) -> None:
    if not cells:
        return
    first = min(cell.first_ns for cell in cells)
    last = max(cell.last_ns for cell in cells)
    count = sum(cell.count for cell in cells)
    one = found.get(key)
    if one is None:
        found[key] = Decision(*key, count, first, last, [cage])  # type: ignore[arg-type]
        return
    one.count += count
    one.first_ns, one.last_ns = min(one.first_ns, first), max(one.last_ns, last)
    if len(one.cages) < _MOST_CAGES:
        one.cages.append(cage)
