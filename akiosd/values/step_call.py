"""One step of a workflow as it goes into a cage and comes out of it.

The program that performs a step (:mod:`akiosd.workflow.steps.perform`) reads a :class:`StepRequest`
and writes a :class:`StepResult`, each as one JSON object.  The values in a request are final:
nothing in them is interpolated again.  What a result says was written by a caged process, so that
its reader believes nothing of it but its form; money and denials are known from the ledger.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

MAX_REQUEST = 24 << 20
"""Bytes of a request as JSON."""
MAX_RESULT = 24 << 20
"""Bytes of a result as JSON."""


class StepRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``kind`` and ``action`` name what is done; ``config`` is the step's own setting of its kind,
    ``parameters`` are its values.

    ``idempotency_key`` names this step of this run: a service that knows such keys does a request
    with it once, however often it is sent.
    """

    kind: str
    action: str
    config: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    idempotency_key: str = ""


class StepFailure(Struct, frozen=True):
    """Why a step did not do what it was to do; as :class:`akiosd.errors.AkiosError`.

    ``may_be_done``: what it was to do may be done all the same, as its request was sent.
    """

    what: str
    where: str = ""
    next: str = ""
    may_be_done: bool = False


class StepUsage(Struct, frozen=True):
    """What a provider says that a call to its model took, in tokens."""

    model: str
    input_tokens: int
    output_tokens: int


class StepResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``outputs`` may be there beside a ``failure``: what a program printed before it failed.

    ``notes`` are sentences for people, such as what was left out.  Sizes are bytes of what went to
    others and came from them: bodies, files, rows.  ``seconds`` is the time it took.
    """

    outputs: dict[str, Any] = {}
    failure: StepFailure | None = None
    notes: list[str] = []
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    usage: StepUsage | None = None
