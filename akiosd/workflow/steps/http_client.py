"""Requests of steps over plain HTTP and HTTPS, through the cage's gateway.

A cage has no other way out than its gateway, which answers in the place of every allowed name and
refuses the rest; so nothing here decides on names.  What the gateway refuses becomes an error with
its rule and its hint.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from akiosd.errors import AkiosError

_PIECE = 64 << 10
# What stands in a target as it is (RFC 3986 §2.2, §2.3); escapes that are there are kept.
_KEPT = "%!#$&'()*+,/:;=?@[]~-._"


class Url(NamedTuple):
    """``host`` in ASCII, ``port`` as written or the scheme's, ``target`` for the request line."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        usual = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{self.host}{'' if usual else f':{self.port}'}{self.target}"


def read_url(text: str) -> Url:
    """Raises :class:`AkiosError` for anything but http and https, and for names and passwords in
    a URL.
    """
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except (ValueError, UnicodeError):
        raise AkiosError("this is not a URL", text[:200], "write https://host/path") from None
    if parts.scheme not in ("http", "https") or not host:
        raise AkiosError("this is not an http or https URL", text[:200], "write https://host/path")
    if parts.username is not None:
        raise AkiosError(
            "a URL with a user in it is not sent", host, "send an Authorization header instead"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.scheme, host, port, quote(target, safe=_KEPT))


class NotSentError(AkiosError):
    """Nothing of the request came to the other side."""


class Reply:
    """An answer whose head is there; the body comes with :meth:`pieces`.  Header names are in
    lower case.
    """

    def __init__(self, connection: http.client.HTTPConnection, deadline: float, where: str) -> None:
        self._connection, self._deadline, self._where = connection, deadline, where
        self._response = connection.getresponse()
        self.status = self._response.status
        self.reason = self._response.reason or http.client.responses.get(self.status, "")
        self.headers: dict[str, str] = {}
        for name, value in self._response.getheaders():
            key = name.lower()
            self.headers[key] = f"{self.headers[key]}, {value}" if key in self.headers else value
        self.received = 0

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes.  Raises :class:`AkiosError` when it breaks off or takes longer
        than was given it.
        """
        if self.headers.get("content-encoding", "identity") != "identity":
            raise AkiosError(
                "the answer is compressed, though the step asked for it uncompressed",
                self._where,
                "use another URL of the same data, or ask whoever runs that server",
            )
        with explained(self._where):
            while piece := self._response.read1(_PIECE):
                self.received += len(piece)
                yield piece
                if time.monotonic() > self._deadline:
                    raise TimeoutError
            if self._response.length:
                raise http.client.IncompleteRead(b"")

    def read(self, most: int) -> tuple[bytes, bool]:
        """(body, whether it was longer than ``most`` bytes and is cut)."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > most:
                return bytes(data[:most]), True
        return bytes(data), False

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def ask(
    method: str, url: Url, headers: Mapping[str, str], body: bytes | None, seconds: float
) -> Reply:
    """Send a request and wait for the head of its answer, which the caller closes.

    Raises :class:`AkiosError`: no such name here, no connection, refused by the gateway; where
    nothing was sent, :class:`NotSentError`.
    """
    where = f"{method} {url.scheme}://{url.host}"
    connection = (
        http.client.HTTPSConnection(
            url.host, url.port, timeout=seconds, context=ssl.create_default_context()
        )
        if url.scheme == "https"
        else http.client.HTTPConnection(url.host, url.port, timeout=seconds)
    )
    try:
        try:
            with explained(where):
                connection.connect()
        except AkiosError as error:
            raise NotSentError(error.what, error.where, error.next) from None
        with explained(where):
            connection.putrequest(method, url.target, skip_accept_encoding=True)
            names = {name.lower() for name in headers}
            if "accept-encoding" not in names:
                connection.putheader("Accept-Encoding", "identity")
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in headers.items():
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body)
            reply = Reply(connection, time.monotonic() + seconds, where)
        if "akios-verdict" in reply.headers:
            raise _refusal(reply, where)
    except BaseException:
        connection.close()
        raise
    return reply


def _refusal(reply: Reply, where: str) -> AkiosError:
    """What the gateway says of a request that it did not pass on."""
    try:
        found = json.loads(reply.read(_PIECE)[0])
    except ValueError:
        found = {}
    inner = found.get("error") if isinstance(found, dict) else None
    said = inner if isinstance(inner, dict) and "rule" in inner else found
    if not isinstance(said, dict):
        said = {}
    text = {name: str(said.get(name) or "") for name in ("message", "rule", "hint")}
    rule = f" ({text['rule']})" if text["rule"] else ""
    is_denied = reply.headers["akios-verdict"] == "denied"  # else it may have been passed on
    return (NotSentError if is_denied else AkiosError)(
        f"{text['message'] or 'the request was refused'}{rule}",
        where,
        text["hint"] or "see akiosctl why",
    )


def is_undone(status: int) -> bool:
    """Whether an answer says that what was asked for was not done: RFC 9110, 15.5, and servers that
    are too busy.
    """
    return 400 <= status < 500 or status == 503


@contextmanager
def explained(where: str) -> Iterator[None]:
    """What goes wrong on a connection becomes an :class:`AkiosError` in plain words."""
    try:
        yield
    except Exception as error:
        words = _explain(error)
        if words is None:
            raise
        raise AkiosError(words[0], where, words[1]) from None


def _explain(error: Exception) -> tuple[str, str] | None:
    """(what, next) of an error of a connection; None for what is none."""
    match error:
        case socket.gaierror():
            return "this name does not exist in the step's cage", (
                "add it to network: {allowed_domains: […]} of the workflow's policy"
            )
        case TimeoutError():
            return "no answer came in time", "set timeout in the step's config"
        case ssl.SSLError():
            return f"the connection cannot be secured: {error.reason or error}", "see akiosctl why"
        case http.client.HTTPException() | ConnectionError():
            return f"the answer broke off ({type(error).__name__})", "ask again; see akiosctl why"
        case OSError():
            return f"it cannot be reached from a cage: {error.strerror or error}", (
                "cages reach allowed names only, by name"
            )
        case ValueError() | UnicodeError():
            return f"this request cannot be sent: {error}", "check its headers"
    return None
