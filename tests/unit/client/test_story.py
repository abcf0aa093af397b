"""The story of a cage: bounded however long its log is, and harmless whatever an agent calls
things.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from html.parser import HTMLParser
from typing import Any, cast

import pytest

from akiosctl.commands import run_verb
from akiosctl.old_words import OLD
from akiosctl.render import escape
from akiosctl.story import telling
from akiosctl.story.drawing import draw
from akiosctl.story.known import Known, for_a_page
from akiosctl.story.lanes import MOST_NAMES, in_order
from akiosctl.story.page import make_page
from akiosctl.story.plain import to_json
from akiosctl.story.reading import Read
from akiosctl.story.telling import LANES, MOST_PROGRAMS, Story, tell
from akiosctl.today import read_today
from akiosctl.verbs.status import midnight_ns
from akiosd.errors import AkiosError
from akiosd.ledger.report import Report, Verdict
from akiosd.values import records
from akiosd.values.records import Finding, Record, encode_entry
from akiosd.values.spend import Tokens
from akiosd.wire.messages import CageInfo, LedgerInfo, LedgerReply, LogEntries, ReadLog
from tests.unit.test_man import COMMANDS

T0 = 1_800_000_000_000_000_000
MS, S = 1_000_000, 1_000_000_000
WHO = "ada.lovelace@example.org"
HOSTILE = b'<script>x</script>\n\x1b]0;t\x07\xe2\x80\xae\' onload="y" &amp;'


def told(*kinds: Record) -> Story:
    return tell(encode_entry(kind) for kind in kinds)


def read_of(story: Story) -> Read:
    return Read(story, "c-1", "akios/0/c-1", story.records, bytes(32), 0)


def page_of(story: Story, name: str = "", **more: Any) -> str:
    known = Known(**{"name": name, "policy": None, "why_no_policy": "no", "made_ns": T0} | more)
    return make_page(read_of(story), Report(Verdict.OK, "akios/0/c-1"), known)


def birth(*argv: bytes, cwd: bytes = b"/w") -> records.Birth:
    return records.Birth(ts=T0, cage="c-1", uid=1, argv=argv, policy_sha256=bytes(32), cwd=cwd)


def call(ts: int, **more: Any) -> records.LlmCall:
    fields = {"provider": "openai", "model": "m", "outcome": "completed", "usd_micro": 7}
    return records.LlmCall(ts=ts, **{**fields, "tokens": Tokens(input=3, output=2)} | more)


# ---- bounded -------------------------------------------------------------------------------------


def test_a_long_log_is_told_in_bounded_room_and_its_sums_are_exact() -> None:
    """Ten thousand of each kind, each with a name of its own, over a day."""
    many = 3_000

    def flood() -> Any:
        for n in range(many):
            ts = T0 + n * 28 * S
            name = b"%d.example" % n
            yield call(ts, model=f"m{n}")
            yield records.NetDenied(
                ts=ts, host=name, rule="network.allowed_domains", protocol="dns"
            )
            yield records.NetRequest(
                ts=ts, host=name.decode(), port=443, mode="inspect", bytes_in=2
            )
            yield records.FileUsed(ts=ts, use="written", path=b"/w/" + name, pid=1)
            yield records.ProgramStarted(ts=ts, program=n, argv=(name,), pid=1)
            yield records.ProgramEnded(ts=ts + S, program=n, exit_code=n % 2)

    story = tell(map(encode_entry, flood()))
    assert story.records == 6 * many and (story.first, story.last) == (
        T0,
        T0 + 28 * S * many - 27 * S,
    )
    for name, (most, _) in LANES.items():
        groups = story.lanes[name].groups
        assert len(groups) <= most
        assert sum(group.count for group in groups) == story.lanes[name].count
        assert all(len(group.names.counts) <= MOST_NAMES for group in groups)
        assert [group.first for group in groups] == sorted(group.first for group in groups)
    assert story.lanes["wrote"].count == story.lanes["denied"].count == many
    assert len(story.lanes["model"].groups) > LANES["model"][0] // 4, "told in too few rows"
    assert story.usd_micro == 7 * many == sum(one.usd_micro for one in story.models.values())
    assert sum(one.bytes_in for one in story.sites.values()) == 2 * many
    assert len(story.models) <= telling.MOST_NAMES + 1 >= len(story.sites)
    assert len(story.programs) == MOST_PROGRAMS == many - story.programs_before
    assert story.failed_programs == many // 2
    assert sum(story.written.counts.values()) + story.written.others == many
    assert len(page_of(story)) < 400_000 and len(list(draw(read_of(story), 80))) < 400


def test_what_is_near_in_time_is_one_row_and_the_rest_is_not() -> None:
    story = told(*(call(T0 + at) for at in (0, MS, 3 * S, 9 * S)))
    rows = in_order(story.lanes.items())
    assert [(row.group.first - T0, row.group.count, row.group.usd_micro) for row in rows] == [
        (0, 2, 14), (3 * S, 1, 7), (9 * S, 1, 7),
    ]  # fmt: skip


def test_a_program_that_runs_is_kept_before_those_that_ended() -> None:
    runs = records.ProgramStarted(ts=T0, program=1, argv=(b"server",), pid=1)
    others = (
        kind
        for n in range(2, MOST_PROGRAMS + 50)
        for kind in (
            records.ProgramStarted(ts=T0, program=n, argv=(b"x",), pid=1),
            records.ProgramEnded(ts=T0 + 1, program=n, exit_code=0),
        )
    )
    assert 1 in told(runs, *others).programs


def test_a_log_of_any_form_is_told() -> None:
    """No beginning, no end, times that go back, kinds that nobody knows, and bytes that are none."""
    story = told(call(T0 + S), call(T0), records.DaemonStart(ts=-5, version="x"))
    assert (story.first, story.last) == (T0, T0 + S)
    for entries in ([], [b"\xc1", b"\x81\xa4kind\xa3new"], [encode_entry(call(0))]):
        read = read_of(tell(entries))
        assert list(draw(read, 60)) and to_json(read) and page_of(read.story)


# ---- harmless ------------------------------------------------------------------------------------


def hostile_story() -> Story:
    return told(
        birth(b"python", HOSTILE, b"--to=" + WHO.encode()),
        records.NetDenied(ts=T0 + 1, host=HOSTILE, rule="network.allowed_domains", protocol="dns"),
        call(T0 + 2, model=HOSTILE.decode(), provider=HOSTILE.decode()),
        records.Redaction(
            ts=T0 + 3, towards="openai", mode="pseudonym",
            findings=(Finding("EMAIL", "personal", "/messages/0"),),
        ),
        records.FileUsed(ts=T0 + 4, use="written", path=b"/w/mail-to-" + WHO.encode(), pid=1),
        records.ProgramStarted(ts=T0 + 5, program=1, argv=(HOSTILE, WHO.encode()), pid=1),
        records.ProgramEnded(ts=T0 + 6, program=1, exit_code=1, reason=HOSTILE.decode()),
        records.NetRequest(ts=T0 + 7, host=HOSTILE.decode(), port=1, mode="raw", error="<b>"),
        records.GatewayFailed(ts=T0 + 8, what=HOSTILE.decode()),
        records.Unprotected(ts=T0 + 9, cage="c-1", left_out=("pii",)),
        records.End(ts=T0 + 10, exit_code=1, reason=HOSTILE.decode()),
    )  # fmt: skip


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_no_word_of_an_agent_becomes_a_part_of_the_page() -> None:
    page = page_of(hostile_story(), name=HOSTILE.decode())
    found = _Tags()
    found.feed(page)
    assert not found.tags & {"script", "b", "a", "img", "link", "iframe", "object", "base", "form"}
    assert found.attributes <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "role", "aria-label"),
        *("viewbox", "x", "y", "x1", "x2", "y1", "y2", "rx", "width", "height", "opacity"),
        "text-anchor",
    }
    assert not set("\x1b\x07\u202e") & set(page)
    assert "<script>x</script>" in "".join(found.text), "the control: it is there, as text"
    assert all(word not in page for word in ("http://", "https://", "url(", "@import"))


def test_nothing_but_its_own_style_applies_to_the_page() -> None:
    page = page_of(hostile_story())
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page


def test_a_personal_value_in_names_and_commands_is_masked_on_the_page() -> None:
    story = hostile_story()
    assert WHO in "\n".join(draw(read_of(story), 400)), "the control: the log has it"
    page = page_of(story)
    assert WHO not in page and "lovelace" not in page and "--to=[EMAIL]" in page


def test_a_value_that_a_cut_went_through_does_not_show_its_half() -> None:
    path = b"/w/" + b"x" * 280 + b"/" + WHO.encode() + b"y" * 100
    story = told(birth(b"a"), records.FileUsed(ts=T0, use="written", path=path, pid=1))
    (name,) = story.written.counts
    assert name.endswith("…") and "ada." in name
    assert "ada." not in page_of(story)


def test_lines_for_a_terminal_drive_nothing() -> None:
    lines = list(draw(read_of(hostile_story()), 200))
    assert all(line == escape(line) for line in lines) and len(lines) > 20


def test_variables_that_a_policy_sets_are_named_without_their_values() -> None:
    row = for_a_page("environment.set", "TOKEN=s3cret, MODE=fast, a", "user: x")
    assert row == ("environment.set", "TOKEN, MODE", "user: x")
    page = page_of(hostile_story(), policy=(row, ("limits.pids", "5", "<i>")))
    assert "s3cret" not in page and "limits.pids" in page and "&lt;i&gt;" in page


# ---- today ---------------------------------------------------------------------------------------


class _Logs:
    """A daemon with one log, that counts what is read of it."""

    def __init__(self, kinds: list[Record]) -> None:
        self.entries = [encode_entry(kind) for kind in kinds]
        self.read = 0

    def call(self, request: Any, _: object) -> tuple[Any, list[int]]:
        if isinstance(request, LedgerInfo):
            return LedgerReply(size=len(self.entries)), []
        assert isinstance(request, ReadLog)
        some = self.entries[request.start : request.stop][:500]
        self.read += len(some)
        return LogEntries(start=request.start, entries=tuple(some)), []


def test_the_sums_of_today_leave_out_yesterday_without_reading_it() -> None:
    old = [call(T0 - n * S) for n in range(5_000, 0, -1)]
    refused = records.NetDenied(ts=T0, host=b"x", rule="network.ports", protocol="tcp", count=4)
    logs = cast(Any, _Logs([*old, call(T0), refused, call(T0 + S)]))
    cage = CageInfo("c-1", 0, "", "running", (), b"/w", started_ns=T0 - 6_000 * S)
    today = read_today(logs, [cage], T0)
    assert (today.usd_micro, today.calls, today.denied, today.whole) == (14, 2, 4, True)
    assert logs.read < 50
    assert not read_today(logs, [cage], T0, most=2).whole
    ended = CageInfo("c-2", 0, "", "ended", (), b"/w", started_ns=1, ended_ns=T0 - 1)
    assert read_today(logs, [ended], T0).cages == ()


def test_midnight_is_that_of_this_place() -> None:
    day = time.localtime(midnight_ns(T0 / S) // S)
    assert (day.tm_hour, day.tm_min, day.tm_sec) == (0, 0, 0)
    assert 0 <= T0 - midnight_ns(T0 / S) < 25 * 3600 * S


# ---- words of AKIOS 1.4 --------------------------------------------------------------------------


@pytest.mark.parametrize("words", sorted(OLD), ids=" ".join)
def test_what_people_of_1_4_type_leads_to_what_is_there(words: tuple[str, ...]) -> None:
    assert " ".join(words) not in COMMANDS
    with pytest.raises(AkiosError, match=" ".join(words)) as caught:
        run_verb([*words, "more"], "/nonexistent", False)
    for verb in re.findall(r"akiosctl ([a-z]+(?: [a-z]+)?)", caught.value.next):
        first = verb.split()[0]
        assert any(known == verb or known.split()[0] == first for known in COMMANDS), verb
