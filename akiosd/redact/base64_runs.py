"""One layer of base64: what a run of it encodes is searched, and the part of the run that encodes
something personal is replaced.

A line of base64 is a run. Findings that cross the end of a line are searched for in the 28
characters before and after it.

A run of up to two segments is one text. A longer one is read through windows of two segments, each
beginning where a segment does, and replaced segment by segment; so a stream can pass the beginning
of a long run while its end has not arrived. A finding that is longer than a segment (4,608 bytes)
may be seen in part only.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Callable
from typing import NamedTuple

from akiosd.redact.model import Category, Pattern, Span

SEGMENT = 6144
"""Characters of base64: a multiple of four, so that every segment decodes by itself."""

RUN = r"[A-Za-z0-9+/_-]"
BASE64 = Pattern(
    name="BASE64",
    category="digital",
    description="base64 around personal data",
    yes=(),
    no=(),
    source="RFC 4648",
    regex=rf"{RUN}{{20,}}={{0,2}}",
    trigger=rf"{RUN}{{20}}",
    priority=10,
    loose=True,
)

_STANDARD = bytes.maketrans(b"-_", b"+/")


_RUN = re.compile(RUN.encode())


def is_run(data: bytes) -> bool:
    """Whether there is a character of base64 in ``data``."""
    return _RUN.search(data) is not None


LINES = Pattern(
    name="BASE64_LINES",
    category="digital",
    description="base64 around the end of a line",
    yes=(),
    no=(),
    source="RFC 2045 § 6.8, RFC 7468",
    regex=rf"{RUN}{{28}}\r?\n[ \t]{{0,8}}{RUN}{{4,28}}={{0,2}}",
    trigger=rf"{RUN}{{28}}\r?\n",
    priority=11,
    loose=True,
)
"""Lines have a multiple of four characters (76, 64), so a group of four begins with a line."""
_HEAD = re.compile(rf"[ \t]{{0,8}}({RUN}{{4,28}}={{0,2}})".encode())


class Kind(NamedTuple):
    """What was found in a segment."""

    name: str
    category: Category


Find = Callable[[str], list[Span]]


def segments(
    run: bytes,
    find: Find,
    within: bool = False,
    carried: Kind | None = None,
    windows: int | None = None,
) -> dict[int, Kind]:
    """Which segments of a run that is longer than two of them hold what ``find`` finds.

    ``within``: ``run`` is the rest of a run, from the beginning of a segment on, and ``carried`` is
    what the window before found in that segment. Only the first ``windows`` are read.
    """
    found = {} if carried is None else {0: carried}
    for first in range((len(run) - 1) // SEGMENT if windows is None else windows):
        start = first * SEGMENT
        text, skipped = decoded(run[start : start + 2 * SEGMENT], within or first > 0)
        for span in find(text) if text else ():
            begin = start + (skipped + len(text[: span.start].encode())) * 4 // 3
            end = start + ((skipped + len(text[: span.end].encode())) * 4 + 2) // 3
            for place in range(begin // SEGMENT, (end - 1) // SEGMENT + 1):
                found.setdefault(place, Kind(span.type, span.category))
    return found


def decoded(run: bytes, within: bool = False) -> tuple[str, int]:
    """The text that ``run`` encodes, "" when it encodes none.

    ``within``: a character may have begun before ``run``; that many of its bytes are left out, and
    counted.
    """
    run = run.rstrip(b"=").translate(_STANDARD)
    data = base64.b64decode(run[: len(run) - (len(run) % 4 == 1)] + b"=" * (-len(run) % 4))
    skipped = 0
    while within and skipped < 3 and skipped < len(data) and data[skipped] & 0xC0 == 0x80:
        skipped += 1
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data[skipped:]), skipped
    except ValueError:
        return "", skipped


def over_the_line(data: bytes, first: int, last: int) -> tuple[int, str]:
    """Of the end of a line of base64 and the beginning of the next, at ``last``: (where that ends,
    what both say).
    """
    head = _HEAD.match(data, last)
    if head is None:
        return last, ""
    return head.end(), decoded(data[first:last].rstrip() + head[1], within=True)[0]
