"""The screen of ``top``: keys in, rows out; what it shows is worked out elsewhere, from values."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from akiosctl.top.cages import Cage, Known
from akiosctl.top.columns import about, fitting
from akiosctl.top.grid import Grid
from akiosctl.top.one_cage import OneCage
from akiosctl.top.screens import Help, Question
from akiosctl.top.sections import SECTIONS, Row, Sheet
from akiosctl.top.words import (
    cage_line,
    cages_sheet,
    keep_matching,
    keys_line,
    question_pause,
    question_stop,
    summary,
)
from akiosd.errors import AkiosError
from akiosd.values.units import format_duration
from akiosd.wire.messages import BudgetReply, CageInfo, CageUse

_DRAW_SECONDS = 1.0
_SAID_SECONDS = 8.0
_ABOUT_LINES = 8
"""With the line above them, where the screen has so many to spare."""
_LIST_LINES = 5
"""The list with its head and two rows, the sums above it, and the keys."""


class Orders(Protocol):
    """What the screen asks for; :class:`akiosctl.top.feed.Feed` does it."""

    def look_at(self, cage: str) -> None: ...

    def list_again(self) -> None: ...

    def stop(self, cage: str) -> None: ...

    def pause(self, cage: str, paused: bool) -> None: ...


class Top(App[None]):
    """``now_ns``: the wall clock (Unix time in ns).  It is the sink of the feed."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    #summary, #about, #keys { height: auto; width: 1fr; }
    #summary { text-style: bold; }
    #about { border-top: solid ansi_bright_black; }
    #keys { color: ansi_bright_black; }
    #filter { display: none; height: 1; border: none; padding: 0; background: ansi_default; }
    #filter.open { display: block; }
    Help, Question { align: center middle; background: ansi_default; }
    #help { width: 1fr; max-width: 76; height: 1fr; max-height: 36; border: round ansi_cyan; }
    #question { width: auto; max-width: 100%; border: round ansi_yellow; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("escape", "leave", show=False, priority=True),
        Binding("slash", "filter", show=False),
        Binding("question_mark", "help", show=False),
        Binding("a", "all", show=False),
        Binding("f", "follow", show=False),
        Binding("y", "copy", show=False),
        Binding("s", "stop", show=False),
        Binding("p", "pause", show=False),
        Binding("tab", "section(1)", show=False, priority=True),
        Binding("shift+tab", "section(-1)", show=False, priority=True),
        Binding("right,l", "section(1)", show=False),
        Binding("left,h", "section(-1)", show=False),
        *(Binding(str(n), f"pick({n - 1})", show=False) for n in range(1, len(SECTIONS) + 1)),
    ]

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        super().__init__(ansi_color=True)
        self._now_ns = now_ns
        self.known = Known(begun_ns=now_ns())
        self.one: OneCage | None = None
        self.orders: Orders | None = None
        self._section, self._everything, self._wanted = "calls", False, ""
        self._away: AkiosError | None = None
        self._away_ns = self._said_ns = 0
        self._said = ""
        self._drawn = False
        self._texts: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Static(id="summary", markup=False)
        yield Grid(id="grid")
        yield Static(id="about", markup=False)
        yield Input(id="filter", placeholder="words to look for; Enter keeps them, Esc forgets")
        yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        """Draw now, and from time to time."""
        self._drawn = True
        self._grid.focus()
        self.set_interval(_DRAW_SECONDS, self.draw)
        self.call_after_refresh(self.draw)

    @property
    def _can_draw(self) -> bool:
        """Not before there is a screen, nor while it is taken down."""
        return self._drawn and bool(self.screen_stack)

    @property
    def _grid(self) -> Grid:
        return self.screen_stack[0].query_one("#grid", Grid)

    def _text(self, name: str, text: str) -> None:
        if self._texts.get(name) != text:
            self._texts[name] = text
            self.screen_stack[0].query_one(f"#{name}", Static).update(text)

    # ---- what it is told ---------------------------------------------------------------------

    def listed(self, infos: list[CageInfo]) -> None:
        """akiosd told its list."""
        self.known = self.known.listed(infos)

    def measured(self, uses: list[CageUse]) -> None:
        """akiosd told what running cages use."""
        self.known = self.known.measured(uses)
        if self.known.is_stale and self.orders is not None:
            self.orders.list_again()
        self.draw()

    def away(self, why: AkiosError | None) -> None:
        """akiosd cannot be asked; None: it can again."""
        if self._away is None:
            self._away_ns = self._now_ns()
        elif why is None:
            self.said("akiosd is back", False)
        self._away = why
        self.draw()

    def opened(self, cage: str, start: int) -> None:
        """The log of the cage that is looked at is read from here."""
        if self.one is not None and self.one.cage == cage:
            self.one = OneCage(cage, start)

    def entries(self, cage: str, start: int, entries: tuple[bytes, ...]) -> None:
        """Records of a log."""
        if self.one is not None and self.one.cage == cage:
            self.one.entries(start, entries)

    def gap(self, cage: str, start: int, stop: int) -> None:
        """Records that were not sent."""
        if self.one is not None and self.one.cage == cage:
            self.one.gap(start, stop)

    def spent(self, cage: str, budget: BudgetReply | None) -> None:
        """What akiosd says of a cage's money."""
        if self.one is not None and self.one.cage == cage:
            self.one.budget = budget

    def said(self, text: str, is_bad: bool) -> None:
        """What became of an order; it stands there for some seconds."""
        self._said, self._said_ns = ("! " if is_bad else "") + text, self._now_ns()

    # ---- what is seen ------------------------------------------------------------------------

    def draw(self) -> None:
        """Everything, from what is known."""
        if not self._can_draw:
            return
        now, grid = self._now_ns(), self._grid
        width = self.size.width
        if self.one is None:
            cages = self.known.cages(self._everything)
            sheet = cages_sheet(cages, fitting(width), now, bool(self.known.infos))
            self._text("summary", summary(cages, width))
        else:
            sheet = SECTIONS[self._section](self.one, width)
            self._text("summary", cage_line(self._cage(), self._section, width))
        grid.show(keep_matching(sheet, self._wanted))
        self._draw_below(now, width)

    def _draw_below(self, now: int, width: int) -> None:
        cage = self._cage()
        row = self._grid.selected
        if self.one is not None and self._section == "log":
            lines = [row.copy] if row is not None else []
        else:
            lines = about(cage, now) if cage is not None else []
        if self._away is not None:
            since = format_duration(max(0, now - self._away_ns))
            lines = [f"! akiosd is away for {since}: {self._away.what}; trying again", *lines]
        elif self._said and now - self._said_ns < _SAID_SECONDS * 1e9:
            lines = [self._said, *lines]
        self._text("about", "\n".join(lines))
        room = min(_ABOUT_LINES, self.size.height - _LIST_LINES)
        below = self.screen_stack[0].query_one("#about", Static)
        below.display, below.styles.max_height = room > 1, max(room, 2)
        self._text("keys", keys_line(self.one is not None, self._wanted, self._grid.follows, width))

    def _cage(self) -> Cage | None:
        """The one that is looked at, or that the cursor is on."""
        row = self._grid.selected
        name = self.one.cage if self.one is not None else row.key if row is not None else ""
        return self.known.find(name)

    def on_grid_moved(self, message: Grid.Moved) -> None:
        """Say what the other row is."""
        if self._can_draw:
            self._draw_below(self._now_ns(), self.size.width)

    def on_resize(self) -> None:
        """Other columns fit."""
        self.call_after_refresh(self.draw)

    # ---- what is typed -----------------------------------------------------------------------

    def on_grid_chosen(self, message: Grid.Chosen) -> None:
        """Look at one cage."""
        if self.one is None:
            self._open(message.row.key)

    def _open(self, cage: str) -> None:
        self.one = OneCage(cage) if cage else None
        self._set_filter("")
        self._grid.follow(bool(cage))
        if self.orders is not None:
            self.orders.look_at(cage)
        self.draw()

    def action_leave(self) -> None:
        """Out of the filter, then out of the cage."""
        if len(self.screen_stack) > 1:
            self.screen.dismiss(False if isinstance(self.screen, Question) else None)
        elif self._filter.has_class("open") or self._wanted:
            self._set_filter("")
        elif self.one is not None:
            self._open("")

    @property
    def _filter(self) -> Input:
        return self.screen_stack[0].query_one("#filter", Input)

    def _set_filter(self, text: str) -> None:
        self._wanted = self._filter.value = text
        self._filter.remove_class("open")
        self._grid.focus()
        self.draw()

    def action_filter(self) -> None:
        """Ask for words."""
        self._filter.add_class("open")
        self._filter.focus()

    def on_input_changed(self, message: Input.Changed) -> None:
        """At every key."""
        self._wanted = message.value
        self.draw()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Keep them."""
        self._set_filter(message.value)

    def action_section(self, by: int) -> None:
        """The next one, or the one before."""
        names = list(SECTIONS)
        self.action_pick((names.index(self._section) + by) % len(names))

    def action_pick(self, number: int) -> None:
        """One of them by its number."""
        if self.one is not None and len(self.screen_stack) == 1:
            self._section = list(SECTIONS)[number]
            self._grid.follow(self._section in ("calls", "log"))
            self.draw()

    def action_all(self) -> None:
        """Ended cages too, or not."""
        self._everything = not self._everything
        self.draw()

    def action_follow(self) -> None:
        """Stay on the newest line, or not."""
        self._grid.follow(not self._grid.follows)

    def action_copy(self) -> None:
        """To the clipboard of whoever sits at the terminal, by OSC 52."""
        row = self._grid.selected
        if row is not None:
            self.copy_to_clipboard(row.copy)
            self.said(f"copied: {row.copy[:60]}", False)
            self.draw()

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(Help())

    def action_stop(self) -> None:
        """End the cage, if the answer is yes."""
        cage = self._cage()
        if cage is not None and not cage.info.ended_ns:
            self._ask(question_stop(cage), lambda orders: orders.stop(cage.info.cage))

    def action_pause(self) -> None:
        """Pause it or let it go on, if the answer is yes."""
        cage = self._cage()
        if cage is None or cage.info.ended_ns:
            return
        if not cage.info.standing:
            self.said("only a standing cage can be paused: akiosctl cage up", True)
            self.draw()
            return
        paused = cage.state != "paused"
        self._ask(question_pause(cage, paused), lambda orders: orders.pause(cage.info.cage, paused))

    def _ask(self, text: str, act: Callable[[Orders], None]) -> None:
        def answered(yes: bool | None) -> None:
            if yes and self.orders is not None:
                act(self.orders)

        self.push_screen(Question(text), answered)


__all__ = ["Row", "Sheet", "Top"]
