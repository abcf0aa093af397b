"""A table on the screen that draws only the lines one sees, however many there are.

What it shows is text, cell by cell: no markup is read, and no key is bound to what a row says.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from akiosctl.top.columns import Cell
from akiosctl.top.sections import Row, Sheet

_STYLES = {
    "": Style(),
    "dim": Style(dim=True),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
}
_HEAD = Style(bold=True)
_CURSOR = Style(reverse=True)


class Grid(Widget, can_focus=True):
    """``follows``: the cursor stays on the last row.  The selected row is kept by its key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("pagedown,ctrl+f,space", "page(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("g,home", "first", show=False),
        Binding("G,end", "last", show=False),
        Binding("enter", "choose", show=False),
    ]
    DEFAULT_CSS = "Grid { height: 1fr; width: 1fr; }"

    class Moved(Message):
        """Another row is selected."""

    class Chosen(Message):
        """Enter was pressed on a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._sheet = Sheet((), (), (), [], "")
        self._at = self._top = 0
        self._lines: list[Strip] = []
        """What is seen; a line that is the same is not drawn, or sent over ssh, again."""
        self.follows = False

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        rows = self._sheet.rows
        return rows[self._at] if rows else None

    def show(self, sheet: Sheet) -> None:
        """Show this instead; the cursor stays on its row, or where that was."""
        before = self.selected
        self._sheet = sheet
        if self.follows:
            self._at = len(sheet.rows) - 1
        elif before is not None:
            keys = (number for number, row in enumerate(sheet.rows) if row.key == before.key)
            self._at = next(keys, self._at)
        self._settle()

    def _settle(self) -> None:
        rows, height = len(self._sheet.rows), self._height
        self._at = max(0, min(self._at, rows - 1))
        self._top = max(0, min(self._top, rows - height, self._at))
        self._top = max(self._top, self._at - height + 1)
        self._draw()

    def _draw(self) -> None:
        width, before = self.size.width, self._lines
        self._lines = [self._line(y, width) for y in range(self.size.height)]
        if len(before) != len(self._lines):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.refresh(Region(0, y, width, 1))

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 1)

    def on_resize(self, event: events.Resize) -> None:
        """There is room for more rows, or for fewer."""
        self._settle()

    def render_line(self, y: int) -> Strip:
        """The titles, then the rows from the first that is seen."""
        return self._lines[y] if y < len(self._lines) else Strip.blank(self.size.width)

    def _line(self, y: int, width: int) -> Strip:
        if y == 0:
            titles = tuple(Cell(title) for title in self._sheet.titles)
            return self._strip(titles, width, _HEAD)
        number = self._top + y - 1
        if number >= len(self._sheet.rows):
            text = self._sheet.empty if not self._sheet.rows and y == 2 else ""
            return Strip([Segment(set_cell_size(text, width), _STYLES["dim"])], width)
        style = _CURSOR if number == self._at else Style()
        return self._strip(self._sheet.rows[number].cells, width, style)

    def _strip(self, cells: tuple[Cell, ...], width: int, style: Style) -> Strip:
        segments, left = [], width
        for number, cell in enumerate(cells):
            is_last = number == len(cells) - 1
            room = left if is_last else min(left, self._sheet.widths[number])
            text = fit(cell.text, room, self._sheet.right[number])
            segments.append(Segment(text, _STYLES[cell.tone] + style))
            left -= room
            if left > 0 and not is_last:
                segments.append(Segment(" ", style))
                left -= 1
        return Strip(segments, width)

    def _move_to(self, number: int, follows: bool = False) -> None:
        self._at, self.follows = number, follows
        self._settle()
        self.post_message(self.Moved())

    def action_move(self, by: int) -> None:
        """One row on, or back."""
        self._move_to(self._at + by)

    def action_page(self, by: int) -> None:
        """A screen on, or back."""
        self._move_to(self._at + by * self._height)

    def action_first(self) -> None:
        """To the first row."""
        self._move_to(0)

    def action_last(self) -> None:
        """To the last row."""
        self._move_to(len(self._sheet.rows) - 1)

    def follow(self, follows: bool) -> None:
        """Stay on the last row from now on, or where the cursor is."""
        self._move_to(len(self._sheet.rows) - 1 if follows else self._at, follows)

    def action_choose(self) -> None:
        """Open the row."""
        if self.selected is not None:
            self.post_message(self.Chosen(self.selected))


def fit(text: str, width: int, right: bool) -> str:
    """``text`` in exactly ``width`` columns of the terminal; what is cut off is marked."""
    if len(text) > width + 1:
        text = text[: width + 1]
    cut = set_cell_size(text, width)
    if right and len(text) < width:
        return text.rjust(width)
    if width > 1 and cut.rstrip() != text.rstrip() and text.rstrip() != cut:
        return set_cell_size(text, width - 1) + "…"
    return cut
