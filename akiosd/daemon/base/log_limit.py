"""Limits the lines of one kind in akiosd's log: the first of a minute are written, the rest is
counted.

Even a user who may not connect can try as often as they like, under as many user ids as the host
lends them.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

Key = TypeVar("Key")
WINDOW_S = 60.0
PER_SOURCE, PER_KIND = 5, 30
MAX_SOURCES = 1024


class Verdict(msgspec.Struct, frozen=True):
    """``written``: whether this line is written.  ``left_out``: lines of its kind since the last
    written one.  ``last``: no more of its kind or source will be written in this window.
    """

    written: bool
    left_out: int = 0
    last: bool = False


class _Window(msgspec.Struct):
    ends: float
    lines: int = 0


class Damper:
    """Counts lines for each kind and each (kind, source).  Times are arguments, in seconds.

    Its memory is bounded: sources by number, kinds because akiosd has only so many messages.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, _Window] = {}
        self._sources: dict[tuple[str, str], _Window] = {}
        self._left_out: dict[str, int] = {}

    def judge(self, kind: str, source: str, now: float) -> Verdict:
        """Whether a line of ``kind`` about ``source`` is written at ``now``."""
        whole, own = _open(self._kinds, kind, now), self._source(kind, source, now)
        if whole.lines >= PER_KIND or own is None or own.lines >= PER_SOURCE:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return Verdict(False)
        whole.lines += 1
        own.lines += 1
        last = whole.lines == PER_KIND or own.lines == PER_SOURCE
        return Verdict(True, self._left_out.pop(kind, 0), last)

    def _source(self, kind: str, source: str, now: float) -> _Window | None:
        """The window of this source; None when there are too many sources to tell apart."""
        if len(self._sources) >= MAX_SOURCES and (kind, source) not in self._sources:
            self._sources = {
                key: window for key, window in self._sources.items() if window.ends > now
            }
            if len(self._sources) >= MAX_SOURCES:
                return None
        return _open(self._sources, (kind, source), now)


def _open(windows: dict[Key, _Window], key: Key, now: float) -> _Window:
    window = windows.get(key)
    if window is None or window.ends <= now:
        window = windows[key] = _Window(now + WINDOW_S)
    return window
