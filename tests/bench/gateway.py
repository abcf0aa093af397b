"""What the gateway adds to a call to a model: the same client and upstream, directly and from a
cage, in one run.

    python -m tests.bench.gateway [REQUESTS]

Prints the median and p99 of whole answers, of the first event of streams, each with what the cage
adds, and requests a second with 8 connections; with LiteLLM's proxy in the same place, where
`litellm` (pip install 'litellm[proxy]') is found.  All are taken in turns, so that drift meets them
alike.  The prompt has 1 KB with two findings and a number that changes.  Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import h11
import trio
from tests.e2e.daemon import BIN, Daemon
from tests.e2e.upstreams import Authority

REACH_MS = 1.5
TURNS = 4
MODEL = "gpt-4o-mini"
USAGE = {"prompt_tokens": 300, "completion_tokens": 8, "total_tokens": 308}
CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": "Good morning to you."},
    "finish_reason": "stop",
}
ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
PIECES = ["Good ", "morning ", "to ", "you."]

CLIENT = """
import http.client, json, os, ssl, sys, threading, time
scheme, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
key = {"authorization": "Bearer " + os.environ.get("OPENAI_API_KEY", "sk-none"), "content-type": "application/json"}
text = "Please write to Erika, erika.mustermann@mail-kunde.de, about DE89370400440532013000. " + "All is well. " * 70
numbers = iter(range(10**9))
def connect():
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=30)
    return http.client.HTTPSConnection(host, port, timeout=30)
def call(connection, stream):
    prompt = f"{os.getpid()} {next(numbers)} {text}"
    body = {"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": prompt}]}
    if stream:
        body["stream"] = True
    data = json.dumps(body)
    begin = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", data, key)
    answer = connection.getresponse()
    first = answer.readline() if stream else answer.read()
    took = time.perf_counter() - begin
    answer.read()
    assert answer.status == 200, first
    assert b"data" in first if stream else b"Good morning" in first, first
    return took * 1000
def measure(stream):
    connection = connect()
    for _ in range(10):
        call(connection, stream)
    return [call(connection, stream) for _ in range(count)]
