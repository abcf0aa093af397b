"""``events --otlp`` in front of a receiver that decodes what the protocol says: what comes, what of an
agent does not, and that a collector or an akiosd may go away.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.models import Models
from tests.e2e.standing import before_models

SECRET = "ada.lovelace@example.org"
AGENT = f"""
import json, urllib.request
body = {{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{{"role": "user", "content": "write to {SECRET}"}}]}}
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", json.dumps(body).encode(),
    {{"content-type": "application/json", "authorization": "Bearer sk-x"}})
urllib.request.urlopen(request).read()
"""


class Collector:
    """A receiver of OTLP over HTTP; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, list[Any]] = {}
        self.raw = b""
        self.status = 200
        self.refused = 0
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = collector.take(self.path, body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, path: str, body: bytes) -> int:
        with self._changed:
            self._changed.notify_all()
            if self.status != 200:
                self.refused += path == "/v1/traces"
                return self.status
            self.raw += body
            if path == "/v1/traces":
                found = ExportTraceServiceRequest.FromString(body)
                self.spans += [
                    span
                    for resource in found.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
            elif path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        for metric in scope.metrics:
                            kind = getattr(metric, metric.WhichOneof("data"))
                            self.metrics[metric.name] = list(kind.data_points)
            return 200

    def wait(self, done: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(done, 60), (self.spans, self.refused)

    def of(self, name: str, *cages: str) -> list[Any]:
        """Spans of this name of these cages."""
        return [
            span
            for span in self.spans
            if span.name == name and attributes(span)["akios.cage"] in cages
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def attributes(item: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in item.attributes}


@pytest.fixture(scope="module")
def akios() -> Iterator[Daemon]:
    with Models() as models, before_models(models) as daemon:
        yield daemon


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def export(akios: Daemon, collector: Collector) -> Iterator[subprocess.Popen[str]]:
    """It runs, and has told of a cage: so it follows."""
    words = ("events", "--otlp", collector.url)
    process = akios.popen(*words, uid=NOBODY, stderr=subprocess.PIPE, text=True)
    while not collector.spans:
        assert akios.run("true", uid=NOBODY).returncode == 0 and process.poll() is None
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def ask(akios: Daemon) -> str:
    place = akios.workspace(uid=NOBODY)
    (place / "agent.py").write_text(AGENT)
    report = akios.report("/usr/bin/python3", "agent.py", cwd=place, uid=NOBODY)
    assert report["exit_code"] == 0, report
    cage: str = report["cage"]
    return cage


def test_a_call_and_its_cage_arrive_and_nothing_that_was_redacted(
    akios: Daemon, collector: Collector, export: subprocess.Popen[str]
) -> None:
    cage = ask(akios)
    collector.wait(lambda: collector.of("cage", cage))
    (call,), (whole,) = collector.of("chat gpt-4o-mini", cage), collector.of("cage", cage)
    told = attributes(call)
    assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.provider.name"] == "openai"
    assert told["gen_ai.usage.input_tokens"] == 1000 and told["gen_ai.usage.output_tokens"] == 30
    assert told["akios.cage"] == cage and told["akios.cost.usd"] > 0
    assert call.trace_id == whole.trace_id and call.parent_span_id == whole.span_id
    assert whole.start_time_unix_nano < call.start_time_unix_nano < call.end_time_unix_nano
    assert (
        attributes(whole)["akios.redactions"] == 1 and attributes(whole)["akios.model_calls"] == 1
    )
    export.send_signal(signal.SIGINT)
    assert export.wait(60) == 130, "metrics are sent once more at the end"
    (spend,) = collector.metrics["akios.spend_usd"]
    assert attributes(spend) == {"provider": "openai"}
    assert spend.as_double == pytest.approx(told["akios.cost.usd"])
    assert "gen_ai.client.token.usage" in collector.metrics
    log = akios.ctl("events", "--cage", cage, uid=NOBODY).stdout
    assert "towards=openai" in log and SECRET not in log, "control: it was found"
    assert SECRET.encode() not in collector.raw and b"agent.py" not in collector.raw


@pytest.mark.named_set("live")
def test_a_collector_and_an_akiosd_that_were_away_cost_no_span(
    akios: Daemon, collector: Collector, export: subprocess.Popen[str]
) -> None:
    collector.status = 503
    cages = [ask(akios)]
    collector.wait(lambda: collector.refused >= 1)
    akios.stop()
    akios.start()
    cages += [ask(akios), ask(akios)]
    collector.status = 200
    calls = "chat gpt-4o-mini"
    collector.wait(
        lambda: len(collector.of("cage", *cages)) == len(collector.of(calls, *cages)) == 3
    )
    assert {attributes(span)["akios.cage"] for span in collector.of("cage", *cages)} == set(cages)
    assert len({span.span_id for span in collector.spans}) == len(collector.spans), "none twice"


@pytest.mark.named_set("live")
def test_what_a_collector_refuses_is_said_and_left_behind(
    akios: Daemon, collector: Collector, export: subprocess.Popen[str]
) -> None:
    collector.status = 400
    lost = akios.report("true", uid=NOBODY)["cage"]
    assert export.stderr is not None
    while "refused" not in (line := export.stderr.readline()):
        assert line
    assert "HTTP 400" in line
    collector.status = 200
    later = akios.report("true", uid=NOBODY)["cage"]
    collector.wait(lambda: collector.of("cage", later))
    assert not collector.of("cage", lost)


@pytest.mark.parametrize(("words", "says"), [
    (("--otlp", "localhost:4318"), "http://HOST:4318"),
    (("--otlp", "http://127.0.0.1:1", "--json"), "leave out"),
    (("--otlp", "http://127.0.0.1:1", "--kind", "end"), "leave out"),
])  # fmt: skip
def test_wrong_words(akios: Daemon, words: tuple[str, ...], says: str) -> None:
    done = akios.ctl("events", *words, uid=NOBODY)
    assert done.returncode == 125 and says in done.stderr
