"""Answers the requests of the control socket: keeps the cages, decides who may do what to which."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
import trio

from akiosd import __version__
from akiosd.cage.machine import Event
from akiosd.cage.remembered import Remembered
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.base.priority import Hurried
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.prepared_cage import Caller
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.cages.spool import Spool
from akiosd.daemon.cages.view import WAIT, open_view
from akiosd.daemon.cages.wipe_changes import UNLINKED, wipe_changes
from akiosd.daemon.host import Host
from akiosd.daemon.requests.doctor import read_posture
from akiosd.daemon.requests.http_requests import Direct
from akiosd.daemon.requests.keys import KeyKeeper
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.daemon.requests.serve_logs import LogServer
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.user_tree import identify, read_name
from akiosd.policy.compile.identity import AGENT_ID
from akiosd.policy.merge import check_authority
from akiosd.policy.schema import validate
from akiosd.store.wipe import How
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id
from akiosd.values.policy import Policy
from akiosd.wire import messages as wire

_log = get_log("supervisor")
_MAX_ACCOUNTS = 32
_MAX_LISTED = 64
_MAX_ARGV = 4096
"""Together with a path of PATH_MAX, far less than a 64th of a frame."""
_MAX_ADMITTED, _MAX_REMEMBERED = 64, 64 << 10


class Supervisor:
    """The handler of :func:`akiosd.daemon.sockets.serve_clients.serve_clients`."""

    def __init__(self, host: Host, pool: Pool, nursery: trio.Nursery) -> None:
        self._host = host
        self._pool = pool
        self._nursery = nursery
        self._running: dict[str, Cage] = {}
        self._spools: dict[str, Spool] = {}
        self._kept: dict[str, pending_changes.KeptCage] = pending_changes.load_all(host.cages_dir)
        host.uids.kept = lambda: {kept.host_id for kept in self._kept.values()}
        self._kept_workspaces: dict[str, Fd] = {}
        self._ended = Remembered(pending_changes.load_ended(host.cages_dir))
        known = [*(kept.info for kept in self._kept.values()), *self._ended.infos()]
        self._order = max((info.order for info in known), default=0)
        self._boot = pending_changes.read_boot()
        self._settling: set[str] = set()
        self._viewers: list[tuple[str, ClientConnection]] = []
        self._started = time.monotonic_ns()
        self._stopping = False
        self._idle = trio.Event()
        self._owners: dict[str, int] = {}
        self._admitted: set[bytes] = set()
        self._accounts: dict[int, set[tuple[str, bytes]]] = {}
        self.logs, keys = LogKeeper(host, self._why_busy), KeyKeeper(host)
        logs = LogServer(host, self.owner_of)
        self._direct = Direct(host, self._find, self._admit_direct)
        self._handlers: dict[type[wire.Message], Callable[..., Coroutine[Any, Any, None]]] = {
            wire.Run: self._run,
            wire.Signal: self._signal,
            wire.Stop: self._stop,
            wire.List: self._list,
            wire.Attach: self._attach,
            wire.Detach: self._detach,
            wire.Output: self._output,
            wire.View: self._view,
            wire.Discard: self._discard,
            wire.BudgetInfo: self._budget,
            wire.Doctor: self._doctor,
            wire.LedgerInfo: logs.info,
            wire.ReadLog: logs.entries,
            wire.ReadLogFile: logs.file,
            wire.ListLogFiles: logs.files,
            wire.ListLogs: logs.names,
            wire.RotateKey: self.logs.rotate,
            wire.Destroy: self.logs.destroy,
            wire.Prune: self.logs.prune,
            wire.KeySet: keys.set,
            wire.KeyRemove: keys.remove,
            wire.KeyList: keys.list,
            wire.Http: self._direct.handle,
        }

    async def handle(self, peer: Peer, request: wire.Message, fds: list[int], client: ClientConnection) -> None:
        await self._handlers[type(request)](peer, request, fds, client)

    def owner_of(self, log: LogId) -> int | None:
        """The uid of the caller whose cage this log is; None for the host's and for unknown ones."""
        if log not in self._owners and is_cage_id(log):
            try:
                self._owners[log] = int((self._host.cages_dir / log / "owner").read_text())
            except (OSError, ValueError):
                return None
        return self._owners.get(log)

    async def stop_all(self) -> None:
        """Kill every cage and wait until all have ended and given back what they held."""
        self._stopping = True
        for cage in list(self._running.values()):
            cage.end("daemon_stopped")
        await self._direct.stop()
        while self._running:
            self._idle = trio.Event()
            await self._idle.wait()
        close_all(self._kept_workspaces.values())

    def freeze_all(self, frozen: bool) -> None:
        for cage in self._running.values():
            cage.freeze(frozen)

    # ---- runs --------------------------------------------------------------------------------------

    async def _run(self, peer: Peer, run: wire.Run, fds: list[int], client: ClientConnection) -> None:
        self._admit(peer, run)
        # Until its agent begins; with its end it waits again.
        with self._host.hurry.begin() as hurried:
            await self._run_hurried(peer, run, fds, client, hurried)

    async def _run_hurried(
        self, peer: Peer, run: wire.Run, fds: list[int], client: ClientConnection, hurried: Hurried
    ) -> None:
        caller = _caller(peer, run)
        prepared = await self._pool.take(caller, run.policy.limits)
        taken = fds[: 1 + len(run.binds) + sum(bind.holder > 0 for bind in run.binds)]
        del fds[: len(taken)]
        self._order += 1
        cage = Cage(self._host, prepared, peer, run, taken, hurried, self._order)
        cage.on_begin, cage.on_changes = self._begin, self._keep
        self._running[cage.id] = cage
        self._owners[cage.id] = peer.uid

        async def on_started(reply: wire.Started, numbers: list[int]) -> None:
            try:
                await client.reply(reply, [] if run.detach else numbers)
            except trio.BrokenResourceError:
                cage.end("client_gone")
            self._pool.refill_soon()
            if run.detach:
                if cage.master is None:
                    cage.stdio[0].close()
                self._begin_spool(cage)

        self._nursery.start_soon(self._live, cage, on_started)
        try:
            await cage.ended.wait()
            assert cage.result is not None
            await client.reply(cage.result)
        except (trio.Cancelled, trio.BrokenResourceError):
            if not cage.detached:
                cage.end("client_gone")
            raise

    def _admit(self, peer: Peer, run: wire.Run) -> None:
        if self._stopping:
            raise DeniedError("akiosd is stopping", "run", "run the command again in a moment")
        if self._host.ledger.full:
            # It would wait for its birth record before it could say a word.
            where = str(self._host.state_dir)
            raise DeniedError("No space left on device: the ledger cannot be written", where, "make room on its disk")
        quotas = self._host.config.quotas
        own = sum(cage.peer.uid == peer.uid for cage in self._running.values())
        if len(self._running) >= quotas.cages_total or (peer.uid and own >= quotas.cages_per_user):
            raise DeniedError(
                f"{own} cages of yours run, {len(self._running)} in all", "quotas", "stop one, or ask the admin"
            )
        waiting = sum(kept.owner[0] == peer.uid for kept in self._kept.values())
        if waiting >= quotas.kept_per_user:
            raise DeniedError(
                f"{waiting} ended cages wait with changes", "quotas", "commit or discard some: akiosctl ps --all"
            )
        self._check_policy(run.policy)
        if peer.uid:
            # Each is a directory of files that stays while akiosd runs.
            known = self._accounts.setdefault(peer.uid, set())
            if (run.user_name, run.home) not in known and len(known) >= _MAX_ACCOUNTS:
                what = f"{len(known)} user names and homes of yours were used already"
                raise DeniedError(what, "run", "run with your own HOME and USER")
            known.add((run.user_name, run.home))

    def _admit_direct(self, peer: Peer, policy: Policy) -> None:
        quotas, uids = self._host.config.quotas, list(self._direct.running.values())
        if self._stopping:
            raise DeniedError("akiosd is stopping", "http", "ask again in a moment")
        if len(uids) >= quotas.cages_total or (peer.uid and uids.count(peer.uid) >= quotas.cages_per_user):
            raise DeniedError(
                f"{uids.count(peer.uid)} requests of yours run, {len(uids)} in all", "quotas", "wait for one"
            )
        self._check_policy(policy)

    def _check_policy(self, policy: Policy) -> None:
        """Refused or not, the same policy is so as long as this daemon runs: the system's is read at its start."""
        known = msgspec.msgpack.encode(policy)
        if known in self._admitted:
            return
        validate(policy)
        widenings = check_authority(self._host.policy, policy)
        if widenings:
            raise DeniedError(
                "the policy asks for more than the system policy allows: " + "; ".join(map(str, widenings[:3])),
                self._host.config.system_policy, "narrow it, or ask the admin to widen the system policy",
            )  # fmt: skip
        if len(self._admitted) >= _MAX_ADMITTED:
            self._admitted.clear()
        if len(known) <= _MAX_REMEMBERED:
            self._admitted.add(known)

    async def _live(self, cage: Cage, on_started: Callable[..., Any]) -> None:
        try:
            await cage.run(on_started)
        except Exception:
            _log.exception("a cage failed", cage=cage.id)
        finally:
            spool = self._spools.pop(cage.id, None)
            if spool is not None:
                spool.stop()
            self._pool.refill_soon()
            del self._running[cage.id]
            if not cage.changes:
                self._remember(msgspec.structs.replace(self._describe(cage), state="ended", pid=0))
            self._idle.set()

    def _begin(self, cage: Cage) -> None:
        try:
            pending_changes.begin(cage.directory, self._describe_kept(cage))
        except OSError as error:
            _log.error("changes are not safe until this cage ends", cage=cage.id, error=str(error))

    def _keep(self, cage: Cage) -> None:
        kept = self._describe_kept(cage)
        info = msgspec.structs.replace(kept.info, state="ended", changes=True, pid=0)
        self._kept[cage.id] = kept = msgspec.structs.replace(kept, info=info)
        self._kept_workspaces[cage.id] = cage.workspace_fd
        try:
            pending_changes.save(cage.directory, kept)
        except OSError as error:
            # They can still be committed, while this daemon lives.
            _log.error("changes are not safe from a restart", cage=cage.id, error=str(error))

    def _describe_kept(self, cage: Cage) -> pending_changes.KeptCage:
        caller, where = cage.caller, cage.workspace_id
        return pending_changes.KeptCage(
            info=self._describe(cage), owner=(caller.uid, caller.gid), inside=(caller.inside, caller.inside_gid),
            host_id=cage.prepared.host_id, host_gid=cage.prepared.host_gid,
            disk_size=cage.prepared.slot.size, workspace_id=(where.device, where.inode),
            workspace_born_ns=where.born_ns, protect=cage.policy.filesystem.protect, boot=self._boot,
        )  # fmt: skip

    def _remember(self, info: wire.CageInfo) -> None:
        """It ended, and nothing of it waits: it may still be the last cage of its workspace."""
        try:
            pending_changes.end(self._host.cages_dir / info.cage, info)
            for name in self._ended.add(info):
                pending_changes.drop(self._host.cages_dir / name)
        except OSError as error:
            _log.error("an ended cage is forgotten with the next start", cage=info.cage, error=str(error))

    def _begin_spool(self, cage: Cage) -> None:
        if cage.id not in self._spools:
            reached = partial(cage.post, Event("limit", "output"))
            path = cage.directory / pending_changes.OUTPUT
            spool = self._spools[cage.id] = Spool(path, cage.policy.limits.output, reached)
            sources = [cage.master] if cage.master is not None else cage.stdio[1:]
            self._nursery.start_soon(spool.run, [fd for fd in sources if fd is not None and not fd.closed])

    # ---- requests about a cage ---------------------------------------------------------------------

    def _find(self, peer: Peer, name: str) -> Cage:
        """A running cage this peer may act on.  One of somebody else's does not exist for others."""
        cage = self._running.get(name)
        if cage is None or (peer.role not in ("root", "admin") and cage.peer.uid != peer.uid):
            raise DeniedError(f"no running cage {name}", next="list cages with: akiosctl ps")
        return cage

    def _find_kept(self, peer: Peer, name: str) -> pending_changes.KeptCage:
        kept = self._kept.get(name)
        if kept is None or (peer.role != "root" and kept.owner[0] != peer.uid):
            running = name in self._running and self._running[name].peer.uid == peer.uid
            what = f"the cage {name} still runs" if running else f"no ended cage {name} with changes"
            raise DeniedError(what, next="list cages with: akiosctl ps --all")
        return kept

    async def _signal(self, peer: Peer, request: wire.Signal, fds: list[int], client: ClientConnection) -> None:
        await self._find(peer, request.cage).signal(request.signo)
        await client.reply(wire.Ok())

    async def _stop(self, peer: Peer, request: wire.Stop, fds: list[int], client: ClientConnection) -> None:
        cage = self._find(peer, request.cage)
        if request.cause == "output" and cage.policy.limits.output:
            cage.post(Event("limit", "output"))
            await cage.ended.wait()
        elif request.grace_ns:
            await cage.signal(15)
            with trio.move_on_after(request.grace_ns / 1e9):
                await cage.ended.wait()
        if not cage.ended.is_set():
            cage.end("stopped", _user(peer.uid))
            await cage.ended.wait()
        await client.reply(wire.Ok())

    async def _attach(self, peer: Peer, request: wire.Attach, fds: list[int], client: ClientConnection) -> None:
        cage = self._find(peer, request.cage)
        spool = self._spools.pop(cage.id, None)
        if spool is None:
            raise DeniedError(f"{cage.id} is attached somewhere else", "attach", "detach there first")
        spool.stop()
        try:
            numbers = [cage.master.fileno()] if cage.master is not None else [fd.fileno() for fd in cage.stdio[1:]]
            await client.reply(
                wire.Started(
                    cage=cage.id, tty=cage.master is not None, output=cage.policy.limits.output,
                    posture=cage.posture, notes=(str(spool.path),),
                ),
                numbers,
            )  # fmt: skip
            await cage.ended.wait()
            assert cage.result is not None
            await client.reply(cage.result)
        finally:
            if cage.id in self._running and not cage.ended.is_set():
                self._begin_spool(cage)

    async def _detach(self, peer: Peer, request: wire.Detach, fds: list[int], client: ClientConnection) -> None:
        cage = self._find(peer, request.cage)
        if cage.master is None and not cage.detached:
            raise DeniedError("only a cage with a terminal can be left", "detach", "start it with -t, or with --detach")
        cage.detached = True
        self._begin_spool(cage)
        await client.reply(wire.Ok())

    async def _output(self, peer: Peer, request: wire.Output, fds: list[int], client: ClientConnection) -> None:
        owner = self.owner_of(LogId(request.cage))
        path = self._host.cages_dir / request.cage / pending_changes.OUTPUT
        if owner is None or (peer.role not in ("root", "admin") and owner != peer.uid) or not path.exists():
            raise DeniedError(f"{request.cage} left no output here", "output", "only a detached cage's output is kept")
        with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as output:
            await client.reply(
                wire.OutputReply(cage=request.cage, running=request.cage in self._running), [output.fileno()]
            )

    async def _budget(self, peer: Peer, request: wire.BudgetInfo, fds: list[int], client: ClientConnection) -> None:
        cage = self._find(peer, request.cage)
        await client.reply(cage.spend.describe(cage.id))

    async def _list(self, peer: Peer, request: wire.List, fds: list[int], client: ClientConnection) -> None:
        everyone = request.everyone and (peer.reads_all or peer.role in ("root", "admin"))
        infos = [self._describe(cage) for cage in self._running.values()]
        infos += [kept.info for name, kept in self._kept.items() if name not in self._running]
        infos += self._list_ended({info.cage for info in infos})
        wanted = [info for info in infos if (everyone or info.uid == peer.uid) and info.cage > request.after]
        wanted.sort(key=lambda info: info.cage)
        page = wanted[:_MAX_LISTED]
        here = identify(fds[0]) if fds else None
        await client.reply(wire.Cages(cages=tuple(page), more=len(page) < len(wanted), here=here))

    def _list_ended(self, listed: set[str]) -> list[wire.CageInfo]:
        """But those whose data was destroyed since: nothing of them is shown any more."""
        infos = [info for info in self._ended.infos() if info.cage not in listed]
        gone = [info.cage for info in infos if not (self._host.cages_dir / info.cage).exists()]
        self._ended.remove(gone)
        return [info for info in infos if info.cage not in gone]

    def _describe(self, cage: Cage) -> wire.CageInfo:
        result = cage.result
        return wire.CageInfo(
            cage=cage.id, uid=cage.peer.uid, user=_user(cage.peer.uid), state=cage.life.state,
            argv=_cut(cage.request.argv), workspace=cage.workspace_name, started_ns=cage.started_ns,
            ended_ns=cage.ended_ns, exit_code=result.exit_code if result else 0,
            reason=result.reason if result else "", changes=cage.changes, pid=cage.pid,
            tty=cage.request.tty is not None, detached=cage.detached, usd_micro=cage.spend.account.usd_micro,
            calls=cage.spend.account.calls, gid=cage.peer.gid, directory=cage.workspace_id, order=cage.order,
            outdated=cage.is_outdated(),
        )  # fmt: skip

    # ---- changes -----------------------------------------------------------------------------------

    async def _view(self, peer: Peer, request: wire.View, fds: list[int], client: ClientConnection) -> None:
        await self._wait_released(request.cage)
        kept = self._find_kept(peer, request.cage)
        self._check_unseen(request.cage, client)
        if fds:
            workspace = Fd(fds.pop(0))
        elif request.cage in self._kept_workspaces:
            workspace = self._kept_workspaces[request.cage].dup()
        else:
            raise DeniedError("akiosd was restarted since; the workspace must be sent again", request.cage)
        if request.cage in self._settling:
            workspace.close()
            raise DeniedError("somebody else looks at these changes now", request.cage, WAIT)
        self._settling.add(request.cage)
        try:
            with workspace:
                with await open_view(self._host, kept, workspace) as view:
                    reply = wire.ViewReply(
                        cage=request.cage,
                        workspace=read_name(workspace.fileno()),
                        protect=kept.protect,
                        started_ns=kept.info.started_ns,
                    )
                    # Until that client leaves: what it compares or writes from must not vanish under it.
                    viewer = request.cage, client
                    self._viewers.append(viewer)
                    client.at_end(lambda: self._viewers.remove(viewer))
                    await client.reply(reply, [view.fileno(), workspace.fileno()])
        finally:
            self._settling.discard(request.cage)

    def _check_unseen(self, cage: str, client: ClientConnection) -> None:
        if any(name == cage and not client.is_same(viewer) for name, viewer in self._viewers):
            raise DeniedError("somebody else looks at these changes now", cage, WAIT)

    async def _wait_released(self, name: str) -> None:
        """A cage whose end was just told may still be giving its disk back."""
        while name in self._running and self._running[name].ended.is_set():
            self._idle = trio.Event()
            await self._idle.wait()

    async def _discard(self, peer: Peer, request: wire.Discard, fds: list[int], client: ClientConnection) -> None:
        await self._wait_released(request.cage)
        kept = self._find_kept(peer, request.cage)
        self._check_unseen(request.cage, client)
        if request.cage in self._settling:
            raise DeniedError("somebody else settles these changes now", request.cage, "wait until they are done")
        self._settling.add(request.cage)
        try:
            # Told first: what was destroyed without a word could not be told apart from a loss.
            record = records.CageSettled(
                ts=time.time_ns(), cage=request.cage, uid=peer.uid, committed=request.committed, paths=request.paths
            )
            await self._host.ledger.commit(HOST_LOG, record)
            disks, directory = self._host.disks, self._host.cages_dir / request.cage
            assert disks is not None
            said = UNLINKED
            if request.wipe:
                said = await trio.to_thread.run_sync(wipe_changes, directory, disks, kept.disk_size, How())
            await trio.to_thread.run_sync(pending_changes.forget, directory, disks, kept)
            del self._kept[request.cage]
            self._remember(msgspec.structs.replace(kept.info, changes=False))
            close_all((self._kept_workspaces.pop(request.cage, None),))
        finally:
            self._settling.discard(request.cage)
        await client.reply(wire.Ok(note=said))

    # ---- the host and the ledger -------------------------------------------------------------------

    async def _doctor(self, peer: Peer, request: wire.Doctor, fds: list[int], client: ClientConnection) -> None:
        reply = wire.DoctorReply(
            software=f"akiosd {__version__}",
            kernel=self._host.facts.kernel,
            posture=read_posture(self._host),
            cages=len(self._running),
            uptime_ns=time.monotonic_ns() - self._started,
            state_dir=str(self._host.state_dir),
        )
        await client.reply(reply)

    def _why_busy(self, cage: str) -> str:
        if cage in self._running or cage in self._direct.running:
            return f"the cage {cage} still runs"
        return f"changes of {cage} wait to be committed or discarded" if cage in self._kept else ""


def _caller(peer: Peer, run: wire.Run) -> Caller:
    mode = run.policy.identity.mode
    if mode == "root":
        return Caller(peer.uid, peer.gid, 0, 0)
    if mode == "caller" and peer.uid != 0:
        return Caller(peer.uid, peer.gid, peer.uid, peer.gid)
    return Caller(peer.uid, peer.gid, AGENT_ID, AGENT_ID)


def _cut(argv: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """As much of a command line as a list shows."""
    shown: list[bytes] = []
    room = _MAX_ARGV
    for word in argv:
        if len(word) + 1 > room:
            return (*shown, word[:room] + "…".encode())
        shown.append(word)
        room -= len(word) + 1
    return tuple(shown)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
