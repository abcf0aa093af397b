"""One request of the agent and its answer, as the handlers (``llm``, ``sites``) see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Literal

import h11
import msgspec
import trio

from akiosd.gateway.context import Context
from akiosd.gateway.http.agent_connection import Wire
from akiosd.gateway.net import refuse
from akiosd.gateway.net.decode import Decoder, TooLargeError, decoder
from akiosd.gateway.net.names import Rule
from akiosd.gateway.net.remedies import Asked, hint
from akiosd.gateway.net.request_head import Headers, MalformedError, end_to_end
from akiosd.values.denial import Denial
from akiosd.values.records import Finding, NetDenied, NetRequest

_DRAIN_BYTES = 1 << 20
"""How much of an unread request body is read and dropped so that the connection can be
used again.
"""
_MAX_HELD = 64 << 10
"""Parts of an answer are held up to this size, to be sent together."""
_DRAIN_SECONDS = 5


class Destination(msgspec.Struct, frozen=True):
    """Where a connection leads: the canonical name that its address inside the cage stands for, the
    port, whether TLS was spoken, and the rule that allows it.
    """

    name: str
    port: int
    tls: bool
    rule: Rule


class Exchange:
    """One request and the answer to it.

    ``headers`` are the agent's, without hop-by-hop fields, names in lower case. ``target`` is path
    and query.

    A handler reads :meth:`body` at most once and answers exactly once: by :meth:`respond`, by
    :meth:`refuse`, or by :meth:`start`, then :meth:`send` any number of times, then :meth:`finish`.
    Parts of an answer may be held to be sent with the next; a handler that has to wait for more
    calls :meth:`flush` first.

    When the agent goes away, ``left`` is set and the handler is cancelled (``trio.Cancelled``): at
    once, or ``lingers`` seconds later where the handler has set that. What it sends in the meantime
    is dropped.
    """

    def __init__(
        self,
        context: Context,
        wire: Wire,
        http: h11.Connection,
        request: h11.Request,
        destination: Destination,
        target: bytes,
        *,
        direct: bool = False,
    ) -> None:
        self.context = context
        self.direct = direct
        """The client is ``akiosctl http``: ``akios-`` headers tell it what was done, and the
        upstream may not send such headers.
        """
        self.findings: tuple[Finding, ...] = ()
        """What was redacted in this request, as far as it is known when the answer starts."""
        self.method = request.method.decode("ascii")
        self.target = target
        self.headers: Headers = end_to_end(request.headers)
        self.destination = destination
        self.host = destination.name
        self.rule = destination.rule
        self.started = False
        """Some of the answer was sent, so no other answer can be given."""
        self.finished = False
        self.left = False
        """The agent went away: nobody waits for the answer."""
        self.lingers = 0.0
        """Seconds for which the handler goes on after the agent left."""
        self.encoded = False
        """The body was compressed: what :meth:`body` yields is not what the agent sent."""
        self.status = 0
        self.bytes_in = 0
        """Bytes of the answer's body that were sent to the agent."""
        self.scope = trio.CancelScope()
        self.complete = trio.Event()
        """The request has arrived whole."""
        self._wire, self._http = wire, http
        self._begun = trio.current_time()
        self._read = self._last = False
        self._held: list[h11.Event] = []
        self._held_bytes = 0
        framing = dict(request.headers)
        self.length = int(framing[b"content-length"]) if b"content-length" in framing else None
        """Content-Length of the request: the size of its body as sent; None when the body is
        chunked or absent.
        """
        self.has_body = bool(self.length) or b"transfer-encoding" in framing

    def leave(self) -> None:
        """The agent went away: cancel the handler, after ``lingers`` seconds where that is set."""
        if self.left:
            return
        self.left = True
        if self.lingers:
            self.scope.deadline = trio.current_time() + self.lingers
        else:
            self.scope.cancel()

    # ---- the request
    # ------------------------------------------------------------------------------

    def header(self, name: bytes) -> bytes:
        """The value of the header ``name`` (lower case); several are joined by commas; b"" when
        there is none.
        """
        return b", ".join(value for key, value in self.headers if key == name)

    async def body(self, *, decode: bool = True) -> AsyncGenerator[bytes]:
        """The body in pieces as they arrive; may be called once.

        ``decode`` undoes Content-Encoding and removes that header. Raises :class:`MalformedError`
        for bad framing, :class:`BadEncodingError`, and :class:`TooLargeError` when the body as sent
        or decoded is above its bound.
        """
        if self._read:
            raise RuntimeError("a body is read once")
        self._read = True
        undo: Decoder | None = None
        if decode and self.has_body:
            undo = decoder(self.header(b"content-encoding"), self.context.limits.decoded_bytes)
            self.encoded = undo is not None
            self.headers = [pair for pair in self.headers if pair[0] != b"content-encoding"]
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                for plain in (piece,) if undo is None else undo.push(piece):
                    yield plain
        if undo is not None:
            undo.finish()

    async def _pieces(self) -> AsyncGenerator[bytes]:
        size = 0
        while not self.complete.is_set():
            event = await self._wire.next_event(self._http, self)
            if isinstance(event, h11.EndOfMessage):
                self.complete.set()
                return
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size > self.context.limits.body_bytes:
                    raise TooLargeError(
                        f"the body is larger than {self.context.limits.body_bytes} bytes", "body"
                    )
                yield bytes(event.data)

    async def read_body(self, limit: int) -> bytes:
        """The whole decoded body.  Raises what :meth:`body` raises, and :class:`TooLargeError`
        above ``limit`` bytes.
        """
        whole = bytearray()
        async with aclosing(self.body()) as pieces:
            async for piece in pieces:
                whole += piece
                if len(whole) > limit:
                    raise TooLargeError(
                        f"the body is larger than {limit} bytes", "body", "send it in smaller parts"
                    )
        return bytes(whole)

    # ---- the answer
    # -------------------------------------------------------------------------------

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin the answer with its head.

        Hop-by-hop headers are left out; without Content-Length the body is chunked.
        """
        self.status = status
        fields = self._fields(headers) + self._last_words()
        await self._hold(h11.Response(status_code=status, headers=fields))

    def _last_words(self) -> Headers:
        """``Connection: close`` where the agent still waits for "100 Continue": it may or may not
        send the body, so what follows on this connection could not be told apart from a request.
        """
        self._last = self._http.they_are_waiting_for_100_continue
        return [(b"connection", b"close")] if self._last else []

    async def send(self, data: bytes) -> None:
        """Send a part of the answer's body.  Waits while the agent does not read."""
        if not self.left:
            self.bytes_in += len(data)
        if len(data) <= _MAX_HELD:
            await self._hold(h11.Data(data=data), len(data))
            return
        for start in range(0, len(data), _MAX_HELD):
            piece = data[start : start + _MAX_HELD]
            await self._hold(h11.Data(data=piece), len(piece))

    async def finish(self) -> None:
        """End the answer.  An answer that is not finished is cut by a reset, which the agent sees
        as an error.
        """
        self._held.append(h11.EndOfMessage())
        await self.flush()
        self.finished = not self.left

    async def flush(self) -> None:
        """Send the parts of the answer that are held."""
        if self._held:
            self.started = True
            held, self._held, self._held_bytes = self._held, [], 0
            await self._put(held)

    async def _put(self, events: list[h11.Event]) -> None:
        if self.left:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._wire.send_event(self._http, events, self)
        except trio.BrokenResourceError:
            if not self.lingers:
                raise

    async def _hold(self, event: h11.Event, size: int = 0) -> None:
        self._held.append(event)
        self._held_bytes += size
        if self._held_bytes >= _MAX_HELD:
            await self.flush()

    async def respond(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes | bytearray = b""
    ) -> None:
        """A whole answer; Content-Length is set here.  Sent in pieces: no copy of a long one is
        made.
        """
        await self._respond(status, self._fields(headers), body)

    async def _respond(
        self, status: int, headers: Headers, body: bytes | bytearray, reason: bytes = b""
    ) -> None:
        # Parts of an earlier answer that are still held were not sent: they are dropped.
        self._held, self._held_bytes = [], 0
        self.started, self.status, self.bytes_in = True, status, 0
        fields = [pair for pair in headers if pair[0] != b"content-length"]
        fields.append((b"content-length", b"%d" % len(body)))
        if status == 426:
            # RFC 9110 §15.5.22: it must say what is spoken instead.
            fields += [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")]
        fields += self._last_words()
        head = h11.Response(status_code=status, headers=fields, reason=reason)
        events: list[h11.Event] = [head]
        if body and self.method != "HEAD":
            view = memoryview(body)
            for start in range(0, len(body), _MAX_HELD):
                if start:
                    await self._put(events)
                    events = []
                events.append(h11.Data(data=bytes(view[start : start + _MAX_HELD])))
            self.bytes_in += len(body)
        await self._put([*events, h11.EndOfMessage()])
        self.finished = not self.left

    async def refuse(self, denial: Denial) -> None:
        """Answer with a refusal, once its record is on disk.  The connection can still be used."""
        await self.context.link.report_durable(
            NetDenied(
                ts=0,
                host=denial.host.encode("utf-8", "replace"),
                rule=denial.rule,
                protocol="http",
                port=self.destination.port,
                method=self.method,
                path=self.safe_path,
                hint=denial.hint,
            )
        )
        await self._say(denial)

    def what_helps(self, rule: str) -> str:
        """What would allow this request where ``rule`` refuses it; see ``net.remedies``."""
        where = self.destination
        asked = Asked(rule, where.name, where.port, tls=where.tls)
        return hint(self.context.setup, self.context.names, asked)

    async def fail(self, status: int, words: str) -> None:
        """Answer that the upstream failed, with ``status``.  Does nothing once an answer has begun:
        that one is cut by a reset.
        """
        if not self.started:
            await self._say(refuse.failure(status, words, self.host))

    async def _say(self, denial: Denial) -> None:
        provider = "" if self.direct else self.rule.provider
        status, headers, body = refuse.render(denial, provider, self.header(b"originator"))
        await self._respond(status, headers, body, refuse.reason_phrase(denial))

    def _fields(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        fields = end_to_end(headers)
        if not self.direct:
            return fields
        fields = [pair for pair in fields if not pair[0].startswith(b"akios-")]
        found = b", ".join(refuse.describe(finding) for finding in self.findings)
        return [*fields, (b"akios-redacted", found)] if found else fields

    # ---- what is told
    # -----------------------------------------------------------------------------

    @property
    def safe_path(self) -> bytes:
        """The path of the request for a log: without its query, personal data masked, 2,048 bytes
        at most.
        """
        return self.context.redactors.mask_path(self.target)

    def record(
        self,
        mode: Literal["inspect", "passthrough", "raw", "llm"],
        *,
        bytes_out: int = 0,
        error: str = "",
        unread: int = 0,
    ) -> NetRequest:
        """The record of this request; ``bytes_out`` and ``unread`` count body bytes sent to the
        upstream, and those of them that were not inspected.
        """
        return NetRequest(
            ts=0,
            host=self.host,
            port=self.destination.port,
            mode=mode,
            method=self.method,
            path=self.safe_path,
            status=self.status,
            bytes_out=bytes_out,
            bytes_in=self.bytes_in,
            unread=unread,
            error=error,
            duration_ns=int((trio.current_time() - self._begun) * 1e9),
        )

    async def drain(self) -> bool:
        """Read and drop the rest of the request, 1 MiB and 5 seconds at most.

        Returns False when the connection cannot carry another request.
        """
        if self._last:
            return False
        if self._http.their_state is h11.SEND_BODY:
            with suppress(MalformedError):
                await self._drain()
        return self._http.their_state is h11.DONE and self._http.our_state is h11.DONE

    async def _drain(self) -> None:
        left = _DRAIN_BYTES
        with trio.move_on_after(_DRAIN_SECONDS):
            while self._http.their_state is h11.SEND_BODY and left > 0:
                event = await self._wire.next_event(self._http, self)
                if isinstance(event, h11.Data):
                    left -= len(event.data)


__all__ = ["Destination", "Exchange", "MalformedError", "TooLargeError"]
