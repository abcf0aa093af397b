"""The way out: a name is resolved here, its address checked, and exactly that address dialled.

httpcore does HTTP/1.1, TLS and the pool; it asks :class:`_Checked` for a connection to a *name*, so that TLS verifies
the name while the bytes go to the checked address.  Nothing is read from the environment, no redirect is followed.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import h11
import httpcore
import trio

from akiosd.errors import AkiosError
from akiosd.gateway.head import Headers, end_to_end
from akiosd.gateway.limits import DEFAULT_LIMITS, Limits
from akiosd.gateway.prompt import PromptStream
from akiosd.gateway.public import is_public
from akiosd.wire.gateway import Setup

OLLAMA = "http://127.0.0.1:11434"
"""Where Ollama listens if nobody says otherwise: this host's own."""
_PORTS = {"http": 80, "https": 443}
_MAX_ADDRESSES = 6


class UpstreamFailed(AkiosError):
    """The upstream was not reached, or did not answer as HTTP; ``timeout`` tells a 504 from a 502."""

    timeout = False

    @property
    def status(self) -> int:
        return 504 if self.timeout else 502


class UpstreamTimeout(UpstreamFailed):
    timeout = True


class NotPublic(UpstreamFailed):
    """The name leads to an address inside somebody's network: a refusal, not a failure."""


BeforeWait = Callable[[], Awaitable[None]]


class Response:
    """An answer whose head has come.  ``headers``: names in lower case, as the upstream sent them."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers]

    def header(self, name: bytes) -> bytes:
        return b", ".join(value for key, value in self.headers if key == name)

    async def chunks(self, before_wait: BeforeWait | None = None) -> AsyncGenerator[bytes]:
        """The body as it arrives, transfer coding undone, content coding not.  Raises :class:`UpstreamFailed`.

        ``before_wait`` is called whenever more has to come from the network first: what was made of the chunks so far
        must not wait with it.
        """
        stream = self._response.aiter_stream()
        network = self._response.extensions["network_stream"]
        assert isinstance(network, _Stream)
        network.before_wait = before_wait
        try:
            while True:
                try:
                    chunk = await anext(stream)
                except StopAsyncIteration:
                    return
                except _COMPLAINTS as error:
                    raise _explained(error, "the answer") from None
                yield chunk
        finally:
            network.before_wait = None


class Upstreams:
    """The connections of one cage to the outside.

    ``hosts`` are names that lead where the administrator says (address, or address:port), ``trusted`` URLs whose host
    and port may be private; nothing else leads to an address that is not public.  ``roots`` is PEM text.
    """

    def __init__(
        self, *, hosts: Mapping[str, str] = {}, trusted: Iterable[str] = (), roots: bytes = b"",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:  # fmt: skip
        self._hosts = dict(hosts)
        self._trusted = {_split(url)[1:3] for url in trusted}
        self._limits = limits
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=client_context(roots), max_connections=None, max_keepalive_connections=64,
            keepalive_expiry=30, http1=True, http2=False, retries=0, network_backend=_Checked(self),
        )  # fmt: skip
        self._timeouts = {
            "connect": limits.connect_seconds, "read": limits.read_seconds, "pool": limits.connect_seconds,
        }  # fmt: skip

    @classmethod
    def from_setup(cls, setup: Setup, limits: Limits) -> Upstreams:
        return cls(hosts=setup.hosts, trusted=_upstreams_of(setup), roots=setup.roots, limits=limits)

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes | AsyncIterator[bytes] = b"",
        *, first_byte_seconds: float | None = None,
    ) -> AsyncIterator[Response]:  # fmt: skip
        """One request; the head of the answer has come when the block begins, its body is read by ``chunks``.

        ``url`` is absolute and its path and query go out as they are.  ``headers`` go out as they are, but for those
        of the hop and Host, which is made from ``url``.  A body in pieces is sent chunked, unless ``headers`` have
        Content-Length; bytes get theirs here.  Raises :class:`UpstreamFailed`, also while the block runs ``chunks``.
        """
        scheme, host, port, target = _split(url)
        fields = [pair for pair in headers if pair[0].lower() != b"host"]
        content: bytes | AsyncIterator[bytes] | None = body
        if isinstance(body, bytes):
            fields = [pair for pair in fields if pair[0].lower() != b"content-length"]
            content = body if body or method in ("POST", "PUT", "PATCH") else None
        place = httpcore.URL(scheme=scheme, host=host, port=port, target=target)
        wait = self._limits.first_byte_seconds if first_byte_seconds is None else first_byte_seconds
        with trio.CancelScope(deadline=trio.current_time() + self._limits.total_seconds) as total:
            response = await self._head(method, place, fields, content, wait)
            try:
                yield Response(response)
            finally:
                await response.aclose()
        if total.cancelled_caught:
            raise UpstreamTimeout("the upstream's answer took too long", host)

    async def _head(
        self, method: str, url: httpcore.URL, headers: Headers, content: bytes | AsyncIterator[bytes] | None,
        wait: float,
    ) -> httpcore.Response:  # fmt: skip
        fields = [(b"host", _host_header(url)), *end_to_end(headers)]
        if isinstance(content, bytes):
            fields.append((b"content-length", b"%d" % len(content)))
        elif content is not None and not any(name == b"content-length" for name, _ in fields):
            fields.append((b"transfer-encoding", b"chunked"))
        # httpcore reads this table before every wait: the patience for the head is not that for the body.
        timeouts = {**self._timeouts, "read": wait}
        request = httpcore.Request(method, url, headers=fields, content=content, extensions={"timeout": timeouts})
        try:
            response = await self._pool.handle_async_request(request)
        except _COMPLAINTS as error:
            raise _explained(error, url.host.decode()) from None
        timeouts["read"] = self._limits.read_seconds
        if response.status < 200:
            await response.aclose()
            raise UpstreamFailed("the upstream wants to speak another protocol", url.host.decode())
        return response

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """The addresses that may be dialled for ``host``, each with its port.

        Raises :class:`NotPublic` when there are only others, :class:`UpstreamFailed` when there are none.
        """
        if host in self._hosts:
            return [_address(self._hosts[host], port)]
        try:
            found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise UpstreamFailed("the name has no address", host, "check the name, and this host's DNS") from None
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if (host, port) not in self._trusted:
            allowed = [address for address in addresses if is_public(address) and not _is_ours(address)]
            if not allowed:
                raise NotPublic("the name leads to an address that is not public", host, _NOT_PUBLIC_HINT)
            addresses = allowed
        # Hosts without IPv6 are common, those without IPv4 are not.
        addresses.sort(key=lambda address: ":" in address)
        return [(address, port) for address in addresses[:_MAX_ADDRESSES]]

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        """A TCP connection to a checked address of ``host``, the caller's to close.  Raises :class:`UpstreamFailed`."""
        words = "the upstream cannot be reached"
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
                    words = f"the upstream cannot be reached: {getattr(error, 'strerror', None) or 'no answer'}"
                except BaseException:
                    sock.close()
                    raise
            raise UpstreamFailed(words, host, _REACH_HINT)
        raise UpstreamTimeout("the upstream did not answer the connection", host, _REACH_HINT)

    async def open(self, host: str, port: int) -> PromptStream:
        """The same, for HTTP."""
        return PromptStream(await self.dial(host, port), send_seconds=self._limits.read_seconds)

    async def aclose(self) -> None:
        await self._pool.aclose()


