"""What every kind of step is made of: its actions, their forms, and what one of them brings.

A form is a struct whose fields are the names that a workflow may write.  Values come from files
and variables as often as from YAML, so a text that is a number will do where a number is due.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.step_call import StepUsage
from akiosd.values.units import NS_PER_S, parse_duration_ns


class Form(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields that a step may have in ``config`` or in ``parameters``."""


Time = float | str
"""Seconds, or as in ``5m``."""


def seconds(value: Time) -> float:
    """Raises :class:`AkiosError` for what is no time, and for none at all."""
    found = parse_duration_ns(value) / NS_PER_S
    if found <= 0:
        raise AkiosError("a time must be more than 0", "timeout", "write it as in 30s or 5m")
    return found


class Work:
    """One step while it is done: what it brings, and what it took; see
    :class:`akiosd.values.step_call.StepResult`.
    """

    def __init__(self, idempotency_key: str = "") -> None:
        self.idempotency_key = idempotency_key
        self.outputs: dict[str, Any] = {}
        self.notes: list[str] = []
        self.sent = self.received = 0
        self.usage: StepUsage | None = None
        self.may_be_done = False
        """Whether a failure from here on leaves open what the other side did."""


class Action(NamedTuple):
    """``perform(work, config, parameters)`` raises :class:`AkiosError` when the step failed."""

    config: type[Form]
    parameters: type[Form]
    perform: Callable[[Work, Any, Any], None]


Actions = Mapping[str, Action]


def read_form(form: type[Form], given: Mapping[str, Any], where: str) -> Any:
    """``given`` as ``form``.  Raises :class:`AkiosError` which names the field, and the one that
    was meant.
    """
    known = [field.encode_name for field in msgspec.structs.fields(form)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = (
                f"did you mean {near[0]}?" if near else f"known here: {', '.join(known) or 'none'}"
            )
            raise AkiosError(f"there is no field {name!r}", where, hint)
    try:
        return msgspec.convert(given, form, strict=False)
    except msgspec.ValidationError as error:
        raise AkiosError(_plain(str(error)), where, "correct this value in the workflow") from None


def _plain(text: str) -> str:
    """msgspec's words, with the names that YAML has for its types."""
    for name, word in {"`str`": "text", "`int`": "a number", "`float`": "a number"}.items():
        text = text.replace(name, word)
    return text.replace(" - at `$.", ": `").replace("`array`", "a list").replace("`object`", "keys")
