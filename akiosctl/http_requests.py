"""One HTTP request over a stream to a gateway: absolute URLs, h11, blocking."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote, urlsplit

import h11

from akiosd.errors import AkiosError

_PIECE = 64 << 10
# What stands in a target as it is (RFC 3986 §2.2, §2.3); escapes that are there are kept.
_KEPT = "%!#$&'()*+,/:;=?@[]~-._"

Headers = list[tuple[str, str]]


class Body:
    """What ``-d`` gives: bytes, ``@FILE`` or ``-``.  ``size`` is None when it is not known before
    the end.
    """

    def __init__(self, text: str, stdin: BinaryIO) -> None:
        self.size: int | None = None
        self._file: BinaryIO | None = None
        self._data = b""
        if text == "-":
            self._file = stdin
        elif text.startswith("@"):
            self._file, self.size = _open(text[1:])
        else:
            self._data = os.fsencode(text)
            self.size = len(self._data)

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces.  Raises :class:`AkiosError` when the file cannot be read."""
        if self._file is None:
            yield self._data
            return
        left = self.size
        while data := self._file.read(_PIECE if left is None else min(_PIECE, left)):
            left = None if left is None else left - len(data)
            yield data
        if left:
            raise AkiosError("the file became shorter while it was sent", "-d", "send it again")


def _open(path: str) -> tuple[BinaryIO, int | None]:
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115  it is read until the process ends
    except OSError as error:
        raise AkiosError(
            f"{path} cannot be read: {error.strerror}", "-d", "check the path"
        ) from None
    status = os.fstat(file.fileno())
    return file, status.st_size if stat.S_ISREG(status.st_mode) else None


def split_url(url: str) -> tuple[str, str]:
    """(absolute form, Host) of what a person wrote; without a scheme it is https.  Raises
    :class:`AkiosError`.
    """
    text = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(text)
        host = (
            parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
        )
    except (ValueError, UnicodeError):
        raise AkiosError(f"{url!r} is not a URL", "URL", "write https://host/path") from None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in host):
        raise AkiosError(f"{url!r} is not an http or https URL", "URL", "write https://host/path")
    rest = parts.path or "/"
    if parts.query:
        rest += f"?{parts.query}"
    return f"{parts.scheme}://{host}{quote(rest, safe=_KEPT)}", host


class Reply:
    """The answer: its head is there, the body comes with :meth:`pieces`.  Header names are in lower
    case.
    """

    def __init__(self, sock: socket.socket, http: h11.Connection, response: h11.Response) -> None:
        self._socket, self._http = sock, http
        self.status = response.status_code
        self.headers: Headers = [
            (name.decode("ascii"), value.decode("latin-1")) for name, value in response.headers
        ]

    def header(self, name: str) -> str:
        """The value of a header (lower case name), "" for none."""
        return ", ".join(value for key, value in self.headers if key == name)

    def pieces(self) -> Iterator[bytes]:
        """Raises :class:`AkiosError` when the answer breaks off."""
        while True:
            event = _next_event(self._socket, self._http)
            if isinstance(event, h11.EndOfMessage):
                return
            if isinstance(event, h11.Data):
                yield bytes(event.data)


def ask(sock: socket.socket, method: str, url: str, headers: Headers, body: Body | None) -> Reply:
    """Send a request and wait for the head of its answer.  ``sock`` stays the caller's."""
    target, host = split_url(url)
    fields = [("Host", host), *headers]
    if body is not None:
        fields.append(
            ("Content-Length", str(body.size))
            if body.size is not None
            else ("Transfer-Encoding", "chunked")
        )
    http = h11.Connection(h11.CLIENT)
    try:
        head = http.send(h11.Request(method=method, target=target, headers=fields))
        pieces = (
            data
            for piece in (body.pieces() if body else ())
            if (data := http.send(h11.Data(data=piece)))
        )
        _send(sock, head)
        try:
            for data in pieces:
                sock.sendall(data)
            _send(sock, http.send(h11.EndOfMessage()))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it stopped reading
    except h11.LocalProtocolError as error:
        raise AkiosError(
            f"this cannot be sent: {error}", f"{method} {url}", "check the method and -H"
        ) from None
    while True:
        event = _next_event(sock, http)
        if isinstance(event, h11.Response):
            return Reply(sock, http, event)


def _send(sock: socket.socket, data: bytes | None) -> None:
    if data:
        sock.sendall(data)


def _next_event(sock: socket.socket, http: h11.Connection) -> h11.Event:
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            try:
                http.receive_data(sock.recv(_PIECE))
            except ConnectionError:
                http.receive_data(b"")
    except h11.RemoteProtocolError:
        event = h11.ConnectionClosed()
    if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
        raise AkiosError("the answer broke off", "gateway", "see the record: akiosctl events")
    return event
