"""Text that arrives in pieces: each push gives what is safe to pass on.

Held back is only what could still become, or still change, a finding: the beginning of a match at
the end (:mod:`akiosd.redact.prefix_regex`), a match whose neighbour or context has not arrived, an
escape cut in two, the last segments of a run of base64 (:mod:`akiosd.redact.base64_runs`).  For
every way to cut a text the pieces together are what redacting it whole gives, as long as no finding
is longer than ``MAX_HELD``.  A longer one, such as a token that does not end, is replaced when it
has become that long, and the rest of it is left out, never passed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from akiosd.redact.base64_runs import BASE64, RUN
from akiosd.redact.candidates import Candidate, Decision, resolve
from akiosd.redact.context import LEFT, LONE, RIGHT, has_word
from akiosd.redact.engine import Rest
from akiosd.redact.known_values import BETWEEN, LONGEST
from akiosd.redact.labelled_texts import BLANK, MOST_NAME, WHOLE_VALUE, Fields, after, named
from akiosd.redact.model import Pattern, Span
from akiosd.redact.normalise import UNRESOLVED, View
from akiosd.redact.prefix_regex import Growth
from akiosd.redact.re2_search import compiled, latin
from akiosd.redact.redactor import Redactor, merged
from akiosd.redact.rescan import BESIDE, Uncovered, Wall, uncovered
from akiosd.redact.safe_cut import Tail, before, binding, is_passed, with_cause

MAX_HELD = 20480
_KEPT = LEFT + 40

_RUN_AT_END = compiled(latin(rf"{RUN}+={{0,2}}\z"))
_PADDING = ord("=")
_ALL_RUN = re.compile(rf"{RUN}+")
# What a secret that is too long to be held may go on with.
_GOES_ON = re.compile(r"[A-Za-z0-9+/=_.~%-]*")
_KEY_GOES_ON = re.compile(r"[A-Za-z0-9+/=\s\\\"',:>|*#-]*")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}-----")
_MARKER = 64


def _begin(decision: Decision) -> int:
    return decision.candidate.start


@lru_cache(8)
def _growth(patterns: tuple[Pattern, ...]) -> Growth:
    return Growth(tuple(p for p in patterns if p is not BASE64))


class StreamRedactor:
    """Redacts one channel: one content block of one choice, or the arguments of one tool call.

    ``hint`` is its label. Many channels are many objects.
    """

    def __init__(self, redactor: Redactor, hint: str = "") -> None:
        self._redactor, self._engine = redactor, redactor.engine
        self._growth = _growth(self._engine.patterns)
        self._before, self._after = named(hint[-MOST_NAME:]), after(hint)
        self._hint, self._named = hint, bool(hint)
        """Nothing of the text has passed yet, and what stands before it is its name."""
        self._barrier = 0
        self._walls: list[Wall] = []
        """The findings in what stands before."""
        self._pending = ""
        self._passed = 0
        self._words = False
        self._rest: Rest | None = None
        self._done: dict[str, int] = {}
        """By pattern, how much of what is pending is within a match that was refused."""
        self._wait = 0
        """With nothing but base64 to come, look again when this much is pending."""
        self._left_out: re.Pattern[str] | None = None
        self._tail = ""
        self._since: dict[bytes, int] = {}
        """Of values that were found in this text first, where."""
        self.spans: list[Span] = []
        self.blocked = False

    @property
    def held(self) -> int:
        """Characters held back now."""
        return len(self._pending)

    def push(self, chunk: str) -> str:
        """Take ``chunk``; returns what may be passed on.  After a finding in mode ``block`` nothing
        more is returned.
        """
        if self._redactor.mode == "off":
            return chunk
        if self._left_out is not None:
            chunk = self._leave_out(chunk, self._left_out)
        self._pending += chunk
        if len(self._pending) < self._wait and _ALL_RUN.fullmatch(chunk):
            return ""
        return self._advance(False)

    def flush(self) -> str:
        """The rest, when the text has ended."""
        return self._advance(True)

    def _advance(self, final: bool) -> str:
        self._wait = 0
        if self.blocked or not self._pending:
            self._pending = ""
            return ""
        pseudonyms = self._redactor.pseudonyms
        known = (
            len(self._pending) if final or pseudonyms is None else pseudonyms.held(self._pending)
        )
        view = View(self._redactor.shown(self._pending[:known]), more=not final)
        if (
            self._named
            and not final
            and len(view.data) <= WHOLE_VALUE
            and not BLANK.search(view.data)
        ):
            return ""
        data = self._before + view.data + (self._after if final else b"")
        offset, size = len(self._before), len(self._before) + len(view.data)
        candidates = self._candidates(data, offset, size, final)
        decisions = self._engine.decide(data, candidates, self._alone(offset, size), self._barrier)
        known, bound = size, candidates
        if not final:
            known, bound = self._known(data, offset, candidates, decisions)
            known = max(known, offset)
        kept = resolve(d for d in decisions if d.candidate.first < known)
        around = uncovered(
            self._engine, data, [c for c in candidates if c.first < known], kept, self._walls
        )
        cut = known if final else max(offset, self._cut(data, offset, known, bound, around))
        if not final and len(self._pending) - view.start(cut - offset) > MAX_HELD:
            return self._give_up(view, data, offset, cut, decisions)
        again: list[Span] = []
        if self._redactor.known is not None:
            found = sorted(
                (d for d in (*kept, *around.more) if d.candidate.start >= offset), key=_begin
            )
            held = [*bound, *with_cause(around.changed, around.candidates)]
            cut, again = self._known_again(
                view, data, offset, size if final else cut, found, held, final
            )
        if final and self._named:
            again = (
                self._redactor.with_whole([], self._redactor.shown(self._pending), self._hint)
                + again
            )
        self._rest = self._rest_at(data, offset, cut, candidates)
        done = {
            name: count + offset - cut for name, count in self._done.items() if count + offset > cut
        }
        cut_through = {
            c.pattern.name: c.last - cut
            for c in candidates
            if c.first < cut < c.last and not is_passed(c)
        }
        self._done = {} if self._named and cut == offset else {**done, **cut_through}
        strong = (
            d.candidate.end for d in decisions if not d.candidate.weak and d.candidate.first < cut
        )
        self._barrier = max(self._barrier, max(strong, default=0))
        here = (
            d
            for d in (*kept, *around.more)
            if offset <= d.candidate.start < cut and d.candidate.end <= size
        )
        passed = sorted(here, key=_begin)
        return self._emit(
            view,
            data,
            offset,
            cut,
            passed,
            [w for w in around.walls if w.start < cut],
            final,
            again,
        )

    def _candidates(self, data: bytes, offset: int, size: int, final: bool) -> list[Candidate]:
        """Those from ``offset`` to ``size``, also such as begin in the name of the text."""
        if not self._named:
            return self._engine.candidates(
                data, offset, more=not final, rest=self._rest, done=self._done
            )
        found = self._engine.candidates(data, 0, more=not final, short=size - offset <= LONE)
        if final:
            return Fields([offset], [size]).inside(found, data)
        return [c._replace(start=max(offset, c.start)) for c in found if c.end > offset]

    def _alone(self, offset: int, size: int) -> Fields | None:
        """The text, where all of it is here and short."""
        return (
            None if self._words or self._passed + size - offset > LONE else Fields([offset], [size])
        )

    def _cut(
        self, data: bytes, offset: int, known: int, bound: list[Candidate], around: Uncovered
    ) -> int:
        """Up to ``known`` where nothing that comes can change what was found, or uncover more."""
        tail = self._tail_of(data, offset)
        weak = (
            c
            for c in around.candidates
            if c.weak and c.verdict is not False and c.end + RIGHT >= known
        )
        cut = min((tail.down(c.first) for c in weak), default=known)
        cut = before([*bound, *with_cause(around.changed, around.candidates)], cut, tail)
        self._wait = min(MAX_HELD, tail.enough - cut) if tail.run < len(data) else 0
        return cut

    @staticmethod
    def _tail_of(data: bytes, offset: int) -> Tail:
        run = _RUN_AT_END.search(data, offset)
        return Tail(run.start() if run else len(data), len(data))

    def _known(
        self, data: bytes, offset: int, candidates: list[Candidate], decisions: list[Decision]
    ) -> tuple[int, list[Candidate]]:
        """Up to where it is decided what is found at first, and what must not be cut."""
        size, tail = len(data), self._tail_of(data, offset)
        candidates = [c for c in candidates if not is_passed(c)]
        grows = tail.down(max(offset, self._growth.start(data, 0 if self._named else offset)))
        # Where the context of a weak candidate ends, nothing may come up that it must not be looked
        # for across.
        strong = [
            c
            for c in candidates
            if not c.weak and (c.verdict is not False or c.last + BESIDE > size)
        ]
        walls = before(strong, grows, tail)
        settled = {id(d.candidate) for d in decisions if d.settled}
        lone = not self._words and self._passed + size - offset <= LONE
        known, open_ = walls, set()
        for c in candidates:
            if c.weak and c.verdict is not False and id(c) not in settled:
                alone = (
                    lone and c.pattern.lone and not has_word(data[offset : c.start] + data[c.end :])
                )
                if alone or c.end + RIGHT >= walls:
                    known = min(known, tail.down(c.first))
                    open_.add(id(c))
        found = [d.candidate for d in decisions]
        known = before([*strong, *found], known, tail)
        open_ |= {id(c) for c in found if c.last > known}
        return known, binding(candidates, {id(c) for c in found}, open_, grows, size)

    def _known_again(
        self,
        view: View,
        data: bytes,
        offset: int,
        cut: int,
        found: list[Decision],
        held: list[Candidate],
        final: bool,
    ) -> tuple[int, list[Span]]:
        """Learn what is found before ``cut``; where to cut now, and what stands before that and was
        found before it.

        What a stream finds is known from there on: what stands before may have passed already.
        """
        redactor, known, tail = self._redactor, self._redactor.known, self._tail_of(data, offset)
        if known is None:
            return cut, []
        sizes = [
            c.end - c.start
            for c in (d.candidate for d in found)
            if c.start < cut and c.end - c.start <= LONGEST
        ]
        if not final and (sizes or len(known)):
            # Nothing is passed that may be the beginning of a value.
            reach = max([known.longest, *sizes]) + BETWEEN
            cut = max(offset, before(held, tail.down(min(cut, len(data) - reach)), tail))
        for decision in found:
            if decision.candidate.end <= cut:
                for span in self._engine.spans(view, [decision], offset):
                    for key in redactor.learn(view.text[span.start : span.end], span):
                        self._since.setdefault(key, self._passed + span.end)

        def counts(key: bytes, start: int) -> bool:
            since = self._since.get(key)
            return since is None or self._passed + view.start(start - offset) >= since

        places = known.places(data, offset, counts)
        while not final and (crossing := [p.start for p in places if p.start < cut < p.end]):
            cut = max(offset, before(held, tail.down(min(crossing)), tail))
        again = []
        for place in places:
            start, end = view.start(place.start - offset), view.end(place.end - offset)
            if place.end <= cut and known.is_spelled(place, view.text[start:end]):
                again.append(Span(start, end, place.kind, place.category, 0.95, "found before"))
        return cut, again

    def _rest_at(
        self, data: bytes, offset: int, cut: int, candidates: list[Candidate]
    ) -> Rest | None:
        """What to know when ``cut`` is within a run of base64."""
        if cut == offset:
            return self._rest
        ends = {c.last: c.first for c in candidates if c.pattern is BASE64}
        if cut not in ends or cut not in ends.values() or data[cut - 1] == _PADDING:
            return None
        begin = cut
        while begin in ends and data[begin - 1] != _PADDING:
            begin = ends[begin]
        return self._engine.carried(data, begin, cut, self._rest if begin == offset else None)

    def _emit(
        self,
        view: View,
        data: bytes,
        offset: int,
        cut: int,
        kept: list[Decision],
        walls: list[Wall],
        final: bool,
        again: Iterable[Span] = (),
    ) -> str:
        at = len(self._pending) if final else view.start(cut - offset)
        spans = merged(self._engine.spans(view, kept, offset), again)
        result = self._redactor.apply(self._pending[:at], spans, self._passed)
        self.spans += result.spans
        self.blocked = result.blocked
        self._pending, self._passed, self._named = (
            self._pending[at:],
            self._passed + at,
            self._named and at == 0,
        )
        self._words = self._words or has_word(data[offset:cut])
        start = max(0, cut - _KEPT)
        if self._named:
            start = 0
        self._before, self._barrier = data[start:cut], max(0, self._barrier - start)
        self._walls = [
            Wall(max(0, w.start - start), w.end - start, w.level) for w in walls if w.end > start
        ]
        return result.text

    def _give_up(
        self, view: View, data: bytes, offset: int, cut: int, decisions: list[Decision]
    ) -> str:
        """Too much is held for what is a finding, or may be one: it is replaced, and what it goes
        on with left out.
        """
        begun = [
            d.candidate
            for d in decisions
            if d.candidate.first == cut and d.candidate.last + _MARKER > len(data)
        ]
        kind, category, at = UNRESOLVED, BASE64.category, cut
        if begun:
            kind, category, at = begun[0].kind, begun[0].category, begun[0].start
        safe = self._emit(
            view,
            data,
            offset,
            at,
            resolve(d for d in decisions if d.candidate.end <= at),
            [],
            False,
        )
        end = self._passed + len(self._pending)
        self.spans.append(Span(self._passed, end, kind, category, 0.5, "longer than can be held"))
        self._left_out = _KEY_GOES_ON if kind == "PRIVATE_KEY" else _GOES_ON
        self._tail, self._pending, self._passed = self._pending[-_MARKER:], "", end
        self._rest, self._done, self._words, self._before = None, {}, True, data[-_KEPT:]
        self._barrier = len(self._before)
        self.blocked = self.blocked or self._redactor.mode == "block"
        return "" if self.blocked else f"{safe}[{kind}]"

    def _leave_out(self, chunk: str, goes_on: re.Pattern[str]) -> str:
        """What is left of ``chunk`` after the rest of a secret."""
        text = self._tail + chunk
        marker = _KEY_END.search(text) if goes_on is _KEY_GOES_ON else None
        match = goes_on.match(chunk)
        size = max(0, marker.end() - len(self._tail)) if marker else match.end() if match else 0
        if marker or size < len(chunk):
            self._left_out = None
        self._tail, self._passed = text[: len(self._tail) + size][-_MARKER:], self._passed + size
        self._before = self._tail.encode("latin-1", "replace")
        self._barrier = len(self._before)
        self.spans[-1] = msgspec.structs.replace(self.spans[-1], end=self._passed)
        return chunk[size:]
