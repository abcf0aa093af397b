"""Connections on a unix stream socket: admit, read, dispatch, reply.

Each request runs in a task of its own, so a ``Run`` that waits for its end holds nothing up.  When
a connection closes, for whatever reason, its tasks are cancelled; what that means for a cage is the
handler's business.

Descriptors: those that come with a request are in the list given to :meth:`Handler.handle`.  The
handler takes one by removing it from the list; what is left there when ``handle`` returns or raises
is closed here.  Those given to :meth:`ClientConnection.reply` stay the caller's, who closes them
after.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Protocol

import msgspec
import trio

from akiosd import __version__
from akiosd.daemon.base.guarded import Vital, call_guarded, guarded
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Gate, Peer, read_uid
from akiosd.daemon.base.socket_path import find_obstacle
from akiosd.errors import AkiosError, DeniedError, ProtocolError
from akiosd.kernel import scm_rights
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.check import check_request
from akiosd.wire.frame import MAX_FDS
from akiosd.wire.messages import Error, Hello, Message
from akiosd.wire.session import NOT_LAST, Received, ServerSession

_READ = 1 << 16
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = get_log("clients")


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Per uid: connections, requests open on each, descriptors held by open requests.  Times in
    seconds.
    """

    connections: int = 256
    requests: int = 32
    fds: int = 4096
    hello_timeout: float = 10.0
    send_timeout: float = 30.0


DEFAULT_LIMITS = ConnectionLimits()


class Handler(Protocol):
    """What the daemon does with a request.  Exceptions become one Error reply; AkiosErrors word for
    word.
    """

    async def handle(
        self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
    ) -> None:
        """Answer ``request``; its last reply ends it.  Descriptors that are left in ``fds`` are
        closed afterwards.
        """
        ...


