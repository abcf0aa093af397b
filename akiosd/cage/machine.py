"""The life of a cage as a state machine: events in, commands out.  The table is the specification.

    preparing ─ready→ confined ─go→ starting ─execed→ running ─ended→ ending ─reaped→ ended

The first event that ends a cage decides the reason; later ones only confirm it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["preparing", "confined", "starting", "running", "ending", "ended"]
EventKind = Literal[
    "ready",  # init stands behind every fence and waits
    "go",  # the birth record is durable and the posture was accepted
    "execed",
    "exec_failed",
    "step_failed",
    "exited",  # init reported the agent's wait status
    "init_died",  # the status socket ended without a report
    "limit",  # a limit that akiosd enforces was reached; detail names it
    "stop",  # somebody with authority asked for the end
    "reaped",  # the leaf is empty and init is collected
]
Command = Literal["take_listener", "start_agent", "record_start", "kill", "collect"]


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a cage.

    ``cause`` is a kind of :mod:`akiosd.cage.reasons`, ``status`` a wait status (wait(2)),
    ``detail`` printable text.
    """

    kind: EventKind
    cause: str = ""
    status: int = -1
    detail: str = ""


class Life(msgspec.Struct, frozen=True):
    """The state of a cage and what decided its end; an empty ``cause`` means that the agent ended
    by itself.
    """

    state: State = "preparing"
    cause: str = ""
    detail: str = ""
    status: int = -1
    """Wait status (wait(2)) of the agent; −1 while unknown."""


# (state, event) → (next state, commands).  What is not here is ignored: it came too late to matter.
_END: tuple[State, tuple[Command, ...]] = ("ending", ("kill", "collect"))
TABLE: dict[tuple[State, EventKind], tuple[State, tuple[Command, ...]]] = {
    ("preparing", "ready"): ("confined", ("take_listener",)),
    ("confined", "go"): ("starting", ("start_agent",)),
    ("starting", "execed"): ("running", ("record_start",)),
    # a very short agent may be gone before its start was told
    ("starting", "exited"): _END,
    ("running", "exited"): _END,
    ("starting", "exec_failed"): _END,
    ("ending", "reaped"): ("ended", ()),
    **{(state, "step_failed"): _END for state in ("preparing", "confined")},
    **{
        (state, kind): _END
        for state in ("preparing", "confined", "starting", "running")
        for kind in ("init_died", "limit", "stop")
    },
}


def advance(life: Life, event: Event) -> tuple[Life, tuple[Command, ...]]:
    """The life after ``event``, and what akiosd must do now.  An event that the table does not list
    changes nothing.
    """
    found = TABLE.get((life.state, event.kind))
    if found is None:
        # The agent's own status is kept even when something else decided first: it explains.
        if event.kind == "exited" and life.status < 0:
            return msgspec.structs.replace(life, status=event.status), ()
        return life, ()
    state, commands = found
    if state == "ending":
        return Life(state, event.cause, event.detail, event.status), commands
    return msgspec.structs.replace(life, state=state), commands
