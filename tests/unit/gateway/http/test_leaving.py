"""What is booked when the client leaves, and wherever else the usage of a call is not seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import h11
import msgspec
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from akiosd.gateway.http import disconnect_watch
from akiosd.gateway.net.limits import Limits
from akiosd.meter import prices
from akiosd.values.spend import Tokens
from tests.e2e import models
from tests.unit.gateway.llm.test_llm import body_of
from tests.unit.gateway.llm.test_money import no_usage
from tests.unit.gateway.llm.test_replies import CASES
from tests.unit.gateway.llm_harness import HOSTS, PRICE, Gateway, post, talking

TEXT = "hello " * 300
"""Long enough for what the stand-in claims to be less than what is reserved for it."""
MOST = 100
"""Tokens of output that every request asks for."""
QUOTE = prices.quote("openai", "m", {"m": PRICE}, now_ns=0)
AFTER = ("goes on", "breaks", "stalls", "babbles")


class Upstream:
    """A provider that answers ``sent`` bytes of ``reply``, waits for :attr:`left`, and then does
    ``after``.

    ``billed``: in micro-USD, for what it was asked: what it claims if it can say so, else for all
    it may have made.
    """

    def __init__(self, name: str, sent: int, after: str) -> None:
        self._name, self._sent, self._after = name, sent, after
        self.reached, self.left = trio.Event(), trio.Event()
        self.url = ""
        self.billed = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)
        body = bytearray()
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                data = await stream.receive_some(1 << 16)
                if not data:
                    return
                http.receive_data(data)
            elif isinstance(event, h11.Data):
                body += event.data
        self.billed = self.price(MOST)
        reply = models.answer("POST", CASES[self._name][1], json.loads(body))
        data = b"".join(reply.chunks)
        head = h11.Response(
            status_code=200,
            headers=[("content-type", reply.content_type), ("transfer-encoding", "chunked")],
        )
        at = min(self._sent, len(data))
        with suppress(trio.BrokenResourceError):
            if self._sent >= 0:
                await self._say(stream, http, head, h11.Data(data=data[:at]))
            self.reached.set()
            await self.left.wait()
            if self._after == "stalls":
                await trio.sleep_forever()
            rest = data[max(at, 0) :] if self._after == "goes on" else b"\x00 not what was promised"
            if self._after != "breaks":
                await self._say(
                    stream,
                    http,
                    *([head] if self._sent < 0 else []),
                    h11.Data(data=rest),
                    h11.EndOfMessage(),
                )
                self.billed = (
                    self.price(models.USAGE["output"]) if self._after == "goes on" else self.billed
                )

    @staticmethod
    async def _say(stream: trio.SocketStream, http: h11.Connection, *events: h11.Event) -> None:
        await stream.send_all(b"".join(http.send(event) or b"" for event in events))

    def price(self, output: int) -> int:
        cached = 0 if CASES[self._name][0] == "ollama" else models.USAGE["cached"]
        assert QUOTE is not None
        return prices.cost(
            QUOTE, Tokens(input=models.USAGE["input"], output=output, cache_read=cached)
        )


def request_of(name: str) -> bytes:
    provider, target = CASES[name][:2]
    raw = json.dumps(limited(name)).encode()
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {HOSTS[provider]}\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def limited(name: str) -> dict[str, Any]:
    """The request of a case, with ``MOST`` tokens asked for."""
    body: dict[str, Any] = body_of(name, TEXT)
    provider, target = CASES[name][:2]
    if target.endswith(("/converse", "/converse-stream")):
        body["inferenceConfig"] = {"maxTokens": MOST}
    elif provider == "gemini":
        body["generationConfig"] = {"maxOutputTokens": MOST}
    elif provider == "ollama":
        body["options"] = {"num_predict": MOST}
    else:
        body["max_output_tokens" if "responses" in target else "max_tokens"] = MOST
    return body


class Left(NamedTuple):
    gateway: Gateway
    billed: int


async def leave(name: str, asked: float, sent: int, after: str, undecided: bool = False) -> Left:
    """The agent leaves once ``asked`` of its request and ``sent`` bytes of the answer are on their
    way (−1: none).
    """
    upstream = Upstream(name, sent, after)
    raw = request_of(name)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, upstream.serve, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        upstream.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with talking(upstream, CASES[name][0]) as (gateway, agent):
            patience = 0.01 if after == "stalls" else 3600.0
            gateway.limits = msgspec.structs.replace(
                Limits(), paid_seconds=patience, paid_stream_seconds=patience
            )
            if undecided:
                gateway.link.undecided = []
            await agent.send(raw[: int(asked * len(raw))])
            if undecided:
                while not gateway.link.undecided:
                    await trio.lowlevel.checkpoint()
            elif asked == 1:
                await upstream.reached.wait()
            await agent.stream.aclose()
            upstream.left.set()
        # The connection's task has ended: everything is settled that will be.
        nursery.cancel_scope.cancel()
    return Left(gateway, upstream.billed)


def check(left: Left, after: str) -> None:
    link = left.gateway.link
    assert link.account.open == {} and len(link.settled) == len(link.asks)
    booked = sum(settled.usd_micro for settled in link.settled)
    reserved = sum(settled.open.usd_micro for settled in link.settled)
    assert left.billed <= booked <= reserved
    for settled in link.settled:
        assert settled.outcome == ("cut" if left.billed else "failed")
        if left.billed:
            assert settled.estimated == (after != "goes on")
        if settled.estimated:
            assert (settled.usd_micro, settled.tokens) == (reserved, settled.open.tokens)
        elif left.billed:
            assert booked == left.billed, "what the provider said after the client had left"


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That the agent left is noticed at once, also within the first moments of a request."""
    monkeypatch.setattr(disconnect_watch, "PATIENCE_SECONDS", 0)
    yield