_NOT_PUBLIC_HINT = "a host inside is reached by naming it in hosts of akiosd.yaml"
_REACH_HINT = "check that this host reaches it"


class _Checked(httpcore.AsyncNetworkBackend):
    """Connections for httpcore, to addresses that :class:`Upstreams` checked."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        return _Stream(await self._upstreams.open(host, port), host)


class _Stream(httpcore.AsyncNetworkStream):
    """A trio stream as httpcore wants it."""

    def __init__(self, stream: PromptStream | trio.SSLStream[PromptStream], host: str) -> None:
        self._stream, self._host = stream, host
        self._held = b""
        self.before_wait: BeforeWait | None = None
        self._fresh = True
        """Nothing was written since the last reading: what is written now is a request's head."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            # Where that fails, it may have answered before it closed.
            with suppress(httpcore.WriteError):
                await self._send(b"")
        self._fresh = True
        if self.before_wait is not None:
            await self.before_wait()
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError:
            raise UpstreamTimeout("the upstream stopped answering", self._host) from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise UpstreamFailed("the upstream broke the connection", self._host) from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """A head waits for the body's first piece, or for the reading that follows.

        One packet instead of two; and where no piece comes, because the call may not be made, nothing was sent.
        """
        if self._fresh:
            self._fresh, self._held = False, buffer
            await trio.lowlevel.checkpoint_if_cancelled()
        elif buffer:
            await self._send(buffer)

    async def _send(self, buffer: bytes) -> None:
        data, self._held, self._fresh = self._held + buffer, b"", False
        try:
            await self._stream.send_all(data)
        except trio.TooSlowError:
            raise UpstreamTimeout("the upstream stopped reading", self._host) from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # It may have answered before it closed: httpcore reads on.
            raise httpcore.WriteError from None

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        if not isinstance(self._stream, PromptStream):
            raise RuntimeError("TLS inside TLS")
        stream = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname or self._host, https_compatible=True
        )
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                await stream.do_handshake()
        except trio.TooSlowError:
            await self.aclose()
            raise UpstreamTimeout("the upstream does not finish TLS", self._host) from None
        except trio.BrokenResourceError as error:
            await self.aclose()
            raise UpstreamFailed(_tls_words(error.__cause__), self._host, _TLS_HINT) from None
        except BaseException:
            await self.aclose()
            raise
        return _Stream(stream, self._host)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            stream = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
            return stream.socket.is_readable()
        return None


