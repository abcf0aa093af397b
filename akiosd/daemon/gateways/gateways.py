"""The gateway of one cage, seen from akiosd: forked when the cage first asks for something, served,
restarted, ended; or gone on with, where an earlier akiosd forked it.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.gateways.cage_ca import Authority
from akiosd.daemon.gateways.gateway_link import GatewayLink
from akiosd.daemon.gateways.gateway_setup import gateway_setup, prices_of
from akiosd.daemon.gateways.kept_gateway import GATEWAY, GatewayState, Keep, Left
from akiosd.daemon.gateways.listeners import Bound
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError, CageFailedError, KernelError
from akiosd.gateway.process.confine import check_status
from akiosd.kernel import pidfd, scm_rights
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.fds import Fd, close_all
from akiosd.policy.compile.limits import compile_cgroup_v1, compile_cgroup_v2
from akiosd.values.policy import Limits, Policy
from akiosd.values.records import GatewayFailed
from akiosd.values.units import MIB
from akiosd.wire.gateway import Captured, Connection, Resume, Setup

GROUP_SUFFIX = "-gateway"
LIMITS = Limits(memory=512 * MIB, pids=64)
PAUSES_S = (0.0, 0.1, 0.5, 2.0, 10.0)
"""Pauses before a gateway that died is made again; the last one for every further time."""
_FORGIVEN_S = 60
_READY_S = 20
_LAST_WORDS_S = 3

_log = get_log("gateway")


class Gateway:
    """The gateway of one cage, through all its processes.

    ``bound`` are its listening sockets, owned from now on; ``spend`` is the cage's account.
    :meth:`run` is a task of the cage; :meth:`finish` is called before the cage's last record,
    :meth:`close` after it.
    """

    def __init__(
        self,
        host: Host,
        cage: str,
        policy: Policy,
        authority: Authority,
        bound: Sequence[Bound],
        spend: Spend,
        keep: Keep | None = None,
    ) -> None:
        """``keep``: where what the next akiosd needs is kept; without it every process of this
        gateway dies with akiosd.
        """
        self._host, self._cage, self._policy, self._authority = host, cage, policy, authority
        self._spend, self._keep = spend, keep
        self._bound = list(bound)
        self._ready: select.epoll | None = None
        self._streams: list[tuple[Fd, Connection | Captured]] = []
        self._more = trio.Event()
        self._wanted = Fd(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._group: CageCgroup | None = None
        self._state = GatewayState()
        self._left: Left | None = None
        """What an earlier akiosd left, until :meth:`run` takes it."""
        self._is_resuming = False
        """Whether it left a process that has not said yet that it is there."""
        self._link: GatewayLink | None = None
        self._scope = trio.CancelScope()
        self._running: trio.Event | None = None
        self._finishing = False
        self.pid = 0

    def adopt(self, left: Left) -> None:
        """Go on with what an earlier akiosd left of this gateway, in :meth:`run`."""
        self._state, self._left = left.state, left
        if self._state.uid:
            self._host.uids.adopt(self._state.uid)
        self._group = self._host.cgroups.leaf(self._cage + GROUP_SUFFIX)
        if left.process is not None:
            self._is_resuming = True
            self._host.old_zygotes.use(self._state.zygote)

    @property
    def is_idle(self) -> bool:
        """Nobody has asked for anything yet, or no process is left: it has no more to report."""
        busy = self._link is not None or self.pid != 0 or self._is_resuming
        return not busy and not self._streams

    async def run(self) -> None:
        """Serve until :meth:`finish`, or until cancelled."""
        self._running = trio.Event()
        self._ready = select.epoll()
        for number in (self._wanted.fileno(), *(one.fd.fileno() for one in self._bound)):
            self._ready.register(number, select.EPOLLIN)
        crashes = 0
        try:
            with self._scope:
                left = await self._resume()
                while not self._finishing or left is not None:
                    if left is None:
                        await self._wait_wanted()
                    began = trio.current_time()
                    why = await self._live(left)
                    left = None
                    if self._finishing:
                        break
                    crashes = 0 if trio.current_time() - began > _FORGIVEN_S else crashes + 1
                    _log.error("a gateway died", cage=self._cage, why=why, times=crashes)
                    await self._spend.record([GatewayFailed(ts=time.time_ns(), what=why)])
                    await trio.sleep(PAUSES_S[min(crashes, len(PAUSES_S)) - 1])
        finally:
            self._running.set()

    async def _resume(self) -> Left | None:
        """The process that an earlier akiosd left; what one that is gone had open is spent."""
        left, self._left = self._left, None
        if left is None:
            return None
        await self._spend.resume()
        if left.process is not None:
            return left
        await self._spend.gateway_lost()
        if self._group is not None:
            # There may be one that was forked and could not be kept any more.
            await self._group.destroy()
            self._group = None
        return None

    async def connect(self, stream: Fd) -> None:
        """Serve akiosctl on ``stream``, owned from now on, by this cage's rules; forks a gateway if
        there is none.
        """
        self.capture(stream, Connection())
        await self._hand_over()

    def capture(self, stream: Fd, message: Connection | Captured) -> None:
        """Have ``stream``, owned from now on, served as ``message`` says, soon; never waits."""
        self._streams.append((stream, message))
        os.eventfd_write(self._wanted.fileno(), 1)
        self._more.set()

    async def _hand_over_more(self) -> None:
        """What is captured while a gateway lives is handed over at once."""
        while True:
            self._more = trio.Event()
            await self._hand_over()
            await self._more.wait()

    async def _hand_over(self) -> None:
        while self._link is not None and self._streams:
            await self._link.send_connection(*self._streams.pop(0))

    async def _wait_wanted(self) -> None:
        """Wait until a connection or query of the agent is at a socket, or until :meth:`connect`
        was called.
        """
        assert self._ready is not None
        if not self._streams:
            await trio.lowlevel.wait_readable(self._ready.fileno())
        try:
            os.eventfd_read(self._wanted.fileno())
        except BlockingIOError:
            pass

    async def finish(self) -> None:
        """Every process of the cage is dead: let the gateway report what is left, and end it."""
        self._finishing = True
        if self._running is None:
            return
        if self._link is not None or self._is_resuming:
            with trio.move_on_after(_LAST_WORDS_S) as patience:
                if self._link is not None:
                    await self._link.end()
                await self._running.wait()
            if patience.cancelled_caught:
                _log.error("a gateway does not end by itself", cage=self._cage, pid=self.pid)
        self._scope.cancel()
        await self._running.wait()

    async def close(self) -> None:
        """Kill what is left, and give back sockets and cgroup.  KernelError when the
        cgroup stays.
        """
        self._scope.cancel()
        if self._ready is not None:
            self._ready.close()
        close_all(
            (*(one.fd for one in self._bound), *(fd for fd, _ in self._streams), self._wanted)
        )
        if self._group is not None:
            await self._group.destroy()
        if self._left is not None:
            close_all((self._left.process, self._left.relink))
        self._host.uids.give_back(self._state.uid)

    # ---- one process -----------------------------------------------------------------------------

    async def _live(self, left: Left | None) -> str:
        """One gateway from fork to death; returns why it ended.  ``left``: from where an earlier
        akiosd left it.
        """
        process, relink = (left.process, left.relink) if left is not None else (None, None)
        link, theirs = GatewayLink.pair(self._spend)
        link.addresses, link.on_address = self._state.addresses, self._save
        why = ""
        try:
            try:
                with theirs:
                    if process is not None and relink is not None:
                        self.pid = pidfd.read_pid(process.fileno())
                        _send_resume(relink, self._spend.memory.state.taken, theirs)
                    else:
                        process, relink = await self._fork(theirs)
                await self._begin(link, process, is_new=left is None)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._hand_over_more)
                    await link.run()
                    nursery.cancel_scope.cancel()
            except (AkiosError, OSError) as error:
                why = str(error)
            except BaseExceptionGroup as group:
                failed, rest = group.split((AkiosError, OSError))
                if rest is not None or failed is None:
                    raise
                why = str(failed.exceptions[0])
        finally:
            self._link, self._is_resuming = None, False
            self._host.renewed.discard(self._send_prices)
            link.close()
            with trio.CancelScope(shield=True):
                await self._let_go(relink)
                ended = await self._reap(process, left is None)
                await self._spend.gateway_lost()
        return why or ended

    async def _begin(self, link: GatewayLink, process: Fd, *, is_new: bool) -> None:
        """Hear that it is ready, look whether it is confined, and give it what it needs.  One that
        was set up by an earlier akiosd gets the prices, which may be others now.
        """
        with trio.move_on_after(_READY_S) as patience:
            posture = await link.receive_ready()
        if patience.cancelled_caught:
            raise CageFailedError(f"the gateway was not ready after {_READY_S} s", "gateway")
        _log.debug("a gateway is confined", cage=self._cage, pid=self.pid, layers=list(posture))
        self._check(process)
        told = self._host.settings
        if is_new:
            await link.send_setup(self._setup(), [one.fd.fileno() for one in self._bound])
        self._link, self._is_resuming = link, False
        self._host.renewed.add(self._send_prices)
        if not is_new or self._host.settings is not told:
            await self._send_prices()
        await self._hand_over()
        if self._finishing:
            await link.end()

    async def _send_prices(self) -> None:
        """The administrator's prices may be others now."""
        if self._link is not None:
            await self._link.send_prices(prices_of(self._host))

    async def _fork(self, link: Fd) -> tuple[Fd, Fd]:
        """A new process: its pidfd, and our end of the socket for ``Resume``; both are the
        caller's.
        """
        group = self._make_group()
        if not self._state.uid:
            self._state.uid = self._host.uids.take()
        files = group.open_entrances()
        ours, theirs = _pair()
        try:
            fds = [link.fileno(), theirs.fileno(), *(file.fileno() for file in files)]
            self.pid, process = await self._host.zygote.fork(self._cage, self._state.uid, fds)
        except BaseException:
            ours.close()
            raise
        finally:
            close_all((*files, theirs))
        self._state.zygote = self._host.zygote.pid
        self._save()
        if self._keep is not None:
            with trio.CancelScope(shield=True):
                await self._keep.keep_part(GATEWAY, [process.fileno(), ours.fileno()])
        return process, ours

    def _save(self) -> None:
        if self._keep is not None:
            self._keep.write(GATEWAY, msgspec.msgpack.encode(self._state))

    async def _let_go(self, relink: Fd | None) -> None:
        """From now on there is nobody from whom another link could come."""
        if relink is not None:
            relink.close()
            if self._keep is not None:
                await self._keep.drop_part(GATEWAY)

    def _make_group(self) -> CageCgroup:
        if self._group is None:
            group = self._host.cgroups.leaf(self._cage + GROUP_SUFFIX)
            group.make()
            self._group = group
            there = self._host.cgroups.controllers
            group.limit(
                [value for value in compile_cgroup_v2(LIMITS) if value.controller in there],
                [value for value in compile_cgroup_v1(LIMITS) if value.controller in there],
            )
        return self._group

    def _check(self, process: Fd) -> None:
        """Check from outside what the gateway says confines it, before it is given a key.  Raises
        KernelError.
        """
        proc = Path("/proc", str(self.pid))
        try:
            status, groups = (
                (proc / "status").read_text(errors="replace"),
                (proc / "cgroup").read_text(),
            )
        except OSError as error:
            raise KernelError(
                f"akiosd cannot see whether the gateway is well: {error.strerror}", "gateway"
            ) from None
        if _is_readable(process):
            raise CageFailedError(
                "the gateway died before it was set up", "gateway"
            )  # so that was another's pid, perhaps
        check_status(status, self._state.uid, shares=self._state.uid == os.geteuid())
        assert self._group is not None
        if not self._group.holds(groups):
            raise KernelError("the gateway is not in its control groups", "gateway")

    def _setup(self) -> Setup:
        if not self._state.pseudonym_key:
            self._state.pseudonym_key = os.urandom(32)
            self._save()
        told = gateway_setup(self._host, self._policy)
        return Setup(
            cage=self._cage,
            policy=self._policy,
            system=self._host.policy,
            system_file=self._host.settings.system.file,
            config_file=self._host.settings.config_file,
            listeners=tuple(one.listener for one in self._bound),
            providers=told.providers,
            prices=told.prices,
            hosts=told.hosts,
            roots=told.roots,
            ca_certificate=self._authority.certificate,
            ca_key=self._authority.key,
            pseudonym_key=self._state.pseudonym_key,
            addresses=dict(self._state.addresses),
        )

    async def _reap(self, process: Fd | None, is_ours: bool) -> str:
        """Wait for its death, or kill it; returns how it ended.  Only the zygote of this akiosd
        tells more than that.
        """
        if process is None:
            return "it could not be made"
        with process:
            with trio.move_on_after(0.0 if self._scope.cancel_called else 1.0):
                await trio.lowlevel.wait_readable(process.fileno())
            pidfd.send_signal(process.fileno(), 9)
            await trio.lowlevel.wait_readable(process.fileno())
        pid, self.pid = self.pid, 0
        if is_ours:
            return describe(await self._host.zygote.wait_status(pid))
        await self._host.old_zygotes.leave(self._state.zygote)
        return "it ended"


def _pair() -> tuple[Fd, Fd]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    return Fd(ours.detach()), Fd(theirs.detach())


def _send_resume(relink: Fd, taken: int, link: Fd) -> None:
    """Raises OSError when the gateway is gone."""
    with socket.socket(fileno=relink.dup().take()) as sock:
        scm_rights.send_blocking(sock, msgspec.msgpack.encode(Resume(taken=taken)), [link.fileno()])


def _is_readable(process: Fd) -> bool:
    poller = select.poll()
    poller.register(process.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def describe(status: int | None) -> str:
    """A wait status in words."""
    if status is None:
        return "it ended, with the zygote"
    if os.WIFSIGNALED(status):
        return f"it was killed by signal {os.WTERMSIG(status)}"
    return f"it ended with code {os.WEXITSTATUS(status)}"
