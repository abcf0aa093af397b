"""When an agent goes in circles, and what happened within a minute: counters, no history.

A loop is the same call with the same result, or turns that change nothing, within one conversation.
What the conversation in a request looks like is its :class:`Trail`.  What cannot be seen there is
remembered here, for the newest requests: how often each was answered to its end in the same words.
A request that would close a circle is refused before it is paid; what failed and was sent again by
an SDK does not count.
"""

from __future__ import annotations

import msgspec

from akiosd.values.policy import Budget
from akiosd.values.spend import PERIODS, Ask, Trail
from akiosd.values.units import NS_PER_S

SHORTEST = 2
"""What happened once is no repetition: a limit of 1 counts as 2, and two answers are compared."""
WAITING = 8
"""A call that waits for something may bring the same result so many times more often."""
BATCH = 10
"""What continues no conversation may be answered the same so many times as often: a vote, rows."""
MAX_SEEN = 64
MINUTE_S = 60


class Seen(msgspec.Struct, frozen=True):
    """``request`` was answered ``total`` times, the last ``times`` of them with ``answer``."""

    request: bytes
    answer: bytes
    times: int
    total: int
    live: bool


class Repeats(msgspec.Struct, frozen=True):
    """The requests answered last, the newest at the end; each is in it once."""

    seen: tuple[Seen, ...] = ()


class Circle(msgspec.Struct, frozen=True):
    """``what`` happened ``count`` times, all that ``limit`` of the policy's key ``rule`` lets."""

    rule: str
    what: str
    count: int
    limit: int
    more_for: str = ""
    """Of what more are let than the limit says."""

    @property
    def number(self) -> str:
        """``budget.same_request is 5``, and of what more are let."""
        more = f", and {self.count} for {self.more_for}" if self.more_for else ""
        return f"{self.rule} is {self.limit}{more}"

    def describe(self) -> str:
        """As in the reason line: ``same request and answer 5 times (budget.same_request is 5)``."""
        return f"{self.what} {self.count} times ({self.number})"


def answered(repeats: Repeats, request: bytes, answer: bytes, live: bool) -> Repeats:
    """A call was completed.  Batch work is counted in a row: another question begins anew."""
    if not request:
        return repeats
    old = _find(repeats, request) or Seen(request, b"", 0, 0, live)
    again = bool(answer) and old.answer == answer
    new = Seen(request, answer, old.times + 1 if again else 1, old.total + 1, live)
    kept = (seen for seen in repeats.seen if seen.request != request)
    if not live:
        kept = (seen if seen.live else msgspec.structs.replace(seen, times=0) for seen in kept)
    return Repeats((*kept, new)[-MAX_SEEN:])


def find_circle(repeats: Repeats, ask: Ask, limits: Budget) -> Circle | None:
    """The circle in which a request would go round once more; limits of 0 look for none."""
    return _find_round(ask.trail, limits) or _find_again(repeats, ask, limits)


def _find_round(trail: Trail, limits: Budget) -> Circle | None:
    for period, times in zip(PERIODS, trail.rounds, strict=True):
        if period > 1:
            rule, limit, what = "budget.cycles", limits.cycles, f"cycle of {period} turns"
        elif trail.calls:
            rule, limit = "budget.same_tool_calls", limits.same_tool_calls
            what = "same tool calls and results"
        else:
            rule, limit, what = "budget.same_answers", limits.same_answers, "same answer"
        most = _most(limit, WAITING if trail.waits else 1)
        if limit and times >= most:
            return Circle(rule, what, most, limit, "calls that wait" if trail.waits else "")
    if limits.same_answers and trail.stale >= _most(limits.same_answers):
        return Circle(
            "budget.same_answers", "nothing new", _most(limits.same_answers), limits.same_answers
        )
    return None


def _find_again(repeats: Repeats, ask: Ask, limits: Budget) -> Circle | None:
    """The same request, answered the same: so does a conversation that shows its last turns only.

    Conversations that began alike are as many as the request before was answered.
    """
    limit, trail = limits.same_request, ask.trail
    seen, before = _find(repeats, ask.request), _find(repeats, ask.before)
    if not limit or seen is None:
        return None
    alike = before.total if before is not None else 1
    asked = seen.times + 1 - (alike - 1)
    shown = max(*trail.rounds, 1) - 1 if trail.live else 0
    most = _most(limit, 1 if trail.live else BATCH)
    if seen.times < SHORTEST or asked < SHORTEST or asked + shown < most:
        return None
    more_for = "" if trail.live else "questions without a conversation"
    return Circle("budget.same_request", "same request and answer", most, limit, more_for)


def _find(repeats: Repeats, request: bytes) -> Seen | None:
    return next((seen for seen in repeats.seen if request and seen.request == request), None)


def _most(limit: int, factor: int = 1) -> int:
    return max(limit, SHORTEST) * factor


class Minute(msgspec.Struct, frozen=True):
    """A sum over the last minute.

    ``seconds`` are (second, amount) pairs, the newest at the end. A whole second leaves the sum at
    once, when its last moment is a minute old.
    """

    seconds: tuple[tuple[int, int], ...] = ()

    def add(self, amount: int, now_ns: int) -> Minute:
        """The sum with ``amount`` more at ``now_ns``."""
        second = now_ns // NS_PER_S
        kept = self._since(second)
        if kept and kept[-1][0] == second:
            return Minute((*kept[:-1], (second, kept[-1][1] + amount)))
        return Minute((*kept, (second, amount)))

    def total(self, now_ns: int) -> int:
        """The sum over the minute before ``now_ns``."""
        return sum(amount for _, amount in self._since(now_ns // NS_PER_S))

    def _since(self, second: int) -> tuple[tuple[int, int], ...]:
        return tuple(entry for entry in self.seconds if entry[0] >= second - MINUTE_S)
