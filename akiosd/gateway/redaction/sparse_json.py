"""A large JSON text read without its bulk: what is long stays bytes, the rest is parsed as ever.

Checked whole first, in place (msgspec).  Then long strings, long lists of numbers and what stands
under names of bulk are left out, each for a :class:`Kept` at its place; the small text that remains
goes through the strict reader.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from akiosd.gateway.redaction.strict_json import BadJsonError, Kept, parse, parse_around

LARGE = 64 << 10
"""Bytes: what is no longer is parsed whole."""
MOST_PARSED = 4 << 20
"""Bytes: of more than that no objects are made.  The smallest, such as ``[],``, take 30 bytes for
one.
"""
_STEP = 64 << 10
_STRING_BYTES, _LIST_BYTES = 4096, 1024
_BULK = frozenset({b"embedding", b"embeddings", b"logprobs", b"top_logprobs", b"logprobsResult"})
"""Names of what no meter reads."""

_QUOTED = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(rb"(%b)(\s*+:\s*+)?+|\[[-+.0-9eE,\s]{%d,}+\]" % (_QUOTED, _LIST_BYTES), re.S)
"""A string, with the colon where it is a name; or a long list of numbers."""
_NESTED = re.compile(rb"%b|[\[\]{}]" % _QUOTED, re.S)
STRING = re.compile(_QUOTED, re.S)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NUMBERS = re.compile(rb"\[[-+.0-9eE,\s]*+\]")


def parse_sparse(data: bytes | bytearray) -> Any:
    """As :func:`parse`, with a :class:`Kept` for what is long.  Views of ``data`` stay in the
    value.

    Raises :class:`BadJsonError`, also for what has too many parts to be read.
    """
    if len(data) <= LARGE:
        return parse(data)
    _check(data)
    view = memoryview(data)
    rest, kept = _thin(view, shallow=False)
    if len(rest) > MOST_PARSED:
        # What is deep inside is not read then; usage, which stands outermost, still is.
        rest, kept = _thin(view, shallow=True)
    if len(rest) > MOST_PARSED:
        raise BadJsonError("it has too many parts")
    return parse_around(rest, kept)


def _check(data: bytes | bytearray) -> None:
    """Raises :class:`BadJsonError` for what is not JSON."""
    try:
        _decode(data)
        if not data.isascii():
            decoder = codecs.getincrementaldecoder("utf-8")()
            for start in range(0, len(data), _STEP):
                decoder.decode(data[start : start + _STEP])
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadJsonError("it is not UTF-8") from None
    except RecursionError:
        raise BadJsonError("it is too deep") from None
    except msgspec.DecodeError as error:
        raise BadJsonError(str(error)[:200]) from None


def _decode(data: bytes | bytearray) -> None:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:
        # Of lone surrogates msgspec makes nothing, but they are JSON: any other escape in their
        # place is as good.
        copy = bytearray(data)
        for start in range(0, len(copy), _STEP):
            # Some more, for an escape across the border.
            piece = bytes(copy[start : start + _STEP + 4])
            copy[start : start + len(piece)] = _SURROGATE.sub(rb"\\u00", piece)
        msgspec.json.decode(copy, type=msgspec.Raw)


def _thin(view: memoryview, shallow: bool) -> tuple[bytearray, list[Kept]]:
    """What is left of checked JSON, with NaN for each part that was kept.

    ``shallow``: all that is long under any name is kept, and nothing within it looked at.
    """
    rest, kept = bytearray(), list[Kept]()
    done = at = 0
    while found := _TOKEN.search(view, at):
        start, at = found.span()
        if found[2] is not None:  # a name
            start, ends = at, at
            if shallow or found[1][1:-1] in _BULK:
                at = ends = _end_of_nested(view, at)
            if ends - start < (LARGE if shallow else _LIST_BYTES):
                continue
        elif found[1] is not None and at - start < _STRING_BYTES:
            continue
        rest += view[done:start]
        rest += b"NaN"
        kept.append(Kept(view[start:at]))
        done = at
        if len(rest) > MOST_PARSED:
            break
    rest += view[done : done + MOST_PARSED + 1]
    return rest, kept


def _end_of_nested(view: memoryview, start: int) -> int:
    """Where the list or object ends that begins at ``start``; ``start`` where there is none."""
    if view[start] not in b"[{":
        return start
    numbers = _NUMBERS.match(view, start)
    if numbers is not None:
        return numbers.end()
    depth = 0
    for found in _NESTED.finditer(view, start):
        mark = view[found.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
            if depth == 0:
                return found.end()
    return start


_CHARACTERS = re.compile(
    rb"(?:[^\\]{1,64}+[\x80-\xbf]*+|\\u[dD][89abAB]..(?:\\u[dD][c-fC-F]..)?+|\\u....|\\.){1,1024}+",
    re.S,
)
"""Whole characters and escapes of a string; an escape and its other half are one."""


def pieces_of(kept: Kept) -> Iterator[slice]:
    """Where in a string pieces of its text stand, one after the other: each of about 64 KiB."""
    start = end = 1
    for found in _CHARACTERS.finditer(kept.raw, 1, len(kept.raw) - 1):
        end = found.end()
        if end - start >= _STEP:
            yield slice(start, end)
            start = end
    if end > start:
        yield slice(start, end)