def throughput():
    def work():
        connection = connect()
        for _ in range(count // 4):
            call(connection, False)
    threads = [threading.Thread(target=work) for _ in range(8)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [8 * (count // 4) / (time.perf_counter() - begin)]
print(json.dumps({"whole": measure(False), "first event": measure(True), "a second": throughput()}))
"""


class Upstream:
    """OpenAI's chat completions with one fixed answer, over TLS, as fast as a Python process gives
    it.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    def start(self) -> Upstream:
        self._thread.start()
        self._ready.wait()
        return self

    async def _run(self) -> None:
        listeners = await trio.open_ssl_over_tcp_listeners(0, self._context, host="127.0.0.1")
        self.port = listeners[0].transport_listener.socket.getsockname()[1]
        self._ready.set()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while await self._serve_one(stream):
                pass
        except trio.BrokenResourceError:
            pass

    async def _serve_one(self, stream: trio.SSLStream[trio.SocketStream]) -> bool:
        http = h11.Connection(h11.SERVER)
        body = b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(65536)
                if not data:
                    return False
                http.receive_data(data)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        await stream.send_all(self._answer(json.loads(body or b"{}")))
        return True

    def _answer(self, asked: dict[str, object]) -> bytes:
        if not asked.get("stream"):
            data = json.dumps({**ANSWER, "choices": [CHOICE], "usage": USAGE}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
            return head.encode() + data
        deltas = [
            [{"index": 0, "delta": {"content": piece}, "finish_reason": None}] for piece in PIECES
        ]
        events = [{"choices": choices} for choices in deltas]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events.append({"choices": [], "usage": USAGE})
        lines = [
            json.dumps({**ANSWER, "object": "chat.completion.chunk", **event}) for event in events
        ]
        data = b"".join(b"data: " + line.encode() + b"\n\n" for line in (*lines, "[DONE]"))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(data)}\r\n\r\n"
        return head.encode() + data


Figures = dict[str, list[float]]
"""What was measured → milliseconds of each call, or requests a second of each turn."""
Client = Callable[[int], Figures]
"""Makes so many calls of each kind."""


def read(done: subprocess.CompletedProcess[str]) -> Figures:
    if done.returncode:
        raise SystemExit(f"the client failed ({done.returncode}): {done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def directly(scheme: str, port: int, roots: Path) -> Client:
    command = ["/usr/bin/python3", "-c", CLIENT, scheme, "127.0.0.1", str(port)]
    env = {**os.environ, "SSL_CERT_FILE": str(roots)}
    return lambda count: read(
        subprocess.run([*command, str(count)], env=env, capture_output=True, text=True)
    )


@contextmanager
def caged(upstream: Upstream, roots: Path) -> Iterator[Client]:
    config = f'gateway:\n  roots: {roots}\n  providers: {{openai: {{upstream: "https://127.0.0.1:{upstream.port}"}}}}\n'
    policy = "budget: {usd: 1000, same_request: 0, same_tool_calls: 0, cycles: 0}\n"
    with closing(Daemon(config, policy).start()) as daemon:
        daemon.ctl("keys", "set", "openai", input="sk-bench-key").check_returncode()
        command = ("/usr/bin/python3", "-c", CLIENT, "https", "api.openai.com", "443")
        yield lambda count: read(daemon.run(*command, str(count)))


@contextmanager
def litellm(upstream: Upstream, roots: Path) -> Iterator[Client]:
    """LiteLLM's proxy in front of the same upstream."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "config.yaml")
        base = f"https://127.0.0.1:{upstream.port}/v1"
        config.write_text(
            json.dumps(
                {
                    "model_list": [
                        {
                            "model_name": MODEL,
                            "litellm_params": {
                                "model": f"openai/{MODEL}",
                                "api_base": base,
                                "api_key": "sk-bench-key",
                            },
                        }
                    ]
                }
            )
        )
        port = upstream.port + 1 if upstream.port < 65000 else upstream.port - 1
        command = [
            str(find_litellm()),
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        env = {
            **os.environ,
            "SSL_CERT_FILE": str(roots),
            "LITELLM_LOG": "ERROR",
            # Newer versions do not start without a key of their own.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=1)
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                raise SystemExit("litellm did not start")
            yield directly("http", port, roots)
        finally:
            process.kill()
            process.wait()


def find_litellm() -> str | None:
    beside = BIN / "litellm"
    return str(beside) if beside.exists() else shutil.which("litellm")


def measure(clients: dict[str, Client], count: int) -> dict[str, Figures]:
    found: dict[str, Figures] = {name: defaultdict(list) for name in clients}
    for _ in range(TURNS):
        for name, client in clients.items():
            for what, figures in client(count // TURNS).items():
                found[name][what] += figures
    return found


def show(name: str, figures: Figures, base: Figures) -> None:
    for what in ("whole", "first event"):
        times = sorted(figures[what])
        p50, p99 = statistics.median(times), times[len(times) * 99 // 100]
        added = p50 - statistics.median(base[what])
        mark = "" if figures is base else f"  +{added:5.2f} ms"
        if name == "caged":
            mark += f"  (reach ≤ +{REACH_MS} ms) {'ok' if added <= REACH_MS else 'MISSED'}"
        print(f"{name:<9} {what:<12} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms{mark}")
    print(f"{name:<9} {'8 at once':<12} {statistics.median(figures['a second']):7.0f} requests/s")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    authority = Authority()
    upstream = Upstream(authority.server_context("127.0.0.1")).start()
    with tempfile.TemporaryDirectory() as directory:
        roots = Path(directory, "roots.pem")
        roots.write_bytes(authority.pem)
        with ExitStack() as stack:
            clients = {"direct": directly("https", upstream.port, roots)}
            clients["caged"] = stack.enter_context(caged(upstream, roots))
            if find_litellm() is not None:
                clients["litellm"] = stack.enter_context(litellm(upstream, roots))
            found = measure(clients, count)
        for name, figures in found.items():
            show(name, figures, found["direct"])
        if "litellm" not in found:
            print("litellm   left out: it is not installed")


if __name__ == "__main__":
    main()
