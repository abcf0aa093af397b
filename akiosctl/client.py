"""The blocking client of the control socket: one connection, plain or typed messages, descriptors.

``PlainClient`` speaks the protocol in plain dicts and imports nothing heavy: it is the run path's.
``Client`` speaks it in the types of ``akiosd.wire.messages``.  Descriptors that come with a reply
are the caller's.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from akiosctl.plain_msgpack import pack, unpack
from akiosd import __version__
from akiosd.errors import AkiosError, ProtocolError
from akiosd.kernel.scm_rights import Chunk, close_fds, receive_blocking, send_blocking
from akiosd.values.places import DEFAULT_SOCKET
from akiosd.wire.frame import MAX_FDS, Frame, FrameReader, encode_frame

if TYPE_CHECKING:
    from akiosd.wire.messages import Message
    from akiosd.wire.session import Received

    Answer = TypeVar("Answer", bound=Message)

PROTOCOL = 1
NOT_RUNNING = "akiosd is not running"
_READ = 1 << 16
PATIENCE_S = 90.0
"""How long a connection that nobody has taken yet waits for akiosd."""
_QUIET_S = 2.0


class DaemonError(AkiosError):
    """The daemon's Error reply.  ``code`` is what akiosctl exits with."""

    def __init__(self, what: str, where: str = "", next: str = "", code: int = 125) -> None:
        super().__init__(what, where, next)
        self.code = code


class BegunError(DaemonError):
    """A program was asked for again, and akiosd had begun it before its restart."""


class GoneError(AkiosError):
    """akiosd is not there, or not any more: it may come back."""


def socket_path(option: str | None) -> str:
    """``--socket``, else ``AKIOS_SOCKET``, else the service's."""
    return option or os.environ.get("AKIOS_SOCKET") or DEFAULT_SOCKET


def is_of_service(socket: str) -> bool:
    """Whether it is where the service listens."""
    return os.path.dirname(socket) == os.path.dirname(DEFAULT_SOCKET)


class _Connection:
    """A connected unix stream socket that sends and receives descriptors."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise explain_connect(path, error) from None
        self._heard = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes, fds: Sequence[int]) -> None:
        """All of ``data``, the descriptors with its first byte.

        A daemon that turned us away has closed: what it said is then in the socket, so this is no
        error yet.
        """
        try:
            send_blocking(self._socket, data, fds)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                what = f"cannot send to akiosd: {error.strerror}"
                raise AkiosError(what, self.path, "see whether it runs: akiosctl doctor") from None

    def receive(self) -> Chunk:
        """One ``recvmsg(2)``: bytes (none at the end), descriptors, whether some were dropped.

        Raises :class:`GoneError` when akiosd says nothing at all for ``PATIENCE_S``: systemd
        listens in its place while it restarts (systemd.socket(5)).
        """
        if not self._heard:
            self._wait_first()
            self._heard = True
        try:
            return receive_blocking(self._socket, _READ, MAX_FDS + 1)
        except ConnectionError:
            return Chunk(b"", [], False)

    def _wait_first(self) -> None:
        poll = select.poll()  # select(2) takes no descriptor above 1023
        poll.register(self._socket, select.POLLIN)
        if poll.poll(_QUIET_S * 1000):
            return
        print("akios: akiosd does not answer yet: waiting until it is back", file=sys.stderr)
        if not poll.poll((PATIENCE_S - _QUIET_S) * 1000):
            raise GoneError(
                f"akiosd has not answered for {PATIENCE_S:.0f} s",
                self.path,
                "it may still be starting, or hang: see systemctl status akiosd, and journalctl -u"
                " akiosd",
            )

    def close(self) -> None:
        self._socket.close()

    def gone(self) -> AkiosError:
        return GoneError(
            "akiosd closed the connection",
            self.path,
            "see its log: journalctl -u akiosd; of akiosd --detach, akiosd.log beside this socket",
        )


def explain_connect(path: str, error: OSError) -> AkiosError:
    """Why akiosd could not be reached at ``path``."""
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        if is_of_service(path):
            from akiosctl.host_check import how_to_start, read_facts

            next = how_to_start(read_facts())
        else:
            from akiosctl.start_advice import what_starts_private

            next = what_starts_private(path)
        return GoneError(NOT_RUNNING, path, next)
    if error.errno in (errno.EACCES, errno.EPERM):
        return AkiosError(
            "you may not connect to akiosd",
            path,
            "join its group and log in again: sudo usermod -aG akios $USER",
        )
    return AkiosError(
        f"cannot connect to akiosd: {error.strerror}", path, "check --socket and AKIOS_SOCKET"
    )


class PlainClient:
    """The protocol in plain dicts: ``m`` is a message's name, ``id`` its request."""

    def __init__(self, path: str) -> None:
        self._connection = _Connection(path)
        self._frames = FrameReader()
        self._ready: list[Frame] = []
        self._last_id = 0
        self._system: bytes | None = None
        """What akiosd's hello says of its system policy; None before it came."""
        self._come_back_s = 0
        self._send({"m": "hello", "protocol": PROTOCOL, "software": f"akiosctl {__version__}"}, ())

    @property
    def path(self) -> str:
        """The path of the socket."""
        return self._connection.path

    def fileno(self) -> int:
        """The socket's descriptor; it stays this object's."""
        return self._connection.fileno()

    def request(self, name: str, fields: dict[str, object], fds: Sequence[int] = ()) -> int:
        """Send a request; returns its id.  ``fds`` stay the caller's."""
        self._last_id += 1
        self._send({"m": name, "id": self._last_id, **fields}, fds)
        return self._last_id

    def system_digest(self) -> bytes:
        """By which akiosd tells its system policy from others.  Waits for its hello."""
        self._wait_hello()
        return self._system or b""

    def come_back_s(self) -> int:
        """For how many seconds cages go on without akiosd.  Waits for its hello."""
        self._wait_hello()
        return self._come_back_s

    def _wait_hello(self) -> None:
        while self._system is None and not self._ready:
            self.feed()
            self._take_hello()

    def read_system(self) -> bytes:
        """The system policy, as :mod:`akiosd.policy.system` packs it.  Before any other
        request.
        """
        self.request("system_policy", {})
        message, fds = self.receive()
        close_fds(fds)
        packed = message.get("packed")
        if message["m"] == "error":
            raise DaemonError(
                message.get("what", ""), message.get("where", ""), message.get("next", "")
            )
        if not isinstance(packed, bytes):
            raise ProtocolError(
                "akiosd sent no system policy", self._connection.path, _SAME_VERSION
            )
        return packed

    def _send(self, message: dict[str, object], fds: Sequence[int]) -> None:
        self._connection.send(encode_frame(pack(message)), fds)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message but the hello, and its descriptors.  Waits; raises :class:`AkiosError`
        at the end.
        """
        while True:
            while not self._ready:
                self.feed()
            if self._take_hello():
                continue
            frame = self._ready.pop(0)
            message = unpack(frame.payload)
            if not isinstance(message, dict) or not isinstance(message.get("m"), str):
                close_fds(frame.fds)
                raise ProtocolError(
                    "akiosd sent something that is not a message",
                    self._connection.path,
                    _SAME_VERSION,
                )
            return message, frame.fds

    def _take_hello(self) -> bool:
        """Whether the next frame was akiosd's hello, which is then read."""
        if not self._ready or self._ready[0].fds or self._system is not None:
            return False
        message = unpack(self._ready[0].payload)
        if not isinstance(message, dict) or message.get("m") != "hello":
            return False
        if message.get("protocol", PROTOCOL) != PROTOCOL:
            raise ProtocolError(
                "akiosd and akiosctl are of versions that do not understand each other",
                self._connection.path,
                _SAME_VERSION,
            )
        policy = message.get("policy")
        self._system = policy if isinstance(policy, bytes) else b""
        self._come_back_s = int(message.get("come_back_s", 0))
        del self._ready[0]
        return True

    def feed(self) -> bool:
        """Read once; True when :meth:`receive` has something to return without waiting."""
        data, fds, truncated = self._connection.receive()
        if not data:
            close_fds(fds)
            raise self._connection.gone()
        self._ready += self._frames.receive(data, fds, truncated=truncated)
        # Behind a hello that comes alone, receive would wait where nobody expects it to.
        self._take_hello()
        return bool(self._ready)

    @property
    def ready(self) -> bool:
        """Whether :meth:`receive` would return without waiting."""
        return bool(self._ready)

    def close(self) -> None:
        """Close the connection, and descriptors that nobody took."""
        close_fds(self._frames.close())
        for frame in self._ready:
            close_fds(frame.fds)
        self._ready.clear()
        self._connection.close()


