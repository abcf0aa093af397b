"""Upstreams on loopback for tests: real sockets, TLS by a test authority, scripted answers, every
byte kept.

An upstream is a thread for each connection, so that it serves tests of trio, of threads and of
other processes alike.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h11
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority of one test; ``pem`` is what a client trusts."""

    def __init__(self, name: str = "AKIOS test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(subject, subject, self._key, [], ca=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def _sign(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: list[str],
        *,
        ca: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if ca:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(n) for n in names]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())

    def server_context(self, *names: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        leaf = self._sign(subject, self._certificate.subject, key, list(names), ca=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "leaf.pem"
            path.touch(mode=0o600)
            path.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + leaf.public_bytes(serialization.Encoding.PEM)
            )
            context.load_cert_chain(path)
        return context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Seen:
    """A request that an upstream took; ``headers`` in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    server_name: str = ""
    """What TLS named (SNI)."""

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


Answer = bytes | Iterable[bytes]
"""The bytes of an HTTP answer as they go out, in pieces if wanted; the connection is closed after
an iterable.
"""
Handler = Callable[[Seen], Answer]


def answer(
    status: int = 200, body: bytes = b"ok", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """A whole answer with Content-Length."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Upstream:
    """``handler`` answers each request; ``raw`` gets the socket instead, and does what it likes
    with it.
    """

    handler: Handler = lambda seen: answer()
    authority: Authority | None = None
    names: tuple[str, ...] = ("localhost",)
    raw: Callable[[socket.socket], None] | None = None
    host: str = "127.0.0.1"
    listener: socket.socket | None = None
    """Where it listens, closed at the end; without one on ``host`` and ``port``."""
    received: bytearray = field(default_factory=bytearray)
    """Every byte of every connection, after TLS."""
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __enter__(self) -> Upstream:
        self._context = self.authority.server_context(*self.names) if self.authority else None
        self._server_names: dict[int, str] = {}
        if self._context is not None:
            self._context.sni_callback = self._note_name
        self._listener = self.listener or socket.create_server((self.host, self.port), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # shutdown(2) wakes accept(2); close(2) alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Break off every connection that stands."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.names[0]}:{self.port}"

    def _note_name(
        self, sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        self._server_names[id(sock)] = name or ""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        plain = connection
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            if self.raw is not None:
                self.raw(connection)
            else:
                self._serve_http(connection)
        except (OSError, h11.ProtocolError):
            pass
        finally:
            with self._lock:
                self._open.discard(plain)
            connection.close()

    def _serve_http(self, connection: socket.socket) -> None:
        name = self._server_names.pop(id(connection), "")
        while True:
            http = h11.Connection(h11.SERVER)
            seen = self._read_request(connection, http, name)
            if seen is None:
                return
            self.requests.append(seen)
            reply = self.handler(seen)
            if isinstance(reply, bytes):
                connection.sendall(reply)
                continue
            for piece in reply:
                connection.sendall(piece)
            return

    def _read_request(
        self, connection: socket.socket, http: h11.Connection, name: str
    ) -> Seen | None:
        seen: Seen | None = None
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    http.send(h11.InformationalResponse(status_code=100, headers=[]))
                data = connection.recv(1 << 16)
                self.received += data
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                headers = [
                    (key.decode("latin-1"), value.decode("latin-1")) for key, value in event.headers
                ]
                seen = Seen(event.method.decode(), event.target.decode(), headers, server_name=name)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert seen is not None
                seen.body = bytes(body)
                return seen
            else:
                return None


@contextlib.contextmanager
def upstreams(*several: Upstream) -> Iterator[tuple[Upstream, ...]]:
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(one) for one in several)
