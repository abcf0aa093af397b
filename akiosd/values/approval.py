"""A question to a person, on which a workflow waits, and what may become of it.

| state | said by | next |
|---|---|---|
| waiting | the step | approved, refused, expired, stopped |
| approved | a person, in time | – |
| refused | a person, in time | – |
| expired | nobody, until its time was over | – |
| stopped | nobody: its run was stopped while it waited | – |

No word of a model or of a file is an answer: who answers is known from the connection on which the
answer came.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.errors import AkiosError

State = Literal["waiting", "approved", "refused", "expired", "stopped"]


class Approval(msgspec.Struct, frozen=True):
    """``message`` is what the person reads.  Times are Unix times in ns; ``by`` is the user's name
    and ``comment`` what they said, both "" until then.
    """

    message: str
    asked_ns: int
    until_ns: int
    state: State = "waiting"
    by: str = ""
    comment: str = ""
    answered_ns: int = 0


def answer(asked: Approval, yes: bool, by: str, now_ns: int, comment: str = "") -> Approval:
    """What a person said.  Raises :class:`AkiosError` when it was answered before, or too late."""
    asked = expire(asked, now_ns)
    if asked.state != "waiting":
        who = f" by {asked.by}" if asked.by else ""
        raise AkiosError(
            f"this question was {asked.state}{who} before",
            "approval",
            "run the workflow again to be asked",
        )
    state: State = "approved" if yes else "refused"
    return msgspec.structs.replace(asked, state=state, by=by, comment=comment, answered_ns=now_ns)


def expire(asked: Approval, now_ns: int) -> Approval:
    """The same, expired when it was waiting longer than it may."""
    if asked.state == "waiting" and now_ns >= asked.until_ns:
        return msgspec.structs.replace(asked, state="expired")
    return asked


def stop(asked: Approval, now_ns: int) -> Approval:
    """The same, when its run was stopped before anybody answered."""
    asked = expire(asked, now_ns)
    if asked.state == "waiting":
        return msgspec.structs.replace(asked, state="stopped")
    return asked
