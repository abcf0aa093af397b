"""One HTTP/1.1 connection to an upstream, by h11; it carries one request after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from types import SimpleNamespace

import h11
import trio

from akiosd.errors import AkiosError
from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.net.request_head import Headers

_READ = 64 << 10
_MAX_HEAD = 100 << 10
"""Largest head of an answer, in bytes."""

_ANYTHING = SimpleNamespace(pending=1)

Stream = PromptStream | trio.SSLStream[PromptStream]
Body = bytes | AsyncGenerator[bytes] | None
BeforeWait = Callable[[], Awaitable[None]]


class UpstreamError(AkiosError):
    """The upstream could not be reached, or did not answer as HTTP.  ``status`` is 504 for a
    time-out, else 502.
    """

    timeout = False
    NEXT = "try again; if it stays so, see whether this host reaches it: curl -v https://HOST/"

    @property
    def status(self) -> int:
        """The HTTP status for the agent."""
        return 504 if self.timeout else 502


class ProviderError(UpstreamError):
    """A model's provider answered what its API does not say."""

    NEXT = "check that the provider's upstream in akiosd.yaml is its API; else ask again"


class UpstreamTimeoutError(UpstreamError):
    """The upstream took too long."""

    timeout = True


class Response:
    """An answer whose head has arrived.  ``headers`` are as sent, names in lower case."""

    def __init__(self, connection: Connection, head: h11.Response, read_seconds: float) -> None:
        self._connection, self._read_seconds = connection, read_seconds
        self.status: int = head.status_code
        self.headers: Headers = list(head.headers)

    def header(self, name: bytes) -> bytes:
        """The value of the header ``name`` (lower case), several joined by commas; b"" for none."""
        return b", ".join(value for key, value in self.headers if key == name)

    async def chunks(self, before_wait: BeforeWait | None = None) -> AsyncGenerator[bytes]:
        """The body as it arrives, without transfer coding, with content coding.  Raises
        :class:`UpstreamError`.

        ``before_wait`` is called whenever more has to come from the network first, so that what was
        made of the chunks so far can be flushed.
        """
        while True:
            event = await self._connection.next_event(self._read_seconds, before_wait)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return  # h11 gives nothing but EndOfMessage after the last of it


class Connection:
    """Owns ``stream``, connected to ``host`` (used in errors only)."""

    def __init__(self, stream: Stream, host: str) -> None:
        self._stream, self._host = stream, host
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self.idle_since = 0.0

    async def send(self, method: str, target: bytes, headers: Headers, body: Body) -> None:
        """Send one request.

        The head is sent together with the body's first piece, or with the body's end: one packet
        instead of two, and where the body yields nothing because the call is denied, nothing was
        sent. A body in pieces is closed. Raises :class:`UpstreamError`, and what ``body`` raises.
        """
        try:
            held = self._encode(h11.Request(method=method, target=target, headers=headers))
            if isinstance(body, bytes):
                held += self._encode(h11.Data(data=body))
            elif body is not None:
                async with aclosing(body):
                    async for piece in body:
                        await self._stream.send_all(held + self._encode(h11.Data(data=piece)))
                        held = b""
            held += self._encode(h11.EndOfMessage())
            if held:
                await self._stream.send_all(held)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it may have answered before it closed
        except trio.TooSlowError:
            raise UpstreamTimeoutError(
                "the server stopped reading the request", self._host
            ) from None
        except h11.LocalProtocolError as error:
            raise UpstreamError(
                f"the request is not one of HTTP/1.1: {error}"[:200], self._host
            ) from None

    def _encode(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def wait_head(self, seconds: float) -> h11.Response:
        """The head of the answer.  Interim answers (1xx) are skipped; h11 refuses 101.

        Raises :class:`UpstreamError`, also when nothing comes for ``seconds``.
        """
        while True:
            event = await self.next_event(seconds)
            if isinstance(event, h11.Response):
                return event

    async def next_event(self, seconds: float, before_wait: BeforeWait | None = None) -> h11.Event:
        """The next event of the answer; waits at most ``seconds`` for bytes.  Raises
        :class:`UpstreamError`.
        """
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise UpstreamError(
                    f"the upstream does not answer as HTTP/1.1: {error}"[:200], self._host
                ) from None
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                raise UpstreamError("the server sent more after the end of its answer", self._host)
            if before_wait is not None:
                await before_wait()
            self._take(await self._receive(seconds))

    def _take(self, data: bytes) -> None:
        if not data and self._http.their_state is h11.SEND_RESPONSE:
            raise UpstreamError("the server closed the connection without an answer", self._host)
        self._http.receive_data(data)

    async def _receive(self, seconds: float) -> bytes:
        # Reading sends, too: in TLS a new key is answered.
        with suppress(trio.TooSlowError), trio.move_on_after(seconds):
            try:
                return bytes(await self._stream.receive_some(_READ))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise UpstreamError("the server broke the connection", self._host) from None
        raise UpstreamTimeoutError("the upstream stopped answering", self._host)

    def end_exchange(self) -> bool:
        """Whether another request can be made: this request and its answer are complete, and
        nothing came after it.
        """
        if self._http.trailing_data[0] or self._http.states != {
            h11.CLIENT: h11.DONE,
            h11.SERVER: h11.DONE,
        }:
            return False
        # Bytes in a TLS record of their own may be read from the socket and not be decrypted yet.
        # Trio has
        # no public way to ask; if a later version keeps them elsewhere, no connection is used
        # again.
        if (
            isinstance(self._stream, trio.SSLStream)
            and getattr(self._stream, "_incoming", _ANYTHING).pending
        ):
            return False
        self._http.start_next_cycle()
        return True

    def is_usable(self) -> bool:
        """Whether the upstream has sent nothing since its last answer, not even end of file."""
        stream = (
            self._stream.transport_stream
            if isinstance(self._stream, trio.SSLStream)
            else self._stream
        )
        return not stream.socket.is_readable()

    async def aclose(self) -> None:
        """Close at once, without TLS close_notify."""
        await trio.aclose_forcefully(self._stream)