_SAME_VERSION = "install the same version of akiosd and akiosctl, and restart akiosd"


class Client:
    """The protocol in its types; one request at a time."""

    def __init__(self, path: str) -> None:
        from akiosd.wire.messages import Hello
        from akiosd.wire.session import ClientSession

        self._connection = _Connection(path)
        self._session = ClientSession()
        self._ready: list[Received] = []
        self._connection.send(self._session.send(Hello(software=f"akiosctl {__version__}")), ())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The path of the socket."""
        return self._connection.path

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a request; its id is filled in.  ``fds`` stay the caller's."""
        import msgspec

        message = msgspec.structs.replace(message, id=self._session.next_id())
        self._connection.send(self._session.send(message, fds), fds)

    def receive(self) -> Received:
        """The next message and its descriptors.  Raises :class:`DaemonError` for an Error reply."""
        from akiosd.wire.messages import Error, Hello

        while True:
            while not self._ready:
                data, fds, truncated = self._connection.receive()
                if not data:
                    close_fds(fds)
                    raise self._connection.gone()
                self._ready += self._session.receive(data, fds, truncated=truncated)
            received = self._ready.pop(0)
            if isinstance(received.message, Error):
                error = received.message
                raise DaemonError(error.what, error.where, error.next, error.code)
            if not isinstance(received.message, Hello):
                return received

    def call(
        self, message: Message, answer: type[Answer], fds: Sequence[int] = ()
    ) -> tuple[Answer, list[int]]:
        """Send a request and wait for its one reply, which must be an ``answer``."""
        self.send(message, fds)
        received = self.receive()
        if not isinstance(received.message, answer):
            close_fds(received.fds)
            raise ProtocolError(
                "akiosd sent an answer that does not fit the question:"
                f" {type(received.message).__name__}",
                next=_SAME_VERSION,
            )
        return received.message, received.fds

    def close(self) -> None:
        """Close the socket and every descriptor that was received and not taken."""
        close_fds(self._session.close())
        for received in self._ready:
            close_fds(received.fds)
        self._ready.clear()
        self._connection.close()
