"""Makes calls for the agent of one cage without namespaces: its connections, and changes of files
that Landlock does not look at.

The pump has recorded that the call was requested; a refusal is one more record, durable before the
agent hears of it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable

import trio

from akiosd.cage.take_over import (
    Join,
    Kind,
    Local,
    Refuse,
    StandIn,
    Verdict,
    Ways,
    decide_connect,
    decide_socket,
)
from akiosd.daemon.base.log import get_log
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import LedgerError
from akiosd.kernel import act_on_files
from akiosd.kernel.answer_calls import (
    O_CLOEXEC,
    O_NONBLOCK,
    Call,
    Listener,
    read_calls,
    read_memory,
    read_socket,
)
from akiosd.kernel.fds import Fd
from akiosd.kernel.loopback_pair import packet_pair, tcp_pair
from akiosd.values import records
from akiosd.values.ids import LogId
from akiosd.values.policy_mode import ACTED_ON
from akiosd.wire.gateway import Captured

_log = get_log("policy mode")
_MAX_ADDRESS = 128
_MAX_KNOWN = 1 << 16
_DENIALS = (errno.EPERM, errno.EACCES, errno.ELOOP)

Capture = Callable[[Fd, Captured], None]
"""Gives the other end of a connection to the cage's gateway, which owns it then."""


class Actor:
    """Owns its copy of the listener and the reading end of the pipe from the pump."""

    def __init__(
        self,
        listener: Fd,
        pipe: Fd,
        ledger: Ledger,
        log: LogId,
        ways: Ways,
        roots: tuple[bytes, ...],
        capture: Capture,
    ) -> None:
        """``roots`` are the real paths of the directories that the agent may write to."""
        self._listener, self._pipe = Listener(listener), pipe
        self._ledger, self._log_id = ledger, log
        self._ways, self._roots, self._capture = ways, roots, capture
        self._known: dict[int, Kind] = {}
        """Inode → what the agent was given as it."""
        self.denials = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._pipe.fileno())
                for call in read_calls(self._pipe):
                    error = self._serve(call)
                    if error is not None:
                        nursery.start_soon(self._deny, call, error)

    def close(self) -> None:
        """Close both descriptors: what still waits is answered ENOSYS with the last of them."""
        self._listener.close()
        self._pipe.close()

    def _serve(self, call: Call) -> Refuse | None:
        """Answer one call, or return the denial to answer it with."""
        try:
            if call.name == "socket":
                self._stand_in(call, decide_socket(call.args[1]))
                return None
            if call.name == "connect":
                return self._connect(call)
            if call.name in ACTED_ON:
                act_on_files.act(call, self._roots, self._listener.is_waiting)
                self._listener.answer(call)
                return None
        except OverflowError:  # an address in the kernel's half
            self._listener.answer(call, error=errno.EFAULT)
            return None
        except OSError as error:
            number = error.errno or errno.EPERM
            if number in _DENIALS:
                return Refuse(errno.EPERM if number == errno.ELOOP else number)
            self._listener.answer(call, error=number)
            return None
        return Refuse(errno.EPERM)

    async def _deny(self, call: Call, refuse: Refuse) -> None:
        self.denials += 1
        record = records.Syscall(
            ts=time.time_ns(),
            name=call.name,
            nr=call.nr,
            pid=call.pid,
            verdict="denied",
            args=call.args,
            errno=refuse.errno,
        )
        try:
            await self._ledger.commit(self._log_id, record)
        except LedgerError as error:
            _log.error("a denial is not in the log", cage=self._log_id, why=error.what)
        self._listener.answer(call, error=refuse.errno)

    # ---- sockets ---------------------------------------------------------------------------------

    def _stand_in(self, call: Call, wanted: StandIn) -> None:
        """A unix socket that is connected to nothing takes no datagram and no address."""
        kind = socket.SOCK_STREAM if wanted.kind == "tcp" else socket.SOCK_SEQPACKET
        with socket.socket(socket.AF_UNIX, kind) as made:
            made.setblocking(not wanted.nonblocking)
            self._remember(made.fileno(), wanted.kind)
            self._listener.give(call, made.fileno(), cloexec=wanted.cloexec)

    def _remember(self, fd: int, kind: Kind) -> None:
        while len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        inode = os.fstat(fd).st_ino
        self._known.pop(inode, None)
        self._known[inode] = kind

    def _connect(self, call: Call) -> Refuse | None:
        number, size = call.args[0] & 0xFFFFFFFF, call.args[2] & 0xFFFFFFFF
        try:
            inode, flags = read_socket(call.pid, number)
        except FileNotFoundError:
            self._listener.answer(call, error=errno.EBADF)
            return None
        kind: Kind = self._known.get(inode, "other") if inode else "none"
        address = read_memory(call.pid, call.args[1], min(size, _MAX_ADDRESS))
        if not self._listener.is_waiting(call):
            return None
        verdict: Verdict = decide_connect(kind, address, self._ways)
        if isinstance(verdict, Refuse):
            if verdict.told:
                return verdict
            self._listener.answer(call, error=verdict.errno)
        elif isinstance(verdict, Join):
            self._join(call, number, flags, verdict)
        elif isinstance(verdict, Local):
            self._connect_local(call, number, flags, verdict.path)
        return None

    def _join(self, call: Call, number: int, flags: int, to: Join) -> None:
        ours, theirs = packet_pair() if to.way == "dns" else tcp_pair()
        with ours:
            self._remember(ours.fileno(), "taken")
            # The gateway knows whose it is before there is anything to read.
            self._capture(
                Fd(theirs.detach()), Captured(way=to.way, address=to.address, port=to.port)
            )
            self._place(call, ours, number, flags)

    def _place(self, call: Call, made: socket.socket, number: int, flags: int) -> None:
        made.setblocking(not flags & O_NONBLOCK)
        cloexec = bool(flags & O_CLOEXEC)
        if self._listener.replace(call, made.fileno(), number, cloexec=cloexec):
            self._listener.answer(call)

    def _connect_local(self, call: Call, number: int, flags: int, path: bytes) -> None:
        """Connect to a socket of the cage's own; one elsewhere in the container is refused."""
        with act_on_files.pin(call.pid, act_on_files.AT_FDCWD, path) as target:
            if not act_on_files.lies_in(target, self._roots):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            if not stat.S_ISSOCK(os.stat(target.fileno()).st_mode):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
                made.setblocking(False)
                made.connect(f"/proc/self/fd/{target.fileno()}")
                self._place(call, made, number, flags)
