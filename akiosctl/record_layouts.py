"""How the fields of each kind of record are written, as words of a line or as members of a JSON
object.

The texts are those of ``records_text``; what is the same for all records of a kind is worked out
once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter, eq
from typing import Any, Literal, get_args, get_origin

import msgspec

from akiosctl.records_text import HIDDEN, SPECIAL, plain_value, readable, text_of
from akiosd.values.records import KnownRecord, escape

Text = Callable[[Any], str]
Values = tuple[Any, ...]
Reader = Callable[[Values], str]
_MOST_TEXTS = 1 << 14
_encode = msgspec.msgpack.Encoder().encode
_quote = json.encoder.encode_basestring_ascii
# Where a kind's fields are cut in two, unless at the first one of bytes; what comes before varies
# less.
_CUT_AT = {"syscall": "path"}
_NOWHERE = b"\xc1"  # no value of msgpack begins so
# Bytes that are written as they are: printable ASCII but for "\"; in a line, for whatever could end
# a value; in JSON, for quotation marks.
_PLAIN_WORD = bytes(set(range(0x21, 0x7F)) - set(b"\\'=[]{}"))
_PLAIN_JSON = bytes(set(range(0x20, 0x7F)) - set(b'\\"'))
# What values of a type are to a decoder that knows no types, and their elements; others are not
# read by one.
_UNTYPED: dict[Any, tuple[type, type | None]] = {
    bytes: (bytes, None),
    bytes | None: (bytes, None),
    str: (str, None),
    int: (int, None),
    tuple[int, ...]: (list, int),
    tuple[bytes, ...]: (list, bytes),
}


class Texts(dict[Any, str]):
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
class Field:
    """``before``: what stands before its value.  ``untyped``, ``element`` and ``allowed``: what a
    value is to a decoder that knows no types, what it is made of, and which there are (None: any).
    """

    name: str
    default: Any
    before: str
    texts: dict[type, Text]
    untyped: type | None
    element: type | None
    allowed: Values | None

    @property
    def text(self) -> Text:
        """How a value is written that a decoder gave which knows no types; raises ``TypeError``
        where it is not one.
        """
        if self.untyped is None:
            return self._refuse
        plain = self.texts[self.untyped]
        if self.element is None and self.allowed is None:
            return plain
        elements, allowed = {self.element}, self.allowed

        def checked(value: Any) -> str:
            if set(map(type, value)) != elements if allowed is None else value not in allowed:
                raise TypeError("not a value of this field")
            return plain(value)

        return checked

    def _refuse(self, value: Any) -> str:
        raise TypeError(f"{self.name} is read by its type")


class Layout:
    """Of one kind: its fields but for the common ones.

    ``beginning``: of its entries, between the map's header and the time.  ``first``: the rank of
    the field at which they are cut in two, and ``cut`` its key in msgpack.
    """

    def __init__(self, record: type[msgspec.Struct], as_json: bool) -> None:
        self.kind = str(record.__struct_config__.tag)
        shown = [field for field in msgspec.structs.fields(record) if field.name not in HIDDEN]
        self.fields = tuple(_field(field, as_json) for field in shown)
        self._rank = {field.name: rank for rank, field in enumerate(self.fields)}
        name = _CUT_AT.get(self.kind) or next(
            (field.name for field in self.fields if field.untyped is bytes), ""
        )
        self.first = self._rank.get(name, len(self.fields))
        self.cut = _encode(name) if name else _NOWHERE
        self.beginning = _encode("kind") + _encode(self.kind) + _encode("ts") + b"\xcf"
        self._begin = f', "kind": "{self.kind}"' if as_json else f"  {self.kind}"
        self._json = as_json
        self._get = attrgetter(*(field.name for field in shown), "v")

    def begin(self, has_words: bool) -> str:
        """What stands before the words."""
        return self._begin + " " if has_words and not self._json else self._begin

    def words(self, record: Any) -> tuple[list[str], list[str]]:
        """Those of the fields up to the cut, and the others."""
        words: tuple[list[str], list[str]] = ([], [])
        for rank, (field, value) in enumerate(zip(self.fields, self._get(record), strict=False)):
            if value != field.default:
                words[rank >= self.first].append(field.before + field.texts[type(value)](value))
        return words

    def reader(self, names: Values, rank: int) -> Reader:
        """How the values of these fields are written, which end a record's fields from the
        ``rank``th on.

        Raises ``KeyError`` unless they are in order, and all that must be there.  A reader raises
        ``TypeError`` for values that are not written so, or not simple.
        """
        ranks = [self._rank[name] for name in names]
        if any(a >= b for a, b in pairwise([rank - 1, *ranks])):
            raise KeyError(names)
        if any(
            field.default is msgspec.NODEFAULT and field.name not in names
            for field in self.fields[rank:]
        ):
            raise KeyError(names)
        fields = tuple(self.fields[rank] for rank in ranks)
        if all(field.untyped is bytes and field.name not in SPECIAL for field in fields):
            return _read_bytes(fields, self._json)
        return _read_any(fields)


def _read_any(fields: tuple[Field, ...]) -> Reader:
    kinds, defaults = [field.untyped for field in fields], [field.default for field in fields]
    texts = [
        field.text if field.untyped is not int else None for field in fields
    ]  # a number is what "%s" says of it
    template = "".join([field.before.replace("%", "%%") + "%s" for field in fields])

    def read(values: Values) -> str:
        if list(map(type, values)) != kinds or True in map(eq, values, defaults):
            raise TypeError("not its fields as they are written")
        return template % tuple(
            [text(value) if text else value for text, value in zip(texts, values, strict=True)]
        )

    return read


def _read_bytes(fields: tuple[Field, ...], as_json: bool) -> Reader:
    """All at once where nothing in them needs another form."""
    value, plain = ('"%s"', _PLAIN_JSON) if as_json else ("%s", _PLAIN_WORD)
    template = "".join([field.before.replace("%", "%%") + value for field in fields])
    ends, otherwise = b"\n" * (len(fields) - 1), _read_any(fields)

    def read(values: Values) -> str:
        joined = b"\n".join(values)
        if joined.translate(None, plain) != ends or b"" in values:
            return otherwise(values)
        return template % tuple(joined.decode("ascii").split("\n"))

    def read_one(values: Values) -> str:
        joined = b"".join(values)
        if joined.translate(None, plain) or not joined:
            return otherwise(values)
        return template % joined.decode("ascii")

    return read_one if len(fields) == 1 else read


def layouts(as_json: bool) -> dict[type, Layout]:
    """For each kind of record, how its fields are printed: as JSON, or as words for people."""
    return {record: Layout(record, as_json) for record in get_args(KnownRecord)}


def _field(field: msgspec.structs.FieldInfo, as_json: bool) -> Field:
    name = field.name
    before = f", {json.dumps(name)}: " if as_json else f" {escape(name)}="
    allowed = get_args(field.type) if get_origin(field.type) is Literal else None
    untyped, element = (
        (str, None) if allowed is not None else _UNTYPED.get(field.type, (None, None))
    )
    return Field(
        name, field.default, before, _texts_of(name, as_json, element), untyped, element, allowed
    )


def _texts_of(name: str, as_json: bool, element: type | None) -> dict[type, Text]:
    """How values of each type are written in this field."""

    def make(value: Any) -> str:
        shown = readable(name, value)
        return json.dumps(plain_value(shown)) if as_json else text_of(shown)

    if name in SPECIAL:
        return _Rest(make, {bytes: Texts(make).__getitem__})
    of_bytes: Text = _bytes_as_json if as_json else _bytes_as_word
    texts: dict[type, Text] = {int: int.__repr__, bytes: of_bytes, str: Texts(make).__getitem__}
    if element is not None:
        join, one = (", " if as_json else " ").join, texts[element]
        texts[list] = texts[tuple] = lambda values: f"[{join(map(one, values))}]"
    return _Rest(make, texts)


def _bytes_as_word(value: bytes) -> str:
    return (
        value.decode("ascii")
        if value and not value.translate(None, _PLAIN_WORD)
        else text_of(value)
    )


def _bytes_as_json(value: bytes) -> str:
    return (
        _quote(escape(value))
        if value.translate(None, _PLAIN_JSON)
        else f'"{value.decode("ascii")}"'
    )


class _Rest(dict[type, Text]):
    """Types without a faster way."""

    def __init__(self, make: Text, texts: dict[type, Text]) -> None:
        super().__init__(texts)
        self._make = make

    def __missing__(self, kind: type) -> Text:
        return self._make
