"""The programs of one standing cage: init starts them and says how they end, the table of
:mod:`akiosd.cage.programs` decides what follows.

Who started a program gets its pipes or its terminal; akiosd keeps no end of them.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping

import trio

from akiosd.cage import programs
from akiosd.cage.asked_programs import AskedPrograms, AskedState, shorten
from akiosd.cage.programs import Event, Program, explain, signal_of
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.cage_state import ASKED, PROGRAMS, ProgramsState
from akiosd.daemon.cages.cage_state import encode as encode_state
from akiosd.daemon.cages.keep_cage import KeptCage
from akiosd.daemon.cages.prepared_cage import make_pipes
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import CageFailedError, DeniedError
from akiosd.kernel.cage_terminal import open_terminal
from akiosd.kernel.fds import Fd, close_all
from akiosd.values import records
from akiosd.values.ids import LogId
from akiosd.values.plan import MAX_PROGRAMS, Plan, StatusMessage, encode
from akiosd.values.policy import Limits
from akiosd.wire import messages as wire

_SIGKILL = 9
_NONE, _NONE_ASKED = ProgramsState(), AskedState()
_WORDS, _SHOWN = 16, 256
_EVENTS: dict[str, programs.EventKind] = {
    "program_started": "started",
    "program_failed": "failed",
    "program_ended": "ended",
}


class Stdio:
    """The descriptors of one program: ``theirs`` go to init, ``ours`` to the client.  Both are
    owned here.
    """

    def __init__(self, theirs: list[Fd], ours: list[Fd]) -> None:
        self.theirs, self.ours = theirs, ours

    @classmethod
    def pipes(cls, uid: int, gid: int, one_output: bool) -> Stdio:
        """Three pipes of the agent's uid, or two where stdout and stderr are one."""
        made = make_pipes(uid, gid)
        if one_output:
            last = made.pop()
            close_all((last.ours, last.theirs))
        theirs = [pipe.theirs for pipe in made]
        if one_output:
            theirs.append(theirs[1].dup())
        return cls(theirs, [pipe.ours for pipe in made])

    @classmethod
    def terminal(cls, init: int, process: int, tty: wire.Tty) -> Stdio:
        """A terminal of the cage's own; raises as :func:`open_terminal`."""
        master, slave = open_terminal(init, process, tty.rows, tty.columns)
        return cls([slave, slave.dup(), slave.dup()], [master])

    def close(self) -> None:
        """Close all of them."""
        close_all((*self.theirs, *self.ours))


class Followed:
    """A program as it goes on.  Whoever has this hears how it began and how it ended, also when
    that is forgotten by then: only the last ends are remembered.
    """

    def __init__(self, program: Program) -> None:
        self.number = program.number
        self.program = program
        """As it was when something of it changed last."""
        self._as_begun: Program | None = None
        self._begun, self._ended = trio.Event(), trio.Event()
        self.hear(program)

    def hear(self, program: Program) -> None:
        """It has changed."""
        self.program = program
        if program.state != "starting":
            self._as_begun = self._as_begun or program
            self._begun.set()
        if program.state == "ended":
            self._ended.set()

    async def wait_begun(self) -> Program:
        """Wait until it runs, or has ended without; how it was in that moment."""
        await self._begun.wait()
        assert self._as_begun is not None
        return self._as_begun

    async def wait_ended(self) -> Program:
        """Wait until it has ended."""
        await self._ended.wait()
        return self.program


