"""Requests about standing cages: start programs in one, pause it, say how it is, take it down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import trio

from akiosd.cage import programs
from akiosd.cage.asked_programs import MOST
from akiosd.cage.programs import explain, usage_of
from akiosd.cage.unprotected import left_out
from akiosd.daemon.base.guarded import Tasks
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.registry import Registry, user_name
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.requests.change_requests import ChangeRequests
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import DeniedError
from akiosd.kernel.fds import close_all
from akiosd.store.wipe import How
from akiosd.values.ids import LogId
from akiosd.values.records import escape
from akiosd.wire import messages as wire

_COME_BACK_S = 60.0
"""For so long after a restart of akiosd a program waits for its client."""
_LAST_WORD_S = 5.0
"""For so long init may take to say that a program which was lost has ended."""
_MOST_PASSES = 35
_Key = TypeVar("_Key")
_CANNOT_END = "a program whose client went away cannot be ended; see akiosd's log"
"""A program that nobody could stop would run on: its cage ends."""


class StandingRequests:
    """Handlers of :class:`Program`, :class:`Pause`, :class:`CageStatus` and :class:`Down`, and of
    what is asked about programs.
    """

    def __init__(
        self, tasks: Tasks, registry: Registry, changes: ChangeRequests, logs: LogKeeper
    ) -> None:
        self._tasks, self._registry = tasks, registry
        self._changes, self._logs = changes, logs
        self._awaited: dict[tuple[str, int], trio.Event] = {}
        """Programs that an earlier akiosd started, and that wait for their clients."""
        self._followed: set[tuple[str, bytes]] = set()
        """Cage and token of programs whose client asked this akiosd, and is connected still."""
        self._rejoined: set[tuple[str, int]] = set()
        """Cage and number of those whose client came back to this akiosd, and is there still."""
        self._before: dict[str, int] = {}
        """By cage: the last number that an earlier akiosd gave."""
        self._being_destroyed: dict[str, trio.Event] = {}
        """By cage; set when its data is destroyed, or that failed."""
        self.leaving = False
        """This akiosd ends and its cages do not: that a client goes means nothing."""

    async def program(
        self, peer: Peer, request: wire.Program, fds: list[int], client: ClientConnection
    ) -> None:
        """Start a program; answers when it has started, and again when it has ended."""
        cage = self.find_own(peer, request.cage)
        if before := cage.programs.asked(request.token):
            await self._refuse_again(cage, request.token, before, client)
            return
        if cage.programs.may_have_begun(request.token):
            await client.reply(
                wire.Error(
                    what="this program was asked for so long ago that nobody knows whether it was"
                    f" begun: {MOST:,} others were asked for since, so it is not begun now",
                    where=f"cage {cage.id}",
                    next=f"see what was done: akiosctl diff {cage.id}, and akiosctl timeline"
                    f" {cage.id}; then start it again",
                    begun=True,
                )
            )
            return
        with _noted(self._followed, (cage.id, request.token)):
            await self._start_and_follow(cage, request, client)

    async def _start_and_follow(
        self, cage: Cage, request: wire.Program, client: ClientConnection
    ) -> None:
        # Where the client leaves in the middle of it, nothing was started.
        followed, stdio = await cage.start_program(request)
        try:
            try:
                one = await followed.wait_begun()
                if one.state != "ended":
                    started = _describe_start(cage, followed.number, request)
                    await client.reply(started, [fd.fileno() for fd in stdio.ours])
            finally:
                # Our copies would keep it from ever seeing end of file or a broken pipe.
                close_all(stdio.ours)
            await client.reply(_describe_end(cage, await followed.wait_ended()))
        except (trio.Cancelled, trio.BrokenResourceError):
            self._client_left(cage, followed.number)
            raise

    def _client_left(self, cage: Cage, number: int) -> None:
        if not self.leaving:
            self._tasks.start(
                *("end a program", cage.kill_program, number, "client_gone"),
                on_fault=partial(cage.end, "internal", _CANNOT_END),
            )

    async def _refuse_again(
        self, cage: Cage, token: bytes, number: int, client: ClientConnection
    ) -> None:
        """Never twice.  Whose client is there goes on; of any other what its client would write to
        and read from was lost, with it or with the akiosd that had it.
        """
        one = cage.programs.all.get(number)
        name = escape(b"".join(one.argv[:1])) if one is not None else f"program {number}"
        has_client = (cage.id, token) in self._followed or (cage.id, number) in self._rejoined
        if has_client or number > self._before.get(cage.id, 0):
            await client.reply(
                wire.Error(
                    what=f"{name} was begun by this token already, and is not begun twice"
                    + ("; its client is connected, and it goes on" if has_client else ""),
                    where=f"cage {cage.id}",
                    next=f"see what became of it: akiosctl cage status {cage.id}; to start it once"
                    " more, ask with a new token",
                    begun=True,
                )
            )
            return
        waits = self._awaited.pop((cage.id, number), None)
        if waits is not None:
            waits.set()
        try:
            await self._end_lost(cage, number)
            await client.reply(
                wire.Error(
                    what=f"akiosd was restarted when it had begun {name}, or was about to: it was"
                    " ended, and is not begun again by itself",
                    where=f"cage {cage.id}",
                    next=f"see what it did until then: akiosctl diff {cage.id}, and akiosctl cage"
                    f" status {cage.id}; then start it again",
                    begun=True,
                )
            )
        except (trio.Cancelled, trio.BrokenResourceError):
            self._client_left(cage, number)
            raise

    async def _end_lost(self, cage: Cage, number: int) -> None:
        followed = cage.programs.follow(number)
        await cage.kill_program(number, "client_gone")
        if followed is not None:
            with trio.move_on_after(_LAST_WORD_S):
                await followed.wait_ended()
            cage.programs.give_up(number)

    def adopt(self, cage: Cage) -> None:
        """Wait for the clients of programs that an earlier akiosd started."""
        self._before[cage.id] = cage.programs.count
        for one in cage.programs.running:
            self._awaited[cage.id, one.number] = trio.Event()
            self._tasks.start(
                *("wait for the client of a program", self._await_client, cage, one.number),
                on_fault=partial(cage.end, "internal", _CANNOT_END),
            )

    async def _await_client(self, cage: Cage, number: int) -> None:
        with trio.move_on_after(_COME_BACK_S):
            await self._awaited[cage.id, number].wait()
        if self._awaited.pop((cage.id, number), None) is not None:
            await self._end_lost(cage, number)

    async def rejoin(self, peer: Peer, request: wire.Rejoin, client: ClientConnection) -> None:
        """A client goes on with its program after a restart of akiosd."""
        cage, number = self.find_own(peer, request.cage), request.program
        followed = cage.programs.follow(number)
        waits = self._awaited.pop((cage.id, number), None)
        if followed is None or (waits is None and followed.program.state != "ended"):
            raise DeniedError(
                f"program {number} of {cage.id} is followed by another akiosctl, or ended too"
                " long ago",
                "run",
                f"see what became of it: akiosctl cage status {cage.id}",
            )
        if waits is not None:
            waits.set()
        try:
            with _noted(self._rejoined, (cage.id, number)):
                if followed.program.state != "ended":
                    await client.reply(_describe_start(cage, number, followed.program))
                await client.reply(_describe_end(cage, await followed.wait_ended()))
        except (trio.Cancelled, trio.BrokenResourceError):
            self._client_left(cage, number)
            raise

    async def signal(self, peer: Peer, request: wire.Signal, client: ClientConnection) -> None:
        """Send a signal to a program."""
        await self.find_own(peer, request.cage).signal_program(request.program, request.signo)
        await client.reply(wire.Ok())

    async def stop(self, peer: Peer, request: wire.Stop, client: ClientConnection) -> None:
        """End one program; answers when it has ended."""
        cage, number = self.find_own(peer, request.cage), request.program
        followed = cage.programs.follow(number)
        if followed is not None:
            if request.grace_ns and not cage.standstill.is_asked:
                with trio.move_on_after(request.grace_ns / 1e9):
                    await cage.signal_program(number, 15)
                    await followed.wait_ended()
            is_bound = request.cause == "output" and cage.policy.limits.output > 0
            cause, detail = "output" if is_bound else "stopped", user_name(peer.uid)
            await cage.kill_program(number, cause, detail)
            if cage.standstill.is_asked and followed.program.state != "ended":
                # It had not begun, or waits in the kernel; and its init stands still, too.
                name = cage.request.name
                raise DeniedError(
                    f"program {number} cannot end while {name} ({cage.id}) stands still: it will"
                    " end when the cage goes on",
                    "stop",
                    f"if the cage is paused: akiosctl cage resume {name}; if it waits for room:"
                    f" free some (see df -h); or end the whole cage: akiosctl stop {name}",
                )
            await followed.wait_ended()
        await client.reply(wire.Ok())

    async def pause(
        self, peer: Peer, request: wire.Pause, fds: list[int], client: ClientConnection
    ) -> None:
        """Have everything in a cage stand still, or go on."""
        self._find(peer, request.cage).standstill.pause(request.paused)
        await client.reply(wire.Ok())

    async def status(
        self, peer: Peer, request: wire.CageStatus, fds: list[int], client: ClientConnection
    ) -> None:
        """How a cage that is up is."""
        cage = self._find(peer, request.cage)
        await client.reply(
            wire.CageStatusReply(
                cage=cage.id,
                state=cage.state,
                limits=cage.policy.limits,
                usage=cage.read_usage(),
                budget=cage.policy.budget,
                posture=cage.posture,
                programs=tuple(_describe(cage, one) for one in cage.programs.all.values()),
                left_out=left_out(cage.policy),
            )
        )

    async def down(
        self, peer: Peer, request: wire.Down, fds: list[int], client: ClientConnection
    ) -> None:
        """Kill everything in a cage; with ``destroy`` wipe its disk and its log, too."""
        running = self._registry.running.get(request.cage)
        was_up = running is not None and not running.ended.is_set()
        if was_up:
            cage = self._find(peer, request.cage)
            cage.end("down", user_name(peer.uid))
            await cage.ended.wait()
        await self._registry.wait_released(request.cage)
        if not request.destroy:
            if not was_up:
                self._registry.check_down(peer, request.cage)
            await client.reply(wire.Ok())
            return
        if not 1 <= request.passes <= _MOST_PASSES:
            raise DeniedError("files cannot be overwritten that often", "--passes", "write 1 to 35")
        # Asked again, as after a client that was killed: the first one's work is waited for.
        while (over := self._being_destroyed.get(request.cage)) is not None:
            await over.wait()
        self._registry.find_down(peer, request.cage)
        await client.reply(await self._destroy(peer, request))

    async def _destroy(self, peer: Peer, request: wire.Down) -> wire.Destroyed:
        log, how = LogId(request.cage), How(request.passes, request.fast)
        over = self._being_destroyed[request.cage] = trio.Event()
        try:
            with trio.CancelScope(shield=True):
                await self._changes.take_down(request.cage, peer.uid, how)
                reply = await self._logs.take_down(log, how, peer.uid, request.outside)
            return reply
        finally:
            del self._being_destroyed[request.cage]
            over.set()

    def _find(self, peer: Peer, name: str) -> Cage:
        cage = self._registry.find(peer, name)
        if not cage.is_standing:
            raise DeniedError(
                f"{name} is not a standing cage: it was made for one run",
                name,
                "make a standing one: akiosctl cage up NAME",
            )
        return cage

    def find_own(self, peer: Peer, name: str) -> Cage:
        """What runs in a cage runs with its caller's files: for them alone, root included."""
        cage = self._registry.running.get(name)
        if cage is None or cage.peer.uid != peer.uid or not cage.is_standing:
            raise DeniedError(
                f"you have no standing cage {name} that is up",
                "program",
                "list yours: akiosctl cage list",
            )
        return cage


