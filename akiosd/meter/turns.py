"""A conversation as turns, and whether it goes in circles.  Pure: over what a request holds.

A turn is what the model answered and what the agent brought back.  Two turns are the same when the
same tools were called with the same arguments and gave the same results, or, where no tool was
called, when the same was said and told.  Results are compared without times, ids and counts of
attempts (:mod:`akiosd.meter.plain_results`), arguments as they are: to delete one thing after the
other is work, whatever the answers.

Every request carries its conversation, so conversations that are interleaved cannot be confused.
Only the newest turns are looked at, and the results of different calls never: an ordinary request
costs a few comparisons, and a repetitive one the reading of its newest turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from akiosd.meter.texts import Texts
from akiosd.values.spend import PERIODS, Trail

MAX_TURNS = 512
MAX_STALE = 16
"""So many turns back is looked for what was said before."""
MAX_PARSED = 4096
"""Characters of arguments that are the same in another order or with other blanks."""
SHORT = 6
"""Words; a shorter answer may come again (a coin's two sides) and still be news."""

Call = tuple[str, Any]
"""Name and arguments; arguments as JSON text or as the value itself."""

_WAITS = re.compile(
    r"\bsleep[ (]\s?(?:[1-9]|0?\.[1-9])|\bStart-Sleep\b|\btimeout /t\b"
    r"|\b(?:kubectl|gh|docker|aws)\b.{0,80}\b(?:wait|watch)\b"
    r"|\"wait[a-z_]{0,20}\": ?[1-9]"
)
_WAITING = frozenset({
    "sleep", "wait", "wait_for", "write_stdin", "BashOutput", "TaskOutput", "AgentOutputTool",
    "poll",
})  # fmt: skip
"""Tools by which agents wait for what goes on beside them."""


_COMMANDS = frozenset({"command", "cmd"})
_SAID_OF_IT = frozenset({"description", "explanation", "justification"})


class Turn(msgspec.Struct, frozen=True):
    """``said`` by the model, ``told`` by the agent: text beside the calls and their results."""

    calls: tuple[Call, ...] = ()
    results: tuple[str, ...] = ()
    said: str = ""
    told: str = ""

    @property
    def waits(self) -> bool:
        return any(
            name in _WAITING or _WAITS.search(_text(given)[:4096]) for name, given in self.calls
        )


def read_trail(turns: Sequence[Turn], texts: Texts) -> Trail:
    """What the end of a conversation looks like; ``texts`` has those of earlier requests."""
    turns = turns[-MAX_TURNS:]
    if not turns:
        return Trail()
    texts.begin()
    rounds = tuple(_count_rounds(turns, period, texts) for period in PERIODS)
    length = next((period for period, times in zip(PERIODS, rounds, strict=True) if times > 1), 0)
    return Trail(
        rounds=(rounds[0], rounds[1], rounds[2], rounds[3]),
        stale=_count_stale(turns, texts),
        calls=bool(turns[-1].calls),
        waits=any(turn.waits for turn in turns[-length:]) if length else False,
        live=bool(length) or any(turn.results for turn in turns),
    )


def goes_on_before(trail: Trail, turns: int) -> bool:
    """Whether what was found in the newest ``turns`` may have begun before them."""
    rounds = zip(PERIODS, trail.rounds, strict=True)
    return trail.stale >= turns or any((times + 1) * period >= turns for period, times in rounds)


def same(one: Turn, other: Turn, texts: Texts) -> bool:
    """Whether nothing differs but times, ids and counts."""
    if len(one.calls) != len(other.calls) or len(one.results) != len(other.results):
        return False
    if one.calls:
        if not all(map(_same_call, one.calls, other.calls)):
            return False
        if not all(map(texts.same_results, one.results, other.results)):
            return False
    elif not texts.same_words(one.said, other.said):
        return False
    return texts.same_words(one.told, other.told)


def _count_rounds(turns: Sequence[Turn], period: int, texts: Texts) -> int:
    """How often the last ``period`` turns stand in a row; 0 where they are fewer, or all alike."""
    if len(turns) < period:
        return 0
    length = period
    while length < len(turns) and same(turns[-1 - length], turns[-1 - length + period], texts):
        length += 1
    if period > 1 and length > period and all(same(turns[-1], t, texts) for t in turns[-period:-1]):
        return 0
    return length // period


def _count_stale(turns: Sequence[Turn], texts: Texts) -> int:
    """How many turns in a row, up to the newest, called no tool and said nothing new."""
    talk = list[Turn]()
    for turn in reversed(turns[-MAX_STALE:]):
        if turn.calls:
            break
        talk.append(turn)
    if not talk or not _is_known(talk, texts.words):
        return 0  # a long word stands in none before, as nearly always
    for at, turn in enumerate(talk):
        short = len(turn.said.split(None, SHORT)) < SHORT
        if short or not _is_known(talk[at:], texts.sentences):
            return at
    return len(talk)


def _is_known(talk: Sequence[Turn], parts: Callable[[str], frozenset[int]]) -> bool:
    """Whether all parts of the first turn are in the others, which are older."""
    newest = parts(talk[0].said) | parts(talk[0].told)
    older = (parts(text) for turn in talk[1:] for text in (turn.said, turn.told))
    return _is_within(newest, older)


def _is_within(left: frozenset[int], sets: Iterable[frozenset[int]]) -> bool:
    for found in sets:
        if not left:
            break
        left -= found
    return not left


def _same_call(one: Call, other: Call) -> bool:
    if one == other:
        return True
    return one[0] == other[0] and _meaning(one[1], 1) == _meaning(other[1], 2)


def _meaning(arguments: Any, unread: int) -> Any:
    """Arguments without what a model says of a command beside it; ``unread`` where they are text
    that is not read.
    """
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if len(arguments) <= MAX_PARSED else unread
        except (ValueError, RecursionError):
            return unread
    if isinstance(arguments, dict) and not _COMMANDS.isdisjoint(arguments):
        return {name: given for name, given in arguments.items() if name not in _SAID_OF_IT}
    return arguments


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, default=repr)
