"""The account of one cage with the providers of models, as frozen values;
:mod:`akiosd.meter.budget` changes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import msgspec

from akiosd.meter.loops import Minute, Repeats
from akiosd.values.places import SYSTEM_FILE
from akiosd.values.policy import Budget, Most
from akiosd.values.spend import Grant, Outcome, Tokens


class Open(msgspec.Struct, frozen=True):
    """A call that was granted.  ``usd_micro``, ``tokens``: its reservation; ``output``: what the
    grant said of it, 0 where the request's own length holds.

    ``lowered``: output tokens of each choice, where fewer were granted than the request or its
    model allows; else 0.  ``live``: as :class:`akiosd.values.spend.Trail` has it.
    """

    provider: str
    model: str
    request: bytes
    at_ns: int
    usd_micro: int
    tokens: Tokens
    lowered: int = 0
    live: bool = False
    output: int = 0

    @property
    def grant(self) -> Grant:
        """The answer that it had, for who asks again."""
        return Grant(self.usd_micro, self.output, self.lowered)


class Settled(msgspec.Struct, frozen=True):
    """A call that is over, as it was booked.  ``estimated``: its usage was not seen, so the
    reservation was booked.
    """

    call: int
    open: Open
    outcome: Outcome
    usd_micro: int
    tokens: Tokens
    estimated: bool


class Ending(msgspec.Struct, frozen=True):
    """Why the cage must end: a kind of :mod:`akiosd.cage.reasons` and its detail."""

    kind: str
    detail: str


class Warned(msgspec.Struct, frozen=True):
    """How often a rule has refused a call since ``since_ns``, with no call granted in between."""

    since_ns: int
    count: int


class Shared(msgspec.Struct, frozen=True):
    """What other cages spent of this cage's budget.  ``tokens``: input and output together."""

    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0


class Account(msgspec.Struct, frozen=True):
    """Everything that is known of a cage's spending.

    Money is in micro-USD, times are of a monotonic clock. ``calls`` counts answered calls, also
    those cut short. ``open`` maps the number of a call to its reservation.  ``loops_up_to`` is the
    bound of that name in the policy; it and ``system_file``, where an administrator raises it,
    stand in the words of refusals only.

    ``lent`` are open calls of cages that share this budget, by cage and number (:func:`lent_to`),
    and ``shared`` is what those cost that are over: the amounts beside them leave both out.
    """

    limits: Budget
    loops_up_to: Most = None
    usd_micro: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    open: dict[int, Open] = {}
    granted: Minute = Minute()
    paid: Minute = Minute()
    repeats: Repeats = Repeats()
    warned: dict[str, Warned] = {}
    ending: Ending | None = None
    lent: dict[str, Open] = {}
    shared: Shared = Shared()
    system_file: str = SYSTEM_FILE

    @property
    def tokens(self) -> int:
        """Input and output tokens of all settled calls."""
        return self.input_tokens + self.output_tokens

    @property
    def reserved_usd_micro(self) -> int:
        """Money reserved for open calls, of cages that share the budget, too."""
        return sum(call.usd_micro for call in self._all_open())

    @property
    def reserved_tokens(self) -> int:
        """Tokens reserved for them."""
        return sum(call.tokens.input + call.tokens.output for call in self._all_open())

    def _all_open(self) -> Iterator[Open]:
        return chain(self.open.values(), self.lent.values())


def lent_to(cage: str, call: int) -> str:
    """The key in ``lent`` of a call of this cage's."""
    return f"{cage}/{call}"


def borrower_of(key: str) -> str:
    """The cage whose call has this key in ``lent``."""
    return key.partition("/")[0]
