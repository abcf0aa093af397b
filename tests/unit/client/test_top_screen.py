"""The screen of ``top``, driven by keys: what one sees, and what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from akiosctl.top.app import Top
from akiosctl.top.columns import Cell
from akiosctl.top.grid import Grid, fit
from akiosctl.top.sections import Row, Sheet
from akiosd.errors import AkiosError
from akiosd.values.records import NetDenied, encode_entry
from tests.unit.client.test_top import HOSTILE, info, use

INFOS = [
    info("c-1", name="web", order=1),
    info("c-2", argv=HOSTILE, order=2),
    info("c-3", name="stands", standing=True, order=3),
    info("c-4", name="gone", ended_ns=1, order=0),
]


class Asked:
    """What the screen asked for."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def look_at(self, cage: str) -> None:
        self.all.append(("look", cage))

    def list_again(self) -> None:
        self.all.append("list")

    def stop(self, cage: str) -> None:
        self.all.append(("stop", cage))

    def pause(self, cage: str, paused: bool) -> None:
        self.all.append(("pause", cage, paused))


class Seen:
    """A person at the screen."""

    def __init__(self, app: Top, asked: Asked, pilot: Pilot[None]) -> None:
        self.app, self.asked, self._pilot = app, asked, pilot

    async def press(self, *keys: str) -> list[str]:
        await self._pilot.press(*keys)
        await self._pilot.pause()
        self.app.draw()
        await self._pilot.pause()
        return self.lines()

    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines())


def watch(look: Callable[[Seen], Awaitable[None]], size: tuple[int, int] = (80, 24)) -> None:
    """Run the screen, told of ``INFOS``, as ``look`` does."""

    async def run() -> None:
        app, asked = Top(now_ns=lambda: 70_000_000_000), Asked()
        async with app.run_test(size=size) as pilot:
            app.orders = asked
            app.listed(INFOS)
            app.measured([use("c-1"), use("c-2"), use("c-3")])
            seen = Seen(app, asked, pilot)
            await seen.press()
            await look(seen)

    asyncio.run(run())


def test_an_agents_markup_and_escapes_are_seen_as_they_are() -> None:
    async def look(seen: Seen) -> None:
        await seen.press("j")
        assert "[bold red]x[/] \\x1b[31m\\x07" in seen.text.replace("\n", "")
        assert "\x1b" not in seen.text and "\x07" not in seen.text
        await seen.press("s")
        assert "[bold red]x[/]" in seen.text, "in the question too"

    watch(look)


def test_moving_choosing_and_going_back() -> None:
    async def look(seen: Seen) -> None:
        assert "3 running" in seen.text and "gone" not in seen.text
        await seen.press("j", "k", "down", "enter")
        assert seen.asked.all[-1] == ("look", "c-2") and "[1 calls]" in seen.text
        denied = NetDenied(ts=1, host=b"[red]bad.example", rule="r", protocol="dns")
        seen.app.opened("c-2", 3)
        seen.app.entries("c-2", 3, (encode_entry(denied),))
        seen.app.entries("c-1", 0, (encode_entry(denied),))
        await seen.press("tab")
        assert "[2 names]" in seen.text and "[red]bad.example" in seen.text
        assert len([line for line in seen.lines() if "net_denied" in line]) == 0
        await seen.press("4")
        assert "3  net_denied" in seen.text and "[follows]" in seen.text
        await seen.press("f")
        assert "[follows]" not in seen.text
        await seen.press("escape")
        assert seen.asked.all[-1] == ("look", "") and "3 running" in seen.text

    watch(look)


def test_a_filter_and_what_ended() -> None:
    async def look(seen: Seen) -> None:
        await seen.press("a")
        assert "gone" in seen.text
        await seen.press("slash", *"web", "enter")
        assert "[only: web]" in seen.text and "stands" not in seen.text
        await seen.press("escape")
        assert "stands" in seen.text
        await seen.press("slash", *"nothere", "enter")
        assert "nothing matches" in seen.text
        await seen.press("s", "y", "enter", "y")
        assert "list" not in seen.asked.all and not seen.asked.all, "there is nothing to act on"

    watch(look)