class _Account:
    """What one uid holds at the moment: connections, and descriptors of open requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.fds = 0


class ClientConnection:
    """The way back to the client of one request."""

    def __init__(self, connection: _Connection, request_id: int) -> None:
        self._connection = connection
        self._request_id = request_id
        self.is_answered = False
        """Whether the last reply was sent: its number may be another request's by now."""

    def is_same(self, other: ClientConnection) -> bool:
        """Whether both requests came over one connection."""
        return self._connection is other._connection

    def at_end(self, call: Callable[[], None]) -> None:
        """Call ``call`` once the client has left."""
        self._connection.at_end.append(call)

    async def reply(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send ``message`` as an answer to this request (its id is filled in); ``fds`` stay the
        caller's.

        Raises ``trio.BrokenResourceError`` when the client is gone or did not read in time.
        """
        await self._connection.greeted.wait()
        await self._connection.send(msgspec.structs.replace(message, id=self._request_id), fds)
        self.is_answered |= not isinstance(message, NOT_LAST)


class _Connection:
    def __init__(
        self, server: _Server, sock: trio.socket.SocketType, peer: Peer, account: _Account
    ) -> None:
        self.server = server
        self.sock = sock
        self.peer = peer
        self.account = account
        self.session = ServerSession(server.accepts)
        self.greeted = trio.Event()
        self._lock = trio.Lock()
        self._broken = False
        self.at_end: list[Callable[[], None]] = []

    async def serve(self) -> None:
        """Serve until the client leaves, breaks the protocol, or does not send its
        hello in time.
        """
        async with trio.open_nursery() as nursery:
            try:
                with trio.CancelScope(
                    deadline=trio.current_time() + self.server.limits.hello_timeout
                ) as greeting:
                    await self._read(nursery, greeting)
                if greeting.cancelled_caught:
                    what = "this client connected, and then said nothing in time"
                    raise ProtocolError(
                        what, next=f"run the command again; else {ProtocolError.NEXT}"
                    )
            except ProtocolError as error:
                _log.warning(
                    "protocol error",
                    uid=self.peer.uid,
                    pid=self.peer.pid,
                    what=error.what,
                    where=error.where,
                )
                await self._say_last(error)
            except (OSError, trio.BrokenResourceError) as error:
                _log.debug("connection lost", uid=self.peer.uid, error=str(error))
            finally:
                close_fds(self.session.close())
                nursery.cancel_scope.cancel()
        for call in self.at_end:
            call_guarded("what is to be done when a client has left", call)

    async def _read(self, nursery: trio.Nursery, greeting: trio.CancelScope) -> None:
        while True:
            data, fds, truncated = await scm_rights.receive(self.sock, _READ, MAX_FDS + 1)
            # No await between here and start_soon: a cancellation there would strand the
            # descriptors.
            if not data:
                close_fds(fds)
                self.session.receive_eof()
                return
            received = self.session.receive(data, fds, truncated=truncated)
            greeted = self._dispatch(received, nursery)
            if greeted:
                greeting.deadline = math.inf
                await self.send(self.server.greet())
                self.greeted.set()

    def _dispatch(self, received: list[Received], nursery: trio.Nursery) -> bool:
        greeted = False
        for position, item in enumerate(received):
            if isinstance(item.message, Hello):
                greeted = True
                continue
            held = self.account.fds + len(item.fds)
            most = self.server.limits.requests
            # What was answered is no open request, but its task may still have something to do.
            if (
                len(self.session.open_requests) > most
                or len(nursery.child_tasks) >= 2 * most
                or held > self.server.limits.fds
            ):
                for rest in received[position:]:
                    close_fds(rest.fds)
                raise ProtocolError(
                    "too many requests or file descriptors at once", next="wait for answers first"
                )
            self.account.fds = held
            name = type(item.message).__name__
            nursery.start_soon(guarded, name, nursery.cancel_scope.cancel, self._handle, item)
        return greeted

    async def _handle(self, item: Received) -> None:
        count = len(item.fds)
        client = ClientConnection(self, item.message.id)
        try:
            error = await self._run_handler(item, client)
            if error is not None and not client.is_answered:
                await client.reply(error)
        except trio.BrokenResourceError:
            pass
        finally:
            close_fds(item.fds)
            self.account.fds -= count

    async def _run_handler(self, item: Received, client: ClientConnection) -> Error | None:
        name = type(item.message).__name__
        try:
            self.peer.check_may(item.message)
            check_request(item.message, len(item.fds))
            await self.server.handler.handle(self.peer, item.message, item.fds, client)
            if not client.is_answered:
                _log.error("a request ended without its last reply", request=name)
                return Error(
                    what="akiosd gave no answer to this request",
                    where=name,
                    next="see akiosd's log",
                )
        except AkiosError as error:
            return Error(what=error.what, where=error.where, next=error.next)
        except trio.BrokenResourceError:
            raise
        except Exception:
            _log.exception("request failed", request=name, uid=self.peer.uid)
            return Error(
                what="akiosd failed to handle this request", where=name, next="see akiosd's log"
            )
        return None

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        async with self._lock:
            if self._broken:
                raise trio.BrokenResourceError
            data = self.session.send(message, fds)
            # Left set by a cancellation, a timeout or an error: half a frame may be out, so nothing
            # may follow.
            self._broken = True
            try:
                with trio.move_on_after(self.server.limits.send_timeout) as timeout:
                    await send_with_fds(self.sock, data, fds)
                if timeout.cancelled_caught:
                    self.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, trio.ClosedResourceError) as error:
                # Others than this connection's tasks send, too, and may be left with a closed one.
                raise trio.BrokenResourceError("the client is gone") from error
            if timeout.cancelled_caught:
                raise trio.BrokenResourceError("the client does not read")
            self._broken = False

    async def _say_last(self, error: AkiosError) -> None:
        with trio.move_on_after(1):
            try:
                await self.send(Error(what=error.what, where=error.where, next=error.next))
            except (OSError, trio.BrokenResourceError):
                pass


class _Server:
    def __init__(
        self,
        handler: Handler,
        gate: Gate,
        limits: ConnectionLimits,
        accepts: UnionType | None,
        greet: Callable[[], Hello],
    ) -> None:
        self.handler = handler
        self.gate = gate
        self.limits = limits
        self.accepts = accepts
        self.greet = greet
        self.accounts: dict[int, _Account] = {}

    async def connection(self, sock: trio.socket.SocketType) -> None:
        # Not ``with sock``: only close() wakes who waits in a send, before the number is another's.
        with contextlib.closing(sock):
            try:
                peer = self.gate.admit(sock)
                account = self.accounts.setdefault(peer.uid, _Account())
                if account.connections >= self.limits.connections:
                    raise DeniedError(
                        f"you have {account.connections} connections already, which is the most",
                        "control socket",
                        "end some of your akiosctl processes",
                    )
            except (DeniedError, OSError) as error:
                await _turn_away(sock, read_uid(sock), error)
                return
            account.connections += 1
            try:
                await _Connection(self, sock, peer, account).serve()
            finally:
                account.connections -= 1
                if account.connections == 0:
                    del self.accounts[peer.uid]


def say_hello(policy: bytes, come_back_s: int = 0) -> Hello:
    """akiosd's first message; ``policy`` and ``come_back_s`` as :class:`Hello` has them."""
    return Hello(software=f"akiosd {__version__}", policy=policy, come_back_s=come_back_s)


async def serve_clients(
    listener: trio.SocketListener,
    handler: Handler,
    gate: Gate,
    *,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    accepts: UnionType | None = None,
    greet: Callable[[], Hello] = lambda: say_hello(b""),
    accepting: trio.CancelScope | None = None,
    vital: Vital | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``listener`` until cancelled; whatever becomes of one connection, the others are
    served.

    ``handler`` answers requests, ``gate`` admits peers. ``accepts`` is the union of messages; None
    is that of the control socket. ``greet`` makes akiosd's hello. Once ``accepting`` is cancelled,
    those who are connected are served to their end, and nobody else.  ``vital`` is told at once
    when nobody can be accepted any more.
    """
    server = _Server(handler, gate, limits, accepts, greet)
    async with trio.open_nursery() as nursery:
        task_status.started()
        with accepting or trio.CancelScope():
            await (vital or Vital()).run(_accept, listener, server, nursery)


async def _accept(listener: trio.SocketListener, server: _Server, nursery: trio.Nursery) -> None:
    while True:
        try:
            sock, _ = await listener.socket.accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            _log.error("cannot accept", error=str(error))
            await trio.sleep(0.1)
            continue
        nursery.start_soon(guarded, "a connection", _log_only, server.connection, sock)


def _log_only() -> None:
    """Its end is all the client is told: what was sent before may have been half a frame."""


async def open_unix_listener(path: str, *, backlog: int = 512) -> trio.SocketListener:
    """A listening socket at ``path``, open to everybody: who may use it is decided by the peer's
    credentials.

    A socket left by a dead daemon is replaced; one that somebody serves is :class:`AkiosError`.
    """
    obstacle = find_obstacle(path)
    if obstacle is not None:
        raise obstacle
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.bind(path)
        os.chmod(path, 0o666)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


async def send_with_fds(sock: trio.socket.SocketType, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send all of ``data``; the descriptors go with its first byte and stay the caller's.

    Raises ``trio.BrokenResourceError`` when the peer has left.
    """
    try:
        await scm_rights.send(sock, data, fds)
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error


async def _turn_away(sock: trio.socket.SocketType, uid: int, error: Exception) -> None:
    _log.warning("peer refused", uid=uid, error=str(error))
    message = Error(what=str(error))
    if isinstance(error, AkiosError):
        message = Error(what=error.what, where=error.where, next=error.next)
    with trio.move_on_after(1):
        try:
            await send_with_fds(sock, ServerSession().send(message))
        except trio.BrokenResourceError:
            pass
