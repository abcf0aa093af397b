"""The cages that akiosd knows: running ones, those whose changes wait, and ended ones for a while.

Every question about a cage is asked here. A cage of another user does not exist for the one who
asks.
"""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import trio

from akiosd.cage.destroying import may_destroy
from akiosd.cage.remembered import Remembered
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.pending_changes import KeptCage
from akiosd.daemon.cages.run_cage import DAY_NS, Cage
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd, close_all
from akiosd.values.ids import LogId, is_cage_id
from akiosd.values.units import format_duration
from akiosd.wire import messages as wire

_log = get_log("cages")
MAX_LISTED = 64
"""Cages in one page of a list."""
_MOST_OWNERS = 4096
_WARN_DAYS = 7
_MAX_ARGV = 4096
"""Together with a path of PATH_MAX, far less than a 64th of a frame."""


class Registry:
    """Read from disk once, at start; afterwards this object is right, and the disk follows."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.running: dict[str, Cage] = {}
        self.kept: dict[str, KeptCage] = pending_changes.load_all(host.cages_dir)
        host.uids.kept = lambda: {kept.host_id for kept in self.kept.values()}
        self.workspaces: dict[str, Fd] = {}
        """The workspaces of kept cages that ended since this start; owned here."""
        self.git_directories: dict[str, Fd] = {}
        """The same of the git directories that were shown with them."""
        self.ended = Remembered(
            pending_changes.load_ended(host.cages_dir), host.config.ended.per_user
        )
        known = [*(kept.info for kept in self.kept.values()), *self.ended.infos()]
        self._order = max((info.order for info in known), default=0)
        self._outputs = {
            info.cage: pending_changes.size_of_output(host.cages_dir / info.cage) for info in known
        }
        """Bytes that the output of each ended cage takes on disk."""
        self._boot = pending_changes.read_boot()
        self._owners: dict[str, int] = {}
        """Of the logs of ended cages that were asked for last; all others are on disk."""
        self._claimed: set[tuple[int, str]] = set()
        """Names of cages that are being made."""
        self._removed = trio.Event()
        """Set for all who wait when a cage is gone, and then a new one."""

    def next_order(self) -> int:
        """A number higher than that of every cage before, also of those before this start."""
        self._order += 1
        return self._order

    @contextmanager
    def claim_name(self, uid: int, name: str) -> Iterator[None]:
        """Hold a name for a cage of this uid until the cage is added; "" is always free.

        Raises :class:`DeniedError` where a cage of theirs has it that runs, or whose changes wait:
        a verb that writes must not have to choose. Of ended ones the newest is meant.
        """
        if name:
            infos = [self._describe(cage) for cage in self.running.values()]
            infos += [kept.info for kept in self.kept.values()]
            infos += [info for info in self._list_ended(set()) if info.standing]
            for info in infos:
                if (info.uid, info.name) == (uid, name):
                    raise _taken(info)
            if (uid, name) in self._claimed:
                raise DeniedError(f"a cage named {name} is starting", "--name", "choose another")
        self._claimed.add((uid, name))
        try:
            yield
        finally:
            self._claimed.discard((uid, name))

    def add(self, cage: Cage) -> None:
        """A cage runs from now on."""
        cage.on_begin, cage.on_changes = self._begin, self._keep
        self.running[cage.id] = cage

    def find_spend(self, cage: str) -> tuple[str, Spend] | None:
        """What a cage is called, and its account; None where it does not run."""
        found = self.running.get(cage)
        if found is None or found.life.state != "running":
            return None
        return found.request.name or found.id, found.spend

    def remove(self, cage: Cage) -> None:
        """The cage has ended and given everything back."""
        del self.running[cage.id]
        # Who follows its records is still to get the last ones.
        self._put_owner(cage.id, cage.peer.uid)
        if not cage.changes:
            self._remember(msgspec.structs.replace(self._describe(cage), state="ended", pid=0))
        self._removed.set()
        self._removed = trio.Event()

    def forget_changes(self, info: wire.CageInfo) -> None:
        """Its changes were committed, discarded or too old, and are gone from disk."""
        name = info.cage
        del self.kept[name]
        self._outputs[name] = pending_changes.size_of_output(self._host.cages_dir / name)
        self._remember(info)
        close_all((self.workspaces.pop(name, None), self.git_directories.pop(name, None)))

    async def wait_empty(self) -> None:
        """Wait until no cage runs."""
        while self.running:
            await self._removed.wait()

    async def wait_released(self, name: str) -> None:
        """Wait while a cage whose end was reported is still giving its disk back."""
        while name in self.running and self.running[name].ended.is_set():
            await self._removed.wait()

    def close(self) -> None:
        """Close the descriptors of all workspaces."""
        close_all((*self.workspaces.values(), *self.git_directories.values()))

    # ---- who may see what
    # --------------------------------------------------------------------------

    def owner_of(self, log: LogId) -> int | None:
        """The uid of the caller whose cage this log is; None for the host's and for
        unknown ones.
        """
        running = self.running.get(log)
        if running is not None:
            return running.peer.uid
        if log not in self._owners and is_cage_id(log):
            try:
                uid = int((self._host.cages_dir / log / "owner").read_text())
            except (OSError, ValueError):
                return None
            self._put_owner(log, uid)
        return self._owners.get(log)

    def _put_owner(self, log: str, uid: int) -> None:
        """Of an ended cage; its log may outlive what else is known of it."""
        if len(self._owners) >= _MOST_OWNERS:
            del self._owners[next(iter(self._owners))]
        self._owners[log] = uid

    def find(self, peer: Peer, name: str) -> Cage:
        """A running cage that this peer may act on.  Raises DeniedError, the same for unknown cages
        and for others'.
        """
        cage = self.running.get(name)
        if cage is None or (peer.role not in ("root", "admin") and cage.peer.uid != peer.uid):
            raise DeniedError(f"no running cage {name}", next="list cages with: akiosctl ps")
        return cage

    def describe_end(self, name: str, uid: int) -> wire.Ended | None:
        """The end of an ended cage of this uid, as far as it is known."""
        infos = [*(kept.info for kept in self.kept.values()), *self.ended.infos()]
        info = next((info for info in infos if (info.cage, info.uid) == (name, uid)), None)
        if info is None:
            return None
        return wire.Ended(
            cage=info.cage,
            exit_code=info.exit_code,
            kind="stopped" if info.reason else "exited",
            reason=info.reason,
            changes=info.changes,
            expires_ns=self._with_expiry(info).expires_ns if info.changes else 0,
        )

    def find_kept(self, peer: Peer, name: str) -> KeptCage:
        """An ended cage with changes that this peer may settle.  Raises DeniedError."""
        kept = self.kept.get(name)
        if kept is None or not _may_settle(peer, kept):
            running = name in self.running and self.running[name].peer.uid == peer.uid
            if running:
                next = f"wait until it has ended, or end it: akiosctl stop {name}"
                raise DeniedError(f"the cage {name} still runs", next=next)
            what = f"no ended cage {name} with changes"
            raise DeniedError(what, next="list cages with: akiosctl ps --all")
        return kept

    def count_waiting(self, uid: int) -> int:
        """How many ended cages of this uid wait with changes, or are standing cages that are
        down.
        """
        down = (info for info in self.ended.infos() if info.uid == uid and info.standing)
        return sum(kept.owner[0] == uid for kept in self.kept.values()) + sum(1 for _ in down)

    def find_down(self, peer: Peer, name: str) -> wire.CageInfo:
        """A standing cage that is down, and all of whose data this peer may destroy.  Raises
        DeniedError.
        """
        info = self.check_down(peer, name)
        if name in self.kept and not _may_settle(peer, self.kept[name]):
            raise DeniedError(
                f"{name} is down, and has changes that nobody committed",
                name,
                "only its user and root destroy them; ask its user to commit or discard",
            )
        return info

    def check_down(self, peer: Peer, name: str) -> wire.CageInfo:
        """A standing cage that is down, and that this peer may take down.  Raises DeniedError, the
        same for unknown cages and for others'.
        """
        info = self._find_ended(name)
        # What is remembered of one that was destroyed is forgotten only when cages are listed.
        there = info is not None and (self._host.cages_dir / name).exists()
        if info is None or not there or not self.may_destroy_log(peer, name) or not info.standing:
            raise DeniedError(
                f"no standing cage {name} that is down", next="list cages with: akiosctl cage list"
            )
        return info

    def may_destroy_log(self, peer: Peer, name: str) -> bool:
        """Whether this peer may destroy the log of an ended cage, for all this knows of it."""
        info = self._find_ended(name)
        standing = info is not None and info.standing
        owns = info is not None and info.uid == peer.uid
        return may_destroy("log of a standing cage" if standing else "log", peer.role, owns=owns)

    def _find_ended(self, name: str) -> wire.CageInfo | None:
        infos = [*(kept.info for kept in self.kept.values()), *self.ended.infos()]
        return next((info for info in infos if info.cage == name), None)

    def list_page(self, peer: Peer, everyone: bool, after: str) -> tuple[list[wire.CageInfo], bool]:
        """Cages whose ids follow ``after``, as many as fit into one reply, and whether there are
        more.
        """
        everyone = everyone and (peer.reads_all or peer.role in ("root", "admin"))
        infos = [self._describe(cage) for cage in self.running.values()]
        infos += [
            self._with_expiry(kept.info)
            for name, kept in self.kept.items()
            if name not in self.running
        ]
        infos += self._list_ended({info.cage for info in infos})
        wanted = [
            info for info in infos if (everyone or info.uid == peer.uid) and info.cage > after
        ]
        wanted.sort(key=lambda info: info.cage)
        page = [
            msgspec.structs.replace(info, output=self._outputs.get(info.cage, 0))
            for info in wanted[:MAX_LISTED]
        ]
        return page, len(wanted) > MAX_LISTED

    def running_page(self, peer: Peer, everyone: bool, after: str) -> tuple[list[Cage], bool]:
        """Running cages that :meth:`list_page` would show, and whether there are more."""
        everyone = everyone and (peer.reads_all or peer.role in ("root", "admin"))
        wanted = sorted(
            name
            for name, cage in self.running.items()
            if name > after and (everyone or cage.peer.uid == peer.uid)
        )
        return [self.running[name] for name in wanted[:MAX_LISTED]], len(wanted) > MAX_LISTED

    def _with_expiry(self, info: wire.CageInfo) -> wire.CageInfo:
        days = self._host.config.ended.changes_days
        expires = info.ended_ns + days * DAY_NS if days else 0
        return msgspec.structs.replace(info, expires_ns=expires)

    def warn_of_expiry(self, uid: int, now_ns: int) -> tuple[str, ...]:
        """What this uid should know before changes of theirs are destroyed; nothing before the last
        week.
        """
        days = self._host.config.ended.changes_days
        own = [kept.info for kept in self.kept.values() if kept.owner[0] == uid]
        going = [info for info in own if info.ended_ns + (days - _WARN_DAYS) * DAY_NS <= now_ns]
        if not days or not going:
            return ()
        first = min(going, key=lambda info: info.ended_ns)
        left = max(0, first.ended_ns + days * DAY_NS - now_ns)
        count = "1 cage" if len(going) == 1 else f"{len(going)} cages"
        return (
            f"changes of {count} that nobody settled are soon destroyed, those of {first.cage} in"
            f" {format_duration(left)}: akiosctl ps, then commit or discard",
        )

    def _list_ended(self, listed: set[str]) -> list[wire.CageInfo]:
        """Remembered cages not in ``listed``; those whose data was destroyed since are
        forgotten.
        """
        infos = [info for info in self.ended.infos() if info.cage not in listed]
        gone = [info.cage for info in infos if not (self._host.cages_dir / info.cage).exists()]
        self.ended.remove(gone)
        return [info for info in infos if info.cage not in gone]

    def _describe(self, cage: Cage) -> wire.CageInfo:
        result = cage.result
        return wire.CageInfo(
            cage=cage.id,
            uid=cage.peer.uid,
            user=user_name(cage.peer.uid),
            state=cage.state,
            argv=cut_argv(cage.request.argv),
            workspace=cage.workspace_name,
            started_ns=cage.started_ns,
            # It has not ended for anybody before it is known how.
            ended_ns=cage.ended_ns if result else 0,
            exit_code=result.exit_code if result else 0,
            reason=result.reason if result else cage.standstill.why,
            changes=cage.changes,
            pid=cage.pid,
            tty=cage.request.tty is not None,
            detached=cage.detached,
            usd_micro=cage.spend.account.usd_micro,
            calls=cage.spend.account.calls,
            gid=cage.peer.gid,
            directory=cage.workspace_id,
            order=cage.order,
            outdated=cage.is_outdated(),
            name=cage.request.name,
            settled="discarded" if cage.discarded else "",
            standing=cage.is_standing and not cage.failed_to_start,
            programs=len(cage.programs.running),
            data=cage.policy.filesystem.data,
        )

    # ---- what outlives this process
    # ----------------------------------------------------------------

    def _begin(self, cage: Cage) -> None:
        try:
            pending_changes.begin(cage.directory, self.describe_kept(cage))
        except OSError as error:
            _log.error("changes are not safe until this cage ends", cage=cage.id, error=str(error))

    def _keep(self, cage: Cage) -> None:
        kept = self.describe_kept(cage)
        info = msgspec.structs.replace(kept.info, state="ended", changes=True, pid=0)
        self.kept[cage.id] = kept = msgspec.structs.replace(kept, info=info)
        self.workspaces[cage.id] = cage.workspace_fd
        if cage.git is not None:
            self.git_directories[cage.id] = cage.git.directory
        try:
            pending_changes.save(cage.directory, kept)
        except OSError as error:
            # They can still be committed, while this daemon lives.
            _log.error("changes are not safe from a restart", cage=cage.id, error=str(error))

    def describe_kept(self, cage: Cage) -> KeptCage:
        """What would be kept of a cage that runs."""
        caller, where = cage.caller, cage.workspace_id
        return KeptCage(
            info=self._describe(cage),
            owner=(caller.uid, caller.gid),
            inside=(caller.inside, caller.inside_gid),
            host_id=cage.prepared.host_id,
            host_gid=cage.prepared.host_gid,
            disk_size=cage.prepared.slot.size,
            workspace_id=(where.device, where.inode),
            workspace_born_ns=where.born_ns,
            protect=cage.policy.filesystem.protect,
            boot=self._boot,
            discard=cage.request.discard,
            git=cage.git.identity if cage.git is not None else None,
            git_upper=cage.git.upper if cage.git is not None else "",
            lost=cage.lost,
        )

    def _remember(self, info: wire.CageInfo) -> None:
        """The cage ended and nothing of it waits.  A disk without room keeps nothing from ending:
        the note is in memory, and the log has the end.
        """
        try:
            pending_changes.end(self._host.cages_dir / info.cage, info)
        except OSError as error:
            _log.error(
                "an ended cage is forgotten with the next start", cage=info.cage, error=str(error)
            )
        self.ended.most = self._host.config.ended.per_user
        self._drop(self.ended.add(info))

    def bound_output(self, name: str, uid: int) -> None:
        """A cage's output is complete: the oldest output of this uid goes where all of it is too
        much.
        """
        self._outputs[name] = pending_changes.size_of_output(self._host.cages_dir / name)
        ended = [*(kept.info for kept in self.kept.values()), *self.ended.infos()]
        own = sorted((info.order, info.cage) for info in ended if info.uid == uid)
        total = sum(self._outputs.get(cage, 0) for _, cage in own)
        for _, cage in own:
            if total <= self._host.config.ended.output_bytes_per_user:
                return
            total -= self._drop_output(cage)

    def _drop_output(self, name: str) -> int:
        size = self._outputs.pop(name, 0)
        if size:
            try:
                pending_changes.drop_output(self._host.cages_dir / name)
            except OSError as error:
                _log.error("the output of an ended cage stays", cage=name, error=str(error))
        return size

    def _drop(self, names: list[str]) -> None:
        for name in names:
            self._drop_output(name)
            try:
                pending_changes.drop(self._host.cages_dir / name)
            except OSError as error:
                _log.error("the note of an ended cage stays", cage=name, error=str(error))

    def expire(self, is_old: Callable[[str], bool]) -> None:
        """Forget ended cages that ``is_old`` says are, with what they wrote."""
        self._drop(self.ended.expire(is_old))


def _taken(info: wire.CageInfo) -> DeniedError:
    if info.standing:
        state = "is down with its data" if info.ended_ns else "is up"
        next = f"choose another, or destroy that one: akiosctl cage down {info.name}"
    else:
        state = "has uncommitted changes" if info.ended_ns else "runs"
        next = "choose another, or stop, commit or discard that one"
    return DeniedError(
        f"the name {info.name} is taken by {info.cage}, which {state}", "--name", next
    )


def _may_settle(peer: Peer, kept: KeptCage) -> bool:
    return may_destroy("changes", peer.role, owns=kept.owner[0] == peer.uid)


def cut_argv(argv: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A command line cut to what a list shows."""
    shown: list[bytes] = []
    room = _MAX_ARGV
    for word in argv:
        if len(word) + 1 > room:
            return (*shown, word[:room] + "…".encode())
        shown.append(word)
        room -= len(word) + 1
    return tuple(shown)


def user_name(uid: int) -> str:
    """The name of a uid, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