def test_nothing_is_stopped_or_paused_without_a_yes() -> None:
    async def look(seen: Seen) -> None:
        for answer in ("n", "escape", "enter", "q"):
            await seen.press("s")
            assert "Stop web (c-1, python agent.py, in /work)?" in seen.text.replace("│\n│ ", "")
            await seen.press(answer)
            assert "Stop web" not in seen.text
        assert seen.asked.all == []
        await seen.press("s", "y")
        assert seen.asked.all.pop() == ("stop", "c-1")
        await seen.press("p")
        assert "only a standing cage can be paused" in seen.text and not seen.asked.all
        await seen.press("G", "p", "y")
        assert seen.asked.all.pop() == ("pause", "c-3", True)

    watch(look)


def test_copying_is_the_terminals() -> None:
    async def look(seen: Seen) -> None:
        await seen.press("j", "y")
        assert seen.app.clipboard == "c-2" and "copied: c-2" in seen.text

    watch(look)


def test_akiosd_away_and_back() -> None:
    async def look(seen: Seen) -> None:
        seen.app.away(AkiosError("akiosd is not running", "x", "y"))
        await seen.press()
        assert "! akiosd is away for" in seen.text and "web" in seen.text
        seen.app.away(None)
        await seen.press()
        assert "akiosd is back" in seen.text and "away" not in seen.text

    watch(look)


def test_forty_columns() -> None:
    async def look(seen: Seen) -> None:
        for keys in (
            (),
            ("question_mark",),
            ("q", "s"),
            ("n", "enter"),
            ("tab",),
            ("tab",),
            ("tab",),
        ):
            lines = await seen.press(*keys)
            assert all(len(line) <= 40 for line in lines), keys
        assert "q quit" in seen.text

    watch(look, (40, 16))


def test_the_help_names_the_plain_commands() -> None:
    async def look(seen: Seen) -> None:
        await seen.press("question_mark")
        for command in ("top --once", "akiosctl events", "akiosctl budget", "akiosctl stop CAGE"):
            assert command in seen.text, command
        await seen.press("escape")
        assert "3 running" in seen.text

    watch(look, (80, 40))


def test_cells_are_cut_to_their_width() -> None:
    for text, width, right, shown in (
        ("abc", 5, False, "abc  "), ("abc", 5, True, "  abc"), ("abcdef", 4, False, "abc…"),
        ("abcd", 4, False, "abcd"), ("日本語", 4, False, "日 …"), ("x" * 10**6, 3, False, "xx…"),
    ):  # fmt: skip
        assert fit(text, width, right) == shown


def test_the_cursor_stays_on_its_row() -> None:
    async def look(seen: Seen) -> None:
        grid = seen.app.query_one(Grid)
        rows = [Row(str(n), (Cell(str(n)),), str(n)) for n in range(100)]
        grid.show(Sheet(("N",), (5,), (True,), rows, ""))
        for _ in range(3):
            grid.action_page(1)
        chosen = grid.selected
        grid.show(Sheet(("N",), (5,), (True,), rows[10:], ""))
        assert grid.selected == chosen is not None
        grid.show(Sheet(("N",), (5,), (True,), rows[:3], ""))
        assert grid.selected == rows[2], "where it was, as far as there are rows"
        grid.show(Sheet(("N",), (5,), (True,), [], "none"))
        assert grid.selected is None

    watch(look)


def test_a_small_screen_keeps_the_list_and_the_keys() -> None:
    async def look(seen: Seen) -> None:
        assert "web " in seen.text and "c-2 " in seen.text and "q quit" in seen.lines()[-1]
        seen.app.away(AkiosError("akiosd is not running", "x", "y"))
        assert "q quit" in (await seen.press())[-1]
        assert len(seen.lines()) < 7 or "akiosd is away" in seen.text

    for size in ((40, 8), (40, 12), (30, 6), (20, 5), (80, 7)):
        watch(look, size)
