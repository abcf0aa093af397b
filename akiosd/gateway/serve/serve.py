"""The HTTP/1.1 server towards the agent: one connection, its requests in order, each under the rule
of its destination.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath

import h11
import trio

from akiosd.errors import AkiosError
from akiosd.gateway.context import Context
from akiosd.gateway.http.agent_connection import GONE, Wire
from akiosd.gateway.http.disconnect_watch import Watch
from akiosd.gateway.http.exchange import Destination, Exchange
from akiosd.gateway.llm import llm
from akiosd.gateway.net import refuse
from akiosd.gateway.net.decode import BadEncodingError, TooLargeError
from akiosd.gateway.net.names import canonical
from akiosd.gateway.net.remedies import Asked, hint
from akiosd.gateway.net.request_head import MalformedError
from akiosd.gateway.sites import sites
from akiosd.gateway.upstream.client import UpstreamError
from akiosd.gateway.upstream.upstream import NotPublicError
from akiosd.redact.model import RedactError
from akiosd.values.denial import Denial
from akiosd.values.providers import facts_of
from akiosd.values.records import GatewayFailed, NetDenied

_PORTS = {True: 443, False: 80}
_LOOPBACK = (b"localhost", b"127.0.0.1", b"[::1]")
_MAX_HOST = 256

Place = Callable[[h11.Request], tuple[Destination, bytes]]
"""Returns a request's destination and its target in origin form.  Raises
:class:`MisdirectedError`.
"""


class MisdirectedError(AkiosError):
    """The request is for something other than what this connection, or this cage, leads to.

    ``host`` is what was asked for, as the agent spelled it.
    """

    def __init__(self, host: bytes, denial: Denial) -> None:
        super().__init__(denial.words, denial.host)
        self.host, self.denial = host[:_MAX_HOST], denial


async def serve_stream(context: Context, stream: trio.abc.Stream, destination: Destination) -> None:
    """Serve a captured connection, after TLS where there was TLS, until it ends.  ``stream`` is
    closed.
    """
    await _serve(context, stream, destination, lambda request: _captured(request, destination))


async def serve_proxy(context: Context, stream: trio.abc.Stream) -> None:
    """Serve a connection of ``akiosctl http``, whose requests have absolute URLs.  ``stream`` is
    closed.
    """
    await _serve(context, stream, None, lambda request: _asked(request, context))


async def _serve(
    context: Context, stream: trio.abc.Stream, captured: Destination | None, place: Place
) -> None:
    """Serve requests until the last.  An error ends this connection only; one of AKIOS's own is
    reported.
    """
    wire = Wire(stream, context.limits)
    # The stream is closed last: a closed one cannot be reset.
    async with stream:
        try:
            async with trio.open_nursery() as nursery:
                watch = Watch(wire)
                nursery.start_soon(watch.run)
                while await _serve_request(context, wire, watch, captured, place):
                    pass
                nursery.cancel_scope.cancel()
        except* GONE:
            pass
        except* Exception as errors:
            context.link.report(GatewayFailed(ts=0, what=where(errors.exceptions[0])))
            await wire.reset()


async def _serve_request(
    context: Context, wire: Wire, watch: Watch, captured: Destination | None, place: Place
) -> bool:
    """Serve one request; returns False when the connection can carry no more."""
    port = captured.port if captured is not None else 0
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=context.limits.head_bytes)
    try:
        head = await wire.read_head()
        if head is None:
            return False
        http.receive_data(head)
        request = _next_request(http)
        destination, target = place(request)
    except MalformedError as error:
        words = f"not taken: {error.what}"
        name = captured.name if captured is not None else ""
        denial = Denial(status=error.status, rule="http", words=words, host=name)
        await _turn_away(context, wire, name.encode(), port, denial)
        return False
    except MisdirectedError as error:
        await _turn_away(context, wire, error.host, port, error.denial)
        return False
    exchange = Exchange(context, wire, http, request, destination, target, direct=captured is None)
    if not exchange.has_body:
        http.next_event()
        exchange.complete.set()
    watch.begin(exchange)
    with exchange.scope:
        await _handle(context, exchange, request)
    await watch.end()
    if not exchange.finished:
        await wire.reset()
        return False
    if not await exchange.drain():
        return False
    wire.give_back(http.trailing_data[0])
    return True


def _next_request(http: h11.Connection) -> h11.Request:
    try:
        event = http.next_event()
    except h11.RemoteProtocolError:
        raise MalformedError(
            "the request line or a header is not one of HTTP/1.1", "request"
        ) from None
    assert isinstance(event, h11.Request)
    return event


async def _turn_away(context: Context, wire: Wire, host: bytes, port: int, denial: Denial) -> None:
    """Record and send a refusal of bytes that are no request, or none for this connection."""
    await context.link.report_durable(
        NetDenied(ts=0, host=host, rule=denial.rule, protocol="http", port=port, hint=denial.hint)
    )
    await wire.send(refuse.to_bytes(denial))


async def _handle(context: Context, exchange: Exchange, request: h11.Request) -> None:
    try:
        # What begins while there is no akiosd might never be told to one.
        await context.link.wait_room()
        denial = _refused_at_once(exchange, request)
        if denial is not None:
            await exchange.refuse(denial)
        elif exchange.rule.kind == "llm":
            await llm.handle(context, exchange)
        else:
            await sites.handle(context, exchange)
        if not exchange.finished and not exchange.left:
            raise RuntimeError("a handler did not finish its answer")
    except trio.BrokenResourceError:
        # The agent is gone, and a handler noticed it where it was shielded.
        exchange.leave()
    except AkiosError as error:
        await _explain(exchange, error)
    except Exception as error:
        context.link.report(GatewayFailed(ts=0, what=where(error)))
        if not exchange.started:
            await exchange.fail(500, "the gateway failed; nothing was let through")


def _refused_at_once(exchange: Exchange, request: h11.Request) -> Denial | None:
    """The denial of a request that no rule permits, None for others."""
    if exchange.method in ("CONNECT", "TRACE"):
        return Denial(
            status=405, rule="http", words=f"{exchange.method} is not passed", host=exchange.host
        )
    if exchange.rule.kind == "raw":
        words = "this port is passed as raw TCP, not as HTTP"
        rule = "network.ports"
        return Denial(rule=rule, words=words, host=exchange.host, hint=exchange.what_helps(rule))
    upgrade = b",".join(value for name, value in request.headers if name == b"upgrade").lower()
    if upgrade and exchange.rule.kind == "llm":
        return Denial(
            status=426, rule="http", words="only HTTP/1.1 is spoken here", host=exchange.host
        )
    if b"websocket" in upgrade:
        rule, words = "network.passthrough", "WebSockets are not inspected"
        return Denial(rule=rule, words=words, host=exchange.host, hint=exchange.what_helps(rule))
    return None


async def _explain(exchange: Exchange, error: AkiosError) -> None:
    """Answer for an error of a handler; an answer that has begun is cut instead."""
    if exchange.started:
        await exchange.flush()
        return
    if isinstance(error, NotPublicError):
        found = exchange.what_helps("upstream")
        await exchange.refuse(Denial("upstream", error.what, found, host=exchange.host))
    elif isinstance(error, UpstreamError):
        await exchange.fail(error.status, error.what)
    elif isinstance(error, TooLargeError):
        await exchange.refuse(
            Denial(status=413, rule="http", words=error.what, host=exchange.host, hint=error.next)
        )
    elif isinstance(error, BadEncodingError | MalformedError):
        denial = Denial(
            status=error.status, rule="http", words=error.what, host=exchange.host, hint=error.next
        )
        await exchange.refuse(denial)
    elif isinstance(error, RedactError):
        await exchange.refuse(
            Denial(rule="redact", words=error.what, host=exchange.host, hint=error.next)
        )
    else:
        await exchange.fail(502, error.what)


def _captured(request: h11.Request, destination: Destination) -> tuple[Destination, bytes]:
    """Check that the target is a path, and that Host is the name that the connection's address
    stands for.
    """
    target = request.target
    host = dict(request.headers)[b"host"]
    if not target.startswith(b"/"):
        words = "the target is not a path: this is no proxy"
        raise MisdirectedError(
            target, Denial(status=400, rule="http", words=words, host=destination.name)
        )
    if not _names(host, destination):
        words = "Host is not the name this connection was made to"
        raise MisdirectedError(
            host, Denial(status=421, rule="http", words=words, host=destination.name)
        )
    return destination, target


def _names(host: bytes, destination: Destination) -> bool:
    name, colon, port = host.rpartition(b":") if not host.endswith(b"]") else (b"", b"", b"")
    if not colon:
        name, port = host, b"%d" % _PORTS[destination.tls]
    if not port.isdigit() or len(port) > 5 or int(port) != destination.port:
        return False
    if facts_of(destination.rule.provider).local_port and name.lower() in _LOOPBACK:
        return True
    try:
        return canonical(name) == destination.name
    except ValueError:
        return False


def _asked(request: h11.Request, context: Context) -> tuple[Destination, bytes]:
    """Destination and target of a request in absolute form; Host must agree with the URL."""
    scheme, _, rest = request.target.partition(b"://")
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    target = rest[len(authority) :] or b"/"
    tls = scheme == b"https"
    name, _, port = authority.partition(b":")
    shown = authority[:_MAX_HOST].decode("ascii", "replace")
    if authority.startswith(b"["):
        words = "addresses cannot be allowed, only names"
        raise MisdirectedError(
            authority, Denial(rule="network.allowed_domains", words=words, host=shown)
        )
    if scheme not in (b"http", b"https") or (
        port and not (port.isdigit() and 0 < int(port[:6]) < 65536)
    ):
        raise MisdirectedError(
            authority, Denial(status=400, rule="http", words="not an http or https URL", host=shown)
        )
    number = int(port) if port else _PORTS[tls]
    try:
        host = canonical(name)
    except ValueError as error:
        raise MisdirectedError(
            authority, Denial(rule="network.allowed_domains", words=str(error), host=shown)
        ) from None
    rule = context.names.find(host, number)
    if rule is None:
        raise MisdirectedError(authority, denied_name(context, host, number))
    destination = Destination(host, number, tls, rule)
    if not _names(dict(request.headers)[b"host"], destination):
        raise MisdirectedError(
            authority, Denial(status=400, rule="http", words="Host and URL differ", host=host)
        )
    return destination, target if target.startswith(b"/") else b"/" + target


def denied_name(context: Context, host: str, port: int) -> Denial:
    """The denial of a name that no rule allows; its hint is the line of the policy that would."""
    found = hint(context.setup, context.names, Asked("network.allowed_domains", host, port))
    return Denial(
        rule="network.allowed_domains",
        words="the policy does not allow this name",
        host=host,
        hint=found,
    )


def where(error: BaseException) -> str:
    """The class of the error and the line that raised it; never its message, which may quote the
    agent.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