MOMENTS = given(
    st.sampled_from(sorted(CASES)),
    st.sampled_from([0.1, 0.5, 0.99, 1, 1, 1, 1]),
    st.integers(-1, 60) | st.integers(-1, 12_000),
    st.sampled_from(AFTER),
    st.sampled_from([False] * 5 + [True]),
)


@settings(max_examples=60, deadline=None)
@MOMENTS
@example("bedrock converse", 1, -1, "stalls", False)
@example("bedrock converse", 1, -1, "goes on", False)
@example("anthropic stream", 1, 2000, "breaks", False)
@example("openai chat", 1, -1, "goes on", True)
def test_a_client_that_leaves_at_any_moment(
    name: str, asked: float, sent: int, after: str, undecided: bool
) -> None:
    """What is booked is at least what the provider bills, and never above what was reserved."""
    check(trio.run(leave, name, asked, sent, after, undecided and asked == 1), after)


@pytest.mark.named_set("standins")
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None)
@MOMENTS
def test_many_clients_that_leave_at_any_moment(
    name: str, asked: float, sent: int, after: str, undecided: bool
) -> None:
    check(trio.run(leave, name, asked, sent, after, undecided and asked == 1), after)


@pytest.mark.parametrize("name", CASES)
async def test_control_before_anything_was_sent_nothing_is_paid(name: str) -> None:
    left = await leave(name, 1, -1, "goes on", undecided=True)
    [settled] = left.gateway.link.settled
    assert (left.billed, settled.outcome, settled.usd_micro) == (0, "failed", 0)


async def test_who_asks_again_after_a_time_out_does_not_go_in_circles() -> None:
    """An answer that nobody waited for is paid, and is no answer for the loop detectors."""
    left = await leave("openai chat", 1, -1, "goes on")
    [bill] = left.gateway.link.bills
    assert (bill.outcome, bill.usd_micro) == (
        "cut",
        left.billed,
    ) and not left.gateway.link.account.repeats.seen
    assert left.gateway.link.account.calls == 1


REPLIES: dict[str, tuple[dict[str, str], bytes]] = {
    "compressed": ({"content-type": "application/json", "content-encoding": "br"}, b"\x1b\x03\x00"),
    "not JSON": ({"content-type": "application/json"}, b"<html>busy</html>"),
    "empty": ({"content-type": "application/json"}, b""),
    "of another type": ({"content-type": "text/html"}, b"<html>busy</html>"),
    "an error in place of an answer": (
        {"content-type": "application/json"},
        b'{"error":{"message":"busy"}}',
    ),
    "a list": ({"content-type": "application/json"}, b"[1]"),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize(
    "name", ["openai chat", "anthropic stream", "gemini", "bedrock converse stream"]
)
async def test_an_answer_that_cannot_be_read_is_paid_as_reserved(
    server: models.Models, name: str, reply: str
) -> None:
    headers, body = REPLIES[reply]
    server.failures = [(200, headers, body)]
    provider, target = CASES[name][:2]
    async with talking(server, provider) as (gateway, agent):
        with suppress(h11.RemoteProtocolError):
            await post(agent, provider, target, limited(name))
    [settled] = gateway.link.settled
    assert settled.estimated and (settled.usd_micro, settled.tokens) == (
        settled.open.usd_micro,
        settled.open.tokens,
    )
    assert settled.usd_micro > MOST * 15 and gateway.link.account.open == {}


@pytest.mark.parametrize(
    "name", ["openai chat stream", "anthropic stream", "gemini sse", "bedrock invoke stream"]
)
async def test_a_stream_whole_in_form_that_ends_before_its_last_word(
    server: models.Models, name: str
) -> None:
    """It begins with a count of its input, or counts along: that is not what was paid in the
    end.
    """
    provider, target = CASES[name][:2]
    body = limited(name) | ({"stream": True} if provider == "openai" else {})
    reply = models.answer("POST", target, {**body, "stream": True})
    whole, part = b"".join(reply.chunks), b"".join(reply.chunks[: len(reply.chunks) // 2])
    for data, estimated in (
        (part, True),
        (no_usage(whole, reply.content_type), True),
        (whole, False),
    ):
        server.failures = [(200, {"content-type": reply.content_type}, data)]
        async with talking(server, provider) as (gateway, agent):
            await post(agent, provider, target, body)
        [settled] = gateway.link.settled
        assert settled.estimated == estimated
        assert (settled.usd_micro == settled.open.usd_micro) == estimated
