"""A request to a site through the whole gateway: what arrives at the upstream, and what is
recorded.
"""

from __future__ import annotations

import json
import ssl
from functools import reduce
from urllib.parse import quote

import h11
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akiosd.gateway.net.refuse import failure, reason_phrase, render, to_bytes
from akiosd.gateway.serve.serve import serve_stream
from akiosd.gateway.sites.passthrough import relay
from akiosd.values.denial import Denial
from akiosd.values.policy import PROVIDERS, Network, Redact
from akiosd.values.records import NetDenied, NetRequest, Redaction
from tests.e2e.upstreams import Authority, Upstream, answer
from tests.unit.gateway.harness import NAME, Agent, connected, destination, make_context

MAIL, CARD = "john.doe@example.org", "4111111111111111"


async def arrived(
    target: str = "/",
    headers: tuple[tuple[str, str], ...] = (),
    redact: Redact = Redact(),  # noqa: B008
    method: str = "GET",
) -> tuple[str, dict[str, str]]:
    """Target and headers as the upstream saw them."""
    with Upstream() as up:
        async with connected(make_context(port=up.port, redact=redact)) as agent:
            status, _, body = await agent.ask(method, target, headers=headers)
            assert status == 200, body
    return up.requests[0].target, dict(up.requests[0].headers)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (f"/u/{MAIL}", "/u/%5BEMAIL%5D"),
        ("/u/john.doe%40example.org/x", "/u/%5BEMAIL%5D/x"),
        (f"/?mail={MAIL}&a=b", "/?mail=%5BEMAIL%5D&a=b"),
        (f"/?q=call+me+at+{MAIL}+now", "/?q=call+me+at+%5BEMAIL%5D+now"),
        (f"/?{MAIL}", "/?%5BEMAIL%5D"),
        (f"/pay?card={CARD}", "/pay?card=%5BCREDIT_CARD%5D"),
        (
            "/?j=%7B%22a%22%3A%22john.doe%40example.org%22%7D",
            "/?j=%7B%22a%22%3A%22%5BEMAIL%5D%22%7D",
        ),
    ],
)
async def test_the_target_is_redacted(sent: str, seen: str) -> None:
    assert (await arrived(sent))[0] == seen


@pytest.mark.parametrize(
    "sent", [f"/?{MAIL}=1", f"/?a=1&john.doe%40example.org=x&card={CARD}", f"//{MAIL}", f"/;{MAIL}"]
)
async def test_names_and_odd_places_of_the_target_too(sent: str) -> None:
    target, _ = await arrived(sent)
    assert MAIL not in target.replace("%40", "@") and CARD not in target and "EMAIL" in target


CLEAN = [
    "/", "/a/b.c?d=e&f", "/simple/requests/", "/v2/_catalog?n=100&last=x", "/info/refs?service=git-upload-pack",
    "/packages/5e/6a/9f8e3b7b1c5d4f2a6b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a/requests-2.31.0-py3-none-any.whl",
    "/owner/repo/commit/0123456789abcdef0123456789abcdef01234567", "/search?q=a+b%20c&t=2024-05-06T07:08:09Z",
    "/@scope%2fname/-/name-1.2.3.tgz", "/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
]  # fmt: skip


