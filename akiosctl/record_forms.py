"""Many records as lines or as JSON, fast: what was written once is not worked out again.

An entry as it is written here is its kind, its time, and its other fields in their order.  Those up
to the first one of bytes (a call's name, number, process) and those from there on (its path and
directory) come again and again, though seldom together: the text of each part is remembered by its
bytes.  A part that was not seen yet is read by its layout (``record_layouts``); whatever is not
written so is left to ``records_text``, whose texts these are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from akiosctl.record_layouts import Layout, Reader, Texts, layouts
from akiosctl.records_text import record_json, record_line, time_text
from akiosd.values.records import KnownRecord

_MOST_PARTS = 1 << 16
_LONGEST_KEPT = 1024
_MILLISECOND = 1_000_000
_decode = msgspec.msgpack.Decoder(KnownRecord).decode
_decode_pairs: Callable[[bytes], dict[Any, Any]] = msgspec.msgpack.Decoder(dict).decode
_encode = msgspec.msgpack.Encoder().encode
_MAP = b"\xde"  # a map; how many pairs, as two bytes, follows
_VERSION = _encode("v") + b"\x01"
_TS = b"\xa2ts\xcf"  # before a time behind 1970-01-01 00:00:04


class _Room:
    """How many parts may be remembered in all; then they are forgotten, and learned anew."""

    def __init__(self) -> None:
        self.all: list[dict[bytes, str]] = []
        self.left = _MOST_PARTS

    def forget(self) -> None:
        for parts in self.all:
            parts.clear()
        self.left = _MOST_PARTS


class _Parts(dict[bytes, str]):
    """Fields that end an entry → their text, made by ``read`` when it is first asked for."""

    def __init__(self, read: Callable[[bytes], str], room: _Room) -> None:
        super().__init__()
        self._read, self._room = read, room
        room.all.append(self)

    def __missing__(self, part: bytes) -> str:
        text = self._read(part)
        if len(part) <= _LONGEST_KEPT:
            self[part] = text
            room = self._room
            room.left -= 1
            if not room.left:
                room.forget()
        return text


def _part_reader(
    layout: Layout, count: int, rank: int, lead: bytes, before: str | None
) -> Callable[[bytes], str]:
    """Reads the last ``count`` fields of entries of a kind, behind ``lead``, from the ``rank``th
    on.

    ``before`` stands before a text; None: no text is wanted.  What it gives raises ``KeyError`` for
    what is not written as it is here, or not simple.
    """
    header, skip = _MAP + count.to_bytes(2), len(lead)
    readers: dict[tuple[Any, ...], Reader] = {}
    get_reader, decode, begin = readers.get, _decode_pairs, before or ""

    def find_reader(names: tuple[Any, ...]) -> Reader:
        if len(names) != count:
            raise KeyError(names)
        reader = readers[names] = layout.reader(names, rank)
        return reader

    def read(part: bytes) -> str:
        if skip:
            if not part.startswith(lead):
                raise KeyError(part)
            part = part[skip:]
        try:
            found = decode(header + part)
            names = tuple(found)
            text = begin + (get_reader(names) or find_reader(names))(tuple(found.values()))
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            raise KeyError(part) from None
        return "" if before is None else text

    return read


class _Head:
    """What entries begin with up to their time: of one kind, with ``pairs`` fields behind the time.

    ``firsts``: the fields up to ``cut`` → their text, and the texts of those that follow.
    ``wholes``: the text of all fields, where none is the one to cut at.
    """

    def __init__(self, layout: Layout, pairs: int, room: _Room, wanted: bool) -> None:
        self.layout, self.cut, self._room, self._wanted = layout, layout.cut, room, wanted
        self.wholes = self._parts(pairs - 1, 0, _VERSION, layout.begin(True))
        self.firsts: dict[bytes, tuple[str, _Parts]] = {}
        self._seconds: dict[int, _Parts] = {}

    def learn(self, first: bytes, text: str, count: int) -> None:
        """``count`` fields follow ``first``."""
        if len(self.firsts) >= _MOST_PARTS >> 4:
            self.firsts.clear()
        if count not in self._seconds:
            self._seconds[count] = self._parts(count, self.layout.first, b"", "")
        self.firsts[first] = text if self._wanted else "", self._seconds[count]

    def _parts(self, count: int, rank: int, lead: bytes, before: str) -> _Parts:
        read = _part_reader(self.layout, count, rank, lead, before if self._wanted else None)
        return _Parts(read, self._room)


class Form:
    """``lines`` gives a text for each entry.  ``kinds``: only of these; all where empty."""

    def __init__(self, as_json: bool, kinds: frozenset[str] = frozenset()) -> None:
        self._json, self._kinds = as_json, kinds
        self._layouts = layouts(as_json)
        self._seconds = Texts(lambda second: time_text(second * 1_000_000_000)[:-3])
        self._times = Texts(lambda ms: f"{self._seconds[ms // 1000]}{ms % 1000:03d}")
        self._heads: dict[bytes, _Head] = {}
        self._room = _Room()

    def lines(self, log: str, start: int, entries: Iterable[bytes]) -> list[str]:
        """One line, without its end, for each entry of the wanted kinds."""
        lines: list[str] = []
        where = f'{{"log": {json.dumps(log)}, "index": ' if self._json else f"  {log}:"
        heads, as_json, times, number = self._heads, self._json, self._times, int.from_bytes
        ts: int | None
        for index, entry in enumerate(entries, start):
            place = entry.find(_TS, 1, 64) + 4
            try:
                head = heads[entry[:place]]
                cut = entry.find(head.cut, place + 8)
                if cut < 0:
                    text = head.wholes[entry[place + 8 :]]
                else:
                    text, others = head.firsts[entry[place + 8 : cut]]
                    text += others[entry[cut:]]
                ts = number(entry[place : place + 8])
            except KeyError:
                text, ts = self._read(entry, place)
                if ts is None:
                    lines += self._other(log, index, entry)
                    continue
            if not text:
                continue
            if as_json:
                lines.append(f'{where}{index}, "ts": {ts}{text}}}')
            else:
                lines.append(f"{times[ts // _MILLISECOND]}{where}{index}{text}")
        return lines

    def _read(self, entry: bytes, place: int) -> tuple[str, int | None]:
        """What is written behind time and place of this record, and its time; no time: it needs
        another way.
        """
        try:
            record = _decode(entry)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return "", None
        layout = self._layouts[type(record)]
        wanted = not self._kinds or layout.kind in self._kinds
        first, second = layout.words(record)
        begin = layout.begin(bool(first or second)) + "".join(first)
        pairs = _pairs_of(entry, place, layout)
        # Only an entry as it is written here has its time and its fields in those places alone.
        if pairs and len(entry) <= _LONGEST_KEPT and _encode(record) == entry:
            head = self._heads.get(entry[:place])
            if head is None:
                head = self._heads[entry[:place]] = _Head(layout, pairs, self._room, wanted)
            cut = entry.find(head.cut, place + 8)
            if cut >= 0 and _are_pairs(
                entry[place + 8 : cut], pairs - len(second)
            ):  # else it stands within a value
                head.learn(entry[place + 8 : cut], begin, len(second))
        text = begin + "".join(second) if wanted else ""
        return text, record.ts if record.ts >= 0 else None

    def _other(self, log: str, index: int, entry: bytes) -> list[str]:
        if self._kinds and record_json(log, index, entry)["kind"] not in self._kinds:
            return []
        return [
            (
                json.dumps(record_json(log, index, entry))
                if self._json
                else record_line(log, index, entry)
            )
        ]


def _pairs_of(entry: bytes, place: int, layout: Layout) -> int:
    """How many fields follow the time of an entry that begins as its kind is written; 0: it does
    not.
    """
    for header in (1, 3):
        if entry[header:place] == layout.beginning:
            return (entry[0] & 0x0F if header == 1 else int.from_bytes(entry[1:3])) - 2
    return 0


def _are_pairs(data: bytes, count: int) -> bool:
    """Whether ``data`` is ``count`` keys of msgpack with their values, and nothing else."""
    try:
        return len(_decode_pairs(_MAP + count.to_bytes(2) + data)) == count
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return False
