"""A JSON reader that accepts only what every parser reads the same way, since what is inspected
must be what is sent.

Duplicate names, NaN and text that is not UTF-8 are refused. Numbers keep their spelling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

import msgspec

from akiosd.redact.json_and_forms import SURROGATE

MAX_DEPTH = 200
"""Deepest nesting of objects and arrays."""
_MOST = 1 << 40


class BadJsonError(ValueError):
    """The text is not JSON with exactly one meaning; the message says why."""


class Number:
    """A number that is no plain integer; ``text`` is its spelling."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


class Kept:
    """A part of a text that was not parsed: a string, list or object; ``raw`` is how it is
    written.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: bytes | bytearray | memoryview) -> None:
        self.raw = memoryview(raw)

    @property
    def is_text(self) -> bool:
        return self.raw[0] == ord('"')

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw.tobytes())


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJsonError("a name occurs twice in one object")
    return found


def _integer(text: str) -> Any:
    return Number(text) if text == "-0" or len(text) > 1000 else int(text)


def _constant(text: str) -> Any:
    raise BadJsonError(f"{text} is not JSON")


def _decoder(constant: Callable[[str], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_pairs, parse_float=Number, parse_int=_integer, parse_constant=constant
    )


_strict = _decoder(_constant)


def parse(data: bytes | bytearray | str) -> Any:
    """The value; integers as ``int``, all other numbers as :class:`Number`.

    Raises :class:`BadJsonError`.
    """
    return _parse(_strict, data)


def parse_around(data: bytearray, kept: Iterable[Kept]) -> Any:
    """The same where every NaN stands for the next of ``kept``.  Raises :class:`BadJsonError`."""
    parts = iter(kept)

    def next_part(_: str) -> Kept:
        part = next(parts, None)
        return part if part is not None else _constant("NaN")

    return _parse(_decoder(next_part), data)


def _parse(decoder: json.JSONDecoder, data: bytes | bytearray | str) -> Any:
    try:
        return decoder.decode(data if isinstance(data, str) else data.decode())
    except BadJsonError:
        raise
    except RecursionError:
        raise BadJsonError(f"it is deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise BadJsonError(str(error)[:200]) from None


def dump(value: Any, sort: bool = False) -> bytes:
    """``value`` as compact UTF-8.  With ``sort`` equal objects give equal bytes.  Raises
    :class:`BadJsonError` when too deep.
    """
    try:
        return (_sorted if sort else _plain).encode(value)
    except UnicodeEncodeError:
        pass  # it has a lone surrogate, which msgspec does not write
    except RecursionError:
        raise BadJsonError(f"it is deeper than {MAX_DEPTH} levels") from None
    written = bytearray()
    _write(value, written, sort, 0)
    return bytes(written)


def _spelling(value: Any) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    if isinstance(value, Kept):
        return msgspec.Raw(value.raw)
    raise TypeError(f"{type(value).__name__} is not JSON")


_plain = msgspec.json.Encoder(enc_hook=_spelling)
_sorted = msgspec.json.Encoder(enc_hook=_spelling, order="sorted")


def _string(text: str) -> bytes:
    # A lone surrogate can only be written as an escape.
    written = encode_basestring_ascii if SURROGATE.search(text) else encode_basestring
    return written(text).encode()


def _write(value: Any, written: bytearray, sort: bool, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadJsonError(f"it is deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        written += _string(value)
    elif value is None or isinstance(value, bool):
        written += b"null" if value is None else b"true" if value else b"false"
    elif isinstance(value, int):
        written += str(value).encode()
    elif isinstance(value, Number):
        written += value.text.encode()
    elif isinstance(value, Kept):
        written += value.raw
    elif isinstance(value, dict):
        _write_object(value, written, sort, depth)
    elif isinstance(value, list):
        written += b"["
        for index, item in enumerate(value):
            if index:
                written += b","
            _write(item, written, sort, depth + 1)
        written += b"]"
    else:
        raise TypeError(f"{type(value).__name__} is not JSON")


def _write_object(value: dict[str, Any], written: bytearray, sort: bool, depth: int) -> None:
    written += b"{"
    names = sorted(value) if sort else value
    for index, name in enumerate(names):
        if index:
            written += b","
        written += _string(name) + b":"
        _write(value[name], written, sort, depth + 1)
    written += b"}"


def integer(value: Any, least: int = 0) -> int:
    """``value`` if it is an integer of at least ``least``, else 0; for counts that come from
    outside.

    Cut at 2^40, so that sums of such counts still fit into a message.
    """
    return (
        min(value, _MOST)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least
        else 0
    )
