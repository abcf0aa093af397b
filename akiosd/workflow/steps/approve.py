"""Steps that wait for a person's yes.

In a cage nobody can be asked, and nothing that runs in one may say yes: what is done here is to
check the question and to say until when it waits.  Who started the workflow asks it.
"""

from __future__ import annotations

import time

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.approval import Approval
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds

_MAX_MESSAGE = 20_000
_MAX_S = 30 * 86_400


class Config(Form):
    """``timeout``: how long it waits, at most 30 days; then it has failed."""

    timeout: Time = "24h"


class Ask(Form):
    message: str


def ask(work: Work, config: Config, wanted: Ask) -> None:
    """The question, waiting."""
    patience = seconds(config.timeout)
    if not wanted.message.strip() or len(wanted.message) > _MAX_MESSAGE:
        raise AkiosError(
            f"a question has 1 to {_MAX_MESSAGE} characters",
            "approve: message",
            "write what to ask",
        )
    if not 0 < patience <= _MAX_S:
        raise AkiosError(
            "a question can wait 30 days at most",
            "approve: timeout",
            "write a shorter time, as in 24h",
        )
    now = time.time_ns()
    work.outputs |= msgspec.to_builtins(Approval(wanted.message, now, now + int(patience * 10**9)))


ACTIONS: Actions = {"ask": Action(Config, Ask, ask)}
