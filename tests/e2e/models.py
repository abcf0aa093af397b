"""Stand-ins for the providers' models: they speak each API, streaming and not, and write down what
they were sent.

A model says the last user's text back, in pieces of ``cut`` characters; if it has a tool it calls
it with that text.  Asked for JSON it says the text and nothing else.  With a ``plan`` (a tool's name
and its arguments) it calls that tool alone, until it has ``turns`` results.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from akiosd.gateway.llm.eventstream import pack
from tests.unit.gateway.pack_headers import pack_headers

USAGE = {"input": 1_000, "cached": 200, "output": 30, "reasoning": 10}
"""What every answer claims; ``input`` with ``cached``, ``output`` with ``reasoning``."""
THOUGHT, SIGNATURE = "I should say it back to them.", "EqQBCgIYAhIM" + "c2lnbmVk" * 8

Json = dict[str, Any]


class Reply(NamedTuple):
    status: int
    content_type: str
    chunks: list[bytes]


class Said(NamedTuple):
    """What an answer is made of."""

    text: str
    tool: str
    arguments: str
    cut: int

    def pieces(self, text: str) -> list[str]:
        return [text[at : at + self.cut] for at in range(0, len(text), self.cut)]


Plan = tuple[str, Json]
_RESULTS = ('"tool_result"', '"function_call_output"', '"functionResponse"', '"role": "tool"')


def answer(
    method: str, target: str, body: Json, cut: int = 3, plan: Plan | None = None, turns: int = 1
) -> Reply:
    """The answer of the provider whose path this is."""
    path, _, query = target.partition("?")
    path = unquote(path)
    if method == "GET":
        return _json(
            {"object": "list", "data": [{"id": "stand-in", "object": "model"}], "models": []}
        )
    said = _said(body, cut) if plan is None else _planned(body, cut, plan, turns)
    if path.endswith(("/chat/completions", "/fim/completions")):
        return _chat(body, said)
    if path.endswith("/responses"):
        return _responses(body, said)
    if path.endswith("/responses/compact"):
        kept = {"id": "cmp_1", "type": "compaction", "encrypted_content": SIGNATURE}
        return _json(
            {
                "id": "resp_1",
                "object": "response.compaction",
                "created_at": 1,
                "output": [kept],
                "usage": _RESPONSE_USAGE,
            }
        )
    if path.endswith("/embeddings"):
        found = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
        return _json(
            {
                "id": "embd-1",
                "object": "list",
                "data": found,
                "model": body.get("model"),
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            }
        )
    if path.endswith("/messages"):
        return _messages(body, said)
    if path.endswith("/count_tokens"):
        return _json({"input_tokens": 12})
    if path.endswith("/count-tokens"):
        return _json({"inputTokens": 12})
    if ":" in path and "/models/" in path:
        return _gemini(path.rpartition(":")[2], dict(parse_qsl(query)).get("alt") == "sse", said)
    if path.startswith("/model/"):
        return _bedrock(path.rpartition("/")[2], body, said)
    if path.startswith("/api/"):
        return _ollama(path, body, said)
    return Reply(404, "application/json", [b'{"error":{"message":"no such path"}}'])


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, "application/json", [json.dumps(value).encode()])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for name in ("text", "content", "parts", "prompt", "output"):
            if name in value:
                yield from _texts(value[name])


def _said(body: Json, cut: int) -> Said:
    source = (
        body.get("messages")
        or body.get("input")
        or body.get("contents")
        or body.get("prompt")
        or ""
    )
    last = source[-1] if isinstance(source, list) and source else source
    text = "".join(_texts(last))
    tool = _tool(body)
    arguments = json.dumps({"path": "a.txt", "text": text}, ensure_ascii=False)
    return Said(text if _wants_json(body) else f"You said: {text}", tool, arguments, cut)


def _wants_json(body: Json) -> bool:
    """Whether the answer is to be JSON of a schema; then the text comes back as it is."""
    config = body.get("generationConfig") or {}
    return bool(body.get("response_format") or body.get("format") or "responseJsonSchema" in config)


def _planned(body: Json, cut: int, plan: Plan, turns: int) -> Said:
    said, (name, arguments) = _said(body, cut), plan
    written = json.dumps(body)
    done = sum(written.count(kind) for kind in _RESULTS) >= turns
    offered = f'"name": "{name}"' in json.dumps(body.get("tools") or [])
    return said._replace(tool=name if offered and not done else "", arguments=json.dumps(arguments))


def _tool(body: Json) -> str:
    for tool in body.get("tools") or (body.get("toolConfig") or {}).get("tools") or []:
        for holder in (
            tool,
            tool.get("function"),
            tool.get("toolSpec"),
            *tool.get("functionDeclarations", ()),
        ):
            if isinstance(holder, dict) and isinstance(holder.get("name"), str):
                return str(holder["name"])
    return ""


def sse(events: list[Json], named: bool = False, done: bool = False) -> list[bytes]:
    out = []
    for event in events:
        head = f"event: {event['type']}\n" if named else ""
        out.append(f"{head}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
    return [*out, b"data: [DONE]\n\n"] if done else out


def _stream(events: list[Json], named: bool = False, done: bool = False) -> Reply:
    return Reply(200, "text/event-stream; charset=utf-8", sse(events, named, done))


# ---- OpenAI, Mistral, xAI ------------------------------------------------------------------------

_CHAT_USAGE = {
    "prompt_tokens": USAGE["input"], "completion_tokens": USAGE["output"],
    "total_tokens": USAGE["input"] + USAGE["output"],
    "prompt_tokens_details": {"cached_tokens": USAGE["cached"]},
    "completion_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
}  # fmt: skip


def _chat(body: Json, said: Said) -> Reply:
    base = {"id": "chatcmpl-1", "created": 1, "model": body.get("model", "")}
    finish = "tool_calls" if said.tool else "stop"
    count = body.get("n") or 1
    if not body.get("stream"):
        message: Json = {"role": "assistant", "content": said.text}
        if said.tool:
            function = {"name": said.tool, "arguments": said.arguments}
            message["tool_calls"] = [
                {"id": "call_abcdefgh1", "type": "function", "function": function}
            ]
        choices = [{"index": i, "message": message, "finish_reason": finish} for i in range(count)]
        return _json(
            {**base, "object": "chat.completion", "choices": choices, "usage": _CHAT_USAGE}
        )
    base["object"] = "chat.completion.chunk"
    asked = (body.get("stream_options") or {}).get("include_usage")
    empty = {"usage": None} if asked else {}
    events: list[Json] = []

    def say(delta: Json, ended: str | None = None) -> None:
        for index in range(count):
            choice = {"index": index, "delta": delta, "finish_reason": ended}
            events.append({**base, "choices": [choice], **empty})

    say({"role": "assistant", "content": ""})
    for piece in said.pieces(said.text):
        say({"content": piece})
    if said.tool:
        start = {
            "index": 0,
            "id": "call_abcdefgh1",
            "type": "function",
            "function": {"name": said.tool, "arguments": ""},
        }
        say({"tool_calls": [start]})
        for piece in said.pieces(said.arguments):
            # Mistral's clients want a name in every piece.
            named = {} if "stream_options" in body else {"name": ""}
            say({"tool_calls": [{"index": 0, "function": {**named, "arguments": piece}}]})
    say({}, finish)
    if asked:
        events.append({**base, "choices": [], "usage": _CHAT_USAGE})
    elif "stream_options" not in body:
        events[-1]["usage"] = _CHAT_USAGE  # as Mistral does
    return _stream(events, done=True)


_RESPONSE_USAGE = {
    "input_tokens": USAGE["input"], "output_tokens": USAGE["output"], "total_tokens": USAGE["input"] + USAGE["output"],
    "input_tokens_details": {"cached_tokens": USAGE["cached"], "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
}  # fmt: skip


def _responses(body: Json, said: Said) -> Reply:
    part = {"type": "output_text", "text": said.text, "annotations": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": SIGNATURE}
    call = {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_abcdefgh1",
        "name": said.tool,
        "arguments": said.arguments,
        "status": "completed",
    }
    output = [reasoning, message, *([call] if said.tool else [])]
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body.get("model", ""),
        "output": output,
        "status": "completed",
        "usage": _RESPONSE_USAGE,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if not body.get("stream"):
        return _json(response)
    begun = {**response, "output": [], "status": "in_progress", "usage": None}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
    ]
    at = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    empty = {**part, "text": ""}
    events.append(
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**message, "content": []},
        }
    )
    events.append({"type": "response.content_part.added", **at, "part": empty})
    events += [
        {"type": "response.output_text.delta", **at, "delta": p, "logprobs": []}
        for p in said.pieces(said.text)
    ]
    events.append({"type": "response.output_text.done", **at, "text": said.text, "logprobs": []})
    events.append({"type": "response.content_part.done", **at, "part": part})
    events.append({"type": "response.output_item.done", "output_index": 1, "item": message})
    if said.tool:
        at = {"item_id": "fc_1", "output_index": 2}
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": 2,
                "item": {**call, "arguments": ""},
            }
        )
        for piece in said.pieces(said.arguments):
            events.append({"type": "response.function_call_arguments.delta", **at, "delta": piece})
        events.append(
            {
                "type": "response.function_call_arguments.done",
                **at,
                "name": said.tool,
                "arguments": said.arguments,
            }
        )
        events.append({"type": "response.output_item.done", "output_index": 2, "item": call})
    events.append({"type": "response.completed", "response": response})
    return _stream([{**event, "sequence_number": n} for n, event in enumerate(events)], named=True)


# ---- Anthropic -----------------------------------------------------------------------------------

_MESSAGES_USAGE = {
    "input_tokens": USAGE["input"] - USAGE["cached"], "cache_read_input_tokens": USAGE["cached"],
    "cache_creation_input_tokens": 0, "output_tokens": USAGE["output"],
}  # fmt: skip


def _messages(body: Json, said: Said) -> Reply:
    blocks: list[Json] = [
        {"type": "thinking", "thinking": THOUGHT + said.text, "signature": SIGNATURE}
    ]
    blocks.append({"type": "text", "text": said.text})
    if said.tool:
        given = json.loads(said.arguments)
        blocks.append(
            {"type": "tool_use", "id": "toolu_abcdefgh1", "name": said.tool, "input": given}
        )
    stop = "tool_use" if said.tool else "end_turn"
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", ""),
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": _MESSAGES_USAGE,
    }
    if not body.get("stream"):
        return _json(message)
    return _stream(anthropic_events(message, said), named=True)


def anthropic_events(message: Json, said: Said) -> list[Json]:
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**_MESSAGES_USAGE, "output_tokens": 1},
    }
    events: list[Json] = [{"type": "message_start", "message": begun}, {"type": "ping"}]

    def block(index: int, start: Json, deltas: list[Json]) -> None:
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events.extend(
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        )
        events.append({"type": "content_block_stop", "index": index})

    thoughts = [
        {"type": "thinking_delta", "thinking": piece} for piece in said.pieces(THOUGHT + said.text)
    ]
    block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        [*thoughts, {"type": "signature_delta", "signature": SIGNATURE}],
    )
    block(
        1,
        {"type": "text", "text": ""},
        [{"type": "text_delta", "text": piece} for piece in said.pieces(said.text)],
    )
    if said.tool:
        deltas = [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in said.pieces(said.arguments)
        ]
        block(
            2, {"type": "tool_use", "id": "toolu_abcdefgh1", "name": said.tool, "input": {}}, deltas
        )
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append(
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": USAGE["output"]}}
    )
    events.append({"type": "message_stop"})
    return events


# ---- Gemini --------------------------------------------------------------------------------------


def _gemini(verb: str, as_sse: bool, said: Said) -> Reply:
    if verb == "countTokens":
        return _json({"totalTokens": 12})
    if verb in ("embedContent", "batchEmbedContents"):
        return _json({"embedding": {"values": [0.5]}, "embeddings": [{"values": [0.5]}]})
    usage = {
        "promptTokenCount": USAGE["input"],
        "cachedContentTokenCount": USAGE["cached"],
        "candidatesTokenCount": USAGE["output"] - USAGE["reasoning"],
        "thoughtsTokenCount": USAGE["reasoning"],
        "totalTokenCount": USAGE["input"] + USAGE["output"],
    }
    call = {
        "functionCall": {"name": said.tool, "args": json.loads(said.arguments)},
        "thoughtSignature": SIGNATURE,
    }

    def event(parts: list[Json], finish: str = "") -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "stand-in",
            "responseId": "r1",
        }

    tail = [call] if said.tool else []
    if verb == "generateContent":
        return _json(event([{"text": said.text}, *tail], "STOP"))
    pieces = said.pieces(said.text)
    events = [event([{"text": piece}]) for piece in pieces[:-1]] + [
        event([{"text": pieces[-1]}, *tail], "STOP")
    ]
    if as_sse:
        return _stream(events)
    parts = [json.dumps(e, ensure_ascii=False).encode() for e in events]
    return Reply(200, "application/json; charset=UTF-8", [b"[", b"\n,\r\n".join(parts), b"\n]\n"])


# ---- Bedrock -------------------------------------------------------------------------------------


def _frame(kind: str, payload: Json) -> bytes:
    headers = pack_headers(
        {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    )
    return pack(headers, json.dumps(payload, ensure_ascii=False).encode())


def _bedrock(verb: str, body: Json, said: Said) -> Reply:
    if verb.startswith("invoke"):
        whole = _messages({k: v for k, v in body.items() if k != "stream"}, said)
        if verb == "invoke":
            return whole
        events = anthropic_events(json.loads(whole.chunks[0]), said)
        frames = [
            _frame(
                "chunk", {"bytes": base64.b64encode(json.dumps(e).encode()).decode(), "p": "abc"}
            )
            for e in events
        ]
        return Reply(200, "application/vnd.amazon.eventstream", frames)
    usage = {
        "inputTokens": USAGE["input"] - USAGE["cached"],
        "cacheReadInputTokens": USAGE["cached"],
        "outputTokens": USAGE["output"],
        "totalTokens": USAGE["input"] + USAGE["output"],
    }
    stop = "tool_use" if said.tool else "end_turn"
    use = {"toolUseId": "tooluse_abcdefgh1", "name": said.tool}
    if verb == "converse":
        content: list[Json] = [{"text": said.text}]
        if said.tool:
            content.append({"toolUse": {**use, "input": json.loads(said.arguments)}})
        return _json(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": stop,
                "usage": usage,
                "metrics": {"latencyMs": 1},
            }
        )
    events = [_frame("messageStart", {"role": "assistant"})]
    for piece in said.pieces(said.text):
        events.append(
            _frame(
                "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "ab"}
            )
        )
    events.append(_frame("contentBlockStop", {"contentBlockIndex": 0}))
    if said.tool:
        events.append(
            _frame("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": use}})
        )
        for piece in said.pieces(said.arguments):
            delta = {"contentBlockIndex": 1, "delta": {"toolUse": {"input": piece}}}
            events.append(_frame("contentBlockDelta", delta))
        events.append(_frame("contentBlockStop", {"contentBlockIndex": 1}))
    events.append(_frame("messageStop", {"stopReason": stop}))
    events.append(_frame("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}))
    return Reply(200, "application/vnd.amazon.eventstream", events)


# ---- Ollama --------------------------------------------------------------------------------------


def _ollama(path: str, body: Json, said: Said) -> Reply:
    base = {"model": body.get("model", ""), "created_at": "2026-01-01T00:00:00Z"}
    if path.startswith("/api/embed"):
        return _json({**base, "embeddings": [[0.5]], "prompt_eval_count": 8})
    counts = {
        "prompt_eval_count": USAGE["input"],
        "eval_count": USAGE["output"],
        "done_reason": "stop",
    }

    def event(text: str, done: bool) -> Json:
        if path.endswith("/generate"):
            return {**base, "response": text, "done": done}
        message: Json = {"role": "assistant", "content": text}
        if said.tool and done:
            message["tool_calls"] = [
                {"function": {"name": said.tool, "arguments": json.loads(said.arguments)}}
            ]
        return {**base, "message": message, "done": done}

    if body.get("stream") is False:
        return _json({**event(said.text, True), **counts})
    events = [event(piece, False) for piece in said.pieces(said.text)] + [
        {**event("", True), **counts}
    ]
    return Reply(
        200,
        "application/x-ndjson",
        [json.dumps(e, ensure_ascii=False).encode() + b"\n" for e in events],
    )


# ---- a server ------------------------------------------------------------------------------------


class Received(NamedTuple):
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def everything(self) -> bytes:
        """All that a provider could have read."""
        head = "\n".join(
            [
                self.method,
                self.target,
                unquote(self.target),
                *(f"{k}: {v}" for k, v in self.headers),
            ]
        )
        return head.encode("utf-8", "replace") + b"\n\n" + self.body


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Models:
    """The stand-in on a loopback port, plain or TLS; ``received`` is its log.  Use as a context
    manager.

    ``fail`` is a (status, headers, body) to answer with instead, ``failures`` are one each for the
    next requests; ``pause`` holds a stream before its last piece; with ``hurry`` there is a second
    between two pieces of a stream until it is set.
    """

    def __init__(self, context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.fail: tuple[int, dict[str, str], bytes] | None = None
        self.failures: list[tuple[int, dict[str, str], bytes]] = []
        self.plan: Plan | None = None
        self.turns = 1
        self.cut = 3
        self.pause: threading.Event | None = None
        self.hurry: threading.Event | None = None
        self.breaks = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_DELETE = do_HEAD = do_PUT = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self._server = _Server((address, 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"{'http' if context is None else 'https'}://{address}:{self.port}"

    def __enter__(self) -> Models:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *exc: object) -> None:
        for held in (self.pause, self.hurry):
            if held is not None:
                held.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        self.received.append(Received(request.command, request.path, request.headers.items(), body))
        fail = self.fail or (self.failures.pop(0) if self.failures else None)
        if fail is not None:
            status, headers, content = fail
            self._send(request, status, {"content-type": "application/json", **headers}, [content])
            return
        try:
            parsed = json.loads(body) if body else {}
        except ValueError:
            parsed = {}
        reply = answer(request.command, request.path, parsed, self.cut, self.plan, self.turns)
        # The answers and calls of one conversation are told apart by their ids.
        number = b"%05d" % len(self.received)
        chunks = [
            chunk.replace(b"abcdefgh1", b"abcd" + number).replace(b'"msg_1"', b'"msg_%b"' % number)
            for chunk in reply.chunks
        ]
        self._send(
            request,
            reply.status,
            {"content-type": reply.content_type, "x-request-id": "req_1"},
            chunks if self.turns > 1 else reply.chunks,
        )

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        chunks: list[bytes],
    ) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        try:
            for index, chunk in enumerate(chunks):
                if index == len(chunks) // 2 and len(chunks) > 2:
                    if self.breaks:
                        request.close_connection = True
                        return
                    if self.pause is not None:
                        self.pause.wait(30)
                if self.hurry is not None and len(chunks) > 2:
                    self.hurry.wait(1)
                request.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            request.wfile.write(b"0\r\n\r\n")
        except OSError:
            request.close_connection = True
