"""Finds out that an agent goes in circles, and sums amounts over a minute; counters only, no
history.

Only a call that was answered to its end counts, so an SDK's retry of a failed one does not. A
request is known by the hash of its meaning before it is sent: one that would close a circle is
refused before it costs anything. The tool calls of an answer are known only afterwards.
"""

from __future__ import annotations

import msgspec

from akiosd.values.units import NS_PER_S

PERIODS = (1, 2, 3, 4)
"""Lengths of the circles that are looked for; 1 is the same request again."""
SHORTEST = 2
"""A request made once is no repetition, so a limit of 1 counts as 2."""
SHORTEST_BATCHES = 3
"""A limit on equal batches of tool calls counts as at least 3: the warning comes one before the
limit, and a single batch is how every agent begins.
"""
MINUTE_S = 60


class Repeats(msgspec.Struct, frozen=True):
    """What the completed calls looked like.

    ``recent`` are the last requests, the newest at the end. ``runs`` has one number for each of
    ``PERIODS``: how many requests in a row, up to the newest, equal the request that many before.
    ``batch`` is the last batch of tool calls, which came ``batches`` times in a row.
    """

    recent: tuple[bytes, ...] = ()
    runs: tuple[int, ...] = (0,) * len(PERIODS)
    batch: bytes = b""
    batches: int = 0


class Circle(msgspec.Struct, frozen=True):
    """A circle of ``period`` requests gone through ``count`` times; ``period`` 0 is a batch of tool
    calls.  ``rule`` is the policy's key.
    """

    rule: str
    period: int
    count: int

    def describe(self) -> str:
        """The words of the reason line, such as ``same request 5 times``."""
        if not self.period:
            return f"same tool calls {self.count} times"
        what = "same request" if self.period == 1 else f"cycle of {self.period} requests"
        return f"{what} {self.count} times"


def answered(repeats: Repeats, request: bytes, tool_calls: bytes) -> Repeats:
    """``repeats`` after one more completed call; ``tool_calls`` is the hash of its batch, b"" for
    none.
    """
    same = bool(tool_calls) and tool_calls == repeats.batch
    return Repeats(
        recent=(*repeats.recent, request)[-max(PERIODS) :],
        runs=tuple(_run(repeats, index, request) for index in range(len(PERIODS))),
        batch=tool_calls,
        batches=repeats.batches + 1 if same else int(bool(tool_calls)),
    )


def find_circle(
    repeats: Repeats, request: bytes, *, same_request: int, cycles: int
) -> Circle | None:
    """The circle that sending ``request`` would close once too often; None when it would not.  A
    limit of 0 looks for none.
    """
    for index, period in enumerate(PERIODS):
        limit = same_request if period == 1 else cycles
        if not limit or len(repeats.recent) < period:
            continue
        run = _run(repeats, index, request)
        # All the same is not a cycle; the shorter period has its own limit.
        if run == 0 or (period > 1 and len(set(repeats.recent[-period:])) == 1):
            continue
        times, limit = (run + period) // period, max(limit, SHORTEST)
        if times >= limit:
            return Circle("budget.same_request" if period == 1 else "budget.cycles", period, limit)
    return None


def find_batch(repeats: Repeats, limit: int) -> tuple[Circle | None, bool]:
    """(the circle of tool calls that has reached ``limit`` - 1, whether it has reached ``limit``);
    0 looks for none.
    """
    limit = max(limit, SHORTEST_BATCHES) if limit else 0
    if not limit or repeats.batches < limit - 1:
        return None, False
    return Circle("budget.same_tool_calls", 0, limit), repeats.batches >= limit


def _run(repeats: Repeats, index: int, request: bytes) -> int:
    period = PERIODS[index]
    if len(repeats.recent) < period or repeats.recent[-period] != request:
        return 0
    return repeats.runs[index] + 1


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
