"""Text that arrives in pieces: each push gives what is safe to pass on.

Held back is only what could still become, or still change, a finding: the beginning of a match at the end
(:mod:`akiosd.redact.growth`), a match whose neighbour or context has not arrived, an escape cut in two.
For every way to cut a text the pieces together are what redacting it whole gives, as long as no finding is longer
than ``MAX_HELD``; what is held longer than that is replaced, never passed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from akiosd.redact.engine import LEFT, LONE, RIGHT, Candidate, Decision, folded, has_word, latin, options
from akiosd.redact.growth import growing
from akiosd.redact.model import Span
from akiosd.redact.normalise import View
from akiosd.redact.redactor import Redactor

MAX_HELD = 16384
_KEPT = LEFT + 40
_BESIDE = 2


@lru_cache(8)
def _growth(regexes: tuple[str, ...]) -> Any:
    return re2.compile(latin(growing(list(regexes))), options())


class StreamRedactor:
    """One channel: one content block of one choice, one tool call's arguments.  A dict of these is many channels."""

    def __init__(self, redactor: Redactor, hint: str = "") -> None:
        self._redactor, self._engine = redactor, redactor.engine
        self._growth = _growth(tuple(folded(p) for p in self._engine.patterns))
        self._before = View(hint[-LEFT:] + ": ").data if hint else b""
        self._barrier = 0
        self._pending = ""
        self._passed = 0
        self._words = False
        self.spans: list[Span] = []
        self.blocked = False

    @property
    def held(self) -> int:
        """Characters held back now."""
        return len(self._pending)

    def push(self, chunk: str) -> str:
        """Take ``chunk``; returns what is safe.  After a finding in mode ``block`` nothing more comes."""
        if self._redactor.mode == "off":
            return chunk
        self._pending += chunk
        return self._advance(False)

    def flush(self) -> str:
        """The rest, when the text has ended."""
        return self._advance(True)

    def _advance(self, final: bool) -> str:
        if self.blocked or not self._pending:
            self._pending = ""
            return ""
        view = View(self._pending, more=not final)
        data = self._before + view.data
        offset = len(self._before)
        candidates = self._engine.candidates(data, offset, more=not final)
        alone = not self._words and self._passed + len(view.data) <= LONE
        decisions = self._engine.decide(data, candidates, offset, self._barrier, alone)
        cut = len(data) if final else self._cut(data, offset, candidates, decisions)
        kept = self._engine.resolve(d for d in decisions if d.candidate.first < cut)
        if not final and len(self._pending) - view.start(cut - offset) > MAX_HELD:
            return self._give_up(data)
        strong = (d.candidate.end for d in decisions if not d.candidate.pattern.weak and d.candidate.first < cut)
        self._barrier = max(self._barrier, max(strong, default=0))
        return self._emit(view, data, offset, cut, kept, final)

    def _cut(self, data: bytes, offset: int, candidates: list[Candidate], decisions: list[Decision]) -> int:
        """Up to where everything is decided whatever comes next."""
        size = cut = len(data)
        match = self._growth.search(data, offset)
        if match:
            cut = match.start()
        left = {d.candidate for d in decisions if d.settled}
        lone = not self._words and self._passed + size - offset <= LONE
        moved = True
        while moved:
            moved = False
            for c in candidates:
                if c.first >= cut:
                    continue
                open_context = c.pattern.weak and c.verdict is not False and c not in left
                alone = (
                    open_context and lone and c.pattern.lone and not has_word(data[offset : c.start] + data[c.end :])
                )
                if c.last > cut or c.last + _BESIDE > size or alone or (open_context and c.end + RIGHT > cut):
                    cut, moved = c.first, True
        return cut

    def _emit(self, view: View, data: bytes, offset: int, cut: int, kept: list[Decision], final: bool) -> str:
        at = len(self._pending) if final else view.start(cut - offset)
        result = self._redactor.apply(self._pending[:at], self._engine.spans(view, kept, offset), self._passed)
        self.spans += result.spans
        self.blocked = result.blocked
        self._pending, self._passed = self._pending[at:], self._passed + at
        self._words = self._words or has_word(data[offset:cut])
        start = max(0, cut - _KEPT)
        self._before, self._barrier = data[start:cut], max(0, self._barrier - start)
        return result.text

    def _give_up(self, data: bytes) -> str:
        """Too much is held for something that may be a finding: all of it is replaced."""
        self.spans.append(
            Span(
                self._passed, self._passed + len(self._pending), "UNRESOLVED", "digital", 0.5, "longer than can be held"
            )
        )
        self._passed, self._pending, self._words = self._passed + len(self._pending), "", True
        self._before = data[-_KEPT:]
        self._barrier = len(self._before)
        self.blocked = self._redactor.mode == "block"
        return "" if self.blocked else "[UNRESOLVED]"