class Programs:
    """Those of one cage, by their numbers, which are never given twice."""

    def __init__(
        self,
        ledger: Ledger,
        log: LogId,
        kept: KeptCage,
        limits: Limits,
        before: ProgramsState = _NONE,
        asked: AskedState = _NONE_ASKED,
    ) -> None:
        """``before`` and ``asked``: what an earlier akiosd knew."""
        self._ledger, self._log, self._kept, self._limits = ledger, log, kept, limits
        self.all: dict[int, Program] = {one.number: one for one in before.known}
        self._followed: dict[int, Followed] = {one.number: Followed(one) for one in self.running}
        """Those that have not ended."""
        self._asked = AskedPrograms(asked)
        for one in before.known:
            # By an akiosd that remembers them no other way, or was killed before it wrote the rest.
            if one.token and not self._asked.find(one.token):
                self._asked.add(one.token, one.number, time.monotonic_ns())
        self.count = before.count
        """How many were asked for since the cage was made."""

    @property
    def running(self) -> list[Program]:
        """Those that have not ended."""
        return [one for one in self.all.values() if one.state != "ended"]

    @property
    def following(self) -> list[Followed]:
        """The same."""
        return list(self._followed.values())

    def follow(self, number: int) -> Followed | None:
        """One that runs, or whose end is remembered."""
        if number in self.all and number not in self._followed:
            return Followed(self.all[number])
        return self._followed.get(number)

    def asked(self, token: bytes) -> int:
        """The number of the program that was asked for with this token, 0 where none is known.  It
        is known here what any earlier akiosd was asked, also when the end of it is forgotten.
        """
        kept = shorten(token)
        known = (one.number for one in self.all.values() if one.token and one.token == kept)
        return next(known, self._asked.find(token))

    def may_have_begun(self, token: bytes) -> bool:
        """Whether one that is not known is so old that it may have been asked for all the same."""
        return self._asked.may_be_dropped(token)

    def give_up(self, number: int) -> None:
        """Whether init ever heard of one that an earlier akiosd was to start is not known; should
        it, it kills that one at once.
        """
        one = self.all.get(number)
        if one is not None and one.state == "starting":
            self._advance(one, Event("ended", ts=time.time_ns()))

    async def start(
        self,
        channel: StatusChannel,
        request: wire.Program,
        env: Mapping[bytes, bytes],
        stdio: Stdio,
    ) -> Followed:
        """Have init start a program.  Raises DeniedError for one too many, CageFailedError and
        OSError.
        """
        if len(self.running) >= MAX_PROGRAMS:
            cage = self._log
            raise DeniedError(
                f"{MAX_PROGRAMS} programs run in {cage}, which is the most",
                "program",
                "wait until some have ended, or start another cage: akiosctl cage up NAME",
            )
        plan = Plan(
            steps=(),
            command=request.command,
            argv=request.argv,
            env=tuple(name + b"=" + value for name, value in env.items()),
            cwd=request.cwd,
            tty=request.tty is not None,
        )
        self.count = number = self.count + 1
        asked = Program(
            number=number,
            argv=_cut(request.argv),
            cwd=request.cwd[:_SHOWN],
            copies=request.copies[:_SHOWN],
            token=shorten(request.token),
            tty=request.tty is not None,
            asked_ns=time.time_ns(),
        )
        followed = self._followed[number] = Followed(asked)
        self._put(asked)
        if request.token:
            # After the program, so that no other one ever has a number that is kept here.
            self._asked.add(request.token, number, time.monotonic_ns())
            self._kept.write(ASKED, encode_state(self._asked.state))
        try:
            await channel.send_program(number, encode(plan), [fd.fileno() for fd in stdio.theirs])
        except BaseException as error:
            # Init never heard of it: nobody else would ever say that it began, or that it ended.
            self._end_unsent(number, error)
            raise
        return followed

    def _end_unsent(self, number: int, error: BaseException) -> None:
        one = self.all.get(number)
        if one is None or one.state == "ended":
            return
        if isinstance(error, trio.Cancelled):
            self._advance(programs.end(one, "client_gone"), Event("ended", ts=time.time_ns()))
            return
        why = error.what if isinstance(error, CageFailedError) else str(error)
        none = len(programs.START_STEPS)
        failed = Event("failed", ts=time.time_ns(), err=errno.EIO, why=why, step=none)
        self._advance(one, failed)

    async def kill(self, channel: StatusChannel, number: int, cause: str, detail: str = "") -> None:
        """End a program; what it left running in other process groups runs on."""
        one = self.all.get(number)
        if one is not None and one.state != "ended":
            self._put(programs.end(one, cause, detail))
            await channel.send("program_signal", _SIGKILL, number)

    def hear_killed(self, number: int, rusage: tuple[int, int, int]) -> None:
        """One was killed by akiosd itself, for the cause that :meth:`kill` was given; init, which
        stands still, says so later.
        """
        if number in self.all:
            killed = Event("ended", ts=time.time_ns(), status=_SIGKILL, rusage=rusage)
            self._advance(self.all[number], killed)

    async def signal(self, channel: StatusChannel, number: int, signo: int) -> None:
        """Send a signal to the process group of a program, once there is one."""
        followed = self.follow(number)
        if followed is not None:
            await followed.wait_begun()
            if followed.program.state == "running":
                await channel.send("program_signal", signo, number)

    def hear(self, said: StatusMessage) -> None:
        """What init says of one; it may say it twice."""
        number = said.step
        failed = said.kind == "program_failed"
        event = Event(
            kind=_EVENTS[said.kind],
            ts=time.time_ns(),
            pid=said.value if said.kind == "program_started" else 0,
            status=said.value if said.kind == "program_ended" else -1,
            err=said.err if failed else 0,
            why=os.strerror(said.err) if failed else "",
            step=said.value if failed else 0,
            rusage=said.rusage,
        )
        if number in self.all:
            self._advance(self.all[number], event)

    def end_all(self, reason: str) -> None:
        """The cage is empty, and so are its programs; ``reason`` is why it ended."""
        why = reason.removeprefix("killed: ")
        for one in self.running:
            self._advance(one, Event("cage_ended", ts=time.time_ns(), detail=why))

    def record_again(self) -> None:
        """Records that an akiosd which was killed had not brought to disk."""
        size = self._ledger.size(self._log)
        for one in tuple(self.all.values()):
            if one.start_index >= size:
                self._record_start(one)
            if one.end_index >= size:
                self._record_end(one)

    def _advance(self, one: Program, event: Event) -> None:
        changed, commands = programs.advance(one, event)
        self._put(changed)
        if "record_start" in commands:
            self._record_start(changed)
        if "record_end" in commands:
            self._record_end(changed)
        self._tell(self.all[one.number])

    def _tell(self, one: Program) -> None:
        followed = self._followed.get(one.number)
        if followed is not None:
            followed.hear(one)
        if one.state == "ended":
            self._followed.pop(one.number, None)

    def _record_start(self, one: Program) -> None:
        record = records.ProgramStarted(
            ts=time.time_ns(), program=one.number, argv=one.argv, pid=one.pid, copies=one.copies
        )
        self._note(one, start_index=self._ledger.append(self._log, record))

    def _record_end(self, one: Program) -> None:
        end, usage = explain(one, self._limits), one.rusage
        record = records.ProgramEnded(
            ts=one.ended_ns,
            program=one.number,
            exit_code=end.exit_code,
            signal=signal_of(one),
            reason=end.reason,
            rusage=records.Rusage(user_ns=usage[0], system_ns=usage[1], max_rss=usage[2]),
        )
        self._note(one, end_index=self._ledger.append(self._log, record))

    def _note(self, one: Program, **places: int) -> None:
        self._put(programs.placed(self.all[one.number], **places))

    def _put(self, one: Program) -> None:
        # It goes to the end: the last that changed are remembered.
        self.all.pop(one.number, None)
        self.all[one.number] = one
        self.all = programs.remembered(self.all)
        state = ProgramsState(known=tuple(self.all.values()), count=self.count)
        self._kept.write(PROGRAMS, encode_state(state))


def _cut(argv: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """As much of a command line as is kept in memory that is written again and again."""
    return tuple(word[:_SHOWN] for word in argv[:_WORDS])
