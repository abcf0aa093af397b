"""Finds personal data: candidates by re2 Sets, spans by re2, then validators, context, overlap.

Everything is decided from a bounded neighbourhood: a finding itself and what
:mod:`akiosd.redact.context` looks at around it.  That is why a stream can give the same answer as
the whole text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from operator import sub
from typing import NamedTuple

from akiosd.redact.base64_runs import (
    BASE64,
    LINES,
    RUN,
    SEGMENT,
    Kind,
    decoded,
    over_the_line,
    segments,
)
from akiosd.redact.candidates import Candidate, Decision, resolve
from akiosd.redact.context import LEFT, LONE, Contexts, context_regex, touches
from akiosd.redact.first_pass import NUMBERS, FirstPass, Hits
from akiosd.redact.labelled_texts import Fields, Joined, checked
from akiosd.redact.model import CATEGORIES, Pattern, RedactError, Span
from akiosd.redact.normalise import View
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.re2_search import Finder, Spans, compiled, folded, latin
from akiosd.redact.rescan import uncovered

BLOCK, OVERLAP = 4096, 512
BY_FORM = ("form and check", "distinctive form", "inside base64")
"""The reasons of findings that need no word beside them."""

_REST = compiled(latin(rf"{RUN}*={{0,2}}"))


class Rest(NamedTuple):
    """The text goes on in the middle of a run of base64, at the beginning of a segment."""

    carried: Kind | None


class Engine:
    """The patterns that are switched on, compiled.  Thread-safe and without state between calls.

    ``disable`` takes names of patterns and of categories; ``allow_values`` are texts that are never
    a finding. Raises :class:`RedactError` for a name that does not exist.
    """

    def __init__(self, disable: Iterable[str] = (), allow_values: Iterable[str] = ()) -> None:
        off = {name.upper() for name in disable}
        unknown = off - {p.name for p in PATTERNS} - {c.upper() for c in CATEGORIES}
        if unknown:
            raise RedactError(
                f"there is no pattern or category {min(unknown)!r}",
                "redact.disable",
                "akiosctl protect patterns lists them",
            )
        self.patterns = (
            *(p for p in PATTERNS if p.name not in off and p.category.upper() not in off),
            LINES,
            BASE64,
        )
        self.names = frozenset(p.name for p in self.patterns)
        self.allowed = frozenset(value.casefold() for value in allow_values)
        # One end of a line must not hide the next.
        self._finders = [
            Finder(latin(p.trigger if p is LINES else folded(p))) for p in self.patterns
        ]
        self._contexts = Contexts({p.name: p.context for p in self.patterns})
        self._weak = frozenset(i for i, p in enumerate(self.patterns) if p.weak)
        self._lone = frozenset(i for i in self._weak if self.patterns[i].lone)
        self._numbers = frozenset(
            i for i, p in enumerate(self.patterns) if p.name in NUMBERS and not p.trigger
        )
        self._first = FirstPass(
            self.patterns,
            {i: b"(?i:%s)" % context_regex(self.patterns[i].context) for i in sorted(self._weak)},
        )
        self._places = {p.name: i for i, p in enumerate(self.patterns)}
        self.decide, self.near = self._contexts.decide, self._contexts.near

    def find(self, text: str, hint: str = "") -> list[Span]:
        """The findings of ``text``, by position.

        ``hint`` is its label from elsewhere, such as a JSON key. A text with a label is read as
        ``name: "text"``, so that a pattern which contains its own label finds it there as it does
        in prose. Linear in the length. Raises :class:`RedactError` above ``MAX_CHARACTERS``.
        """
        return self.find_all(Joined([View(checked(text))], [hint]))[0]

    def find_all(self, joined: Joined) -> list[list[Span]]:
        """The findings of many texts in one pass, text by text: none is context for another."""
        if len(joined.views) == 1 and joined.fields.begins == [0]:
            return [self.spans(joined.views[0], self._findings(joined.data, joined.fields), 0)]
        found: list[list[Span]] = [[] for _ in joined.views]
        for decision in self._findings(joined.data, joined.fields):
            place = joined.fields.at(decision.candidate)
            found[place] += self.spans(joined.views[place], [decision], joined.fields.begins[place])
        return found

    @cached_property
    def evident(self) -> frozenset[str]:
        """The types whose values, found by their form, are found wherever they stand; decided by
        their examples.
        """
        return frozenset(
            pattern.name for pattern in self.patterns if all(map(self._alone, pattern.yes))
        )

    def _alone(self, example: str) -> bool:
        spans = [span for span in self.find(example) if span.reason in BY_FORM]
        return all(self.find(f"see {example[s.start : s.end]} now") for s in spans)

    def _findings(self, data: bytes, fields: Fields, within: bool = False) -> list[Decision]:
        """Those of whole texts."""
        short = min(map(sub, fields.ends, fields.begins), default=LONE + 1) <= LONE
        candidates = fields.inside(self.candidates(data, 0, within=within, short=short), data)
        kept = resolve(self.decide(data, candidates, fields)) if candidates else []
        more = uncovered(self, data, candidates, kept).more if kept else []
        if not more:
            return kept
        more = [decision for decision in more if fields.at(decision.candidate) >= 0]
        return sorted([*kept, *more], key=_begin) if more else kept

    def spans(self, view: View, decisions: Iterable[Decision], offset: int) -> list[Span]:
        """The decisions as places in the text of ``view``; what the policy allows is left out.

        ``offset`` is where the view's bytes begin in the bytes that the candidates count in.
        """
        found = []
        for candidate, confidence, reason, _ in decisions:
            start, end = view.start(candidate.start - offset), view.end(candidate.end - offset)
            if self.allowed and view.text[start:end].casefold() in self.allowed:
                continue
            found.append(Span(start, end, candidate.kind, candidate.category, confidence, reason))
        return found

    def candidates(
        self,
        data: bytes,
        position: int,
        more: bool = False,
        rest: Rest | None = None,
        within: bool = False,
        done: Mapping[str, int] | None = None,
        short: bool = False,
    ) -> list[Candidate]:
        """Every match from ``position`` on, also those that a check refuses (their verdict is
        False).

        Weak patterns are left out where none of their words is in reach, unless ``more`` text may
        bring one. ``rest``: ``position`` is in a run of base64; ``within``: what base64 said, not
        looked into again. ``done``: how much from ``position`` on a pattern has searched already.
        ``short``: of more than one text some are short enough to be nothing but one number.
        """
        found: list[Candidate] = []
        size = len(data)
        begin = [position] * len(self.patterns)
        for name, count in done.items() if done else ():
            begin[self._places[name]] += count
        if rest is not None:
            begin[-1] = self._rest(data, position, rest, found)
        if within:
            begin[-1] = begin[-2] = size
        if size - position <= BLOCK + OVERLAP:
            hits = self._matching(data, more, short or size - position <= LONE)
            numbers = hits.numbers
            for index in hits.places:
                at = begin[index]
                if index in self._numbers:
                    at = max(at, numbers.begin)
                    self._scan(index, data, at, numbers.last + 1, numbers.end, found)
                else:
                    self._scan(index, data, at, size, size, found)
            return found
        block = position
        while block < size:
            stop = self._block_end(data, block)
            left = max(0, block - LEFT - 1)
            hits = self._matching(data[left : stop + 2 * OVERLAP], more, short)
            for index in hits.places:
                at = max(block, begin[index])
                reach = size if self.patterns[index].trigger else min(size, stop + OVERLAP)
                if index in self._numbers:
                    at = max(at, left + hits.numbers.begin)
                    reach = min(reach, left + hits.numbers.end)
                begin[index] = self._scan(index, data, at, stop, reach, found)
            block = stop
        return found

    def _matching(self, piece: bytes, more: bool, short: bool = False) -> Hits:
        """Which patterns may match; without ``more`` to come none that is weak and has no word of
        its context here.
        """
        hits = self._first.matching(piece)
        if more or self._weak.isdisjoint(hits.places):
            return hits
        explained = self._first.explained(piece)
        if short:
            explained |= self._lone
        return hits._replace(
            places=[i for i in hits.places if i not in self._weak or i in explained]
        )

    @staticmethod
    def _block_end(data: bytes, block: int) -> int:
        """A block ends after white space where there is some near its end."""
        stop = block + BLOCK
        if stop >= len(data):
            return len(data)
        space = max(data.rfind(b" ", stop - 256, stop), data.rfind(b"\n", stop - 256, stop))
        return space + 1 if space >= 0 else stop

    def _scan(
        self, index: int, data: bytes, at: int, stop: int, reach: int, found: list[Candidate]
    ) -> int:
        """Matches that begin before ``stop``; returns before where there is nothing
        more to find.
        """
        search = self._finders[index].search
        while at < stop:
            spans = search(data, at, reach)
            first, last = spans[0]
            if last < 0:
                return reach if reach == len(data) else at
            if first >= stop:
                # The next one is known: blocks before it are not searched again.
                return first
            at = last
            self._take(index, data, spans, found)
        return at

    def matches(self, name: str, data: bytes, at: int, reach: int) -> Iterator[Spans]:
        """Those of the pattern called ``name`` from ``at`` to ``reach``."""
        return self._finders[self._places[name]].spans(data, at, reach)

    def take(self, name: str, data: bytes, spans: Spans, found: list[Candidate]) -> None:
        """Add what one of :meth:`matches` may be to ``found``."""
        self._take(self._places[name], data, spans, found)

    def _take(self, index: int, data: bytes, spans: Spans, found: list[Candidate]) -> None:
        pattern = self.patterns[index]
        start, end = first, last = spans[0]
        if pattern is BASE64:
            self._run(data, first, last, found)
            return
        if pattern is LINES:
            last, text = over_the_line(data, first, last)
            found.append(self._around(LINES, first, last, text))
            return
        for group in spans[1:]:
            if group[0] >= 0:
                start, end = group
                break
        if pattern.trim is not None:
            end = start + pattern.trim(data[start:end].decode("latin-1"))
        found.append(_judged(pattern, data, first, last, start, end))

    def _run(self, data: bytes, first: int, last: int, found: list[Candidate]) -> None:
        """A whole run of base64."""
        if last - first > 2 * SEGMENT:
            self._segments(first, last, segments(data[first:last], self._inside), found)
            return
        found.append(self._around(BASE64, first, last, decoded(data[first:last])[0]))

    def _around(self, pattern: Pattern, first: int, last: int, text: str) -> Candidate:
        """What base64 that says ``text`` is."""
        inside = self._inside(text) if text else []
        kind = (inside[0].type, inside[0].category) if inside else (pattern.name, pattern.category)
        return Candidate(pattern, first, last, first, last, bool(inside), *kind, False)

    def _rest(self, data: bytes, position: int, rest: Rest, found: list[Candidate]) -> int:
        """What is left of a run whose beginning has passed; returns its end."""
        last = int(_REST.match(data, position).end())
        self._segments(
            position, last, segments(data[position:last], self._inside, True, rest.carried), found
        )
        return last

    def carried(self, data: bytes, begin: int, cut: int, rest: Rest | None) -> Rest:
        """What to know at ``cut`` of a run that begins at ``begin`` (``rest`` where that is within
        it too).
        """
        run = data[begin : _REST.match(data, begin).end()]
        count = (cut - begin) // SEGMENT
        return Rest(
            segments(
                run, self._inside, rest is not None, rest.carried if rest else None, count
            ).get(count)
        )

    @staticmethod
    def _segments(first: int, last: int, kinds: dict[int, Kind], found: list[Candidate]) -> None:
        for place in range((last - first + SEGMENT - 1) // SEGMENT):
            start, end = first + place * SEGMENT, min(last, first + (place + 1) * SEGMENT)
            kind = kinds.get(place) or (BASE64.name, BASE64.category)
            found.append(Candidate(BASE64, start, end, start, end, place in kinds, *kind, False))

    def _inside(self, text: str) -> list[Span]:
        """What a text that was base64 holds, by position."""
        view = View(text)
        return self.spans(view, self._findings(view.data, Fields([0], [len(view.data)]), True), 0)


def _begin(decision: Decision) -> int:
    return decision.candidate.start


def _judged(
    pattern: Pattern, data: bytes, first: int, last: int, start: int, end: int
) -> Candidate:
    verdict: bool | None = None
    weak = pattern.weak
    if not pattern.loose and touches(data, start, end, pattern.joints):
        verdict = False
    elif pattern.check is not None:
        value = data[start:end].decode("latin-1")
        verdict = pattern.check(value)
        weak = weak or (pattern.doubt is not None and verdict is not False and pattern.doubt(value))
    return Candidate(
        pattern, first, last, start, end, verdict, pattern.name, pattern.category, weak
    )
