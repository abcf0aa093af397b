"""One cage, from request to end: carries events between the kernel and
:mod:`akiosd.cage.machine`.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import math
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from akiosd import __version__
from akiosd.cage import machine
from akiosd.cage.asked_programs import AskedState
from akiosd.cage.machine import Event, Life
from akiosd.cage.reasons import End, explain_end, say_lost, with_lost_changes
from akiosd.cage.unprotected import describe, left_out
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.base.priority import Bulk, Hurried
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages import left_behind
from akiosd.daemon.cages.build_confinement import (
    Confinement,
    Parts,
    build_confinement,
    cage_environment,
    home_of,
)
from akiosd.daemon.cages.cage_state import ASKED, PROGRAMS, CageState, ProgramsState, decode
from akiosd.daemon.cages.give_back import attempt
from akiosd.daemon.cages.init_status import InitStatus
from akiosd.daemon.cages.keep_cage import NOT_KEPT, KeptCage
from akiosd.daemon.cages.prepared_cage import STDIO, Caller, Prepared
from akiosd.daemon.cages.programs import Followed, Programs, Stdio
from akiosd.daemon.cages.read_posture import read_posture
from akiosd.daemon.cages.record_calls import CallRecorder
from akiosd.daemon.cages.record_files import FileRecorder
from akiosd.daemon.cages.running_cage import Opened, Running
from akiosd.daemon.cages.standstill import PATIENCE_S, Standstill
from akiosd.daemon.cages.tell_end import end_facts, read_usage, record_end
from akiosd.daemon.cages.watch_limits import watch_limits, watch_memory
from akiosd.daemon.cages.watch_room import RoomWatch
from akiosd.daemon.gateways import listeners
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.daemon.gateways.gateways import Gateway
from akiosd.daemon.gateways.kept_gateway import GATEWAY, read_left
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.gateways.spend_memory import MORE, SPEND
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError, CageFailedError, DeniedError, LayerUnavailableError
from akiosd.kernel import pidfd
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.fds import Fd, close_all, name_pipe, open_named
from akiosd.kernel.frozen_group import open_group, used_by
from akiosd.kernel.seccomp import Compiled
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.plan import GO_KEPT, GO_STANDING, encode
from akiosd.values.posture import LayerState
from akiosd.values.usage import Usage
from akiosd.wire.messages import CageUse, Ended, Program, Run, Started

_log = get_log("cage")

StartedCallback = Callable[[Started, list[int]], Awaitable[None]]

DAY_NS = 86_400 * 10**9
_LOOK_AT_SYSTEM_S = 30
_REMOTE_START_S = 10.0
_NO_RING = "the records that akiosd had not written when it ended were not kept"
_FAILED = "killed: AKIOS failed"
_USER_NAME = re.compile(r"^[a-z_][a-z0-9_-]{0,30}$")


class Cage:
    """One run.

    ``ended`` is set when :attr:`result` is there; what the kernel held for the cage is released
    after that. ``opened`` are the request's descriptors, owned from now on.
    """

    def __init__(
        self,
        host: Host,
        prepared: Prepared,
        peer: Peer,
        request: Run,
        opened: Opened,
        hurried: Hurried,
        order: int,
        running: Running | None = None,
    ) -> None:
        """``running``: it does, and this akiosd goes on with it."""
        self.host = host
        self._hurried = hurried
        self.prepared = prepared
        self.id = prepared.cage
        self.peer = peer
        self.request = request
        self.policy = request.policy
        self.workspace_fd, self.bind_fds, self.git = opened.workspace, opened.binds, opened.git
        self.workspace_id, self.workspace_name = opened.directory, opened.name
        self._written = opened.written
        self._room: RoomWatch | None = None
        self.order = order
        self.life = Life()
        self.detached = request.detach
        self.attached = False
        self.output_bytes = 0
        """What akiosd itself read of its output."""
        self.started_ns = time.time_ns()
        self.ended_ns = 0
        self.pid = 0
        self.ended = trio.Event()
        self._begun = trio.Event()
        self.result: Ended | None = None
        self.changes = self.discarded = False
        self.on_begin: Callable[[Cage], None] = lambda cage: None
        """Called once, before the agent begins.  Must not raise."""
        self.on_changes: Callable[[Cage], None] = lambda cage: None
        """Called once, before the end is reported, if the workspace was changed.  Must
        not raise.
        """
        self.posture: tuple[LayerState, ...] = ()
        self.stdio: list[Fd] = []
        self._output_names: list[Fd] = []
        """Its stdout and stderr where a client alone has their ends."""
        self.log = LogId(self.id)
        self._log_is_open = False
        self._confinement: Confinement | None = None
        self._cgroup: CageCgroup = prepared.leaf
        self._pidfd: Fd | None = None
        self._status: StatusChannel | None = None
        self._said: InitStatus | None = None
        self._mounts: Fd | None = None
        self._calls: CallRecorder | None = None
        self._files: FileRecorder | None = None
        self._system = host.system.state()
        self._system_changed = False
        self._gateway: Gateway | None = None
        self._bound: list[listeners.Bound] = []
        """The gateway's sockets, which are its own."""
        self.bulk = Bulk(host.hurry)
        self._book = Book(host.ledger, self.log, self.policy.limits, self._count_audit, self.bulk)
        self.spend = Spend(
            self.policy.budget,
            self._book,
            self._end_by_spending,
            loops_up_to=self.policy.loops_up_to,
            system_file=host.settings.system.file,
        )
        self._send, self._receive = trio.open_memory_channel[Event](math.inf)
        self._start_clock_ns = time.monotonic_ns()
        self._patience_s = 30.0
        """Seconds for which the end waits until killed processes are gone."""
        self._agent_ran = False
        self._failed = False
        """Something of AKIOS in it did; the cage is over."""
        self._running = running
        self.lost = ""
        """Why what it changed is not whole, "" where nothing says so."""
        self._is_kept = trio.Event()
        self.kept = running.kept if running is not None else KeptCage(self.id, host.keeper)
        self.programs = Programs(host.ledger, self.log, self.kept, self.policy.limits)
        """Those of a standing cage."""
        self.standstill = Standstill(
            self.id, prepared.leaf, self.kept, lambda: self.life.state == "running"
        )
        if self._written is not None:
            still = self.standstill
            room = RoomWatch(host, self.id, self._written, still, self.end_for_room)
            self._room, still.why_written = room, lambda: room.why
        if running is not None:
            self._take(running)
        else:
            self.kept.remember(detached=self.detached)

    # ---- what others may do to it ----------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Tell the cage what happened; to be called from the Trio thread, never blocks."""
        self._send.send_nowait(event)

    def end(self, cause: str, detail: str = "") -> None:
        """Ask for the end; ``cause`` is a kind of :mod:`akiosd.cage.reasons`,
        ``detail`` printable.
        """
        self.post(Event("stop", cause, detail=detail))

    def detach(self) -> None:
        """From now on it runs without a client."""
        self.detached = True
        self.kept.remember(detached=True)

    @property
    def come_back_s(self) -> int:
        """For how many seconds it goes on without an akiosd; 0 for one that is not kept."""
        return 0 if self.kept.why_not else self.host.config.restart.come_back_s

    def count_output(self, size: int) -> None:
        """akiosd read so much of what it writes; another akiosd counts on."""
        self.output_bytes += size
        self.kept.remember(output=self.output_bytes)

    def attach(self, attached: bool) -> None:
        """Whether a client reads the output of a detached cage."""
        self.attached = attached
        self.kept.remember(attached=attached)

    async def signal(self, signo: int) -> None:
        """Send a signal to the agent's process group as soon as there is one; ignored when the
        agent has ended.

        The agent's first output may reach the client before akiosd hears from init that the agent
        runs.
        """
        await self.wait_begun()
        if self._status is not None and self.life.state == "running":
            await self._status.send("signal", signo)

    async def wait_begun(self) -> None:
        """Wait until the agent runs, or will not."""
        await self._begun.wait()

    async def connect(self, stream: Fd) -> None:
        """Serve akiosctl on ``stream``, owned from now on, by this cage's gateway.  Raises
        :class:`DeniedError`.
        """
        if self._gateway is None or self.life.state != "running":
            stream.close()
            raise DeniedError(
                f"the agent of {self.id} is not running: it is starting, or has ended",
                "http",
                "list cages with: akiosctl ps --all",
            )
        await self._gateway.connect(stream)

    def wait_for_room(self, why: str) -> None:
        """As :meth:`Standstill.wait_for_room`."""
        self.standstill.wait_for_room(why)

    def is_still(self) -> bool:
        """As :meth:`Standstill.is_still`."""
        return self.standstill.is_still()

    def end_for_room(self, why: str) -> None:
        """It goes on writing although it is to stand still because of ``why``."""
        self.post(Event("limit", "room", detail=why))

    def allow(self, more: int) -> bool:
        """As :meth:`akiosd.kernel.disk.Slot.allow`."""
        return self.prepared.slot.allow(more)

    def room_taken(self) -> tuple[int, int]:
        """As :meth:`akiosd.kernel.disk.Slot.room_taken`; nothing once its disk is gone."""
        try:
            return self.prepared.slot.room_taken()
        except OSError:
            return 0, 0

    def unwritten(self) -> int:
        """As :meth:`akiosd.kernel.cgroup.CageCgroup.unwritten`."""
        return self._cgroup.unwritten()

    @asynccontextmanager
    async def held_on_disk(self) -> AsyncIterator[None]:
        """Inside the ``with`` it stands still, and all that it changed is on its disk.  Raises
        :class:`DeniedError` as :meth:`Standstill.held`.
        """
        async with self.standstill.held():
            await self.bring_to_disk()
            yield

    async def bring_to_disk(self) -> None:
        """Wait until all that it changed is on its disk; :attr:`lost` says what is not."""
        try:
            await trio.to_thread.run_sync(self.prepared.slot.sync)
        except OSError as error:
            if self.prepared.slot.failures.closed:
                return  # it ended meanwhile, and was brought to the disk for that
            self.lost = say_lost(str(self.host.state_dir), os.strerror(error.errno or errno.EIO))
            _log.error("what a cage wrote is lost", cage=self.id, why=self.lost)
            self.kept.remember(lost=self.lost)

    # ---- programs of a standing cage -------------------------------------------------------------

    @property
    def failed_to_start(self) -> bool:
        """Whether it ended before it could run anything: a standing one was never up."""
        return self.result is not None and not self._agent_ran

    @property
    def is_standing(self) -> bool:
        """Whether it stands without an agent, and programs are started in it."""
        return self.request.standing

    async def start_program(self, request: Program) -> tuple[Followed, Stdio]:
        """Have init start a program; it, and its descriptors, which are the caller's.

        Raises DeniedError, CageFailedError, OSError.  One that was cancelled has started nothing.
        """
        is_paused, why = self.standstill.is_paused, self.standstill.why
        if self.life.state != "running" or is_paused or why:
            name = self.request.name
            if self.life.state == "running" and not is_paused:
                what = f"{name} stands still: {why}"
                next = "make room on that file system (see df -h): the cage then goes on by itself"
            elif self.life.state == "running":
                what, next = f"{name} ({self.id}) is paused", f"akiosctl cage resume {name}"
            else:
                what = f"{name} ({self.id}) is not up"
                next = (
                    "see its state: akiosctl cage list; if it is down: akiosctl cage down"
                    f" {name}, then akiosctl cage up {name}"
                )
            raise DeniedError(what, "program", next)
        assert self._status is not None and self._pidfd is not None
        if request.tty is not None:
            stdio = Stdio.terminal(self.pid, self._pidfd.fileno(), request.tty)
        else:
            ids = self.prepared.host_id, self.prepared.host_gid
            stdio = Stdio.pipes(*ids, request.one_output)
        try:
            env = self._program_environment(request)
            followed = await self.programs.start(self._status, request, env, stdio)
        except BaseException:
            stdio.close()
            raise
        close_all(stdio.theirs)
        return followed, stdio

    def _program_environment(self, request: Program) -> dict[bytes, bytes]:
        """What the cage was made with, and what this program's client adds."""
        run = msgspec.structs.replace(self.request, env={**self.request.env, **request.env})
        parts = Parts(self.host, self.prepared, run, self.workspace_fd, [])
        return cage_environment(parts, _user_name(run.user_name, self.caller), home_of(run.home))

    async def kill_program(self, number: int, cause: str, detail: str = "") -> None:
        """End a program; ``cause`` as for :meth:`end`."""
        if self._status is not None and self.life.state == "running":
            await self.programs.kill(self._status, number, cause, detail)
            if self.standstill.is_asked:
                await self._kill_still(number)

    async def _kill_still(self, number: int) -> None:
        """End a program here: its init hears of it no sooner than the cage goes on."""
        one = self.programs.follow(number)
        if one is None or one.program.state != "running":
            return
        with trio.move_on_after(PATIENCE_S):
            await self.standstill.wait_still()
            group = one.program.pid
            members = open_group(self._cgroup, self.pid, group)
            try:
                used = used_by(members, group)
                for member in members:
                    pidfd.send_signal(member.fileno(), signal.SIGKILL)
                for member in members:
                    await trio.lowlevel.wait_readable(member.fileno())
            finally:
                close_all(members)
            self.programs.hear_killed(number, used)

    async def signal_program(self, number: int, signo: int) -> None:
        """Send a signal to a program's process group; ignored when it has ended."""
        if self._status is not None and self.life.state == "running":
            await self.programs.signal(self._status, number, signo)

    async def ask_programs_to_end(self) -> None:
        """Send SIGTERM to every program, and wait until all have ended.  A paused cage goes on for
        that: nothing in it could hear of it, nor end.
        """
        self.standstill.pause(False)
        running = self.programs.following
        for one in running:
            await self.signal_program(one.number, signal.SIGTERM)
        for one in running:
            await one.wait_ended()

    def read_usage(self) -> Usage:
        """What it has used so far."""
        wall_ns = time.monotonic_ns() - self._start_clock_ns
        return read_usage(
            self._cgroup,
            self.prepared.slot,
            self._calls,
            self.spend.account,
            self.policy.limits,
            wall_ns,
            self._book.refusals,
        )

    def measure(self) -> CageUse:
        """What it uses at this moment."""
        memory, pids = self._cgroup.in_use()
        return CageUse(
            cage=self.id,
            state=self.state,
            memory=memory,
            pids=pids,
            cpu_percent=self.policy.limits.cpu_percent,
            budget_usd_micro=self.policy.budget.usd_micro,
            reserved_usd_micro=self.spend.account.reserved_usd_micro,
            redactions=self._book.redactions,
            programs=len(self.programs.running),
            usage=self.read_usage(),
        )

    @property
    def state(self) -> str:
        """In the words of ``ps``."""
        still = self.standstill
        return "paused" if still.is_paused or still.why else self.life.state

    def is_outdated(self) -> bool:
        """Whether the host's programs were updated since the cage began; recorded when it is first
        seen.
        """
        if (
            self.life.state == "running"
            and not self._system_changed
            and self.host.system.state() != self._system
        ):
            self._system_changed = True
            self.kept.remember(outdated=True)
            self.host.ledger.append(self.log, records.SystemChanged(ts=time.time_ns()))
        return self.life.state == "running" and self._system_changed

    def _end_by_spending(self, kind: str, detail: str) -> None:
        self.post(Event("limit", kind, detail=detail))

    # ---- its life --------------------------------------------------------------------------------

    async def run(self, on_started: StartedCallback) -> None:
        """The whole life of the cage.  ``on_started`` gets the reply and the descriptors for the
        client, which stay ours.  Afterwards the caller reads the last output, and calls
        :meth:`close_output`.
        """
        self._on_started = on_started
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._live)
        except Exception:
            self._failed = True
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self._clean_up()

    async def _live(self) -> None:
        try:
            if self._running is None:
                await self._begin()
            else:
                await self._go_on(self._running)
        except (AkiosError, OSError) as error:
            kind: machine.EventKind = "step_failed" if self._running is None else "stop"
            self.post(Event(kind, "failed_start", detail=_words(error)))
        try:
            while self.life.state != "ended":
                event = await self._receive.receive()
                self.life, commands = machine.advance(self.life, event)
                self.kept.remember_life(self.life)
                if self.life.state in ("running", "ending", "ended"):
                    self._begun.set()
                    self._hurried.end()
                for command in commands:
                    await self._perform(command)
        except trio.Cancelled:
            self._cgroup.kill()
            raise
        self._nursery.cancel_scope.cancel()

    async def _perform(self, command: machine.Command) -> None:
        try:
            if command == "take_listener":
                await self._confirm()
            elif command == "start_agent":
                await self._start_agent()
            elif command == "record_start":
                self._record_start()
            elif command == "kill":
                self._hold_output()
                self._cgroup.kill()
            elif command == "collect":
                with trio.CancelScope(shield=True), self.host.hurry.begin():
                    await self._collect()
        except (AkiosError, OSError) as error:
            if command == "collect":
                raise
            self.post(Event("stop", "failed_start", detail=_words(error)))

    def _record_start(self) -> None:
        # First where it will stand: an akiosd that finds no place knows that it was not appended.
        self.kept.remember(started_index=self.host.ledger.size(self.log))
        self.host.ledger.append(self.log, records.Started(ts=time.time_ns(), pid=self.pid))

    async def _begin(self) -> None:
        """Build the confinement, let the parked child continue, and listen to it."""
        run = self.request
        left_behind.check(self.peer.uid)
        if self.host.check_room is not None:
            await self.host.check_room()
        if self._room is not None:
            await self._room.check()
        self._files = self._make_file_recorder()
        watch = (
            self._files.events.group
            if self._files is not None and self._files.events is not None
            else None
        )
        opened = self.workspace_fd, self.bind_fds
        parts = Parts(self.host, self.prepared, run, *opened, self.peer.pid, watch)
        try:
            values = await self._build(parts, _user_name(run.user_name, self.caller))
        finally:
            self._adopt()
        assert self._status is not None
        self._confinement, self.stdio = values, values.stdio
        if run.keep_output and not self.detached:
            for fd in self.stdio[1:]:
                self._output_names.append(name_pipe(fd))
        self._plan = values.plan()
        numbers = [values.fds[name].fileno() for name in self._plan.fd_names()]
        await self._status.send_plan(encode(self._plan), numbers)
        # While the child confines itself, whatever does not depend on it.
        values.close_sent()
        self._open_log()
        self.on_begin(self)
        self._gateway = self._make_gateway()
        self._calls = self._make_call_recorder(values)
        self._calls.on_progress = self._calls_progress
        self._policy_sha256 = hashlib.sha256(msgspec.msgpack.encode(self.policy)).digest()
        self._said = InitStatus(
            self._status,
            self._plan,
            b"".join(run.argv[:1]),
            run.cwd,
            self.post,
            self._remember_said,
            self.programs.hear,
        )
        self._nursery.start_soon(self._said.listen)
        if values.remote:
            self._nursery.start_soon(self._watch_start, values.remote)
        if self.policy.limits.memory:
            self._nursery.start_soon(watch_memory, self._cgroup, self.post)

    def _remember_said(self, said: tuple[bytes, ...]) -> None:
        if said != self.kept.life.said:
            self.kept.remember(said=said)

    async def _build(self, parts: Parts, user_name: str) -> Confinement:
        return await build_confinement(parts, user_name)

    def _make_file_recorder(self) -> FileRecorder | None:
        if self.policy.syscalls.trace == "none":
            return None
        return FileRecorder(self.prepared.owner, self.peer.uid)

    def _make_call_recorder(self, values: Confinement) -> CallRecorder:
        limits, caller = self.policy.limits, self.peer.uid
        return CallRecorder(self.host.ledger, self.log, values.filter, limits, self.bulk, caller)

    def _take_listener(self) -> Fd:
        assert self._pidfd is not None and self._said is not None
        return pidfd.get_fd(self._pidfd.fileno(), self._said.listener_number)

    def _missing_layers(self) -> list[LayerState]:
        """What does not hold, and was not agreed to."""
        return [layer for layer in self.posture if layer.status != "enforced"]

    def _open_log(self) -> None:
        if not self._log_is_open:
            self.host.ledger.open_log(self.id)
            self._log_is_open = True

    def _adopt(self) -> None:
        """Take over the parked child with its descriptors."""
        child, self.prepared.child = self.prepared.child, None
        if child is not None:
            self.pid, self._pidfd, self._status, self._mounts = (
                child.pid,
                child.process,
                child.status,
                child.mounts,
            )

    def _make_gateway(self) -> Gateway:
        """The gateway's sockets exist before the agent does; its process is made when the agent
        first asks for something.
        """
        prepared, bound = self.prepared, self.prepared.bound
        assert prepared.authority is not None
        if self._running is None:
            listeners.fit(bound, prepared.network, self.policy.network)
        prepared.bound, self._bound = [], list(bound)
        made = Gateway(
            self.host, self.id, self.policy, prepared.authority, bound, self.spend, self.kept
        )
        if self._running is not None:
            made.adopt(read_left(self._running.sections.get(GATEWAY), self._running.gateway))
        return made

    @property
    def master(self) -> Fd | None:
        """The master of the cage's terminal, once there is one; owned here."""
        return self._said.master if self._said is not None else None

    def copy_output_ends(self) -> list[Fd]:
        """Copies of what akiosd can read its output from, which the caller owns; none where a
        client alone has that.
        """
        sources = [self.master] if self.master is not None else self.stdio[1:]
        return [fd.dup() for fd in sources if not fd.closed]

    def _hold_output(self) -> None:
        """It ends, and its client, which has the only ends of its output, may leave at any moment:
        from now on it disturbs nobody that akiosd has some, too.
        """
        if self._output_names and not self.stdio:
            try:
                self.stdio.append(Fd(-1))
                for name in self._output_names:
                    self.stdio.append(open_named(name))
            except OSError as error:
                _log.error("the last output may be lost", cage=self.id, error=str(error))
        close_all(self._output_names)
        self._output_names = []

    def close_output(self) -> None:
        """Nobody reads its output any more."""
        close_all((*self.stdio, self.master, *self._output_names))
        self.stdio, self._output_names = [], []
        if self._said is not None:
            self._said.master = None

    @property
    def caller(self) -> Caller:
        """Who asked for the cage."""
        assert self.prepared.caller is not None
        return self.prepared.caller

    async def _confirm(self) -> None:
        """Init stands behind every fence: take the listener, read everything back, record the
        birth, say go.
        """
        assert self._calls is not None
        listener = self._take_listener()
        ours = listener.dup()
        self._calls.start(listener, self._cgroup, self.host.facts.pools)
        self._nursery.start_soon(self._record_calls)
        if self._files is not None:
            self._nursery.start_soon(self._files.run, self._book)
        self.posture = self._read_posture()
        bad = self._missing_layers()
        if bad and not self.request.allow_degraded:
            raise LayerUnavailableError(
                f"a layer is not enforced: {bad[0]}",
                "posture",
                "see akiosctl doctor; --allow-degraded runs without it",
            )
        self._nursery.start_soon(self._keep, ours)
        ledger = self.host.ledger
        origin = ledger.origin(self.log)
        ledger.append(
            HOST_LOG,
            records.CageBirth(ts=time.time_ns(), cage=self.id, uid=self.peer.uid, origin=origin),
        )
        if self.request.tty is not None and self.master is None:
            raise CageFailedError("the cage opened no terminal", "pty")
        self._record_unprotected()
        less = any(layer.status != "enforced" for layer in self.posture)
        await ledger.commit(self.log, self._birth(less))
        await self._is_kept.wait()
        self.post(Event("go"))

    def _record_unprotected(self) -> None:
        left = left_out(self.policy) if self.is_standing else ()
        if left:
            record = records.Unprotected(ts=time.time_ns(), cage=self.id, left_out=left)
            for log in (HOST_LOG, self.log):
                self.host.ledger.append(log, record)
            _log.warning("a cage is unprotected", cage=self.id, uid=self.peer.uid, left_out=left)

    async def _keep(self, listener: Fd) -> None:
        """Give the keeper what the next akiosd needs; ``listener`` is owned here."""
        try:
            if self.host.keeper is None:
                listener.close()
                return
            with listener, self._cgroup.open_v2() as leaf:
                core = self._core(listener)
                self.spend.memory.keep_in(self.kept.write)
                self._calls_progress()
                bound = [one.fd.fileno() for one in self._bound]
                ring = self._calls.descriptors() if self._calls is not None else ()
                state = self._state(tuple(core))
                await self.kept.keep(state, leaf.fileno(), list(core.values()), ring, bound)
        finally:
            self._is_kept.set()

    def _core(self, listener: Fd) -> dict[str, int]:
        """What is kept under one name: the ends of pipes only where nobody else has them."""
        assert self._status is not None and self._pidfd is not None and self._mounts is not None
        found: dict[str, int | Fd | None] = {
            "status": self._status.fileno(),
            "process": self._pidfd,
            "listener": listener,
            "workspace": self.workspace_fd,
            "mounts": self._mounts,
            "slot": self.prepared.slot.mount,
            "failures": self.prepared.slot.failures,
            "git": self.git.directory if self.git is not None else None,
            "master": self.master,
            "output": self._written if self._written is not self.workspace_fd else None,
        }
        if self._files is not None and self._files.events is not None:
            found["files"] = self._files.events.group
        if self.detached and self.master is None:
            found |= dict(zip(STDIO[1:], self.stdio[1:], strict=False))
        found |= dict(zip(STDIO[1:], self._output_names, strict=False))
        return {
            name: fd if isinstance(fd, int) else fd.fileno()
            for name, fd in found.items()
            if fd is not None
        }

    def _state(self, core: tuple[str, ...]) -> CageState:
        prepared, disks = self.prepared, self.host.disks
        assert self._confinement is not None and prepared.authority is not None
        return CageState(
            request=self.request,
            peer=self.peer,
            caller=self.caller,
            order=self.order,
            started_ns=self.started_ns,
            started_clock_ns=self._start_clock_ns,
            pid=self.pid,
            host_id=prepared.host_id,
            host_gid=prepared.host_gid,
            owner=prepared.owner,
            uid_lines=prepared.uid_lines,
            workspace_id=self.workspace_id,
            workspace_name=self.workspace_name,
            disk_size=prepared.slot.size,
            disk_kind=disks.kind if disks is not None else "",
            pump_table=self._confinement.filter.pump_table,
            git=self.git.identity if self.git is not None else None,
            git_upper=self.git.upper if self.git is not None else "",
            posture=self.posture,
            system=self._system,
            listeners=tuple(one.listener for one in self._bound),
            core=core,
            certificate=prepared.authority.certificate,
            certificate_key=prepared.authority.key,
        )

    def _calls_progress(self) -> None:
        """How much is in the log, for the next akiosd to count on from."""
        assert self._calls is not None
        self.kept.remember(
            audit_bytes=self._calls.bytes,
            dead_ends=self._calls.dead_ends,
            refusals=self._book.refusals,
            redactions=self._book.redactions,
        )

    @property
    def has_one_output(self) -> bool:
        """Whether stdout and stderr are one pipe."""
        return len(self.stdio) == len(STDIO) - 1

    async def _start_agent(self) -> None:
        """Start the agent, then tell the client: its pipes exist in either order."""
        assert self._status is not None and self._gateway is not None
        self._agent_ran = True
        self.kept.remember(agent_clock_ns=time.monotonic_ns())
        kept = 0 if self.kept.why_not else GO_KEPT
        await self._status.send("go", kept | (GO_STANDING if self.is_standing else 0))
        numbers = (
            [self.master.fileno()]
            if self.master is not None
            else [fd.fileno() for fd in self.stdio]
        )
        reply = Started(
            cage=self.id,
            tty=self.master is not None,
            one_output=self.has_one_output,
            output=self.policy.limits.output,
            come_back_s=self.come_back_s,
            posture=self.posture,
            notes=self._notes(),
        )
        await self._on_started(reply, numbers)
        if not self.detached and self.master is None:
            # Our copies would keep the agent from ever seeing end of file or a broken pipe.
            close_all(self.stdio)
            self.stdio = []
        self._nursery.start_soon(self._gateway.run)
        watch_limits(self._nursery, self.policy.limits, self._cgroup, self.post)
        self._nursery.start_soon(self._watch_system)
        if self._room is not None:
            self._nursery.start_soon(self._room.run)

    def _notes(self) -> tuple[str, ...]:
        notes = self._confinement.notes if self._confinement is not None else ()
        loud = describe(left_out(self.policy)) if self.is_standing else ""
        notes = (*notes, loud) if loud else notes
        return (*notes, NOT_KEPT.format(self.kept.why_not)) if self.kept.why_not else notes

    # ---- begun by another akiosd ----------------------------------------------------------------

    def _take(self, running: Running) -> None:
        """Be what it was when the other akiosd ended."""
        state, life = running.state, running.life
        self.life, self.pid = life.life, state.pid
        self.detached, self.attached = life.detached, life.attached
        self.output_bytes = life.output
        self.started_ns, self._start_clock_ns = state.started_ns, state.started_clock_ns
        self._pidfd, self._status, self._mounts = running.process, running.status, running.mounts
        self.posture = state.posture
        if self.detached:
            self.stdio = running.stdio
        else:
            self._output_names = running.stdio[1:]
        self._system, self._system_changed = state.system, life.outdated
        self._agent_ran = self._log_is_open = True
        self._is_kept.set()
        self._begun.set()
        self._book.refusals = life.refusals
        self._book.redactions = life.redactions
        if PROGRAMS in running.sections:
            sections = dict(running.sections)
            before = decode(sections, PROGRAMS, ProgramsState)
            has_asked = ASKED in sections  # not where an older akiosd had it
            asked = decode(sections, ASKED, AskedState) if has_asked else AskedState()
            limits = self.policy.limits
            self.programs = Programs(self.host.ledger, self.log, self.kept, limits, before, asked)
        self.lost = life.lost
        self.standstill.take_up(life.paused)
        name = b"".join(self.request.argv[:1])
        self._said = InitStatus(
            self._status,
            None,
            name,
            self.request.cwd,
            self.post,
            self._remember_said,
            self.programs.hear,
        )
        self._said.master = running.master
        if running.files is not None:
            self._files = FileRecorder(state.owner, self.peer.uid, running.files)
        self.spend = Spend.restore(
            self.policy.budget,
            self._book,
            self._end_by_spending,
            running.sections.get(SPEND),
            running.sections.get(MORE),
            loops_up_to=self.policy.loops_up_to,
            system_file=self.host.settings.system.file,
        )
        self.spend.memory.keep_in(self.kept.write)
        self._gateway = self._make_gateway()
        compiled = Compiled(b"", state.pump_table)
        self._calls = CallRecorder(
            self.host.ledger,
            self.log,
            compiled,
            self.policy.limits,
            self.bulk,
            self.peer.uid,
            running.ring,
        )
        self._calls.bytes, self._calls.dead_ends = life.audit_bytes, life.dead_ends
        self._calls.on_progress = self._calls_progress

    async def _go_on(self, running: Running) -> None:
        """Take up every task of a cage that runs: its calls first, which wait for an answer."""
        assert self._calls is not None and self._said is not None and self._gateway is not None
        life = running.life
        self._calls.on_resumed = functools.partial(self._record_return, running)
        self._calls.start(running.listener, self._cgroup, self.host.facts.pools)
        self._nursery.start_soon(self._record_calls)
        if self._files is not None:
            self._nursery.start_soon(self._files.run, self._book)
        self._record_gap(running)
        self._said.repeat(life.said)
        self._nursery.start_soon(self._said.listen)
        self._nursery.start_soon(self._gateway.run)
        if self.policy.limits.memory:
            self._nursery.start_soon(watch_memory, self._cgroup, self.post)
        passed_ns = time.monotonic_ns() - life.agent_clock_ns
        watch_limits(self._nursery, self.policy.limits, self._cgroup, self.post, passed_ns)
        self._nursery.start_soon(self._watch_system)
        if self._room is not None:
            self._nursery.start_soon(self._room.run)
        if self.life.state == "ending":
            await self._perform("kill")
            await self._perform("collect")
        elif not self.host.ledger.full:
            # Whatever else it was paused for was the other akiosd's.
            self._cgroup.freeze(self.standstill.is_paused)
        self.kept.remember(adoptions=0, akiosd=__version__)

    def _record_gap(self, running: Running) -> None:
        """Say in its log what an earlier akiosd did not."""
        ledger, life = self.host.ledger, running.life
        is_missing = ledger.recovered_size(self.log) <= life.started_index
        if is_missing or (life.life.state == "running" and life.started_index < 0):
            self._record_start()  # it was killed before that was on disk
        self.programs.record_again()
        if not running.ring:
            ledger.append(self.log, records.Lost(ts=time.time_ns(), count=0, why=_NO_RING))

    def _record_return(self, running: Running, replayed: int) -> None:
        life, keeper = running.life, self.host.keeper
        ended_ns = keeper.alone_since_ns if keeper is not None else 0
        record = records.DaemonRestarted(
            ts=time.time_ns(),
            away_since=max(life.seen_ns, ended_ns),
            before=life.akiosd,
            version=__version__,
            replayed=replayed,
        )
        self.host.ledger.append(self.log, record)

    # ---- its words ------------------------------------------------------------------------------

    def _birth(self, degraded: bool) -> records.Birth:
        return records.Birth(
            ts=time.time_ns(),
            cage=self.id,
            uid=self.peer.uid,
            argv=self.request.argv,
            cwd=self.request.cwd,
            policy_sha256=self._policy_sha256,
            posture=tuple(records.Layer(s.layer, s.status, s.detail) for s in self.posture),
            degraded=degraded,
        )

    def _read_posture(self) -> tuple[LayerState, ...]:
        assert self._confinement is not None and self._calls is not None and self._said is not None
        return read_posture(
            self.host,
            self.prepared,
            self.request,
            self._confinement,
            self.pid,
            landlock_proved=self._said.landlock_proved,
            pump_running=self._calls.running,
            files=self._files,
        )

    # ---- what can end it -------------------------------------------------------------------------

    async def _watch_start(self, remote: str) -> None:
        """End a start that waits for a file system of the caller's: the child may wait for ever,
        and cannot be killed.
        """
        await trio.sleep(_REMOTE_START_S)
        if self.life.state == "preparing":
            self._patience_s = 0.0
            what = f"no answer within {_REMOTE_START_S:g} s from the file system of {remote}"
            self.post(Event("step_failed", "failed_start", detail=what))

    async def _watch_system(self) -> None:
        while not self.is_outdated():
            await trio.sleep(_LOOK_AT_SYSTEM_S)

    async def _record_calls(self) -> None:
        assert self._calls is not None
        if not await self._calls.run():
            self.post(Event("limit", "audit_limit"))

    def _count_audit(self, size: int) -> None:
        """Count what the gateway writes into the log, together with the records of the pump."""
        if self._calls is None or not self.policy.limits.audit_bytes:
            return
        before = self._calls.bytes
        self._calls.bytes += size
        if before <= self.policy.limits.audit_bytes < self._calls.bytes:
            self.post(Event("limit", "audit_limit"))

    # ---- its end ---------------------------------------------------------------------------------

    async def _collect(self) -> None:
        """Everything in the leaf is dying: reap init, drain the last records, report the end."""
        self.bulk.end()
        if self._gateway is not None and self._gateway.is_idle:
            await self._gateway.finish()
        if self._pidfd is not None:
            with trio.move_on_after(self._patience_s) as patience:
                await pidfd.wait_exit(self._pidfd.fileno())
            if patience.cancelled_caught:
                _log.error("a cage does not die", cage=self.id, pid=self.pid)
        if self._gateway is not None:
            await self._gateway.finish()
        self._open_log()
        await self.spend.close()
        if self._calls is not None:
            await self._calls.finish()
        if self._files is not None:
            await self._files.finish(self._book)
        self.ended_ns = time.time_ns()
        usage = self.read_usage()
        end = explain_end(end_facts(self.life, usage, self.policy.limits))
        self.programs.end_all(end.reason)
        changed = self._has_changes()
        if changed and not self.request.discard:
            await self.bring_to_disk()
        if changed and self.lost:
            end = with_lost_changes(end, self.lost)
        self._settle(changed)
        rusage = self._said.rusage if self._said is not None else (0, 0, 0)
        programs = self.programs.count
        # Before its record: whoever read that one and asks how it ended is told.
        self.result = Ended(
            cage=self.id,
            exit_code=end.exit_code,
            kind=end.kind,
            reason=end.reason,
            usage=usage,
            changes=self.changes,
            expires_ns=self.expires_ns,
        )
        await record_end(
            self.host.ledger, self.log, self.id, end, self.life.status, rusage, programs
        )
        if self.changes:
            self.on_changes(self)
        self.post(Event("reaped"))
        self.ended.set()

    def _settle(self, changed: bool) -> None:
        """Changes are kept, or, where the run asked for that, are not; the host log says so."""
        self.discarded = changed and self.request.discard
        self.changes = changed and not self.discarded
        if self.discarded:
            record = records.CageSettled(
                ts=time.time_ns(), cage=self.id, uid=self.peer.uid, committed=False
            )
            self.host.ledger.append(HOST_LOG, record)

    @property
    def expires_ns(self) -> int:
        """When changes that wait since its end are destroyed; 0 for never."""
        days = self.host.config.ended.changes_days
        return self.ended_ns + days * DAY_NS if self.changes and days else 0

    def _has_changes(self) -> bool:
        """Whether there is something to commit; nothing is where the agent never began."""
        if not self._agent_ran or (self._said is not None and self._said.exec_failed):
            return False
        if self.policy.filesystem.workspace not in ("cow", "rw") or self.prepared.slot.mount.closed:
            return False
        return not self.prepared.slot.is_empty(*([self.git.upper] if self.git is not None else ()))

    async def _clean_up(self) -> None:
        """Give everything back, each part whatever became of the others.

        Disk and uid stay as long as something may live in the cage, the disk also while changes
        wait.
        """
        give_back = functools.partial(attempt, self.id)
        await give_back("what is kept of it", self.kept.drop)
        await give_back("its descriptors", self._close_descriptors)
        gone = await give_back("its parked child", self.prepared.end_child)
        await give_back("what was prepared", self.prepared.close)
        if self._gateway is not None:
            await give_back("its gateway", self._gateway.close)
        gone = await give_back("its control groups", self._cgroup.destroy) and gone
        if not self.ended.is_set():
            self._keep_what_is_there()
        await give_back(
            "its disk", functools.partial(trio.to_thread.run_sync, self._give_disk_back, gone)
        )
        if gone:
            self.host.uids.give_back(self.prepared.owner)
        if not self.changes:
            close_all((self.workspace_fd, self.git.directory if self.git is not None else None))
        self.ended.set()
        self._begun.set()
        if self._failed and self.log in self.host.ledger.logs():
            await give_back("the end in its log", self._record_fault)

    async def _record_fault(self) -> None:
        end = End("internal", 125, self.result.reason if self.result is not None else _FAILED)
        count = self.programs.count
        await record_end(
            self.host.ledger, self.log, self.id, end, self.life.status, (0, 0, 0), count
        )

    def _close_descriptors(self) -> None:
        for part in (self._status, self._calls, self._files, self._confinement, self.kept):
            if part is not None:
                part.close()
        close_all((*self.stdio[:1], *self.bind_fds, self._pidfd))
        if self._written is not self.workspace_fd:
            close_all((self._written,))

    def _keep_what_is_there(self) -> None:
        """AKIOS failed before the end was reported: what the agent did until then still belongs to
        its user.
        """
        self.ended_ns = self.ended_ns or time.time_ns()
        try:
            self._settle(self._has_changes())
        except OSError as error:
            _log.error(
                "whether a workspace was changed is not known", cage=self.id, error=str(error)
            )
            self.changes = True
        self.result = Ended(
            cage=self.id,
            exit_code=125,
            kind="internal",
            reason=_FAILED,
            changes=self.changes,
        )
        if self.changes:
            self.on_changes(self)

    def _give_disk_back(self, gone: bool) -> None:
        """Blocking: the kernel takes down the cage's mounts, then its disk is released or
        destroyed.

        Under processes that may not be ``gone`` the disk stays; the next start of akiosd removes
        it.
        """
        close_all((self._mounts,))
        if self.changes or not gone:
            self.prepared.slot.release()
        else:
            self.prepared.slot.destroy()

    @property
    def directory(self) -> Path:
        """The cage's directory in the state directory."""
        return self.prepared.directory


def _user_name(asked: str, caller: Caller) -> str:
    """The name the agent has inside: the caller's, unless that would make it look like root."""
    good = _USER_NAME.match(asked) is not None and (asked != "root" or caller.inside == 0)
    return asked if good else "agent"


def _words(error: AkiosError | OSError) -> str:
    if isinstance(error, AkiosError):
        return str(error)
    return error.strerror or str(error)
