"""Finds personal data: candidates by an re2 Set, spans by re2, then validators, context, overlap.

Everything is decided from a bounded neighbourhood: a finding itself, ``LEFT`` characters before it and ``RIGHT``
after it.  That is why a stream can give the same answer as the whole text.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Any, NamedTuple

import re2

from akiosd.redact.model import CATEGORIES, MAX_CHARACTERS, Category, Pattern, RedactError, Span
from akiosd.redact.normalise import View
from akiosd.redact.patterns import PATTERNS

LEFT, RIGHT = 48, 24
BLOCK, OVERLAP = 4096, 512
LONE = 64
_MEMORY = 128 << 20

_WORD = bytes(1 if chr(c).isalnum() else 0 for c in range(256))
_LABEL = re.compile(rb"\[[A-Z][A-Z0-9_]{1,30}\]")

# One layer of base64 is looked into; what it holds gives the finding its type.
_BASE64 = Pattern(
    name="BASE64", category="digital", description="base64 around personal data", yes=(), no=(), source="RFC 4648",
    regex=r"[A-Za-z0-9+/_-]{24,}={0,2}", trigger=r"[A-Za-z0-9+/_-]{24}", priority=10, loose=True,
)  # fmt: skip


class Candidate(NamedTuple):
    """A match, in positions of the plain form; ``start``–``end`` is the value, ``first``–``last`` all that matched."""

    pattern: Pattern
    first: int
    last: int
    start: int
    end: int
    verdict: bool | None
    kind: str
    category: Category


class Decision(NamedTuple):
    candidate: Candidate
    confidence: float
    reason: str
    settled: bool
    """Nothing to the right can take it back."""


class Surroundings(NamedTuple):
    """What the context of a weak candidate is taken from; ``starts`` and ``ends`` of strong findings, sorted."""

    data: bytes
    position: int
    barrier: int
    alone: bool
    starts: list[int]
    ends: list[int]

    def window(self, candidate: Candidate) -> tuple[int, int]:
        left = max(self.barrier, candidate.start - LEFT, 0)
        right = min(len(self.data), candidate.end + RIGHT)
        before, after = bisect_right(self.ends, candidate.start), bisect_left(self.starts, candidate.end)
        left = max(left, self.ends[before - 1]) if before else left
        return left, min(right, self.starts[after]) if after < len(self.starts) else right

    def lonely(self, candidate: Candidate) -> bool:
        """Nothing else in the text is a letter or digit."""
        return not has_word(self.data[self.position : candidate.start] + self.data[candidate.end :])


def options() -> Any:
    chosen = re2.Options()
    chosen.encoding = re2.Options.Encoding.LATIN1
    chosen.max_mem = _MEMORY
    chosen.log_errors = False
    return chosen


def latin(regex: str) -> bytes:
    return regex.encode("latin-1")


def folded(pattern: Pattern) -> str:
    return f"(?i:{pattern.regex})" if pattern.fold else pattern.regex


def _context_regex(words: Iterable[str]) -> bytes:
    """One of ``words``, also followed by "number" and the like; blanks in them may be ``_`` or ``-``."""
    longest = sorted(words, key=len, reverse=True)
    choice = "|".join(re.escape(word).replace(r"\ ", "[ _-]?").replace("\\-", "-") for word in longest)
    edge = "[^a-z0-9ß-öø-ÿ]"
    tail = "(?:[ _-]?(?:number|num|no|nr|id|code)s?)?"
    return latin(rf"(?:\A|{edge})(?:{choice or 'a^'}){tail}(?:{edge}|\z)")


class Engine:
    """The patterns that are switched on, compiled.  Thread-safe and without state between calls.

    ``disable`` takes names of patterns and of categories; ``allow_values`` are texts that are never a finding.
    Raises :class:`RedactError` for a name that does not exist.
    """

    def __init__(self, disable: Iterable[str] = (), allow_values: Iterable[str] = ()) -> None:
        off = {name.upper() for name in disable}
        unknown = off - {p.name for p in PATTERNS} - {c.upper() for c in CATEGORIES}
        if unknown:
            raise RedactError(f"there is no pattern or category {min(unknown)!r}", "redact.disable",
                              "akiosctl protect patterns lists them")  # fmt: skip
        self.patterns = (*(p for p in PATTERNS if p.name not in off and p.category.upper() not in off), _BASE64)
        self._allowed = frozenset(value.casefold() for value in allow_values)
        self._regexes = [re2.compile(latin(folded(p)), options()) for p in self.patterns]
        self._grouped = [r.groups for r in self._regexes]
        self._contexts = [
            re2.compile(_context_regex(p.context), options()) if p.context else None for p in self.patterns
        ]
        self._set = re2.Set.SearchSet(options())
        for pattern in self.patterns:
            self._set.Add(latin(pattern.trigger or folded(pattern)))
        # Always matches: a Set that ran out of memory says nothing, and nothing must not mean clean.
        self._sentinel = self._set.Add(b"")
        self._set.Compile()
        self._words = re2.Set.SearchSet(options())
        needs = [i for i, p in enumerate(self.patterns) if p.weak]
        for index in needs:
            self._words.Add(_context_regex(self.patterns[index].context))
        self._worded = dict(enumerate(needs))
        self._words_sentinel = self._words.Add(b"")
        self._words.Compile()
        self._index = {p.name: i for i, p in enumerate(self.patterns)}

    def find(self, text: str, hint: str = "") -> list[Span]:
        """The findings of ``text``, by position.  ``hint`` is what stands before it elsewhere, such as a JSON key.

        Linear in the length.  Raises :class:`RedactError` above ``MAX_CHARACTERS``.
        """
        if len(text) > MAX_CHARACTERS:
            raise RedactError(f"the text has {len(text)} characters, more than {MAX_CHARACTERS}", "redaction",
                              "send it in smaller parts")  # fmt: skip
        view = View(text)
        before = View(hint[-LEFT:] + ": ").data if hint else b""
        data = before + view.data
        decisions = self.decide(data, self.candidates(data, len(before)), len(before))
        return self.spans(view, self.resolve(decisions), len(before))

    def spans(self, view: View, decisions: Iterable[Decision], offset: int) -> list[Span]:
        found = []
        for candidate, confidence, reason, _ in decisions:
            start, end = view.start(candidate.start - offset), view.end(candidate.end - offset)
            if self._allowed and view.text[start:end].casefold() in self._allowed:
                continue
            found.append(Span(start, end, candidate.kind, candidate.category, confidence, reason))
        return found

    def candidates(self, data: bytes, position: int, more: bool = False) -> list[Candidate]:
        """Every match from ``position`` on, also those that a check refuses (their verdict is False).

        Weak patterns are left out where none of their words is in reach, unless ``more`` text may bring one.
        """
        found: list[Candidate] = []
        size = len(data)
        if size - position <= BLOCK + OVERLAP:
            hits = self._matching(data[max(0, position - 1) :])
            for index in hits if more else self._in_reach(hits, data, size - position <= LONE):
                self._scan(index, data, position, size, size, found)
            return found
        done = [position] * len(self.patterns)
        block = position
        while block < size:
            stop = self._block_end(data, block)
            hits = self._matching(data[max(0, block - 1) : stop + OVERLAP])
            around = data[max(0, block - LEFT - 1) : stop + 2 * OVERLAP]
            for index in hits if more else self._in_reach(hits, around, False):
                reach = size if self.patterns[index].trigger else min(size, stop + OVERLAP)
                done[index] = self._scan(index, data, max(block, done[index]), stop, reach, found)
            block = stop
        return found

    def _matching(self, piece: bytes) -> list[int]:
        hits = self._set.Match(piece)
        if hits is None or self._sentinel not in hits:
            return list(range(len(self.patterns)))
        return [index for index in hits if index != self._sentinel]

    def _in_reach(self, hits: list[int], data: bytes, short: bool) -> list[int]:
        """``hits`` without the weak ones that have no context word in ``data``."""
        if not any(self.patterns[index].weak for index in hits):
            return hits
        words = self._words.Match(data.lower()) or ()
        if self._words_sentinel not in words:
            return hits
        near = {self._worded[word] for word in words if word != self._words_sentinel}
        return [i for i in hits if not self.patterns[i].weak or i in near or (short and self.patterns[i].lone)]

    @staticmethod
    def _block_end(data: bytes, block: int) -> int:
        """A block ends after white space where there is some near its end."""
        stop = block + BLOCK
        if stop >= len(data):
            return len(data)
        space = max(data.rfind(b" ", stop - 256, stop), data.rfind(b"\n", stop - 256, stop))
        return space + 1 if space >= 0 else stop

    def _scan(self, index: int, data: bytes, at: int, stop: int, reach: int, found: list[Candidate]) -> int:
        """Matches that begin before ``stop``; returns before where there is nothing more to find."""
        if at >= stop:
            return at
        group = 1 if self._grouped[index] else 0
        for match in self._regexes[index].finditer(data, at, reach):
            first, last = match.span()
            if first >= stop:
                # The next one is known: blocks before it are not searched again.
                return int(first)
            at = max(at, last)
            start, end = first, last
            if group:
                start, end = next(
                    (match.span(g) for g in range(1, self._grouped[index] + 1) if match.start(g) >= 0), (first, last)
                )
            trim = self.patterns[index].trim
            if trim is not None:
                end = start + trim(data[start:end].decode("latin-1"))
            found.append(self._judge(self.patterns[index], data, first, last, start, end))
        return reach if reach == len(data) else at

    def _judge(self, pattern: Pattern, data: bytes, first: int, last: int, start: int, end: int) -> Candidate:
        verdict: bool | None = None
        kind, category = pattern.name, pattern.category
        if not pattern.loose and _touches(data, start, end, pattern.unjoined):
            verdict = False
        elif pattern is _BASE64:
            inside = self._inside(data[start:end])
            verdict = bool(inside)
            if inside:
                kind, category = inside[0].type, inside[0].category
        elif pattern.check is not None:
            verdict = pattern.check(data[start:end].decode("latin-1"))
        return Candidate(pattern, first, last, start, end, verdict, kind, category)

    def _inside(self, run: bytes) -> list[Span]:
        """What one layer of base64 holds."""
        run = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            text = base64.b64decode(run[: len(run) - (len(run) % 4 == 1)] + b"=" * (-len(run) % 4)).decode()
        except ValueError:
            return []
        view = View(text)
        found = [c for c in self.candidates(view.data, 0) if c.pattern is not _BASE64]
        return self.spans(view, self.resolve(self.decide(view.data, found, 0)), 0)

    def decide(
        self, data: bytes, candidates: list[Candidate], position: int, barrier: int = 0, alone: bool = True
    ) -> list[Decision]:
        """Which candidates count.

        Context is not looked for across another finding or a mask, so that masking one finding never brings a
        word nearer to another; ``barrier`` is the end of the last finding before ``position``.
        """
        strong: list[Candidate] = []
        weak: list[Candidate] = []
        for candidate in candidates:
            if candidate.verdict is not False:
                (weak if candidate.pattern.weak else strong).append(candidate)
        decisions = [self._strong(candidate) for candidate in strong]
        if not weak:
            return decisions
        walls = [(c.start, c.end) for c in strong]
        if b"[" in data:
            walls += [m.span() for m in _LABEL.finditer(data)]
        starts, ends = sorted(w[0] for w in walls), sorted(w[1] for w in walls)
        around = Surroundings(data, position, barrier, alone and len(data) - position <= LONE, starts, ends)
        return decisions + [found for candidate in weak if (found := self._weak(candidate, around))]

    @staticmethod
    def _strong(candidate: Candidate) -> Decision:
        if candidate.pattern is _BASE64:
            return Decision(candidate, 0.9, "inside base64", True)
        if candidate.verdict:
            return Decision(candidate, 0.99, "form and check", True)
        return Decision(candidate, 0.9, "distinctive form", True)

    def _weak(self, candidate: Candidate, around: Surroundings) -> Decision | None:
        data = around.data
        left, right = around.window(candidate)
        context = self._contexts[self._index[candidate.pattern.name]]
        confidence = 0.99 if candidate.verdict else 0.85
        what = "check and context" if candidate.verdict else "form and context"
        if context is not None and context.search(data[left : candidate.start].lower()):
            return Decision(candidate, confidence, what, True)
        if context is not None and context.search(data[candidate.end : right].lower()):
            return Decision(candidate, confidence, what, False)
        checked = candidate.verdict or candidate.pattern.check is None
        if candidate.pattern.lone and checked and around.alone and around.lonely(candidate):
            return Decision(candidate, 0.6, "check, and nothing else in the text", False)
        return None

    @staticmethod
    def resolve(decisions: Iterable[Decision]) -> list[Decision]:
        """No two overlap: the higher priority wins (what is only alone comes last), then the longer, then the first.

        What is left of a secret beside a winner is still redacted.
        """
        kept: list[tuple[int, int, Decision]] = []
        decisions = list(decisions)
        order = []
        for index, (candidate, confidence, _, _) in enumerate(decisions):
            rank = 30 * (confidence < 0.7) - candidate.pattern.priority
            order.append((rank, candidate.start - candidate.end, candidate.start, index))
        for _, _, _, index in sorted(order):
            candidate = decisions[index].candidate
            free = _free(kept, candidate.start, candidate.end)
            if candidate.category != "digital" and free != [(candidate.start, candidate.end)]:
                continue
            for start, end in free:
                rest = decisions[index]._replace(candidate=candidate._replace(start=start, end=end))
                insort(kept, (start, end, rest), key=_place)
        return [decision for _, _, decision in kept]


_JOINTS = b"-./:"


def _touches(data: bytes, start: int, end: int, unjoined: bool) -> bool:
    """A letter or digit goes on beside it; looks at two characters on each side."""
    if start and _WORD[data[start - 1]] and _WORD[data[start]]:
        return True
    if end < len(data) and _WORD[data[end]] and _WORD[data[end - 1]]:
        return True
    if not unjoined:
        return False
    if start > 1 and data[start - 1] in _JOINTS and data[start - 2] in b":0123456789":
        return True
    return end + 1 < len(data) and data[end] in _JOINTS and data[end + 1] in b":0123456789"


def _place(entry: tuple[int, int, Decision]) -> tuple[int, int]:
    return entry[:2]


def _free(kept: list[tuple[int, int, Decision]], start: int, end: int) -> list[tuple[int, int]]:
    """The parts of ``start``–``end`` that nothing in ``kept`` covers."""
    free = []
    at = max(0, bisect_left(kept, (start, start), key=_place) - 1)
    while at < len(kept) and kept[at][0] < end and start < end:
        if kept[at][1] > start:
            free.append((start, kept[at][0]))
            start = kept[at][1]
        at += 1
    return [(a, b) for a, b in [*free, (start, end)] if a < b]


def has_word(data: bytes) -> bool:
    return any(_WORD[byte] for byte in data)
