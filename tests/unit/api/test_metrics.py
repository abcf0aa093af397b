"""Metrics: what each record adds, what is written, and that nothing hostile makes a series."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from akiosctl.api.metrics.collect import Collection, Gauges, gauges_of
from akiosctl.api.metrics.count import Counts
from akiosctl.api.metrics.table import METRICS
from akiosd.values.records import (
    Birth,
    End,
    Finding,
    LlmCall,
    Lost,
    NetDenied,
    NetRequest,
    Record,
    Redaction,
    SpendWarning,
    Syscall,
    encode_entry,
)
from akiosd.values.spend import Tokens
from akiosd.wire.messages import CageInfo, DiskUse, DoctorReply, LayerState
from tests.unit.api.asgi import ask, bearer, make_guard, new_token

RECORDS: tuple[Record, ...] = (
    Birth(ts=1, cage="c", uid=1, argv=(b"x",), policy_sha256=b""),
    *(End(ts=1, exit_code=code) for code in (0, 126, 137, 3)),
    Syscall(ts=1, name="open", nr=2, pid=1, verdict="requested"),
    Syscall(ts=1, name="ptrace", nr=2, pid=1, verdict="denied", count=3),
    NetDenied(ts=1, host=b"evil.example", rule="r", protocol="dns", count=2),
    SpendWarning(ts=1, provider="openai", model="m", rule="r", words="w"),
    NetRequest(ts=1, host="a", port=1, mode="inspect", bytes_in=5, bytes_out=7),
    LlmCall(
        ts=1,
        provider="openai",
        model="m",
        outcome="completed",
        usd_micro=250_000,
        tokens=Tokens(input=9, output=4),
    ),
    LlmCall(ts=1, provider="made-up", model="m", outcome="odd", usd_micro=0),
    Redaction(ts=1, towards="openai", mode="mask", findings=(Finding("email", "personal", "", 2),)),
    Lost(ts=1, count=6),
)
EXPECTED: Gauges = {
    ("akios_cages_started", ()): 1,
    ("akios_cages_ended", ("success",)): 1,
    ("akios_cages_ended", ("not_started",)): 1,
    ("akios_cages_ended", ("killed",)): 1,
    ("akios_cages_ended", ("failed",)): 1,
    ("akios_denials", ("syscalls",)): 3,
    ("akios_denials", ("network",)): 2,
    ("akios_denials", ("models",)): 1,
    ("akios_requests", ("inspect",)): 1,
    ("akios_traffic_bytes", ("in",)): 5,
    ("akios_traffic_bytes", ("out",)): 7,
    ("akios_model_calls", ("openai", "completed")): 1,
    ("akios_model_calls", ("other", "other")): 1,
    ("akios_model_tokens", ("openai", "input")): 9,
    ("akios_model_tokens", ("openai", "output")): 4,
    ("akios_spend_usd", ("openai",)): 0.25,
    ("akios_redactions", ("personal",)): 2,
    ("akios_records_lost", ()): 6,
    ("akios_records", ("syscall",)): 2,
    ("akios_records", ("end",)): 4,
}


def count(*entries: bytes) -> Gauges:
    counts = Counts()
    counts.entries(entries)
    return counts.read()


def test_each_record_adds_what_it_says() -> None:
    found = count(*map(encode_entry, RECORDS))
    assert {key: found.get(key, 0) for key in EXPECTED} == EXPECTED
    others = {key for key, amount in found.items() if amount} - set(EXPECTED)
    assert {name for name, _ in others} == {"akios_records"}


def test_nothing_that_an_agent_or_a_later_version_says_becomes_a_series() -> None:
    hostile = [
        encode_entry(LlmCall(ts=1, provider=f"p{n}", model=f"m{n}", outcome="x", usd_micro=1))
        for n in range(50)
    ]
    hostile += [b"", b"\xc1", b"\x81\xa4kind\xa7newer\xff", *map(encode_entry, RECORDS)]
    for name, values in count(*hostile):
        for value, of in zip(values, METRICS[name].labels.values(), strict=True):
            assert value in (*of, "other"), (name, value)
    assert count(*hostile)["akios_records", ("other",)] == 3


CAGES = [
    CageInfo(cage, 1, "a", state, (), b"/", 1, ended, changes=changes, programs=programs)
    for cage, state, ended, changes, programs in (
        ("a", "running", 0, False, 2),
        ("b", "running", 0, True, 1),
        ("c", "ended", 5, True, 0),
        ("d", "ended", 5, False, 0),
        ("e", "of a later version", 0, False, 0),
    )
]
REPLY = DoctorReply(
    uptime_ns=5 * 10**9,
    free_bytes=77,
    posture=(LayerState("landlock", "enforced", ""), LayerState("disk", "degraded", "")),
    disk=(DiskUse("logs of cages", 4, 9, "", ""), DiskUse("write-ahead log", 3, 0, "", "")),
)


def test_what_is_written_is_read_as_it_was_meant() -> None:
    """By the parser of OpenMetrics, which is strict about names, units and types."""
    counters = count(*map(encode_entry, RECORDS))
    registry = Collection(gauges_of(REPLY, CAGES, 15 * 10**9), counters).registry()
    text = exposition.generate_latest(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == set(METRICS) - {"akios_disk_free_inodes"}
    for name, family in families.items():
        assert (family.type, family.documentation) == (METRICS[name].kind, METRICS[name].help)
        assert {label for sample in family.samples for label in sample.labels} <= set(
            METRICS[name].labels
        )
    read = {(s.name, *s.labels.values()): s.value for f in families.values() for s in f.samples}
    assert read["akios_cages", "running"] == 2 and read["akios_cages", "waiting"] == 1
    assert read["akios_cages", "paused"] == 0 and read["akios_cages", "other"] == 1
    assert read["akios_start_time_seconds",] == 10 and read["akios_programs",] == 3
    assert read["akios_ledger_bytes",] == 7 and read["akios_disk_bound_bytes", "logs of cages"] == 9
    assert read["akios_layer_enforced", "disk"] == 0
    assert read["akios_layer_enforced", "landlock"] == 1
    assert read["akios_denials_total", "syscalls"] == 3
    assert read["akios_records_missed_total",] == 0


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0.9, text/plain", "application/openmetrics-text"),
        ("text/plain;version=0.0.4", "text/plain"),
    ],
)
async def test_metrics_are_there_without_akiosd_and_not_without_a_token(
    accept: str, kind: str, tmp_path: Path
) -> None:
    app, tokens, _ = make_guard(tmp_path)
    text, _ = new_token(tokens, "read")
    for path in ("/metrics", "/api/v1/metrics"):
        assert (await ask(app, path)).status == 401
        answer = await ask(app, path, headers=(*bearer(text), ("accept", accept)))
        assert answer.status == 200 and answer.headers["content-type"].startswith(kind)
        assert b"\nakios_up 0.0\n" in answer.body
    other, _ = new_token(tokens, "events", "ledger")
    assert (await ask(app, "/metrics", headers=bearer(other))).status == 403
