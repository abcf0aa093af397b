"""Spans and metrics from records: names, parents, times, and that nothing grows with what agents do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.resources import Resource

from akiosctl.otlp.meters import MOST_MODELS, Meters
from akiosctl.otlp.spans import MOST_CAGES, STEP_PROGRAM, Span, Tracer
from akiosd.values.records import (
    Birth,
    End,
    Finding,
    LlmCall,
    NetDenied,
    ProgramEnded,
    ProgramStarted,
    Record,
    Redaction,
    encode_entry,
)
from akiosd.values.spend import Tokens
from tests.unit.client.test_top import HOSTILE, info

SECOND = 1_000_000_000
CALL = LlmCall(
    ts=9 * SECOND, provider="bedrock", model="claude-x", outcome="completed", usd_micro=1500,
    tokens=Tokens(input=100, output=20, cache_read=50), duration_ns=2 * SECOND, status=200,
)  # fmt: skip


def birth(*argv: bytes, ts: int = SECOND) -> Birth:
    return Birth(ts=ts, cage="c-1", uid=7, argv=argv, policy_sha256=b"")


def spans(*records: Record, log: str = "c-1", tracer: Tracer | None = None) -> list[Span]:
    tracer = tracer if tracer is not None else Tracer()
    found = [tracer.entry(log, n, encode_entry(record)) for n, record in enumerate(records)]
    return [span for span in found if span is not None]


def test_a_call_to_a_model_has_the_names_of_the_conventions() -> None:
    call, cage = spans(
        birth(b"/usr/bin/python3", b"agent.py"), CALL, End(ts=20 * SECOND, exit_code=0)
    )
    assert (call.name, call.kind, call.start_ns, call.end_ns) == (
        "chat claude-x", "client", 7 * SECOND, 9 * SECOND,
    )  # fmt: skip
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "claude-x",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 50,
        "http.response.status_code": 200,
        "akios.cage": "c-1",
        "akios.cost.usd": 0.0015,
        "akios.outcome": "completed",
    }
    assert (call.trace, call.parent, call.error) == (cage.trace, cage.span, "")
    assert (cage.name, cage.start_ns, cage.parent) == ("cage", SECOND, 0)
    assert cage.attributes["process.executable.name"] == "python3"
    assert cage.attributes["akios.cost.usd"] == 0.0015 and "akios.partial" not in cage.attributes


def test_what_failed_says_so() -> None:
    failed = msgspec.structs.replace(CALL, outcome="failed", status=429)
    call, cage = spans(failed, End(ts=10 * SECOND, exit_code=137, reason="killed: \x1b budget"))
    assert call.attributes["error.type"] == "429" and call.error == "failed"
    assert cage.error == "killed: \\x1b budget" and cage.attributes["akios.partial"] is True


def test_steps_of_a_run_are_one_trace() -> None:
    def step(cage: str, name: bytes) -> Span:
        argv = (b"python", b"-I", b"-m", STEP_PROGRAM, b"w-1", name, b"head")
        (span,) = spans(birth(*argv), End(ts=2 * SECOND, exit_code=0), log=cage)
        return span

    first, second = step("c-1", b"a.0.1"), step("c-2", b"b.0.1")
    assert first.name == "step" and first.attributes["akios.workflow.step"] == "a.0.1"
    assert first.trace == second.trace and first.span != second.span
    (other,) = spans(birth(b"python", STEP_PROGRAM), End(ts=2, exit_code=0))
    assert other.name == "cage", "arguments that only begin like those of a step"


def test_programs_of_a_standing_cage() -> None:
    begun = ProgramStarted(ts=5, program=3, argv=(b"/bin/make", b"secret"), pid=2)
    program, _ = spans(
        birth(), begun, ProgramEnded(ts=9, program=3, exit_code=2), End(ts=10, exit_code=0)
    )
    assert (program.name, program.start_ns, program.error) == ("program", 5, "exit status 2")
    assert program.attributes["process.executable.name"] == "make"


def test_a_span_that_is_sent_twice_is_one() -> None:
    assert spans(birth(), CALL, CALL) == spans(birth(), CALL, CALL)
    first, second = spans(birth(), CALL, CALL)
    assert first.span != second.span


def test_nothing_but_names_of_an_agents_words_leaves() -> None:
    hostile = msgspec.structs.replace(CALL, model="m\x1b" + "x" * 5000)
    redacted = Redaction(
        ts=3,
        towards="openai",
        mode="mask",
        findings=(Finding("EMAIL", "personal", "messages/0", 4),),
    )
    denied = NetDenied(ts=4, host=b"secret.example", rule="r", protocol="dns", count=2)
    found = spans(birth(*HOSTILE), hostile, redacted, denied, End(ts=9, exit_code=0))
    said = msgspec.json.encode(found).decode()
    assert "bold red" not in said and "secret" not in said and "messages/0" not in said
    for span in found:
        for value in span.attributes.values():
            assert not isinstance(value, str) or (value.isprintable() and len(value) <= 128)
    assert found[-1].attributes["akios.redactions"] == 4
    assert found[-1].attributes["akios.denials"] == 2


def test_what_is_remembered_of_cages_is_bounded() -> None:
    tracer = Tracer()
    tracer.known(info(f"c-{n}") for n in range(2 * MOST_CAGES))
    for n in range(MOST_CAGES):
        tracer.entry(f"d-{n}", 0, encode_entry(CALL))
    assert len(tracer._cages) == MOST_CAGES
    for entry in (b"", b"\xc1", b"\x80", encode_entry(CALL)[:-3]):
        assert tracer.entry("c-1", 0, entry) is None, "and what is no record is none"


def points(meters: Meters) -> dict[str, list[Any]]:
    data = meters.read()
    return {
        metric.name: list(metric.data.data_points)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }


def test_metrics_of_a_call() -> None:
    meters = Meters(Resource.create({}))
    for _ in range(3):
        meters.entry(encode_entry(CALL))
    found = points(meters)
    (spend,) = found["akios.spend_usd"]
    assert spend.value == pytest.approx(0.0045) and spend.attributes == {"provider": "bedrock"}
    tokens = {
        point.attributes["gen_ai.token.type"]: point for point in found["gen_ai.client.token.usage"]
    }
    assert (tokens["input"].sum, tokens["output"].sum, tokens["input"].count) == (300, 60, 3)
    (took,) = found["gen_ai.client.operation.duration"]
    assert took.sum == 6 and took.attributes["gen_ai.provider.name"] == "aws.bedrock"


def test_no_label_grows_with_what_agents_do() -> None:
    meters = Meters(Resource.create({}))
    for n in range(3 * MOST_MODELS):
        call = msgspec.structs.replace(CALL, model=f"m-{n}", provider=f"p-{n}")
        meters.entry(encode_entry(call))
    found = points(meters)
    assert {point.attributes["provider"] for point in found["akios.spend_usd"]} == {"other"}
    models = {
        p.attributes["gen_ai.request.model"] for p in found["gen_ai.client.operation.duration"]
    }
    assert len(models) == MOST_MODELS + 1 and "_OTHER" in models


def test_events_alone_load_no_library_for_it() -> None:

    program = (
        "import sys; import akiosctl.verbs.events, akiosctl.verbs.top, akiosctl.otlp.spans;"
        "sys.exit(any(n.startswith(('opentelemetry', 'textual', 'requests')) for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
