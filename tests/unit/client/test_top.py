"""``top`` from values: which cages, which columns, what is said, and how much is remembered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from akiosctl.help.schemas import MeasuredCage
from akiosctl.standing_cages import words_of_standstill
from akiosctl.top.cages import MOST_ENDED, Cage, Known, to_json
from akiosctl.top.columns import COLUMNS, about, fitting, short_count, short_size, short_usd
from akiosctl.top.one_cage import MOST_CALLS, MOST_NAMES, MOST_RECORDS, OneCage
from akiosctl.top.sections import SECTIONS, Sheet
from akiosctl.top.words import cages_sheet, keep_matching, keys_line, question_stop, summary
from akiosd.values.records import LlmCall, NetDenied, NetRequest, Started, encode_entry
from akiosd.values.spend import Tokens
from akiosd.values.usage import Usage
from akiosd.wire.messages import CageInfo, CageUse

SECOND = 1_000_000_000
HOSTILE = (b"sh", b"-c", b"[bold red]x[/] \x1b[31m\x07\xe2\x80\xae \xff")


def info(cage: str, **more: Any) -> CageInfo:
    base = CageInfo(cage, 7, "ada", "running", (b"python", b"agent.py"), b"/work", 10 * SECOND)
    return msgspec.structs.replace(base, **more)


def use(cage: str, wall_s: float = 0, cpu_s: float = 0, **more: Any) -> CageUse:
    usage = Usage(wall_ns=int(wall_s * SECOND), user_ns=int(cpu_s * SECOND), **more)
    return CageUse(cage, "running", memory=600 << 20, pids=3, budget_usd_micro=10**6, usage=usage)


def test_processor_time_is_that_between_two_measurements() -> None:
    known = Known().listed([info("c-1")]).measured([use("c-1", 10, 4)])
    assert known.cages()[0].cpu_percent is None, "one measurement tells none"
    known = known.measured([use("c-1", 12, 5)])
    assert known.cages()[0].cpu_percent == 50
    assert known.measured([use("c-1", 12, 5)]).cages()[0].cpu_percent is None, "no time went by"


def test_the_list_is_asked_for_again_where_it_and_the_measurements_differ() -> None:
    known = Known().listed([info("c-1"), info("c-2", ended_ns=5)])
    assert not known.measured([use("c-1")]).is_stale
    assert known.measured([use("c-1"), use("c-3")]).is_stale and known.measured([]).is_stale


def test_cages_that_ended_before_are_shown_when_asked_for_and_are_bounded() -> None:
    ended = [info(f"c-{n}", ended_ns=n + 1, order=n) for n in range(MOST_ENDED + 50)]
    known = Known(begun_ns=MOST_ENDED + 40).listed([info("c-run", order=9999), *ended])
    assert [cage.info.cage for cage in known.cages()][-1] == "c-run"
    assert len(known.cages()) == 1 + 11 and len(known.cages(True)) == MOST_ENDED + 1
    assert known.find("c-0") is None and known.find("c-249") is not None


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 132, 200])
def test_the_columns_fit_into_the_terminal(width: int) -> None:
    columns = fitting(width)
    assert sum(column.width for column in columns) + len(columns) - 1 <= width
    assert columns[0].title == "CAGE"
    known = Known().listed([info("c-67v2mb5b2b31")]).measured([use("c-67v2mb5b2b31")])
    assert len(summary(known.cages(), width)) <= width
    assert len(keys_line(True, "", True, width)) <= max(width, 30)


def test_what_every_row_tells_fits_into_eighty_columns() -> None:
    titles = {column.title for column in fitting(80)}
    assert titles >= {"CAGE", "STATE", "CPU", "MEMORY", "DISK", "PIDS", "MONEY", "RED", "DEN"}
    assert "COMMAND" in {column.title for column in fitting(100)}


@pytest.mark.parametrize(
    ("limit", "tone"), [(0, ""), (1 << 30, ""), (700 << 20, "warn"), (620 << 20, "bad")]
)
def test_what_is_near_its_limit_is_seen(limit: int, tone: str) -> None:
    cage = Cage(info("c-1"), use("c-1", memory_limit=limit))
    (memory,) = (column for column in COLUMNS if column.title == "MEMORY")
    assert memory.cell(cage, 0).tone == tone


def test_why_a_cage_stands_still_is_told_and_asked_for_when_it_begins_to() -> None:
    waits = info("c-1", name="work", state="paused", reason="24 MiB must stay free\x1b[2J")
    told = "work stands still: 24 MiB must stay free\\x1b[2J"
    assert told in about(Cage(waits, use("c-1")), 0) and words_of_standstill(waits) == told
    for control in (info("c-1"), msgspec.structs.replace(waits, ended_ns=5)):
        assert words_of_standstill(control) == ""
        assert not any("stands still" in line for line in about(Cage(control), 0))
    paused = msgspec.structs.replace(use("c-1"), state="paused")
    assert Known().listed([info("c-1")]).measured([paused]).is_stale
    assert not Known().listed([waits]).measured([paused]).is_stale
    assert Known().listed([waits]).measured([use("c-1")]).is_stale


def test_an_agents_words_are_text() -> None:
    cage = Cage(info("c-1", argv=HOSTILE, name=""), use("c-1"))
    said = [*about(cage, 0), question_stop(cage), *(c.cell(cage, 0).text for c in COLUMNS)]
    for text in said:
        assert all(line.isprintable() for line in text.split("\n")), text
    assert "[bold red]x[/] \\x1b[31m\\x07\\xe2\\x80\\xae \\xff" in said[0], "nothing is left out"


@pytest.mark.parametrize(("size", "text"), [
    (0, "0B"), (999, "999B"), (1000, "1K"), (396 << 10, "396K"), (1536 << 20, "1.5G"),
    (2 << 30, "2G"), (1023 << 20, "1G"), (5 << 40, "5T"),
])  # fmt: skip
def test_short_sizes(size: int, text: str) -> None:
    assert short_size(size) == text and len(text) <= 4


def test_short_numbers() -> None:
    assert [short_count(n) for n in (0, 9999, 10_000, 999_999_999)] == ["0", "9999", "10k", "999M"]
    assert [short_usd(n) for n in (0, 1, 10_000, 10_500_000, 10_000_000, 123_456_789)] == [
        "$0", "<$0.01", "$0.01", "$10.50", "$10", "$123",
    ]  # fmt: skip


def test_the_json_is_of_its_schema() -> None:
    cage = Cage(info("c-1", argv=HOSTILE), use("c-1", denials=1, refusals=2, dead_ends=4), 12.34)
    found = to_json(cage)
    assert msgspec.convert(found, MeasuredCage).denials == 7
    assert found["cpu_percent"] == 12.3


# ---- one cage ------------------------------------------------------------------------------------


def call(n: int) -> LlmCall:
    return LlmCall(
        ts=n * SECOND, provider="openai", model="[red]m", outcome="cut", usd_micro=1500,
        total_usd_micro=n, tokens=Tokens(input=1000, output=30),
    )  # fmt: skip


def texts(sheet: Sheet) -> list[str]:
    return [" ".join(cell.text for cell in row.cells) for row in sheet.rows]


def test_a_cage_in_its_sections() -> None:
    one = OneCage("c-1", 7)
    denied = NetDenied(
        ts=1, host=b"bad\x1b.example", rule="network.allowed_domains", protocol="dns", count=3
    )
    asked = NetRequest(
        ts=2, host="good.example", port=443, mode="inspect", bytes_out=10, bytes_in=2048
    )
    one.entries(7, [encode_entry(record) for record in (call(1), denied, asked, asked)])
    assert "openai/[red]m" in texts(SECTIONS["calls"](one, 120))[0]
    first, second = texts(SECTIONS["names"](one, 120))
    assert first.startswith("0 3 ") and first.endswith("network.allowed_domains bad\\x1b.example")
    assert second.startswith("2 0 20B 4K") and second.endswith("good.example")
    assert [row.key for row in SECTIONS["log"](one, 80).rows] == ["7", "8", "9", "10"]
    assert SECTIONS["log"](one, 80).rows[1].cells[0].tone == "bad"
    for section in SECTIONS.values():
        sheet = section(one, 40)
        assert sum(sheet.widths) + len(sheet.widths) - 1 <= 40
        assert all(text.isprintable() for text in texts(sheet)), "and nothing drives the terminal"


def test_a_log_is_shown_once_whatever_is_sent_again() -> None:
    one = OneCage("c-1", 5)
    entries = [encode_entry(Started(ts=n, pid=n)) for n in range(4)]
    one.entries(5, entries)
    one.entries(5, entries)  # after a restart of akiosd
    one.gap(9, 12)
    one.gap(2, 6)
    one.entries(12, entries)
    assert [line.index for line in one.log] == [5, 6, 7, 8, 9, 12, 13, 14, 15]
    assert "3 records are missing" in one.log[4].text


def test_what_a_cage_makes_known_of_itself_is_bounded() -> None:
    one = OneCage("c-1")
    flood = [
        NetDenied(ts=n, host=b"%d.example" % n, rule="r" * 3000, protocol="dns")
        for n in range(3000)
    ]
    one.entries(0, [encode_entry(record) for record in flood])
    one.entries(3000, [encode_entry(call(n)) for n in range(600)])
    assert len(one.log) == MOST_RECORDS and len(one.calls) == MOST_CALLS
    assert len(one.names) == MOST_NAMES and one.other_names == 3000 - MOST_NAMES
    assert max(len(line.text) for line in one.log) <= 2000
    assert "2,500 requests to others" in texts(SECTIONS["names"](one, 100))[-1]


def test_only_rows_with_all_the_words() -> None:
    cages = [Cage(info("c-1", name="web")), Cage(info("c-2", user="Bob"))]
    sheet = cages_sheet(cages, fitting(200), 0, True)
    for words, found in (("", 2), ("BOB agent", 1), ("bob web", 0), ("c-", 2)):
        assert len(keep_matching(sheet, words).rows) == found, words
    assert "nothing matches" in keep_matching(sheet, "no such").empty
