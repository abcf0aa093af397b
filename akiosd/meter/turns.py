"""A conversation as turns, and whether it goes in circles.  Pure: over what a request holds.

A turn is what the model answered and what the agent brought back.  Two turns are the same when the
same tools were called with the same arguments and gave the same results, or, where no tool was
called, when the same was said and told.  Results are compared without times, ids and counts of
attempts (:mod:`akiosd.meter.plain_results`), arguments as they are: to delete one thing after the
other is work, whatever the answers.

Every request carries its conversation, so conversations that are interleaved cannot be confused.
Only the newest turns are looked at, and the results of different calls never: an ordinary request
costs a few comparisons.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from akiosd.meter.plain_results import COURTESY, MAX_SAID, plain_words, same_results, sentences
from akiosd.values.spend import PERIODS, Trail

MAX_TURNS = 512
MAX_STALE = 16
"""So many turns back is looked for what was said before."""
SHORT = 6
"""Words; a shorter answer may come again (a coin's two sides) and still be news."""

Call = tuple[str, Any]
"""Name and arguments; arguments as JSON text or as the value itself."""

_WAITS = re.compile(
    r"\bsleep[ (]\s?\d|\bStart-Sleep\b|\btimeout /t\b"
    r"|\b(?:kubectl|gh|docker|aws)\b.{0,80}\b(?:wait|watch)\b"
    r"|\"wait[a-z_]{0,20}\": ?[1-9]"
)
_WAITING = frozenset({
    "sleep", "wait", "wait_for", "write_stdin", "BashOutput", "TaskOutput", "AgentOutputTool",
    "poll",
})  # fmt: skip
"""Tools by which agents wait for what goes on beside them."""


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


def read_trail(turns: Sequence[Turn]) -> Trail:
    """What the end of a conversation looks like."""
    turns = turns[-MAX_TURNS:]
    if not turns:
        return Trail()
    rounds = tuple(_count_rounds(turns, period) for period in PERIODS)
    length = next((period for period, times in zip(PERIODS, rounds, strict=True) if times > 1), 0)
    return Trail(
        rounds=(rounds[0], rounds[1], rounds[2], rounds[3]),
        stale=_count_stale(turns),
        calls=bool(turns[-1].calls),
        waits=any(turn.waits for turn in turns[-length:]) if length else False,
        live=bool(length) or any(turn.results for turn in turns),
    )


def same(one: Turn, other: Turn) -> bool:
    """Whether nothing differs but times, ids and counts."""
    if len(one.calls) != len(other.calls) or len(one.results) != len(other.results):
        return False
    if one.calls:
        if not all(map(_same_call, one.calls, other.calls)):
            return False
        if not all(map(same_results, one.results, other.results)):
            return False
    elif one.said != other.said and plain_words(one.said) != plain_words(other.said):
        return False
    return one.told == other.told or plain_words(one.told) == plain_words(other.told)


def _count_rounds(turns: Sequence[Turn], period: int) -> int:
    """How often the last ``period`` turns stand in a row; 0 where they are fewer, or all alike."""
    if len(turns) < period:
        return 0
    length = period
    while length < len(turns) and same(turns[-1 - length], turns[-1 - length + period]):
        length += 1
    alike = period > 1 and length > period and all(same(turns[-1], t) for t in turns[-period:-1])
    return 0 if alike else length // period


def _count_stale(turns: Sequence[Turn]) -> int:
    """How many turns in a row, up to the newest, called no tool and said nothing new."""
    talk: list[Turn] = []
    for turn in reversed(turns[-MAX_STALE:]):
        if turn.calls:
            break
        talk.append(turn)
    if not talk or _has_new_word(talk):
        return 0
    content: dict[int, frozenset[str]] = {}
    for at, turn in enumerate(talk):
        if len(turn.said.split()) < SHORT or not _is_known(at, talk, content):
            return at
    return len(talk)


def _has_new_word(talk: Sequence[Turn]) -> bool:
    """Whether a long word of the newest turn stands in none before, as nearly always."""
    older = "\n".join(text for turn in talk[1:] for text in (turn.said, turn.told)).casefold()
    words = f"{talk[0].said[:MAX_SAID]} {talk[0].told[:MAX_SAID]}".casefold().split()
    return any(
        word not in older
        for word in words
        if len(word) > 6 and word.isalpha() and word not in COURTESY
    )


def _is_known(at: int, talk: Sequence[Turn], content: dict[int, frozenset[str]]) -> bool:
    """Whether all that turn ``at`` says is said in those after it, which are older."""
    left = _content(at, talk, content)
    for older in range(at + 1, len(talk)):
        if not left:
            break
        left -= _content(older, talk, content)
    return not left


def _content(at: int, talk: Sequence[Turn], content: dict[int, frozenset[str]]) -> frozenset[str]:
    if at not in content:
        content[at] = sentences(talk[at].said) | sentences(talk[at].told)
    return content[at]


def _same_call(one: Call, other: Call) -> bool:
    if one == other:
        return True
    if one[0] != other[0] or not (isinstance(one[1], str) and isinstance(other[1], str)):
        return False
    try:
        return bool(json.loads(one[1]) == json.loads(other[1]))
    except (ValueError, RecursionError):
        return False


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, default=repr)
