"""Events for security monitoring: every kind of record has a row or a reason, and what is written
for it is what OCSF, ECS and CEF say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest

from akiosctl.records_text import kinds, record_json
from akiosctl.siem.cef import escape_header, escape_value, to_cef
from akiosctl.siem.ecs import to_ecs
from akiosctl.siem.facts import Source
from akiosctl.siem.form import FORMATS, SiemForm
from akiosctl.siem.ocsf import to_ocsf
from akiosctl.siem.table import LEFT_OUT, OTHER, ROWS, row_of
from akiosd.values import records
from akiosd.values.records import encode_entry
from akiosd.values.spend import Tokens
from tests.unit.client.siem_schemas import OCSF, ecs_faults, ocsf_faults, parse_cef

SOURCE = Source("build7", "1.0.0")
NOW = 1_790_000_000_123_456_789
CAGE = "c-4f7k2m9q1x8d"
SOCKET = b"\x02\x00\x01\xbb\xc6\x12\x00\x07" + bytes(8)
HOSTILE = b"/tmp/a=b|c\\d\nCEF:0|x rt=1 \x1b[2J"
# One or more of each kind, with what is hardest to write.
EXAMPLES: tuple[records.Record, ...] = (
    records.LogOpen(ts=NOW, salt=bytes(32)),
    records.Birth(ts=NOW, cage=CAGE, uid=1000, argv=(b"sh", b"-c", b"x"), policy_sha256=b"\1" * 32),
    records.Started(ts=NOW, pid=7),
    *(
        records.Syscall(ts=NOW, name=name, nr=1, pid=7, verdict=verdict, **fields)  # type: ignore[arg-type]
        for verdict in ("requested", "denied")
        for name, fields in (
            ("openat", {"path": HOSTILE, "directory": b"/home/a"}),
            ("unlink", {"path": b"/x"}),
            ("rename", {"path": b"/x", "path2": b"/y"}),
            ("link", {"path": b"/x"}),
            ("chmod", {"path": b"/x"}),
            ("chown", {"path": b"/x"}),
            ("truncate", {"path": b"/x"}),
            ("setxattr", {"path": b"/x"}),
            ("mknod", {"path": b"/x"}),
            ("mkdir", {"path": b"/x"}),
            ("utime", {"path": b"/x"}),
            ("stat", {"path": b"/x"}),
            ("fchmod", {}),
            ("execve", {"path": b"/bin/sh", "argv": (b"sh", b"a=b|c")}),
            ("connect", {"address": SOCKET}),
            ("connect", {"address": b"\x01\x00/run/x"}),
            ("bind", {"address": SOCKET}),
            ("ptrace", {"errno": 1}),
        )
    ),
    records.SystemChanged(ts=NOW),
    records.FileUsed(ts=NOW, use="executed", path=b"/bin/sh", pid=7),
    records.FileUsed(ts=NOW, use="written", path=HOSTILE, pid=7, count=3),
    records.Lost(ts=NOW, count=5, why="full"),
    records.End(ts=NOW, exit_code=137, signal=9, reason="memory limit"),
    records.Unprotected(ts=NOW, cage=CAGE, left_out=("pii",)),
    records.ProgramStarted(ts=NOW, program=2, argv=(b"ls",), pid=9),
    records.ProgramEnded(ts=NOW, program=2, exit_code=0),
    records.DaemonStart(ts=NOW, version="1", pid=1),
    records.DaemonRestarted(ts=NOW, away_since=NOW),
    records.DaemonStop(ts=NOW),
    records.SettingsRead(ts=NOW),
    records.SettingsRead(ts=NOW, error="line 3"),
    records.KeyEpoch(ts=NOW, epoch=2, public_key=bytes(32)),
    records.Recovered(ts=NOW, dropped_bytes=9),
    records.Roots(ts=NOW, roots=((CAGE, 1, bytes(32)),)),
    records.CageBirth(ts=NOW, cage=CAGE, uid=1000),
    records.CageEnd(ts=NOW, cage=CAGE, exit_code=1),
    records.CageSettled(ts=NOW, cage=CAGE, uid=1000, committed=True, paths=3),
    records.CageSettled(ts=NOW, cage=CAGE, uid=1000, committed=False),
    records.CageDestroyed(ts=NOW, cage=CAGE, size=9, root=bytes(32)),
    records.CagePacked(ts=NOW, cage=CAGE, size=9, root=bytes(32)),
    records.LogPruned(ts=NOW, minimum=9),
    records.ClockRead(ts=NOW, boot="x", boottime_ns=1),
    records.ProviderKey(ts=NOW, provider="openai", action="set", uid=0),
    records.ProviderKey(ts=NOW, provider="openai", action="removed", uid=0),
    records.ShellAsked(ts=NOW, place="--exec", uid=1000),
    *(
        records.NetDenied(
            ts=NOW,
            host=b"evil.example",
            rule="network.allowed_domains",
            protocol=protocol,  # type: ignore[arg-type]
            port=443,
            method="POST",
            path=b"/a",
            hint="add evil.example",
        )
        for protocol in ("dns", "tcp", "tls", "http", "upstream")
    ),
    records.NetDenied(ts=NOW, host=b"", rule="tls.handshake", protocol="tls"),
    records.NetRequest(
        ts=NOW,
        host="example.com",
        port=443,
        mode="inspect",
        method="PATCH",
        path=b"/a?",
        status=200,
        bytes_in=7,
        duration_ns=5_000_000,
    ),
    records.NetRequest(ts=NOW, host="example.com", port=22, mode="raw", bytes_out=3),
    records.LlmCall(
        ts=NOW,
        provider="anthropic",
        model="claude",
        outcome="ok",
        usd_micro=12,
        status=200,
        tokens=Tokens(input=9, output=4),
        duration_ns=9,
    ),
    records.Redaction(
        ts=NOW, towards="openai", mode="mask", findings=(records.Finding("email", "personal", "x"),)
    ),
    records.SpendWarning(ts=NOW, provider="openai", model="m", rule="loops.same", words="again"),
    records.SpendWarning(ts=NOW, provider="openai", model="m", rule="b", words="x", final=True),
    records.GatewayFailed(ts=NOW, what="died"),
)


def events() -> list[dict[str, Any]]:
    return [record_json(CAGE, number, encode_entry(one)) for number, one in enumerate(EXAMPLES)]


def test_every_kind_has_a_row_or_a_reason_and_an_example() -> None:
    rows = {name.partition(" ")[0] for name in ROWS}
    assert rows | set(LEFT_OUT) == set(kinds()) and not rows & set(LEFT_OUT)
    assert {type(one) for one in EXAMPLES} == set(get_args(records.KnownRecord))
    used = {id(row_of(event)) for event in events()}
    assert [name for name, row in ROWS.items() if id(row) not in used] == []
    assert id(OTHER) not in used  # no variant is without a row


def test_each_event_is_one_that_ocsf_describes() -> None:
    for event in events():
        told = to_ocsf(event, SOURCE)
        if told is None:
            assert event["kind"] in LEFT_OUT
            continue
        assert list(ocsf_faults(json.loads(json.dumps(told)))) == [], (event, told)
        assert told["metadata"]["uid"] == f"{CAGE}:{event['index']}"
        assert told["metadata"]["version"] == OCSF["version"]
        assert (told.get("action_id") == 2) == (told.get("disposition_id") == 2)
    # The control: each fault is seen.
    right = to_ocsf(events()[1], SOURCE)
    assert right is not None
    for wrong in (
        {**right, "new": 1},
        {**right, "activity_id": 77},
        {**right, "time": "now"},
        {**right, "actor": {}},
        {name: value for name, value in right.items() if name != "app"},
    ):
        assert list(ocsf_faults(wrong)), wrong


def test_each_event_has_the_fields_of_ecs() -> None:
    for event in events():
        told = to_ecs(event, SOURCE)
        if told is not None:
            assert list(ecs_faults(told)) == [], (event, told)
            assert told["@timestamp"] == "2026-09-21T14:13:20.123456789Z"
            assert told["akios"]["kind"] == event["kind"]


def test_a_line_of_cef_is_read_as_it_was_meant() -> None:
    for event in events():
        line = to_cef(event, SOURCE)
        if line is None:
            continue
        header, pairs = parse_cef(line)
        assert header[:4] == ["CEF:0", "AKIOS", "AKIOS", "1.0.0"]
        assert header[4].partition(".")[0] == event["kind"] and 0 <= int(header[6]) <= 10
        assert pairs["externalId"] == f"{CAGE}:{event['index']}" and pairs["rt"] == str(NOW)[:-6]
        if event.get("path", "").startswith("/tmp/a=b"):
            assert pairs["filePath"] == event["path"]
            json.loads(pairs["cs2"])


def test_what_could_end_a_value_of_cef_is_escaped() -> None:
    assert escape_header("a|b\\c\nd=") == r"a\|b\\c d="
    assert escape_value("a|b\\c\nd=\r") == r"a|b\\c\nd\=\r"
    assert len(escape_value("é" * 2000).encode()) <= 1023


def test_a_denial_says_first_what_was_denied() -> None:
    told = [(event, row_of(event), to_ecs(event, SOURCE)) for event in events()]
    denials = [
        (event, ecs) for event, row, ecs in told if row is not None and row.action == "denied"
    ]
    assert len(denials) > 15
    for event, ecs in denials:
        assert ecs is not None
        words = ecs["message"]
        if event["kind"] == "net_denied" and event.get("host"):
            assert words.startswith(f"{event['host']} was denied ("), words
        elif event["kind"] == "syscall":
            assert " was denied (" in words, words
        assert ": network." not in words, "the rule does not run into what helps"
    allowed = next(ecs for event, row, ecs in told if event["kind"] == "llm_call")
    assert allowed is not None and allowed["message"] == "call to a model", "the control"


def test_denied_is_told_as_such() -> None:
    denied = next(e for e in events() if e["kind"] == "net_denied" and e["protocol"] == "http")
    ocsf, ecs, cef = to_ocsf(denied, SOURCE), to_ecs(denied, SOURCE), to_cef(denied, SOURCE)
    assert ocsf is not None and ecs is not None and cef is not None
    assert (ocsf["class_uid"], ocsf["activity_id"], ocsf["disposition"]) == (4002, 6, "Blocked")
    assert ocsf["firewall_rule"]["name"] == ecs["rule"]["name"] == "network.allowed_domains"
    for told in (ocsf["message"], ecs["message"]):
        assert told.startswith("evil.example was denied (request); by the rule network.")
    assert ecs["event"]["outcome"] == "failure" and ecs["destination"]["domain"] == "evil.example"
    assert parse_cef(cef)[1]["act"] == "denied" and parse_cef(cef)[1]["dhost"] == "evil.example"


@pytest.mark.parametrize("form", FORMATS)
def test_lines_of_a_later_version_and_gaps_are_told(form: Any) -> None:
    siem = SiemForm(form, frozenset(), SOURCE)
    later = msgspec.msgpack.encode({"kind": "newer", "ts": NOW, "x": b"\xff\n"})
    [line] = siem.lines(CAGE, 4, [later])
    [gap] = siem.gap(CAGE, 5, 9, NOW)
    assert "newer" in line and "\n" not in line + gap and f"{CAGE}:5" in gap
    if form == "ocsf":
        assert not list(ocsf_faults(json.loads(line))) and json.loads(gap)["count"] == 4
    assert SiemForm(form, frozenset({"end"}), SOURCE).lines(CAGE, 4, [later]) == []


@pytest.mark.parametrize("escaped", [escape_value, escape_header])
@pytest.mark.parametrize(
    "text", ["\x1b]0;x\x07", "a\x85b", "a\u2028b", "\u202egpj", "half \udcff", "\x00", "\x9b2J"]
)
def test_what_an_agent_wrote_drives_no_terminal_and_is_one_line(
    escaped: Callable[[str], str], text: str
) -> None:
    """Half a character too, which no encoding has; the control is text that anybody reads."""
    line = escaped(text)
    assert line.isprintable() and len(line.splitlines()) == 1 and line.encode()
    assert escaped("größer 日本") == "größer 日本"
