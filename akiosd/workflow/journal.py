"""The journal of a run of a workflow: what was begun, and what became of it.

Before a step is started its intent is written, after it its result; each line holds the hash of the
line before it, so that one hash (the head) stands for all of them.  The head of each intent is in
the birth of its step's cage, and that of the end in a cage of its own: so the ledger vouches for
every line up to there, with the outputs in it.  From the journal of a run that
was killed follows, for every instance of a step, one of these:

| last line of the instance | what is known | when the run is resumed |
|---|---|---|
| none | it was not started | it is started |
| result: success | it is done | taken over, whatever became of its policy |
| result: failed | it is done, and failed | taken over if the run went on, else tried again |
| intent | *unknown*: it may be done | again, where doing it twice does no harm; else refused |

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.step_call import StepFailure

FIRST = "0" * 64
"""The head of a journal without lines."""


class _Line(msgspec.Struct, frozen=True, tag_field="line", kw_only=True):
    """Base of the lines.  ``ts`` is Unix time in ns, ``before`` the hash of the line before."""

    before: str = FIRST
    ts: int = 0


class Begun(_Line, frozen=True, kw_only=True, tag="begun"):
    """The first line.  ``digest`` is that of the plan; ``cage`` the standing cage whose budget the
    run shares, if any.
    """

    run: str
    workflow: str
    file: str
    workspace: str
    digest: str
    inputs: dict[str, Any] = {}
    cage: str = ""


class Intent(_Line, frozen=True, kw_only=True, tag="intent"):
    """An attempt at an instance of a step is about to be started.

    ``key`` is of the step, its values and the workspace (:func:`akiosd.workflow.plan.key_of`).
    The rest is what its cage may spend, 0 for no limit.
    """

    step: str
    instance: int
    attempt: int
    key: str
    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0


class Result(_Line, frozen=True, kw_only=True, tag="result"):
    """What an attempt brought; ``cage`` is where it was done, ``policy`` the digest of the policy
    that held there ("" in old journals), the rest what it used.
    """

    step: str
    instance: int
    attempt: int
    key: str
    status: Literal["success", "failed"]
    outputs: dict[str, Any] = {}
    failure: StepFailure | None = None
    notes: tuple[str, ...] = ()
    cage: str = ""
    policy: str = ""
    seconds: float = 0.0
    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0


class LeftOut(_Line, frozen=True, kw_only=True, tag="left out"):
    """The condition of a step was false, or its matrix empty: nothing was to be done."""

    step: str


class Lost(_Line, frozen=True, kw_only=True, tag="lost"):
    """What akiosd says of an attempt that was not heard of: its cage ("" where none was made), and
    what that spent.  Whether the step was done is unknown all the same.
    """

    step: str
    instance: int
    cage: str = ""
    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0


class Resumed(_Line, frozen=True, kw_only=True, tag="resumed"):
    """The run was gone on with; ``from_step`` as ``--from`` gave it, ``repeat`` as ``--repeat``."""

    from_step: str = ""
    repeat: bool = False


class Finished(_Line, frozen=True, kw_only=True, tag="finished"):
    """The last line of a run that came to its end."""

    status: Literal["success", "failed"]


class Anchored(_Line, frozen=True, kw_only=True, tag="anchored"):
    """The head before this line stands in the ledger, in the birth of ``cage``, which did nothing:
    results that no step came after are vouched for by it.
    """

    cage: str


Line = Begun | Intent | Result | LeftOut | Lost | Resumed | Finished | Anchored
Place = tuple[str, int]
"""(step, number of its instance)."""
_DECODER = msgspec.json.Decoder(Line)


class Journal(NamedTuple):
    """``size``: bytes of the whole lines; what is behind them was cut off by a death."""

    lines: tuple[Line, ...]
    head: str
    size: int


def encode_line(line: Line, head: str) -> tuple[bytes, str]:
    """A line as it is appended to a journal with this head, and the new head."""
    data = msgspec.json.encode(msgspec.structs.replace(line, before=head)) + b"\n"
    return data, hashlib.sha256(data).hexdigest()


def read_journal(data: bytes, where: str) -> Journal:
    """Every whole line.  Raises :class:`AkiosError` for a line that is none, or that does not
    follow from the one before it.
    """
    lines: list[Line] = []
    head, size = FIRST, 0
    while (end := data.find(b"\n", size)) >= 0:
        whole = data[size : end + 1]
        try:
            line = _DECODER.decode(whole)
        except (msgspec.DecodeError, RecursionError):
            raise _broken(len(lines) + 1, "is not a line of a journal", where) from None
        if line.before != head or isinstance(line, Begun) != (not lines):
            raise _broken(len(lines) + 1, "does not follow from the line before it", where)
        lines.append(line)
        head, size = hashlib.sha256(whole).hexdigest(), end + 1
    return Journal(tuple(lines), head, size)


def _broken(number: int, what: str, where: str) -> AkiosError:
    return AkiosError(
        f"line {number} of the journal {what}", where, "somebody changed this file: start a new run"
    )


class Past(NamedTuple):
    """What is known of each instance: its last result, and the intent that came after it, if any.

    ``spent`` adds up money, tokens and calls; what was begun and not heard of counts as what akiosd
    says of it, else as all that it might have spent: then it is ``at_most`` that.
    """

    results: Mapping[Place, Result]
    unknown: Mapping[Place, Intent]
    spent: tuple[int, int, int]
    at_most: bool = False


NOTHING = Past({}, {}, (0, 0, 0))


def look_back(lines: Iterable[Line]) -> Past:
    """What a journal says."""
    results: dict[Place, Result] = {}
    unknown: dict[Place, Intent] = {}
    spent = [0, 0, 0]
    at_most = False
    guessed: dict[Place, Intent] = {}
    for line in lines:
        if isinstance(line, Intent):
            place = line.step, line.instance
            at_most |= place in guessed
            _add(spent, unknown.get(place))
            unknown[place] = line
            guessed.pop(place, None)
            if line.usd_micro:
                guessed[place] = line
        elif isinstance(line, Lost) and (intent := unknown.get((line.step, line.instance))):
            used = {"usd_micro": line.usd_micro, "tokens": line.tokens, "calls": line.calls}
            unknown[line.step, line.instance] = msgspec.structs.replace(intent, **used)
            guessed.pop((line.step, line.instance), None)
        elif isinstance(line, Result):
            unknown.pop((line.step, line.instance), None)
            guessed.pop((line.step, line.instance), None)
            results[line.step, line.instance] = line
            _add(spent, line)
    for intent in unknown.values():
        _add(spent, intent)
    return Past(results, unknown, (spent[0], spent[1], spent[2]), at_most or bool(guessed))


def _add(spent: list[int], line: Intent | Result | None) -> None:
    if line is not None:
        for place, used in enumerate((line.usd_micro, line.tokens, line.calls)):
            spent[place] += used
