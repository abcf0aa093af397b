"""What the pages show: cages filtered and in pages, decisions put together, records backwards."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from akiosctl.api.views.cages import Seen, show_page
from akiosctl.api.views.decisions import MOST_CELLS, Filter, Tally, show
from akiosctl.api.views.timeline import MOST_LOOKED_AT, is_notable, read_back
from akiosd.values.records import (
    FileUsed,
    Finding,
    LlmCall,
    NetDenied,
    NetRequest,
    Record,
    Redaction,
    SpendWarning,
    Syscall,
    encode_entry,
)
from akiosd.values.usage import Usage
from akiosd.wire.messages import CageInfo, CageUse, LogEntries, ReadLog

CAGE = "c-000000000000"
MINUTE = 60 * 10**9


def cage(number: int, **more: Any) -> CageInfo:
    given: dict[str, Any] = {
        "cage": f"c-{number:012}", "uid": 1, "user": "ada", "state": "running", "order": number,
        "argv": (b"python", b"agent.py"), "workspace": b"/w", "started_ns": number,
    }  # fmt: skip
    return CageInfo(**{**given, **more})


def seen(*cages: CageInfo) -> Seen:
    uses = {
        one.cage: CageUse(
            one.cage, one.state, redactions=2, usage=Usage(denials=1, refusals=3, usd_micro=5)
        )
        for one in cages
        if not one.ended_ns
    }
    return Seen(7, tuple(sorted(cages, key=lambda one: -one.order)), uses)


def ids(found: Any) -> list[int]:
    return [int(row.cage.cage[2:]) for row in found.cages]


def test_cages_come_in_pages_the_newest_first() -> None:
    all_of_them = seen(*(cage(number) for number in range(1, 8)))
    first = show_page(all_of_them, "running", "", 0, 3)
    assert ids(first) == [7, 6, 5] and first.matched == 7
    second = show_page(all_of_them, "running", "", int(first.next or 0), 3)
    assert ids(second) == [4, 3, 2]
    last = show_page(all_of_them, "running", "", int(second.next or 0), 3)
    assert ids(last) == [1] and last.next is None
    use = first.cages[0].use
    assert use is not None and (use.denials, use.redactions) == (4, 2)
    assert first.totals.usd_micro == 35 and first.totals.denials == 28


@pytest.mark.parametrize(("state", "words", "found"), [
    ("running", "", [3, 1]), ("standing", "", [3]), ("ended", "", [4, 2]), ("waiting", "", [4]),
    ("all", "", [4, 3, 2, 1]), ("all", "BOB", [4]), ("all", "agent python", [4, 2, 1]),
    ("all", "c-000000000003", [3]), ("all", "nothing", []), ("running", "up", [3]),
])  # fmt: skip
def test_which_cages_are_shown(state: str, words: str, found: list[int]) -> None:
    all_of_them = seen(
        cage(1),
        cage(2, ended_ns=9, state="ended"),
        cage(3, standing=True, name="up", argv=()),
        cage(4, ended_ns=9, changes=True, user="bob", state="ended"),
    )
    page = show_page(all_of_them, state, words, 0, 50)
    assert ids(page) == found
    counts = page.counts
    assert (counts.running, counts.standing, counts.ended, counts.waiting) == (2, 1, 2, 1)


def tally(*records: Record) -> Tally:
    made = Tally()
    made.add([encode_entry(record) for record in records])
    return made


def board(found: Tally, **wanted: Any) -> list[tuple[str, str, str, str, int]]:
    view = show({CAGE: found}, Filter(**wanted), "count", 0, 100, True)
    return [(d.verdict, d.sort, d.subject, d.rule, d.count) for d in view.decisions]


RECORDS: tuple[Record, ...] = (
    NetDenied(ts=1, host=b"evil.example", rule="network.allowed_domains", protocol="dns", count=9),
    NetRequest(ts=2, host="ok.example", port=8443, mode="inspect"),
    Syscall(ts=3, name="mknodat", nr=1, pid=1, verdict="denied", path=b"<img\x1b>", count=8),
    Syscall(ts=3, name="unshare", nr=1, pid=1, verdict="denied", count=7),
    Syscall(ts=3, name="unlink", nr=1, pid=1, verdict="requested", path=b"/tmp/x", count=6),
    FileUsed(ts=4, use="written", path=b"/w/made", pid=1, count=5),
    LlmCall(ts=5, provider="openai", model="m", outcome="completed", usd_micro=1),
    SpendWarning(ts=6, provider="openai", model="m", rule="budget.usd", words="no"),
    Redaction(
        ts=7, towards="openai", mode="pseudonym", findings=(Finding("EMAIL", "personal", "x", 4),)
    ),
)


def test_what_was_decided_is_told_with_its_rule_and_how_often() -> None:
    assert board(tally(*RECORDS)) == [
        ("denied", "name", "evil.example", "network.allowed_domains", 9),
        ("denied", "file", "<img\\x1b>", "mknodat", 8),
        ("denied", "call", "unshare", "syscalls", 7),
        ("requested", "file", "/tmp/x", "unlink", 6),
        ("allowed", "file", "/w/made", "written", 5),
        ("redacted", "data", "EMAIL to openai", "pseudonym", 4),
        ("allowed", "name", "ok.example:8443", "inspect", 1),
        ("allowed", "model", "openai m", "completed", 1),
        ("denied", "model", "openai m", "budget.usd", 1),
    ]


@pytest.mark.parametrize(("wanted", "number"), [
    ({"verdict": "denied"}, 4), ({"sort": "file"}, 3), ({"rule": "unlink"}, 1),
    ({"words": "OPENAI"}, 3), ({"without": frozenset(("unshare", "mknodat"))}, 7),
    ({"from_ns": 5}, 3), ({"to_ns": 3}, 2), ({"from_ns": 3, "to_ns": 4}, 3),
    ({"from_ns": MINUTE}, 0),
])  # fmt: skip
def test_decisions_are_filtered_in_and_out(wanted: dict[str, Any], number: int) -> None:
    assert len(board(tally(*RECORDS), **wanted)) == number


def test_alike_decisions_of_several_cages_are_one() -> None:
    one = tally(*(NetDenied(ts=n * MINUTE, host=b"e", rule="r", protocol="dns") for n in (1, 2, 9)))
    two = tally(NetDenied(ts=5 * MINUTE, host=b"e", rule="r", protocol="dns", count=3))
    view = show({"c-1": one, "c-2": two}, Filter(), "last", 0, 1, True)
    (found,) = view.decisions
    assert (found.count, found.first_ns, found.last_ns) == (6, MINUTE, 9 * MINUTE)
    assert found.cages == ["c-1", "c-2"] and view.records == 4
    view = show(
        {"c-1": one, "c-2": two},
        Filter(from_ns=2 * MINUTE, to_ns=5 * MINUTE + 1),
        "last",
        0,
        1,
        True,
    )
    assert view.decisions[0].count == 4 and view.decisions[0].cages == ["c-1", "c-2"]


def denied(ts: int, host: bytes) -> bytes:
    return encode_entry(NetDenied(ts=ts, host=host, rule="r", protocol="dns"))


def test_a_tally_has_a_bound_and_says_what_it_left_out() -> None:
    made = Tally()
    made.add(denied(1, b"%d.example" % number) for number in range(MOST_CELLS + 5))
    made.add([b"\xc1", denied(1, b"0.example")])
    view = show({CAGE: made}, Filter(), "count", 100, 50, True)
    assert view.matched == MOST_CELLS and view.left_out == 5
    assert len(view.decisions) == 50 and view.next == 150
    assert made.next == MOST_CELLS + 7


def test_a_long_time_is_told_in_longer_spans() -> None:
    """Nothing is left out, and a range finds what lies in it."""
    made = Tally()
    made.add(denied(number * MINUTE, b"e") for number in range(3 * MOST_CELLS))
    view = show({CAGE: made}, Filter(), "last", 0, 10, True)
    (found,) = view.decisions
    assert found.count == 3 * MOST_CELLS and view.left_out == 0
    assert (found.first_ns, found.last_ns) == (0, (3 * MOST_CELLS - 1) * MINUTE)
    some = show(
        {CAGE: made}, Filter(from_ns=1000 * MINUTE, to_ns=2000 * MINUTE), "last", 0, 10, True
    )
    assert 1000 <= some.decisions[0].count <= 1016


class Log:
    """Answers ReadLog as akiosd does, ``most`` entries at a time."""

    def __init__(self, entries: list[bytes], most: int = 300, pruned: int = 0) -> None:
        self._entries, self._most, self._pruned = entries, most, pruned
        self.read = 0

    def call(self, request: ReadLog, kind: type[LogEntries]) -> tuple[LogEntries, list[int]]:
        start = max(request.start, self._pruned)
        found = self._entries[start : min(request.stop, start + self._most)]
        self.read += len(found)
        return LogEntries(log=CAGE, start=start, entries=tuple(found)), []


def numbers(page: Any) -> list[int]:
    return [msgspec.json.decode(one)["index"] for one in page.records]


def test_records_are_read_from_the_end() -> None:
    quiet = encode_entry(FileUsed(ts=1, use="written", path=b"/x", pid=1))
    told = encode_entry(Syscall(ts=1, name="x", nr=1, pid=1, verdict="denied"))
    asked = encode_entry(Syscall(ts=1, name="x", nr=1, pid=1, verdict="requested"))
    entries = [told if number % 1000 == 7 else (quiet, asked)[number % 2] for number in range(5000)]
    log: Any = Log(entries)
    page = read_back(log, CAGE, 5000, 3, bool)
    assert numbers(page) == [4999, 4998, 4997] and page.next == 4997
    page = read_back(log, CAGE, 5000, 3, is_notable)
    assert numbers(page) == [4007, 3007, 2007] and page.next == 2007
    page = read_back(log, CAGE, 2007, 3, is_notable)
    assert numbers(page) == [1007, 7] and page.next is None
    pruned: Any = Log(entries, pruned=4998)
    assert numbers(read_back(pruned, CAGE, 5000, 10, bool)) == [4999, 4998]


def test_one_request_reads_a_bounded_part_of_a_log() -> None:
    quiet = encode_entry(FileUsed(ts=1, use="written", path=b"/x", pid=1))
    log: Any = Log([quiet] * (2 * MOST_LOOKED_AT), most=4096)
    page = read_back(log, CAGE, 2 * MOST_LOOKED_AT, 10, is_notable)
    assert page.records == [] and page.next == MOST_LOOKED_AT and log.read == MOST_LOOKED_AT