_TLS_HINT = "a private authority is trusted by naming its certificate in roots of akiosd.yaml"


def _tls_words(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the upstream's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS with the upstream failed: {error.reason.lower().replace('_', ' ')}"
    return "the upstream broke off TLS"


_COMPLAINTS = (httpcore.ProtocolError, h11.ProtocolError, httpcore.TimeoutException, httpcore.NetworkError)


def _explained(error: Exception, where: str) -> UpstreamFailed:
    """One of httpcore's and h11's complaints in our words."""
    if isinstance(error, httpcore.ProtocolError | h11.ProtocolError):
        return UpstreamFailed(f"the upstream does not answer as HTTP/1.1: {error}"[:200], where)
    if isinstance(error, httpcore.TimeoutException):
        return UpstreamTimeout("the upstream took too long", where)
    return UpstreamFailed("the upstream broke the connection", where)


@cache
def _host_roots() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def preload() -> None:
    """Read the host's roots now: the zygote does it once, and every gateway inherits them."""
    _host_roots()


def client_context(roots: bytes = b"") -> ssl.SSLContext:
    """Verifies with the host's roots and ``roots``.  Raises ``ssl.SSLError`` for what is no PEM."""
    if not roots:
        return _host_roots()
    context = ssl.create_default_context(cadata=roots.decode("ascii"))
    context.load_default_certs()
    return context


def _split(url: str | bytes) -> tuple[str, str, int, bytes]:
    """Scheme, host, port, and the target as it is.  Raises :class:`UpstreamFailed`."""
    text = url.decode("ascii") if isinstance(url, bytes) else url
    scheme, _, rest = text.partition("://")
    parts = urlsplit(text)
    if scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise UpstreamFailed("the upstream's URL is not http:// or https:// and a host", "upstream")
    target = rest[len(parts.netloc) :].partition("#")[0]
    if not target.startswith("/"):
        target = "/" + target
    return scheme, parts.hostname, parts.port or _PORTS[scheme], target.encode("ascii")


def _host_header(url: httpcore.URL) -> bytes:
    host = b"[%b]" % url.host if b":" in url.host else url.host
    return host if url.port == _PORTS[url.scheme.decode()] else b"%b:%d" % (host, url.port or 0)


def _is_ours(address: str) -> bool:
    """Is it an address of this host?  What listens there trusts those who are already inside.

    Connecting a datagram socket sends nothing (udp(7)); the source that the kernel takes towards itself is the same.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 53))
        except OSError:
            return False  # no route: neither ours nor anybody's
        return bool(probe.getsockname()[0] == address)


def _upstreams_of(setup: Setup) -> list[str]:
    found = [provider.upstream for provider in setup.providers if provider.upstream]
    if any(provider.name == "ollama" and not provider.upstream for provider in setup.providers):
        found.append(OLLAMA)
    return found


def reserved(setup: Setup) -> set[tuple[str, int]]:
    """(host, port) of the providers' upstreams that the administrator set.

    As sites they would be reached past redaction and budget, and at private addresses.
    """
    return {_split(url)[1:3] for url in _upstreams_of(setup)}


def _address(text: str, port: int) -> tuple[str, int]:
    """``address`` or ``address:port`` of the administrator."""
    try:
        return str(ip_address(text)), port
    except ValueError:
        parts = urlsplit(f"//{text}")
        return str(ip_address(parts.hostname or "")), parts.port or port