@pytest.mark.parametrize("sent", CLEAN)
async def test_what_package_managers_and_git_ask_for_is_left_alone(sent: str) -> None:
    headers = (
        (
            "User-Agent",
            'pip/24.0 {"ci":null,"cpu":"x86_64","openssl_version":"OpenSSL 3.0.11 19 Sep 2023"}',
        ),
        ("Accept", "application/vnd.pypi.simple.v1+json, text/html; q=0.1"),
        ("Accept-Encoding", "gzip, deflate"),
        ("If-None-Match", '"d41d8cd98f00b204e9800998ecf8427e"'),
        ("Range", "bytes=1234567-7654321"),
        ("Authorization", "Basic dXNlckBleGFtcGxlLm9yZzpzZWNyZXQ="),
        ("Git-Protocol", "version=2"),
        ("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("Cookie", "session=0123456789abcdef0123456789abcdef"),
    )
    target, seen = await arrived(sent, headers)
    assert target == sent and all(seen[name.lower()] == value for name, value in headers)


async def test_headers_are_redacted_and_credentials_keep_their_tokens() -> None:
    token = "ghp_" + "a1B2" * 9
    bearer = ("Authorization", f"Bearer {token}")
    headers = (("X-Note", f"from {MAIL}"), bearer, ("X-Any", token), ("Cookie", f"u={MAIL}"))
    _, seen = await arrived(headers=headers)
    assert seen["x-note"] == "from [EMAIL]" and seen["cookie"] == "u=[EMAIL]"
    assert seen["authorization"] == f"Bearer {token}" and token not in seen["x-any"]


async def test_modes() -> None:
    headers = (("X-Note", MAIL),)
    assert (await arrived(f"/{MAIL}", headers, Redact(sites="off")))[1]["x-note"] == MAIL
    target, seen = await arrived(f"/{MAIL}", headers, Redact(sites="pseudonym"))
    assert seen["x-note"].endswith("@example.invalid") and target == "/" + seen["x-note"].replace(
        "@", "%40"
    )


async def test_block_refuses_with_types_and_places() -> None:
    with Upstream() as up:
        context = make_context(port=up.port, redact=Redact(sites="block", binary="block"))
        async with connected(context) as agent:
            for target, headers, body in [
                (f"/{MAIL}", [], None),
                ("/", [("X-A", MAIL)], None),
                ("/", [("Content-Type", "application/json")], json.dumps({"a": MAIL}).encode()),
                ("/", [("Content-Type", "text/plain")], MAIL.encode()),
            ]:
                status, _, said = await agent.ask("POST", target, body, headers)
                error = json.loads(said)
                assert (status, error["rule"]) == (403, "redact.sites") and "EMAIL in " in error[
                    "message"
                ]
                assert MAIL.encode() not in said
            status, _, said = await agent.ask(
                "POST", "/", b"\0\1\2", [("Content-Type", "application/octet-stream")]
            )
            assert (status, json.loads(said)["rule"]) == (403, "redact.binary")
            assert (await agent.ask("POST", "/clean", b"text"))[0] == 200
    assert [seen.target for seen in up.requests] == ["/clean"]
    assert (
        len(context.link.durable) == 5 and MAIL.encode() not in repr(context.link.records).encode()
    )


async def test_a_large_block_is_broken_off_before_the_value() -> None:
    with Upstream() as up:
        context = make_context(port=up.port, redact=Redact(sites="block"))
        async with connected(context) as agent:
            body = b"some words " * 600_000 + MAIL.encode() + b" and more " * 1000
            status, _, _ = await agent.ask("POST", "/", body, [("Content-Type", "text/plain")])
    assert status == 403 and not up.requests and MAIL.encode() not in up.received


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 200), st.integers(1, 40))
def test_a_value_split_over_chunks_does_not_get_out(start: int, size: int) -> None:
    text = (b"x" * start + f" {MAIL}, {CARD} ".encode() + b"y" * 50)[:300]
    chunks = [text[at : at + size] for at in range(0, len(text), size)]

    async def main(port: int) -> None:
        async with connected(make_context(port=port)) as agent:
            await agent.send(
                f"POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            )
            for chunk in chunks:
                await agent.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await agent.send(b"0\r\n\r\n")
            assert (await agent.answer())[0] == 200

    with Upstream() as up:
        trio.run(main, up.port)
    assert up.requests[0].body == text.replace(MAIL.encode(), b"[EMAIL]").replace(
        CARD.encode(), b"[CREDIT_CARD]"
    )


async def test_large_text_streams_and_large_binaries_keep_their_length() -> None:
    text = (b"line of text\n" * 10_000 + b"mail john.doe@example.org now\n") * 40
    image = b"\x89PNG\0" + bytes(5 << 20)
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            assert (await agent.ask("PUT", "/", text, [("Content-Type", "text/plain")]))[0] == 200
            assert (await agent.ask("PUT", "/", image, [("Content-Type", "image/png")]))[0] == 200
    first, second = up.requests
    assert first.header("transfer-encoding") == "chunked" and MAIL.encode() not in first.body
    assert first.body == text.replace(MAIL.encode(), b"[EMAIL]")
    assert second.header("content-length") == str(len(image)) and second.body == image
    one, two = context.link.of(NetRequest)
    assert (one.bytes_out, one.unread) == (len(first.body), 0) and (two.bytes_out, two.unread) == (
        len(image),
    ) * 2


async def test_records_hold_what_happened_and_no_value() -> None:
    with Upstream(lambda seen: answer(201, b"hello")) as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            await agent.ask("POST", f"/u/{MAIL}?mail={MAIL}", MAIL.encode() * 2, [("X-Note", MAIL)])
    (request,) = context.link.of(NetRequest)
    assert (request.host, request.port, request.mode, request.method) == (
        NAME,
        80,
        "inspect",
        "POST",
    )
    assert (request.path, request.status, request.bytes_in) == (b"/u/%5BEMAIL%5D", 201, 5)
    (redaction,) = context.link.of(Redaction)
    assert redaction.towards == NAME and redaction.mode == "mask"
    assert {finding.place for finding in redaction.findings} >= {
        "url.path",
        "url.query.mail",
        "header.x-note",
        "body",
    }
    assert MAIL not in repr(context.link.records)


DEEP = reduce(lambda inner, _: "[" * 195 + json.dumps(inner) + "]" * 195, range(3), "")


@pytest.mark.parametrize("method", ["GET", "TRACE"])
@pytest.mark.parametrize(
    "path", [json.dumps({"a": f"\ud800 {MAIL}"}), DEEP], ids=["no Unicode", "deep"]
)
async def test_a_path_that_is_hard_to_read_is_recorded(method: str, path: str) -> None:
    target = "/" + quote(path)
    with Upstream() as up:
        context = make_context(port=up.port, redact=Redact(sites="off"))
        async with connected(context) as agent:
            assert (await agent.ask(method, target))[0] == (200 if method == "GET" else 405)
    [record] = context.link.of(NetRequest if method == "GET" else NetDenied)
    assert MAIL.encode() not in record.path and (b"EMAIL" in record.path) == (MAIL in path)


async def test_numbers_that_are_no_integers_are_read_too() -> None:
    with Upstream() as up:
        async with connected(make_context(port=up.port)) as agent:
            body = f'{{"card": {CARD}.0, "size": 1.5e300}}'.encode()
            assert (await agent.ask("POST", "/", body, [("Content-Type", "application/json")]))[
                0
            ] == 200
    assert up.requests[0].body == b'{"card": "[CREDIT_CARD].0", "size": 1.5e300}'


@pytest.mark.parametrize(
    "name", ["\ud800", "n" * 2_000_000], ids=["no Unicode", "longer than a frame"]
)
async def test_what_a_value_is_called_cannot_keep_it_out_of_the_log(name: str) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        async with connected(context) as agent:
            body = json.dumps({name: f"to {MAIL}"}).encode()
            assert (await agent.ask("POST", "/", body, [("Content-Type", "application/json")]))[
                0
            ] == 200
    assert json.loads(up.requests[0].body) == {name: "to [EMAIL]"}
    [told], [request] = context.link.of(Redaction), context.link.of(NetRequest)
    assert told.findings[0].type == "EMAIL" and request.status == 200 and not request.error


async def test_answers_pass_unchanged() -> None:
    body = f"{MAIL} {CARD}".encode()
    headers = [
        ("Content-Encoding", "x-any"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X", MAIL),
    ]
    with Upstream(lambda seen: answer(200, body, headers)) as up:
        async with connected(make_context(port=up.port)) as agent:
            await agent.send(
                f"GET / HTTP/1.1\r\nHost: {NAME}\r\nAccept-Encoding: br\r\n\r\n".encode()
            )
            http = h11.Connection(h11.CLIENT)
            http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
            http.send(h11.EndOfMessage())
            while (response := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await agent.stream.receive_some())
            while (data := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await agent.stream.receive_some())
    assert [
        (name.title(), value) for name, value in response.headers if name != b"content-length"
    ] == [(name.encode(), value.encode()) for name, value in headers]
    assert data.data == body and up.requests[0].header("accept-encoding") == "br"


async def test_a_name_that_leads_inside_is_a_refusal_with_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Upstream() as up:
        context = make_context(port=up.port)
        context.upstreams._hosts.clear()

        async def inside(*_: object, **__: object) -> list[object]:
            return [(2, 1, 6, "", ("127.0.0.1", up.port))]

        monkeypatch.setattr(trio.socket, "getaddrinfo", inside)
        async with connected(context) as agent:
            status, headers, body = await agent.ask()
        assert (status, headers["x-should-retry"]) == (403, "false")
        assert "akiosd.yaml" in json.loads(body)["hint"]
        # And the same, not inspected but relayed.
        ours, theirs = trio.testing.memory_stream_pair()
        await relay(context, theirs, destination(tls=True, kind="passthrough"))  # type: ignore[arg-type]
        assert await ours.receive_some() == b""
    assert up.connections == 0 and [record.rule for record in context.link.of(NetDenied)] == [
        "upstream",
        "upstream",
    ]
    assert not context.link.of(NetRequest)


# ---- passed through ------------------------------------------------------------------------------


async def test_bytes_are_relayed_both_ways_with_half_close_and_counted() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        whole = b""
        while piece := await stream.receive_some():
            whole += piece
        await stream.send_all(whole[::-1])

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, upstream, 0)
        context = make_context(port=listeners[0].socket.getsockname()[1])
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(lambda: relay(context, theirs, destination(kind="raw"), already=b"SSH"))  # type: ignore[arg-type]
        await ours.send_all(b"-2.0")
        await ours.send_eof()
        back = b""
        while piece := await ours.receive_some():
            back += piece
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (record,) = context.link.of(NetRequest)
    assert back == b"0.2-HSS" and (
        record.mode,
        record.bytes_out,
        record.bytes_in,
        record.unread,
    ) == ("raw", 7, 7, 7)


async def test_tls_that_is_not_opened_ends_at_the_upstream() -> None:
    authority = Authority()
    with Upstream(authority=authority, names=(NAME,)) as up:
        context = make_context(port=up.port)
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay, context, theirs, destination(tls=True, kind="passthrough"))
            trusting = ssl.create_default_context(cadata=authority.pem.decode())
            tls = trio.SSLStream(ours, trusting, server_hostname=NAME, https_compatible=True)
            await tls.send_all(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            assert (await tls.receive_some()).endswith(b"ok")
            await tls.aclose()
    (record,) = context.link.of(NetRequest)
    assert record.mode == "passthrough" and record.bytes_out > 200 and record.bytes_in > 500


async def test_a_relay_on_which_nothing_moves_ends(autojump_clock: object) -> None:
    context = make_context()

    async def dial(*_: object) -> trio.abc.Stream:
        return trio.testing.memory_stream_pair()[0]

    context.upstreams.dial = dial  # type: ignore[method-assign, assignment]
    ours, theirs = trio.testing.memory_stream_pair()
    await relay(context, theirs, destination(kind="raw"))  # type: ignore[arg-type]
    assert trio.current_time() == pytest.approx(context.limits.relay_idle_seconds, abs=5)
    assert context.link.of(NetRequest)[0].error and await ours.receive_some() == b""


# ---- the shapes of refusals ----------------------------------------------------------------------

DENIAL = Denial(rule="redact.sites", words='no <b>&\u2028\x1b[31m"', host="x\r\ny", hint="hint")


@pytest.mark.parametrize("provider", ["", *PROVIDERS])
def test_refusals_in_each_shape_are_inert_and_say_not_to_retry(provider: str) -> None:
    status, headers, body = render(DENIAL, provider)
    assert (
        status == 403 and dict(headers)[b"x-should-retry"] == b"false" and b"akios_denied" in body
    )
    assert all(0x20 <= byte < 0x7F for byte in body) and not {b"<", b">", b"&"} & {
        bytes([b]) for b in body
    }
    # And a client that parses it reads what was said.
    assert json.dumps(DENIAL.words)[1:-1] in json.dumps(json.loads(body))
    assert to_bytes(DENIAL).count(b"\r\n\r\n") == 1


# Where the clients of each provider look for the text that they show (their SDKs' own sources).
SHOWN = {
    "openai": ("error", "message"),
    "anthropic": ("error", "message"),
    "gemini": ("error", "message"),
    "mistral": ("message",),
    "xai": ("error",),
    "bedrock": ("message",),
    "ollama": ("error",),
    "": ("error",),
}
TOLD = f"{DENIAL.words} ({DENIAL.hint})"


@pytest.mark.parametrize("provider", ["", *PROVIDERS])
def test_what_helps_is_in_the_text_that_a_client_shows(provider: str) -> None:
    found = json.loads(render(DENIAL, provider)[2])
    for key in SHOWN[provider]:
        found = found[key]
    assert found == TOLD


async def test_the_status_line_says_who_refused_and_why() -> None:
    assert reason_phrase(DENIAL).startswith(b'Denied by AKIOS: no <b>&??[31m" (redact.sites)')
    assert len(reason_phrase(Denial(rule="x", words="a" * 10_000))) <= 200
    assert to_bytes(DENIAL).partition(b"\r\n")[0] == b"HTTP/1.1 403 " + reason_phrase(DENIAL)
    assert reason_phrase(failure(502, "no answer", "x")) == b"AKIOS failed: no answer (upstream)"
    with Upstream() as up:
        async with connected(make_context(port=up.port), destination(get_only=True)) as agent:
            await agent.stream.send_all(f"DELETE / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            said = bytes(await agent.stream.receive_some(4096)).partition(b"\r\n")[0]
    assert said.startswith(b"HTTP/1.1 403 Denied by AKIOS: only GET"), said


def test_refusals_are_where_each_client_looks_for_them() -> None:
    def shape(provider: str) -> dict[str, object]:
        found = json.loads(render(DENIAL, provider)[2])
        assert isinstance(found, dict)
        return found

    assert shape("openai")["error"]["code"] == "redact.sites"  # type: ignore[index]
    assert shape("anthropic")["type"] == "error" and shape("anthropic")["error"]["message"] == TOLD  # type: ignore[index]
    assert shape("gemini")["error"]["status"] == "PERMISSION_DENIED"  # type: ignore[index]
    assert shape("mistral")["object"] == "error" and shape("mistral")["message"] == TOLD
    assert str(shape("xai")["error"]).startswith(DENIAL.words) and str(
        shape("ollama")["error"]
    ).endswith("(hint)")
    assert shape("bedrock")["__type"] == "AccessDeniedException"
    assert dict(render(DENIAL, "bedrock")[1])[b"x-amzn-errortype"] == b"AccessDeniedException"


async def test_hundreds_of_connections_at_once_leave_nothing_behind() -> None:
    network = Network(allowed_domains=(NAME,), requests_per_minute=0)

    async def one() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_stream, context, theirs, destination())
        assert (await Agent(ours).ask())[0] == 200
        await ours.aclose()

    with Upstream() as up:
        context = make_context(port=up.port, network=network)
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(one)
        assert len(up.requests) == 300 and len(context.link.of(NetRequest)) == 300
        kept = sum(map(len, context.upstreams._idle.values()))
        assert 0 < kept <= 64 and up.connections <= 300
        await context.upstreams.aclose()
        assert not context.upstreams._idle
