"""The way out: a name is resolved here, its address is checked, and exactly that address is
dialled.

TLS verifies the name while the bytes go to the checked address. Connections are kept for further
requests to the same scheme, name and port. Nothing is read from the environment, and no redirect is
followed.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.net.limits import DEFAULT_LIMITS, Limits
from akiosd.gateway.net.public_addresses import is_public
from akiosd.gateway.net.request_head import Headers, end_to_end
from akiosd.gateway.upstream.client import (
    Body,
    Connection,
    Response,
    UpstreamError,
    UpstreamTimeoutError,
)
from akiosd.values.providers import facts_of
from akiosd.wire.gateway import Setup

_PORTS = {"http": 80, "https": 443}
_MAX_ADDRESSES = 6
_MAX_IDLE = 64
_IDLE_SECONDS = 30
"""Shorter than servers keep an idle connection: a request on one that is just being
closed is lost.
"""


class NotPublicError(UpstreamError):
    """The name leads to an address that is not public: a refusal, not a failure."""


class Origin(NamedTuple):
    """Connections with equal origins are interchangeable."""

    scheme: str
    host: str
    port: int


class Upstreams:
    """The connections of one cage to the outside.

    ``hosts`` maps names to addresses (with or without ``:port``) that the administrator set.
    ``trusted`` are URLs whose host and port may have a private address; nothing else may. ``roots``
    are further root certificates, PEM.
    """

    def __init__(
        self,
        *,
        hosts: Mapping[str, str] = {},
        trusted: Iterable[str] = (),
        roots: bytes = b"",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._hosts = dict(hosts)
        self._trusted = {_split(url)[1:3] for url in trusted}
        self._limits = limits
        self._tls = client_context(roots)
        self._idle: dict[Origin, list[Connection]] = {}
        self._closed = False

    @classmethod
    def from_setup(cls, setup: Setup, limits: Limits) -> Upstreams:
        """The upstreams that the cage's ``setup`` describes."""
        return cls(
            hosts=setup.hosts, trusted=_upstreams_of(setup), roots=setup.roots, limits=limits
        )

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncGenerator[bytes] = b"",
        *,
        first_byte_seconds: float | None = None,
    ) -> AsyncIterator[Response]:
        """Make one request; when the block begins, the head of the answer has arrived, and its body
        is read by ``chunks``.

        ``url`` is absolute; its path and query are sent as they are. ``headers`` too, except
        hop-by-hop ones and Host, which is made from ``url``. A body in pieces is sent chunked
        unless ``headers`` have Content-Length; bytes get theirs here. Raises
        :class:`UpstreamError`, also while the block runs ``chunks``.
        """
        scheme, host, port, target = _split(url)
        origin = Origin(scheme, host, port)
        content: Body = body
        if isinstance(body, bytes) and not body and method not in ("POST", "PUT", "PATCH"):
            content = None
        fields = [(b"host", _host_header(origin)), *_framed(end_to_end(headers), content)]
        wait = self._limits.first_byte_seconds if first_byte_seconds is None else first_byte_seconds
        with trio.CancelScope(deadline=trio.current_time() + self._limits.total_seconds) as total:
            connection = await self._take(origin)
            reusable = False
            try:
                await connection.send(method, target, fields, content)
                yield Response(
                    connection, await connection.wait_head(wait), self._limits.read_seconds
                )
                reusable = connection.end_exchange()
            finally:
                if not (reusable and self._keep(origin, connection)):
                    await connection.aclose()
        if total.cancelled_caught:
            raise UpstreamTimeoutError("the server's answer took too long", origin.host)

    async def _take(self, origin: Origin) -> Connection:
        """An idle connection to ``origin``, or a new one."""
        await self._close_idle(trio.current_time() - _IDLE_SECONDS)
        while idle := self._idle.get(origin):
            connection = idle.pop()
            if connection.is_usable():
                return connection
            await connection.aclose()
        return await self._connect(origin)

    def _keep(self, origin: Origin, connection: Connection) -> bool:
        """Keep ``connection`` for the next request; False when there are enough."""
        if self._closed or sum(map(len, self._idle.values())) >= _MAX_IDLE:
            return False
        connection.idle_since = trio.current_time()
        self._idle.setdefault(origin, []).append(connection)
        return True

    async def _close_idle(self, since: float) -> None:
        """Close connections that have been idle since ``since``; the oldest of an origin come
        first.
        """
        for origin in list(self._idle):
            # Looked up every time: while one is closed, other requests take and keep.
            while (idle := self._idle.get(origin)) and idle[0].idle_since <= since:
                await idle.pop(0).aclose()
            if not idle:
                self._idle.pop(origin, None)

    async def _connect(self, origin: Origin) -> Connection:
        stream = PromptStream(
            await self.dial(origin.host, origin.port), send_seconds=self._limits.read_seconds
        )
        if origin.scheme == "http":
            return Connection(stream, origin.host)
        tls = trio.SSLStream(stream, self._tls, server_hostname=origin.host, https_compatible=True)
        try:
            with trio.fail_after(self._limits.connect_seconds):
                await tls.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(tls)
            if isinstance(error, trio.TooSlowError):
                raise UpstreamTimeoutError(
                    "the server does not finish the TLS handshake", origin.host
                ) from None
            if isinstance(error, trio.BrokenResourceError):
                raise _tls_error(error.__cause__, origin.host) from None
            raise
        return Connection(tls, origin.host)

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """The addresses that may be dialled for ``host``, each with its port; six at most.

        Raises :class:`NotPublicError` when it has only others, :class:`UpstreamError` when it has
        none.
        """
        if host in self._hosts:
            return [_address(self._hosts[host], port)]
        try:
            found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise UpstreamError(
                "the name has no address", host, "check the name, and this host's DNS"
            ) from None
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if (host, port) not in self._trusted:
            allowed = [
                address for address in addresses if is_public(address) and not _is_ours(address)
            ]
            if not allowed:
                raise NotPublicError(
                    "the name has only addresses that are not public", host, _NOT_PUBLIC_HINT
                )
            addresses = allowed
        # Hosts without IPv6 are common, those without IPv4 are not.
        addresses.sort(key=lambda address: ":" in address)
        return [(address, port) for address in addresses[:_MAX_ADDRESSES]]

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        """A TCP connection to a checked address of ``host``; the caller owns it.  Raises
        :class:`UpstreamError`.
        """
        words = "the server cannot be reached"
        with trio.move_on_after(self._limits.connect_seconds):
            for address, at in await self.resolve(host, port):
                # A numeric host is not looked up again: what was checked is what is dialled.
                family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
                sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
                try:
                    with trio.fail_after(self._limits.connect_seconds / 2):
                        await sock.connect((address, at))
                        return trio.SocketStream(sock)
                except (OSError, trio.TooSlowError) as error:
                    sock.close()
                    words = (
                        "the server cannot be reached:"
                        f" {getattr(error, 'strerror', None) or 'no answer'}"
                    )
                except BaseException:
                    sock.close()
                    raise
            raise UpstreamError(words, host, _REACH_HINT)
        raise UpstreamTimeoutError("the upstream did not answer the connection", host, _REACH_HINT)

    async def aclose(self) -> None:
        """Close all idle connections; no connection is kept afterwards."""
        self._closed = True
        await self._close_idle(math.inf)


