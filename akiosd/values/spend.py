"""What a call to a model may cost, what it did cost, and what the budget answers: the values on the
gateway's link.

Money is in micro-USD, prices of single tokens in nano-USD (a token of $0.15 a million costs 150);
always rounded up.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["completed", "failed", "cut"]
"""``completed``: the provider answered to the end.  ``failed``: refused, or broken before usage was
known.  ``cut``: stopped midway by AKIOS, the agent or the provider; it is paid all the same.
"""


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the provider counted them.

    ``input`` includes ``cache_read``, ``cache_write`` and ``input_audio``; ``output`` includes
    ``reasoning`` and ``output_audio``; ``cache_write`` includes ``cache_write_1h``, which is kept
    for an hour and costs more.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0


class ModelPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices given in akiosd.yaml, in micro-USD for a million tokens; −1 is the price of input."""

    input: int
    output: int
    cache_read: int = -1
    cache_write: int = -1
    context: int = 200_000
    max_output: int = 65_536


PERIODS = (1, 2, 3, 4)
"""Lengths of the circles looked for, in turns; 1 is the same turn in a row."""


class Trail(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a request's conversation, as :func:`akiosd.meter.turns.read_trail` reads it.

    ``rounds``: for each of ``PERIODS``, how often the last turns of that number stand in a row.
    ``stale``: turns in a row that called no tool and said nothing new.  ``calls``: the last turn
    called tools; ``waits``: so that something else could go on meanwhile.  ``live``: there are
    results of tools or repetitions in it; other requests, from first questions to few-shot
    examples, are batch work.
    """

    rounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    stale: int = 0
    calls: bool = False
    waits: bool = False
    live: bool = False


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question to the budget: may this call be made?  All numbers are upper bounds.

    ``output`` is the number of output tokens asked for by one choice, 0 where the request names
    none, ``floor`` the least that makes sense (a thinking budget and one more), ``ceiling`` the
    most the model can give, ``choices`` how often it is paid (``n``).  ``request`` is the SHA-256
    of the request's meaning, b"" for embeddings, ``before`` that of the request before the newest
    turn of its conversation, and ``trail`` what that conversation looks like:  all three are for
    the loop detectors.
    """

    provider: str
    model: str
    request: bytes
    input_tokens: int = 0
    input_usd_micro: int = 0
    output_usd_nano: int = 0
    output: int = 0
    floor: int = 1
    ceiling: int = 0
    choices: int = 1
    priced: bool = True
    """False: an unknown model, which is refused."""
    trail: Trail = Trail()
    before: bytes = b""


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, tag="grant"):
    """The call may be made: ``usd_micro`` is reserved in all, for ``output`` tokens of each choice
    (0: as the request says).
    """

    usd_micro: int = 0
    output: int = 0
    lowered: int = 0
    """The same, where it is less than the request or its model allows; 0 otherwise."""


class Wait(msgspec.Struct, frozen=True, omit_defaults=True, tag="wait"):
    """Not now: what open calls hold of the limit ``rule`` would be enough for this call, or for a
    longer answer.
    """

    rule: str


class Bill(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call cost: settles its reservation.  ``answer`` is the SHA-256 of what was said and
    called, or b"".
    """

    outcome: Outcome
    usd_micro: int = 0
    tokens: Tokens = Tokens()
    estimated: bool = False
    """The call was sent and its usage not seen to the end: akiosd books what was reserved, in money
    and tokens.
    """
    answer: bytes = b""
    status: int = 0
    """The HTTP status of the provider's answer, and whether it was a stream: for the record."""
    stream: bool = False


class ModelSpend(msgspec.Struct, frozen=True):
    """What the answered calls to one model cost so far; ``model`` is ``provider/name``."""

    model: str
    calls: int = 0
    usd_micro: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class OpenCall(msgspec.Struct, frozen=True):
    """A call under way: what is reserved for it, and its age."""

    model: str
    usd_micro: int
    age_ns: int