@contextmanager
def _noted(among: set[_Key], one: _Key) -> Iterator[None]:
    """``one`` is in the set while the block lasts."""
    among.add(one)
    try:
        yield
    finally:
        among.discard(one)


def _describe_start(
    cage: Cage, number: int, asked: wire.Program | programs.Program
) -> wire.Started:
    one_output = asked.one_output if isinstance(asked, wire.Program) else False
    return wire.Started(
        cage=cage.id,
        tty=bool(asked.tty),
        one_output=one_output,
        output=cage.policy.limits.output,
        come_back_s=cage.come_back_s,
        program=number,
    )


def _describe_end(cage: Cage, one: programs.Program) -> wire.Ended:
    end = explain(one, cage.policy.limits)
    return wire.Ended(
        cage=cage.id,
        exit_code=end.exit_code,
        kind=end.kind,
        reason=end.reason,
        usage=usage_of(one),
    )


def _describe(cage: Cage, one: programs.Program) -> wire.ProgramInfo:
    end = explain(one, cage.policy.limits) if one.state == "ended" else None
    return wire.ProgramInfo(
        number=one.number,
        state=one.state,
        argv=one.argv,
        pid=one.pid,
        tty=one.tty,
        started_ns=one.asked_ns,
        ended_ns=one.ended_ns,
        exit_code=end.exit_code if end is not None else 0,
        reason=end.reason if end is not None else "",
    )
