"""Many records as lines or as JSON, fast: what is the same for all records of a kind is worked out once.

The texts are those of ``records_text``, which is asked for whatever is not simple: a value that was not seen yet, a
record of a kind that this version does not know.  Records that differ in their time alone, as most of a busy agent's
do, share what is written behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from akiosctl.records_text import HIDDEN, SPECIAL, plain_value, readable, record_json, record_line, text_of, time_text
from akiosd.values.records import KnownRecord, escape

_MOST_TEXTS = 1 << 16
_LONGEST_KEPT = 1024
_quote = json.encoder.encode_basestring_ascii
_decode = msgspec.msgpack.Decoder(KnownRecord).decode
_encode = msgspec.msgpack.Encoder().encode
# How the entries of this version begin: a map's header of three bytes, the kind, and a time behind 1970-01-01 00:00:04.
_TS = b"\xa2ts\xcf"
_BEGINNINGS = {b"\xa4kind" + _encode(kind.__struct_config__.tag) + _TS for kind in KnownRecord.__args__}
Text = Callable[[Any], str]


class _Texts(dict[Any, str]):
    """Value → its text, made when it is first asked for; bounded."""

    def __init__(self, make: Text) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, value: Any) -> str:
        if len(self) >= _MOST_TEXTS:
            self.clear()
        text = self[value] = self._make(value)
        return text


@dataclass(frozen=True)
class _Layout:
    """Of one kind: its fields but for the common ones, their defaults, and how a value of each type is written."""

    kind: str
    get: Callable[[Any], tuple[Any, ...]]
    fields: tuple[tuple[str, Any, dict[type, Text]], ...]


class Form:
    """``lines`` gives a text for each entry.  ``kinds``: only of these; all where empty."""

    def __init__(self, as_json: bool, kinds: frozenset[str] = frozenset()) -> None:
        self._json, self._kinds = as_json, kinds
        self._layouts = {kind: self._lay_out(kind) for kind in KnownRecord.__args__}
        self._seconds = _Texts(lambda second: time_text(second * 1_000_000_000)[:-3])
        self._known: dict[bytes, str] = {}  # an entry without its time → what is written behind it; "" of other kinds

    def lines(self, log: str, start: int, entries: Iterable[bytes]) -> list[str]:
        """One line, without its end, for each entry of the wanted kinds."""
        lines: list[str] = []
        head = f'{{"log": {json.dumps(log)}, "index": ' if self._json else f"  {log}:"
        known, as_json, seconds = self._known.get, self._json, self._seconds
        for index, entry in enumerate(entries, start):
            place = entry.find(_TS, 1, 64) + 4
            tail = known(entry[:place] + entry[place + 8 :])
            if tail is None:
                tail, ts = self._learn(entry, place)
                if ts is None:
                    lines += self._other(log, index, entry)
                    continue
            else:
                ts = int.from_bytes(entry[place : place + 8])
            if not tail:
                continue
            if as_json:
                lines.append(f'{head}{index}, "ts": {ts}{tail}')
            else:
                second, rest = divmod(ts, 1_000_000_000)
                lines.append(f"{seconds[second]}{rest // 1_000_000:03d}{head}{index}{tail}")
        return lines

    def _learn(self, entry: bytes, place: int) -> tuple[str, int | None]:
        """What is written behind time and place of this record, and its time; no time: it needs another way."""
        try:
            record = _decode(entry)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return "", None
        layout = self._layouts[type(record)]
        tail = self._tail(record, layout) if not self._kinds or layout.kind in self._kinds else ""
        # Only an entry as it is written here has its time in that place alone, and nowhere else.
        if entry[3:place] in _BEGINNINGS and len(entry) <= _LONGEST_KEPT and _encode(record) == entry:
            if len(self._known) >= _MOST_TEXTS:
                self._known.clear()
            self._known[entry[:place] + entry[place + 8 :]] = tail
        return tail, record.ts if record.ts >= 0 else None

    def _tail(self, record: Any, layout: _Layout) -> str:
        words = [
            name + texts[type(value)](value)
            for (name, default, texts), value in zip(layout.fields, layout.get(record), strict=True)
            if value != default
        ]
        if self._json:
            return f', "kind": "{layout.kind}"{"".join(words)}}}'
        return f"  {layout.kind}  {' '.join(words)}".rstrip()

    def _other(self, log: str, index: int, entry: bytes) -> list[str]:
        if self._kinds and record_json(log, index, entry)["kind"] not in self._kinds:
            return []
        return [json.dumps(record_json(log, index, entry)) if self._json else record_line(log, index, entry)]

    def _lay_out(self, kind: type[msgspec.Struct]) -> _Layout:
        fields = [field for field in msgspec.structs.fields(kind) if field.name not in HIDDEN]
        names = tuple(field.name for field in fields)
        getter = attrgetter(*names)
        get = getter if len(names) != 1 else lambda record: (getter(record),)
        rows = tuple(
            (self._name(field.name), field.default, self._texts_of(field.name, field.type)) for field in fields
        )
        return _Layout(str(kind.__struct_config__.tag), get if names else lambda record: (), rows)

    def _name(self, name: str) -> str:
        return f", {json.dumps(name)}: " if self._json else f"{escape(name)}="

    def _texts_of(self, field: str, kind: Any) -> dict[type, Text]:
        """How values of each type are written in this field; types that may be many are remembered."""

        def make(value: Any) -> str:
            shown = readable(field, value)
            return json.dumps(plain_value(shown)) if self._json else text_of(shown)

        plain = field not in SPECIAL
        of_bytes = (lambda value: _quote(escape(value))) if self._json and plain else text_of if plain else make
        of_str = make if not plain else _quote if self._json else text_of
        texts: dict[type, Text] = {
            bytes: _Texts(of_bytes).__getitem__,
            str: _Texts(of_str).__getitem__,
            int: int.__repr__,
        }
        if kind == tuple[int, ...]:
            texts[tuple] = _Texts(make).__getitem__
        return _Rest(make, texts)


class _Rest(dict[type, Text]):
    """Types without a faster way."""

    def __init__(self, make: Text, texts: dict[type, Text]) -> None:
        super().__init__(texts)
        self._make = make

    def __missing__(self, kind: type) -> Text:
        return self._make
