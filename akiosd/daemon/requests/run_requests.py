"""Requests about runs: begin one, leave it and join it again, read what it wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import trio

from akiosd.cage.machine import Event
from akiosd.daemon.base.guarded import Tasks
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.base.priority import Hurried
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.prepared_cage import Caller
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.cages.running_cage import Opened
from akiosd.daemon.cages.spool import OutputFile, Spool
from akiosd.daemon.gateways.spend import Sharing
from akiosd.daemon.host import Host
from akiosd.daemon.requests.admission import Admission
from akiosd.daemon.requests.standing_requests import StandingRequests
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd
from akiosd.meter.account import borrower_of
from akiosd.meter.budget import least_of
from akiosd.policy.compile.identity import AGENT_ID
from akiosd.values.ids import LogId
from akiosd.wire import messages as wire

_log = get_log("runs")
_COME_BACK_S = 60.0
"""For so long after a restart of akiosd a cage waits for its client."""
_LET_WAIT_S = 10.0
"""For so long an agent that writes may have to wait for whoever was attached."""
_MOST_LEFT = 1000
_FAULT = "see akiosd's log"
_LAST_OUTPUT_S = 3.0
"""For so long after an end its last output may come: a client gives up before that."""


class RunRequests:
    """Handlers of :class:`Run`, :class:`Attach`, :class:`Rejoin`, :class:`Detach` and
    :class:`Output`.
    """

    def __init__(
        self,
        host: Host,
        pool: Pool,
        tasks: Tasks,
        registry: Registry,
        admission: Admission,
        standing: StandingRequests,
    ) -> None:
        self._host, self._pool, self._tasks = host, pool, tasks
        self._registry, self._admission, self._standing = registry, admission, standing
        self._spools: dict[str, Spool] = {}
        """Cages whose output nobody reads now, and what reads it."""
        self._attached: dict[str, object] = {}
        """Which request holds the output of a detached cage now."""
        self._outputs: dict[str, OutputFile] = {}
        """Running cages whose output is kept, and those of which some is still to come."""
        self._copies: dict[str, list[Spool]] = {}
        """What reads the copies of their clients."""
        self._awaited: dict[str, trio.Event] = {}
        """Cages of an earlier akiosd that wait for their clients."""
        self._left: dict[str, tuple[int, wire.Ended, trio.Event]] = {}
        """Ends of such cages that their clients have not heard, whose they were, and what happens
        when they hear.
        """
        self.leaving = False
        """This akiosd ends and its cages do not: that a client goes means nothing."""

    async def run(
        self, peer: Peer, run: wire.Run, fds: list[int], client: ClientConnection
    ) -> None:
        """Start a cage; answers when it has started, and again when it has ended."""
        self._admission.admit_run(peer, run)
        run = self._within(peer, run)
        # Until its agent begins; with its end it waits again.
        with self._host.hurry.begin() as hurried:
            await self._run_hurried(peer, run, fds, client, hurried)

    async def _run_hurried(
        self, peer: Peer, run: wire.Run, fds: list[int], client: ClientConnection, hurried: Hurried
    ) -> None:
        caller = _caller(peer, run)
        with self._registry.claim_name(peer.uid, run.name):
            prepared = await self._pool.take(caller, run.policy.limits)
            taken = fds[: 1 + len(run.binds) + sum(bind.holder > 0 for bind in run.binds)]
            del fds[: len(taken)]
            order = self._registry.next_order()
            opened = Opened.of(run, taken)
            make = self._pool.cage_type
            cage = make(self._host, prepared, peer, run, opened, hurried, order)
            self._share(cage)
            self._registry.add(cage)
        if run.keep_output and self._host.config.ended.output_bytes:
            path = cage.directory / pending_changes.OUTPUT
            self._outputs[cage.id] = OutputFile(path, self._host.config.ended.output_bytes)

        async def on_started(reply: wire.Started, numbers: list[int]) -> None:
            warnings = self._registry.warn_of_expiry(peer.uid, time.time_ns())
            reply = msgspec.structs.replace(reply, notes=(*reply.notes, *warnings))
            if run.detach:
                feed = cage.stdio[0].dup() if run.feeds else None
                self._tasks.start(
                    *("tell that a cage runs", _tell_begun, cage, client, reply, feed),
                    on_fault=partial(cage.end, "internal", _FAULT),
                )
            else:
                try:
                    await self._hand_over(cage, client, reply, numbers)
                except trio.BrokenResourceError:
                    cage.end("client_gone")
            self._pool.refill_soon()
            if run.detach:
                if cage.master is None:
                    cage.stdio[0].close()
                self._begin_spool(cage)

        self._tasks.start("a cage", self._live, cage, on_started)
        await self._answer_end(cage, client)

    async def _answer_end(self, cage: Cage, client: ClientConnection) -> None:
        try:
            await self._wait_end(cage, client)
            assert cage.result is not None
            await client.reply(cage.result)
        except (trio.Cancelled, trio.BrokenResourceError):
            self._client_left(cage)
            raise

    async def _wait_end(self, cage: Cage, client: ClientConnection) -> None:
        """Its client is told meanwhile when the cage stands still, and why."""
        scope = trio.CancelScope()
        if not cage.is_standing:
            what = "tell that a cage stands still"
            self._tasks.start(what, _tell_standstills, cage, client, scope)
        try:
            await cage.ended.wait()
        finally:
            scope.cancel()

    def _client_left(self, cage: Cage) -> None:
        if not cage.detached and not self.leaving:
            cage.end("client_gone")

    def _within(self, peer: Peer, run: wire.Run) -> wire.Run:
        """The request, with no more money than the cage has whose budget it shares.  Raises
        DeniedError.
        """
        if not run.shares:
            return run
        if run.standing:
            what = "a standing cage cannot share the budget of another cage"
            next = "give it a budget of its own: akiosctl cage up --budget USD NAME"
            raise DeniedError(what, run.name, next)
        limits = self._standing.find_own(peer, run.shares).policy.budget
        budget = least_of(run.policy.budget, limits)
        return msgspec.structs.replace(
            run, policy=msgspec.structs.replace(run.policy, budget=budget)
        )

    def _share(self, cage: Cage) -> None:
        other = cage.request.shares
        if other:
            cage.spend.sharing = Sharing(cage.id, partial(self._registry.find_spend, other))

    def settle_lent(self) -> None:
        """All cages of an earlier akiosd are there: of those that are not, what they had open of
        another's budget counts as spent.
        """
        running = self._registry.running
        for cage in running.values():
            lent = cage.spend.account.lent
            lost = [key for key in lent if borrower_of(key) not in running]
            cage.spend.let_go(lost, spent=True)

    def adopt(self, cage: Cage) -> None:
        """Go on with a cage that an earlier akiosd began."""
        self._registry.add(cage)
        self._share(cage)
        if cage.request.keep_output and self._host.config.ended.output_bytes:
            path = cage.directory / pending_changes.OUTPUT
            size = self._host.config.ended.output_bytes
            self._outputs[cage.id] = OutputFile.resume(path, size)
        if not cage.detached or cage.attached:
            self._awaited[cage.id] = trio.Event()
            self._tasks.start(
                *("wait for the client of a cage", self._await_client, cage),
                on_fault=partial(cage.end, "internal", _FAULT),
            )
        elif not cage.ended.is_set():
            self._begin_spool(cage)
        self._standing.adopt(cage)
        self._tasks.start("a cage", self._live, cage, _nobody_waits)

    async def _await_client(self, cage: Cage) -> None:
        """Its client comes back by itself; one that does not has gone away."""
        event = self._awaited[cage.id]
        if not await _comes_back(cage, event) and self._awaited.pop(cage.id, None) is not None:
            if cage.detached:
                cage.attach(False)
                self._take_back(cage)
            else:
                cage.end("client_gone")

    async def rejoin(
        self, peer: Peer, request: wire.Rejoin, fds: list[int], client: ClientConnection
    ) -> None:
        """A client goes on with its run; answers when the cage has ended."""
        if request.program:
            await self._standing.rejoin(peer, request, client)
            return
        cage = self._registry.running.get(request.cage)
        if cage is not None and cage.peer.uid == peer.uid and request.cage in self._awaited:
            self._awaited.pop(cage.id).set()
            if cage.detached:
                await self._serve_attached(cage, client, [])
                return
            started = wire.Started(
                cage=cage.id,
                tty=cage.request.tty is not None,
                output=self._output_left(cage),
                come_back_s=cage.come_back_s,
                posture=cage.posture,
            )
            try:
                await self._hand_over(cage, client, started, [])
            except (trio.Cancelled, trio.BrokenResourceError):
                # The cage waited for this client, and nobody else would ever end it.
                self._client_left(cage)
                raise
            except OSError:
                cage.end("internal", _FAULT)
                raise
            await self._answer_end(cage, client)
            return
        if cage is not None and cage.peer.uid == peer.uid and cage.detached:
            raise DeniedError(
                f"{request.cage} goes on without this client, which came back too late",
                "run",
                f"see what it writes: akiosctl attach {request.cage}",
            )
        owner, ended, heard = self._left.get(request.cage, (peer.uid, None, trio.Event()))
        if owner == peer.uid:
            heard.set()
            self._left.pop(request.cage, None)
            ended = ended or self._registry.describe_end(request.cage, peer.uid)
        if ended is None or owner != peer.uid:
            raise DeniedError(
                f"{request.cage} did not outlive akiosd, or is not yours",
                "run",
                "see what became of it: akiosctl ps --all",
            )
        await client.reply(ended)

    async def _live(self, cage: Cage, on_started: Callable[..., Any]) -> None:
        try:
            await cage.run(on_started)
        except Exception:
            _log.exception("a cage failed", cage=cage.id)
        finally:
            awaited = self._awaited.pop(cage.id, None)
            if awaited is not None and cage.result is not None:
                if len(self._left) >= _MOST_LEFT:
                    del self._left[next(iter(self._left))]
                self._left[cage.id] = cage.peer.uid, cage.result, awaited
            self._tasks.start("the last output of a cage", self._finish_output, cage, awaited)
            self._pool.refill_soon()
            self._registry.remove(cage)

    async def _finish_output(self, cage: Cage, awaited: trio.Event | None) -> None:
        """What is still in pipes belongs to the output; nobody who waits for the end waits for
        it.  ``awaited`` happens when the client comes back for which the cage waited, if any.
        """
        try:
            spool, copies = self._spools.pop(cage.id, None), self._copies.pop(cage.id, [])
            readers = [*copies, *([spool] if spool is not None else ())]
            for reader in readers:
                reader.stop_in(_LAST_OUTPUT_S)
            for reader in readers:
                await reader.done.wait()
            # A client that has closed its copy reads no more; of any other nothing may be taken.
            is_left = spool is None and bool(copies) and copies[-1].is_whole
            output = self._outputs.get(cage.id)
            if output is not None and awaited is not None:
                is_left = not await _comes_back(cage, awaited)
            if output is not None and is_left and self._may_write(cage):
                rest = Spool(output, self._output_left(cage))
                rest.stop_in(_LAST_OUTPUT_S)
                await rest.run(cage.copy_output_ends())
        finally:
            cage.close_output()
            output = self._outputs.pop(cage.id, None)
            if output is not None:
                output.close()
                self._registry.bound_output(cage.id, cage.peer.uid)

    async def _hand_over(
        self, cage: Cage, client: ClientConnection, reply: wire.Started, numbers: list[int]
    ) -> None:
        """Send a client what it copies from, and where its copy goes."""
        output = self._outputs.get(cage.id)
        if output is None:
            await client.reply(reply, numbers)
            return
        ours, theirs = (Fd(number) for number in os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        copy = Spool.of_copy(output)
        self._copies.setdefault(cage.id, []).append(copy)
        self._tasks.start("keep the output of a cage", copy.run, [ours])
        with theirs:
            await client.reply(
                msgspec.structs.replace(reply, kept=True), [*numbers, theirs.fileno()]
            )

    async def attach(
        self, peer: Peer, request: wire.Attach, fds: list[int], client: ClientConnection
    ) -> None:
        """Hand over the terminal or the output of a detached cage; answers again at its end."""
        cage = self._registry.find(peer, request.cage)
        if cage.is_standing:
            raise DeniedError(
                f"{cage.id} is a standing cage: it has no agent to connect to",
                "attach",
                f"start a program in it: akiosctl exec {cage.request.name} -- COMMAND",
            )
        if cage.ended.is_set():
            # Its output stays with who reads it to the end.
            raise DeniedError(
                f"{cage.id} has just ended: there is nothing to connect to any more",
                "attach",
                f"see what it wrote: akiosctl logs {cage.id}",
            )
        spool = self._spools.pop(cage.id, None)
        if spool is None:
            raise DeniedError(
                f"{cage.id} is attached to another terminal",
                "attach",
                "detach from it there first (ctrl-p, ctrl-q); or only watch it: akiosctl logs -f"
                f" {cage.id}",
            )
        spool.stop()
        numbers = (
            [cage.master.fileno()]
            if cage.master is not None
            else [fd.fileno() for fd in cage.stdio[1:]]
        )
        await self._serve_attached(cage, client, numbers)

    async def _serve_attached(
        self, cage: Cage, client: ClientConnection, numbers: list[int]
    ) -> None:
        token = self._attached[cage.id] = object()
        cage.attach(True)
        try:
            started = wire.Started(
                cage=cage.id,
                tty=cage.master is not None,
                one_output=cage.has_one_output,
                output=self._output_left(cage),
                come_back_s=cage.come_back_s,
                posture=cage.posture,
            )
            await self._hand_over(cage, client, started, numbers)
            await self._wait_end(cage, client)
            assert cage.result is not None
            await client.reply(cage.result)
        finally:
            # Who left by Detach may have been followed by another already.
            if self._attached.get(cage.id) is token and not self.leaving:
                del self._attached[cage.id]
                cage.attach(False)
                self._take_back(cage)

    async def detach(
        self, peer: Peer, request: wire.Detach, fds: list[int], client: ClientConnection
    ) -> None:
        """Leave a cage running: its output is kept in a spool."""
        cage = self._registry.find(peer, request.cage)
        if cage.ended.is_set():
            raise DeniedError(
                f"{cage.id} has already ended, and cannot be left running",
                "detach",
                f"see what it wrote: akiosctl logs {cage.id}",
            )
        if cage.master is None and not cage.detached:
            raise DeniedError(
                "only a cage with a terminal can be detached from",
                "detach",
                "start it with -t, or with --detach",
            )
        cage.detach()
        cage.attach(False)
        self._attached.pop(cage.id, None)
        self._take_back(cage)
        await client.reply(wire.Ok())

    def _take_back(self, cage: Cage) -> None:
        """Read the output here again, behind what the client that left had copied."""
        if cage.id not in self._registry.running or cage.ended.is_set():
            return  # whoever ends it waits for the copies, and reads what is left
        copies = self._copies.pop(cage.id, [])
        for copy in copies:
            copy.stop_in(_LAST_OUTPUT_S)
        self._begin_spool(cage, copies)

    async def output(
        self, peer: Peer, request: wire.Output, fds: list[int], client: ClientConnection
    ) -> None:
        """Send the file with the output of a cage, or say when there is more in it."""
        owner = self._registry.owner_of(LogId(request.cage))
        path = self._host.cages_dir / request.cage / pending_changes.OUTPUT
        if owner is None or (peer.role not in ("root", "admin") and owner != peer.uid):
            raise DeniedError(
                f"there is no cage {request.cage}", "output", "list cages with: akiosctl ps --all"
            )
        written = self._outputs.get(request.cage)
        if written is not None and request.wait:
            await written.wait_beyond(request.after)
        reply = wire.OutputReply(
            cage=request.cage,
            running=written is not None and not written.closed,
            written=written.written if written is not None else 0,
        )
        if request.wait:
            await client.reply(reply)
            return
        try:
            file = Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
        except FileNotFoundError:
            await client.reply(reply)
            return
        with file:
            await client.reply(reply, [file.fileno()])

    def _output_left(self, cage: Cage) -> int:
        """How much a cage may still write, whoever read the rest; 0 for any amount."""
        most = cage.policy.limits.output
        return max(1, most - self._output_read(cage)) if most else 0

    def _may_write(self, cage: Cage) -> bool:
        most = cage.policy.limits.output
        return not most or self._output_read(cage) < most

    def _output_read(self, cage: Cage) -> int:
        output = self._outputs.get(cage.id)
        return max(cage.output_bytes, output.written if output is not None else 0)

    def _begin_spool(self, cage: Cage, after: Sequence[Spool] = ()) -> None:
        if cage.id not in self._spools:
            reached = partial(cage.post, Event("limit", "output"))
            output = self._outputs.get(cage.id)
            left, count = self._output_left(cage), cage.count_output
            spool = Spool(output, left, reached, on_read=count, after=after)
            self._spools[cage.id] = spool
            self._tasks.start(
                # Nobody would read on, and its agent would wait for ever.
                *("read the output of a cage", spool.run, cage.copy_output_ends()),
                on_fault=partial(cage.end, "internal", _FAULT),
            )


async def _tell_begun(
    cage: Cage, client: ClientConnection, reply: wire.Started, feed: Fd | None
) -> None:
    """Whoever hears that a detached cage runs may rely on it: until its init has read ``go`` it
    would still end with akiosd.  ``feed`` is its input, which is closed here.
    """
    try:
        await cage.wait_begun()
        await client.reply(reply, [feed.fileno()] if feed is not None else ())
    except trio.BrokenResourceError:
        cage.end("client_gone")
    finally:
        if feed is not None:
            feed.close()


async def _tell_standstills(cage: Cage, client: ClientConnection, scope: trio.CancelScope) -> None:
    with scope:
        await cage.wait_begun()
        with suppress(trio.BrokenResourceError):  # it left: its end is what that means
            await cage.standstill.tell(
                lambda why: client.reply(wire.StandsStill(cage=cage.id, why=why))
            )


async def _comes_back(cage: Cage, event: trio.Event) -> bool:
    """Whether the client comes back in time of a cage that an earlier akiosd began."""
    with trio.move_on_after(_LET_WAIT_S if cage.detached else _COME_BACK_S):
        await event.wait()
    return event.is_set()


async def _nobody_waits(reply: wire.Started, numbers: list[int]) -> None:
    """The start of a cage that an earlier akiosd began was told then."""


def _caller(peer: Peer, run: wire.Run) -> Caller:
    mode = run.policy.identity.mode
    if mode == "root":
        return Caller(peer.uid, peer.gid, 0, 0)
    if mode == "caller" and peer.uid != 0:
        return Caller(peer.uid, peer.gid, peer.uid, peer.gid)
    return Caller(peer.uid, peer.gid, AGENT_ID, AGENT_ID)
