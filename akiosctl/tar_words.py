"""What tar(1) of a cage says on stderr, in the C locale, as the files it names and why.

Its lines are text of the cage's: they are matched as a whole, and what is none of those that GNU
tar writes about a file says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE = re.compile(
    r"""(?:\S*/)?tar:\ (?P<path>.+?):\ (?:
    (?:Warning:\ )?(?:Cannot\ [a-z ]+|Read\ error\ at\ byte\ \d+,\ while\ reading\ \d+\ bytes)
        :\ (?P<reason>[A-Z][A-Za-z() ,-]+)
    |(?P<changed>file\ changed\ as\ we\ read\ it|File\ removed\ before\ we\ read\ it
        |File\ shrank\ by\ \d+\ bytes?[;,]\ padding\ with\ zeros)
    |(?P<part>Wrote\ only\ \d+\ of\ \d+\ bytes)
    |(?P<kind>socket\ ignored|door\ ignored|Unknown\ file\ type;\ file\ ignored))""",
    re.VERBOSE,
)
_FULL = "the cage's disk is full"
REASONS = {
    "No such file or directory": "it is not there",
    "Permission denied": "no program in the cage may do that",
    "Operation not permitted": "no program in the cage may do that",
    "Read-only file system": "it is read-only in the cage",
    "No space left on device": _FULL,
    "Disk quota exceeded": _FULL,
    "File exists": "something of another kind is there",
    "Is a directory": "a directory is there",
    "Not a directory": "what it lies in is no directory",
    "Too many levels of symbolic links": "it leads through links that go in a circle",
    "File name too long": "its name is too long",
}
_NEXT = {
    "it is not there": "see what is there: akiosctl run --cage {cage} -- ls -la {directory}",
    _FULL: (
        "remove files in the cage, or make one with more room: akiosctl cage up --disk SIZE NAME"
    ),
    "it is read-only in the cage": (
        "choose a directory that the cage may write, as /tmp or data/output"
    ),
}
_OTHERWISE = "see who may use it: akiosctl run --cage {cage} -- ls -la {directory}"


class Named(NamedTuple):
    """One file, and why it is not as it should be."""

    path: str
    why: str


def read_words(words: str) -> Iterator[Named]:
    """What the lines say, each once."""
    seen = set[Named]()
    for line in words.split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        reason = found["reason"]
        if reason is not None:
            why = REASONS.get(reason, reason.lower())
        elif found["changed"]:
            why = "it changed while it was copied"
        elif found["part"]:
            why = _FULL  # a file takes less than it is given only then
        else:
            why = "it is neither a file nor a directory"
        named = Named(found["path"], why)
        if named not in seen:
            seen.add(named)
            yield named


def next_step(why: str, cage: str, directory: str) -> str:
    """What may be done about a file in ``directory`` of ``cage``."""
    return _NEXT.get(why, _OTHERWISE).format(cage=cage, directory=directory or "/")
