"""Conversations that a provider keeps: a request names the last answer and brings only what is new.

Bounded, some 60 MB at worst: so many answers are remembered, each with its newest turns, and long
texts by their digest.  What is forgotten begins anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from akiosd.gateway.llm.providers.base import Json, mapping, text
from akiosd.gateway.llm.read_turns import OpenTurn, read_newest, read_turns
from akiosd.gateway.redaction.strict_json import dump
from akiosd.meter.texts import Texts
from akiosd.meter.turns import Call, Turn, read_trail
from akiosd.values.spend import Trail

MAX_THREADS = 32
MAX_KEPT = 72
"""Turns of one conversation."""
MAX_PARTS = 8
"""Calls, and results, of one turn; of more only their digest is kept."""
MAX_PART = 1 << 10
MAX_SAID = 2 << 10
MAX_NAME = 200
"""Characters."""


class Threads:
    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Turn, ...], OpenTurn]] = {}
        self._texts = Texts()

    def read(self, body: Json) -> tuple[tuple[Turn, ...], Trail]:
        """The turns of a request, with those that its provider remembers; and what they look
        like.
        """
        name = named_thread(body)
        if not name:
            return read_newest(body, self._texts)
        before, begun = self._kept.get(name, ((), None))
        turns = tuple(map(self._short, read_turns(body, before, begun)))
        return turns, read_trail(turns, self._texts)

    def remember(self, name: str, turns: Sequence[Turn], answer: OpenTurn) -> None:
        """What a model answered after ``turns``; ``name`` is what the next request refers to."""
        if not 0 < len(name) <= MAX_NAME:
            return
        self._kept.pop(name, None)
        while len(self._kept) >= MAX_THREADS:
            del self._kept[next(iter(self._kept))]
        short = OpenTurn(_short_calls(answer.calls), _clip(answer.said, MAX_SAID))
        self._kept[name] = tuple(map(self._short, turns[-MAX_KEPT:])), short

    def _short(self, turn: Turn) -> Turn:
        results = tuple(map(self._short_result, turn.results))
        if len(results) > MAX_PARTS:
            results = (_digest("\0".join(results)),)
        said, told = _clip(turn.said, MAX_SAID), _clip(turn.told, MAX_SAID)
        return Turn(_short_calls(turn.calls), results, said, told)

    def _short_result(self, result: str) -> str:
        return result if len(result) <= MAX_PART else self._texts.plain(result).hex()


def named_thread(body: Json) -> str:
    """The answer or the conversation that a request goes on from; "" for none."""
    conversation = body.get("conversation")
    return (
        text(body.get("previous_response_id"))
        or text(conversation)
        or text(mapping(conversation).get("id"))
    )


def _short_calls(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    if len(calls) > MAX_PARTS:
        return ((calls[0][0][:MAX_NAME], _digest(_written(list(calls)))),)
    return tuple((name[:MAX_NAME], _short_arguments(given)) for name, given in calls)


def _short_arguments(given: Any) -> Any:
    written = given if isinstance(given, str) else _written(given)
    return given if len(written) <= MAX_PART else _digest(written)


def _clip(value: str, most: int) -> str:
    return value if len(value) <= most else _digest(value)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _written(value: Any) -> str:
    return dump(value, sort=True).decode("utf-8", "surrogatepass")