_NOT_PUBLIC_HINT = "to reach a host of your own network, name it under gateway.hosts in akiosd.yaml"
_REACH_HINT = "see whether this host reaches it: curl -v https://HOST/"


_TLS_HINT = (
    "to trust an authority of your own, name its certificates under gateway.roots in akiosd.yaml"
)


def _tls_error(error: BaseException | None, host: str) -> UpstreamError:
    """Only a certificate that is not accepted is a matter of the roots that are trusted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the server's certificate is not accepted: {error.verify_message}"
        return UpstreamError(what, host, _TLS_HINT)
    if isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason.lower().replace("_", " ")
        return UpstreamError(f"TLS with the server failed: {reason}", host)
    return UpstreamError("the server broke off the connection during the TLS handshake", host)


@cache
def _host_roots() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def preload() -> None:
    """Read the host's root certificates now: the zygote does it once, and every gateway inherits
    them.
    """
    _host_roots()


def client_context(roots: bytes = b"") -> ssl.SSLContext:
    """Verifies upstreams with the host's roots and ``roots`` (PEM).  Raises ``ssl.SSLError`` for
    what is no PEM.
    """
    if not roots:
        return _host_roots()
    context = ssl.create_default_context(cadata=roots.decode("ascii"))
    context.load_default_certs()
    return context


def _split(url: str | bytes) -> tuple[str, str, int, bytes]:
    """Scheme, host, port, and the target as it is.  Raises :class:`UpstreamError`."""
    text = url.decode("ascii") if isinstance(url, bytes) else url
    scheme, _, rest = text.partition("://")
    parts = urlsplit(text)
    if scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise UpstreamError(
            "the provider's upstream is not http:// or https:// and a host",
            "upstream",
            "correct the provider's upstream in akiosd.yaml",
        )
    target = rest[len(parts.netloc) :].partition("#")[0]
    if not target.startswith("/"):
        target = "/" + target
    return scheme, parts.hostname, parts.port or _PORTS[scheme], target.encode("ascii")


def _host_header(origin: Origin) -> bytes:
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    return (name if origin.port == _PORTS[origin.scheme] else f"{name}:{origin.port}").encode(
        "ascii"
    )


def _framed(headers: Headers, body: Body) -> Headers:
    """``headers`` without Host, and with the length of ``body``, or how it is sent without one."""
    fields = [pair for pair in headers if pair[0] != b"host"]
    if isinstance(body, bytes):
        fields = [pair for pair in fields if pair[0] != b"content-length"]
        fields.append((b"content-length", b"%d" % len(body)))
    elif body is not None and not any(name == b"content-length" for name, _ in fields):
        fields.append((b"transfer-encoding", b"chunked"))
    return fields


def _is_ours(address: str) -> bool:
    """Whether ``address`` belongs to this host, where services may trust whoever reaches them from
    inside.

    Connecting a datagram socket sends nothing (udp(7)); the kernel picks the same address as source
    when it is its own.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 53))
        except OSError:
            return False  # no route: neither ours nor anybody's
        return bool(probe.getsockname()[0] == address)


def _upstreams_of(setup: Setup) -> list[str]:
    """What the administrator set; where nobody says otherwise, a provider on this machine listens
    on its own port.
    """
    found = [provider.upstream for provider in setup.providers if provider.upstream]
    rows = (facts_of(provider.name) for provider in setup.providers if not provider.upstream)
    return found + [facts.local_url for facts in rows if facts.local_port]


def reserved(setup: Setup) -> set[tuple[str, int]]:
    """(host, port) of the providers' upstreams that the administrator set.

    Reached as ordinary sites, they would be used past redaction and budget, and at private
    addresses.
    """
    return {_split(url)[1:3] for url in _upstreams_of(setup)}


def _address(text: str, port: int) -> tuple[str, int]:
    """An ``address`` or ``address:port`` that the administrator set, as a pair."""
    try:
        return str(ip_address(text)), port
    except ValueError:
        parts = urlsplit(f"//{text}")
        return str(ip_address(parts.hostname or "")), parts.port or port
