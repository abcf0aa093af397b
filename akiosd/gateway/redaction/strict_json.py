"""A JSON reader that accepts only what every parser reads the same way, since what is inspected
must be what is sent.

Duplicate names, NaN and text that is not UTF-8 are refused. Numbers keep their spelling.
"""

from __future__ import annotations

import json
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


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJsonError("a name occurs twice in one object")
    return found


def _integer(text: str) -> Any:
    return Number(text) if text == "-0" or len(text) > 1000 else int(text)


def _constant(text: str) -> Any:
    raise BadJsonError(f"{text} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=Number, parse_int=_integer, parse_constant=_constant
)


def parse(data: bytes | str) -> Any:
    """The value in ``data``; integers as ``int``, all other numbers as :class:`Number`.  Raises
    :class:`BadJsonError`.
    """
    try:
        return _decoder.decode(data if isinstance(data, str) else data.decode())
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
    pieces: list[str] = []
    _write(value, pieces, sort, 0)
    return "".join(pieces).encode()


def _spelling(value: Any) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is no JSON")


_plain = msgspec.json.Encoder(enc_hook=_spelling)
_sorted = msgspec.json.Encoder(enc_hook=_spelling, order="sorted")


def _string(text: str) -> str:
    # A lone surrogate can only be written as an escape.
    return str(encode_basestring_ascii(text) if SURROGATE.search(text) else encode_basestring(text))


def _write(value: Any, pieces: list[str], sort: bool, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadJsonError(f"it is deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        pieces.append(_string(value))
    elif value is None or isinstance(value, bool):
        pieces.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, int):
        pieces.append(str(value))
    elif isinstance(value, Number):
        pieces.append(value.text)
    elif isinstance(value, dict):
        _write_object(value, pieces, sort, depth)
    elif isinstance(value, list):
        pieces.append("[")
        for index, item in enumerate(value):
            if index:
                pieces.append(",")
            _write(item, pieces, sort, depth + 1)
        pieces.append("]")
    else:
        raise TypeError(f"{type(value).__name__} is no JSON")


def _write_object(value: dict[str, Any], pieces: list[str], sort: bool, depth: int) -> None:
    pieces.append("{")
    names = sorted(value) if sort else value
    for index, name in enumerate(names):
        if index:
            pieces.append(",")
        pieces += [_string(name), ":"]
        _write(value[name], pieces, sort, depth + 1)
    pieces.append("}")


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
