"""One cage, from request to end: carries events between the kernel and
:mod:`akiosd.cage.machine`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from akiosd.cage import machine, posture
from akiosd.cage.machine import Event, Life
from akiosd.cage.reasons import explain_end
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.base.priority import Bulk, Hurried
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages import left_behind
from akiosd.daemon.cages.build_confinement import Confinement, Parts, build_confinement
from akiosd.daemon.cages.git_directory import find_git
from akiosd.daemon.cages.give_back import attempt
from akiosd.daemon.cages.init_status import InitStatus
from akiosd.daemon.cages.prepared_cage import STDIO, Caller, Prepared
from akiosd.daemon.cages.record_calls import CallRecorder
from akiosd.daemon.cages.record_files import FileRecorder
from akiosd.daemon.cages.tell_end import end_facts, read_usage, record_end
from akiosd.daemon.cages.watch_limits import watch_limits, watch_memory
from akiosd.daemon.gateways import listeners
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.daemon.gateways.gateways import Gateway
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError, CageFailedError, DeniedError, LayerUnavailableError
from akiosd.kernel import pidfd, probe
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.user_tree import identify, read_name
from akiosd.policy.compile.landlock import describe as describe_landlock
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.plan import encode
from akiosd.values.posture import LayerState
from akiosd.wire.messages import Ended, Run, Started

_log = get_log("cage")

StartedCallback = Callable[[Started, list[int]], Awaitable[None]]

DAY_NS = 86_400 * 10**9
_LOOK_AT_SYSTEM_S = 30
_PAUSE_PATIENCE_S, _PAUSE_LOOK_S = 3.0, 0.005
_REMOTE_START_S = 10.0
_USER_NAME = re.compile(r"^[a-z_][a-z0-9_-]{0,30}$")


class Cage:
    """One run.

    ``ended`` is set when :attr:`result` is there; what the kernel held for the cage is released
    after that. ``fds`` are the request's descriptors, owned from now on: the workspace first, then
    the binds.
    """

    def __init__(
        self,
        host: Host,
        prepared: Prepared,
        peer: Peer,
        request: Run,
        fds: list[int],
        hurried: Hurried,
        order: int,
    ) -> None:
        self.host = host
        self._hurried = hurried
        self.prepared = prepared
        self.id = prepared.cage
        self.peer = peer
        self.request = request
        self.policy = request.policy
        self.workspace_fd = Fd(fds[0])
        self.workspace_id, self.workspace_name = identify(fds[0]), read_name(fds[0])
        self.order = order
        self.bind_fds = [Fd(fd) for fd in fds[1:]]
        self.git = find_git(request, self.bind_fds)
        self.life = Life()
        self.detached = request.detach
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
        self._bulk = Bulk(host.hurry)
        self._book = Book(host.ledger, self.log, self.policy.limits, self._count_audit, self._bulk)
        self.spend = Spend(self.policy.budget, self._book, self._end_by_spending)
        self._send, self._receive = trio.open_memory_channel[Event](math.inf)
        self._start_clock = trio.current_time()
        self._frozen_for: set[object] = set()
        self._patience_s = 30.0
        """Seconds for which the end waits until killed processes are gone."""
        self._agent_ran = False

    # ---- what others may do to it ----------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Tell the cage what happened; to be called from the Trio thread, never blocks."""
        self._send.send_nowait(event)

    def end(self, cause: str, detail: str = "") -> None:
        """Ask for the end; ``cause`` is a kind of :mod:`akiosd.cage.reasons`,
        ``detail`` printable.
        """
        self.post(Event("stop", cause, detail=detail))

    async def signal(self, signo: int) -> None:
        """Send a signal to the agent's process group as soon as there is one; ignored when the
        agent has ended.

        The agent's first output may reach the client before akiosd hears from init that the agent
        runs.
        """
        await self._begun.wait()
        if self._status is not None and self.life.state == "running":
            await self._status.send("signal", signo)

    async def connect(self, stream: Fd) -> None:
        """Serve akiosctl on ``stream``, owned from now on, by this cage's gateway.  Raises
        :class:`DeniedError`.
        """
        if self._gateway is None or self.life.state != "running":
            stream.close()
            raise DeniedError(
                f"the cage {self.id} does not run its agent now",
                "http",
                "list cages with: akiosctl ps",
            )
        await self._gateway.connect(stream)

    def freeze(self, frozen: bool, why: object = None) -> None:
        """Freeze or thaw a running cage; frozen for several reasons, the last one thaws it."""
        if frozen:
            self._frozen_for.add(why)
        else:
            self._frozen_for.discard(why)
        if self.life.state == "running":
            self._cgroup.freeze(bool(self._frozen_for))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Everything in the cage stands still inside the ``with``.  Raises :class:`DeniedError`
        where it does not run, or does not stop.
        """
        why = object()
        if self.life.state != "running":
            raise DeniedError(f"{self.id} does not run its agent now", "diff", "ask again")
        self.freeze(True, why)
        try:
            with trio.move_on_after(_PAUSE_PATIENCE_S) as patience:
                while not self._cgroup.is_frozen():
                    await trio.sleep(_PAUSE_LOOK_S)
            if patience.cancelled_caught:
                raise DeniedError(
                    f"{self.id} cannot be paused: something in it waits in the kernel",
                    "diff",
                    "ask again, or when it has ended",
                )
            yield
        finally:
            try:
                self.freeze(False, why)
            except AkiosError as error:
                # It ended meanwhile: there is nothing to thaw.
                _log.info("a pause ended with its cage", cage=self.id, why=error.what)

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
            self.host.ledger.append(self.log, records.SystemChanged(ts=time.time_ns()))
        return self.life.state == "running" and self._system_changed

    def _end_by_spending(self, kind: str, detail: str) -> None:
        self.post(Event("limit", kind, detail=detail))

    # ---- its life --------------------------------------------------------------------------------

    async def run(self, on_started: StartedCallback) -> None:
        """The whole life of the cage.  ``on_started`` gets the reply and the descriptors for the
        client, which stay ours.
        """
        self._on_started = on_started
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._live)
        finally:
            with trio.CancelScope(shield=True):
                await self._clean_up()

    async def _live(self) -> None:
        try:
            await self._begin()
        except (AkiosError, OSError) as error:
            self.post(Event("step_failed", "failed_start", detail=_words(error)))
        try:
            while self.life.state != "ended":
                event = await self._receive.receive()
                self.life, commands = machine.advance(self.life, event)
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
                self.host.ledger.append(self.log, records.Started(ts=time.time_ns(), pid=self.pid))
            elif command == "kill":
                self._cgroup.kill()
            elif command == "collect":
                with trio.CancelScope(shield=True), self.host.hurry.begin():
                    await self._collect()
        except (AkiosError, OSError) as error:
            if command == "collect":
                raise
            self.post(Event("stop", "failed_start", detail=_words(error)))

    async def _begin(self) -> None:
        """Build the confinement, let the parked child continue, and listen to it."""
        run = self.request
        left_behind.check(self.peer.uid)
        if self.policy.syscalls.trace != "none":
            self._files = FileRecorder(self.prepared.owner, self.peer.uid)
        watch = (
            self._files.events.group
            if self._files is not None and self._files.events is not None
            else None
        )
        opened = self.workspace_fd, self.bind_fds
        parts = Parts(self.host, self.prepared, run, *opened, self.peer.pid, watch)
        try:
            values = await build_confinement(parts, _user_name(run.user_name, self.caller))
        finally:
            self._adopt()
        assert self._status is not None
        self._confinement, self.stdio = values, values.stdio
        self._plan = values.plan()
        numbers = [values.fds[name].fileno() for name in self._plan.fd_names()]
        await self._status.send_plan(encode(self._plan), numbers)
        # While the child confines itself, whatever does not depend on it.
        values.close_sent()
        self._open_log()
        self.on_begin(self)
        self._gateway = self._make_gateway()
        self._calls = CallRecorder(
            self.host.ledger, self.log, values.filter, self.policy.limits, self._bulk, self.peer.uid
        )
        self._policy_sha256 = hashlib.sha256(msgspec.msgpack.encode(self.policy)).digest()
        self._said = InitStatus(self._status, self._plan, run.argv[0], self.post)
        self._nursery.start_soon(self._said.listen)
        if values.remote:
            self._nursery.start_soon(self._watch_start, values.remote)
        if self.policy.limits.memory:
            self._nursery.start_soon(watch_memory, self._cgroup, self.post)

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
        listeners.fit(bound, prepared.network, self.policy.network)
        prepared.bound = []
        return Gateway(self.host, self.id, self.policy, prepared.authority, bound, self.spend)

    @property
    def master(self) -> Fd | None:
        """The master of the cage's terminal, once there is one; owned here."""
        return self._said.master if self._said is not None else None

    @property
    def caller(self) -> Caller:
        """Who asked for the cage."""
        assert self.prepared.caller is not None
        return self.prepared.caller

    async def _confirm(self) -> None:
        """Init stands behind every fence: take the listener, read everything back, record the
        birth, say go.
        """
        assert self._pidfd is not None and self._calls is not None and self._said is not None
        listener = pidfd.get_fd(self._pidfd.fileno(), self._said.listener_number)
        self._calls.start(listener, self._cgroup, self.host.facts.pools)
        self._nursery.start_soon(self._record_calls)
        if self._files is not None:
            self._nursery.start_soon(self._files.run, self._book)
        self.posture = self._read_posture()
        bad = [layer for layer in self.posture if layer.status != "enforced"]
        if bad and not self.request.allow_degraded:
            raise LayerUnavailableError(
                f"a layer is not enforced: {bad[0]}",
                "posture",
                "see akiosctl doctor; --allow-degraded runs without it",
            )
        ledger = self.host.ledger
        origin = ledger.origin(self.log)
        ledger.append(
            HOST_LOG,
            records.CageBirth(ts=time.time_ns(), cage=self.id, uid=self.peer.uid, origin=origin),
        )
        if self.request.tty is not None and self.master is None:
            raise CageFailedError("the cage gave no terminal", "pty")
        await ledger.commit(self.log, self._birth(bool(bad)))
        self.post(Event("go"))

    @property
    def has_one_output(self) -> bool:
        """Whether stdout and stderr are one pipe."""
        return len(self.stdio) == len(STDIO) - 1

    async def _start_agent(self) -> None:
        """Start the agent, then tell the client: its pipes exist in either order."""
        assert self._status is not None and self._gateway is not None
        self._agent_ran = True
        await self._status.send("go")
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
            posture=self.posture,
            notes=self._confinement.notes if self._confinement is not None else (),
        )
        await self._on_started(reply, numbers)
        if not self.detached and self.master is None:
            # Our copies would keep the agent from ever seeing end of file or a broken pipe.
            close_all(self.stdio)
            self.stdio = []
        self._nursery.start_soon(self._gateway.run)
        watch_limits(self._nursery, self.policy.limits, self._cgroup, self.post)
        self._nursery.start_soon(self._watch_system)

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
        values = self._confinement
        status, mountinfo, uid_map, limits = probe.read_process(self.pid)
        disks = self.host.disks
        evidence = posture.Evidence(
            status=status,
            mountinfo=mountinfo,
            uid_map=uid_map,
            namespaces=probe.read_namespaces(self.pid),
            own_namespaces=self.host.own_namespaces,
            landlock_proved=self._said.landlock_proved,
            landlock=describe_landlock(values.landlock) if values.landlock is not None else "",
            cgroup=self.prepared.limits_found,
            cgroup_missing=self.prepared.limits_missing,
            disk=f"{self.prepared.slot.size >> 20} MiB, {disks.kind}" if disks is not None else "",
            pump_running=self._calls.running,
            limits=limits,
            core_taker=probe.read_core_taker(),
            files_missing=self._files.missing if self._files is not None else "",
        )
        wanted = posture.Wanted(
            host_id=values.identity.host_id,
            host_gid=values.identity.host_gid,
            uid_lines=self.prepared.uid_lines,
            workspace=os.fsdecode(self.request.workspace),
            workspace_mode=self.policy.filesystem.workspace,
            tty=self.request.tty is not None,
            as_caller=self.prepared.is_caller,
            files=self._files is not None,
        )
        return (
            *posture.check(evidence, wanted),
            LayerState("ledger", "enforced", "birth durable before the agent"),
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
        self._bulk.end()
        if self._gateway is not None and self._gateway.is_idle:
            await self._gateway.finish()
        if self._pidfd is not None:
            with trio.move_on_after(self._patience_s) as patience:
                await pidfd.wait_exit(self._pidfd.fileno())
            if patience.cancelled_caught:
                _log.error("a cage does not die", cage=self.id, pid=self.pid)
        if self._gateway is not None:
            await self._gateway.finish()
        await self.spend.close()
        if self._calls is not None:
            await self._calls.finish()
        self._open_log()
        if self._files is not None:
            await self._files.finish(self._book)
        self.ended_ns = time.time_ns()
        slot, limits, account = self.prepared.slot, self.policy.limits, self.spend.account
        wall_ns = int((trio.current_time() - self._start_clock) * 1e9)
        usage = read_usage(
            self._cgroup, slot, self._calls, account, limits, wall_ns, self._book.refusals
        )
        end = explain_end(end_facts(self.life, usage, limits))
        self._settle(self._has_changes())
        rusage = self._said.rusage if self._said is not None else (0, 0, 0)
        await record_end(self.host.ledger, self.log, self.id, end, self.life.status, rusage)
        self.result = Ended(
            cage=self.id,
            exit_code=end.exit_code,
            kind=end.kind,
            reason=end.reason,
            usage=usage,
            changes=self.changes,
            expires_ns=self.expires_ns,
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

    def _close_descriptors(self) -> None:
        for part in (self._status, self._calls, self._files, self._confinement):
            if part is not None:
                part.close()
        close_all((*self.stdio, self.master, *self.bind_fds, self._pidfd))
        self.stdio = []
        if self._said is not None:
            self._said.master = None

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
            reason="killed: AKIOS failed",
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
