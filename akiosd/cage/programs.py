"""The programs of a standing cage, each as a state machine: events in, commands out.  The table is
the specification.

    starting ─started→ running ─ended→ ended
    starting ─failed→ ended            any ─cage_ended→ ended

Init says ``started``, ``failed`` and ``ended`` of a program; it may be heard twice, by an akiosd
and by the one after it.  What the table does not list changes nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.cage.reasons import End, EndFacts, describe_entering, explain_end
from akiosd.values.policy import Limits
from akiosd.values.records import escape
from akiosd.values.usage import Usage

State = Literal["starting", "running", "ended"]
EventKind = Literal["started", "failed", "ended", "cage_ended"]
Command = Literal["record_start", "record_end", "tell_started", "tell_end"]

MAX_ENDED = 32
"""Ended programs of a cage whose ends are remembered for clients that were away."""
_SHOWN_NAME = 256
_NO_ENTRY = 2  # ENOENT
START_STEPS = (
    "change to the working directory",
    "execute",
    "make a session",
    "add the Landlock scope",
)
"""What init does to start a program, in its order."""
_CHANGE_DIRECTORY, _EXECUTE = 0, 1


class Event(msgspec.Struct, frozen=True):
    """What happened to a program.

    ``status`` is a wait status (wait(2)); ``err`` an errno, ``why`` its words and ``step`` the step
    of the start that it came from; ``rusage`` user ns, system ns, largest resident set in bytes;
    ``ts`` Unix time in ns; ``detail`` why its cage ended.
    """

    kind: EventKind
    ts: int = 0
    pid: int = 0
    status: int = -1
    err: int = 0
    why: str = ""
    step: int = 0
    rusage: tuple[int, int, int] = (0, 0, 0)
    detail: str = ""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One program.  ``argv`` may be cut.  ``cwd`` is where it is to start, inside; ``copies`` what
    ``akiosctl cp`` has it for, empty for every other; ``token`` what its client called the request.

    ``cause`` is why akiosd ended it, a kind of :mod:`akiosd.cage.reasons`; empty for one that ended
    by itself.  ``start_index`` and ``end_index`` are where the log of the cage has, or was to have,
    its records; -1 before that.
    """

    number: int
    argv: tuple[bytes, ...] = ()
    cwd: bytes = b""
    tty: bool = False
    state: State = "starting"
    asked_ns: int = 0
    ended_ns: int = 0
    pid: int = 0
    status: int = -1
    err: int = 0
    why: str = ""
    step: int = 0
    rusage: tuple[int, int, int] = (0, 0, 0)
    cause: str = ""
    detail: str = ""
    start_index: int = -1
    end_index: int = -1
    copies: bytes = b""
    token: bytes = b""


_ENDS: tuple[State, tuple[Command, ...]] = ("ended", ("record_end", "tell_end"))
TABLE: dict[tuple[State, EventKind], tuple[State, tuple[Command, ...]]] = {
    ("starting", "started"): ("running", ("record_start", "tell_started")),
    ("starting", "failed"): _ENDS,
    ("starting", "ended"): _ENDS,
    ("starting", "cage_ended"): _ENDS,
    ("running", "ended"): _ENDS,
    ("running", "cage_ended"): _ENDS,
}


def advance(program: Program, event: Event) -> tuple[Program, tuple[Command, ...]]:
    """The program after ``event``, and what akiosd must do now."""
    found = TABLE.get((program.state, event.kind))
    if found is None:
        return program, ()
    state, commands = found
    if event.kind == "cage_ended":
        program = end(program, "cage_ended", event.detail)
    changed = msgspec.structs.replace(program, state=state, pid=event.pid or program.pid)
    if state == "ended":
        changed = msgspec.structs.replace(
            changed,
            ended_ns=event.ts,
            status=event.status,
            err=event.err,
            why=event.why,
            step=event.step,
            rusage=event.rusage,
        )
    return changed, commands


def end(program: Program, cause: str, detail: str = "") -> Program:
    """The same program, to be killed for ``cause``: the first one counts."""
    if program.cause or program.state == "ended":
        return program
    return msgspec.structs.replace(program, cause=cause, detail=detail)


def placed(program: Program, *, start_index: int = -1, end_index: int = -1) -> Program:
    """The same, of which a record was given to the log."""
    start = start_index if start_index >= 0 else program.start_index
    end_ = end_index if end_index >= 0 else program.end_index
    return msgspec.structs.replace(program, start_index=start, end_index=end_)


def remembered(programs: dict[int, Program]) -> dict[int, Program]:
    """All that run, and the last of those that have ended; ``programs`` in the order in which they
    changed.
    """
    ended = [number for number, one in programs.items() if one.state == "ended"]
    gone = set(ended[: max(0, len(ended) - MAX_ENDED)])
    return {number: one for number, one in programs.items() if number not in gone}


def usage_of(program: Program) -> Usage:
    """What it and the processes it waited for have used."""
    user_ns, system_ns, peak = program.rusage
    wall_ns = max(0, program.ended_ns - program.asked_ns)
    return Usage(wall_ns=wall_ns, user_ns=user_ns, system_ns=system_ns, memory_peak=peak)


def signal_of(program: Program) -> int:
    """The signal that ended it, 0 where none did (wait(2))."""
    return program.status & 0x7F if program.status >= 0 else 0


def explain(program: Program, limits: Limits) -> End:
    """How it ended: kind, exit code and the line for people; ``limits`` are those of its cage."""
    if program.err:
        name = b"".join(program.argv[:1])
        return explain_end(explain_start(name, program.cwd, program.step, program.err, program.why))
    signal = signal_of(program)
    code = -1 if program.status < 0 else signal + 128 if signal else program.status >> 8
    usage = usage_of(program)
    return explain_end(EndFacts(program.cause, code, signal, usage, limits, program.detail))


def explain_start(name: bytes, cwd: bytes, step: int, err: int, why: str) -> EndFacts:
    """Why init could not start ``name`` in ``cwd``: ``why`` are the words of the errno ``err``, and
    ``step`` is the place in ``START_STEPS`` that it came from, or a higher number.
    """
    shown = escape(name[:_SHOWN_NAME])
    if step == _EXECUTE:
        if err == _NO_ENTRY:
            return EndFacts("not_found", detail=shown)
        return EndFacts("cannot_execute", detail=f"{shown}: {why}")
    if step == _CHANGE_DIRECTORY:
        return EndFacts("failed_start", detail=describe_entering(escape(cwd), err, why))
    does = START_STEPS[step] if step < len(START_STEPS) else "start"
    return EndFacts("failed_start", detail=f"{why}: cannot {does}")
