"""The screens of ``top`` beside its list: one cage, the help, and a question."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS: tuple[tuple[str, str, str], ...] = (
    ("j k", "next and previous line (also the arrows, Space, g, G)", ""),
    ("Enter", "look at one cage", "akiosctl events, akiosctl logs"),
    ("Tab 1-4", "its calls, names, money, log", "akiosctl budget, akiosctl ledger show"),
    ("Esc", "back to the list; forget the filter", ""),
    ("f", "follow: stay on the newest line", "akiosctl events --follow"),
    ("/", "show only lines with these words", "akiosctl ps | grep"),
    ("a", "ended cages too, or not", "akiosctl ps --all"),
    ("y", "copy: the cage's id, or the line (OSC 52)", ""),
    ("s", "stop the cage, after a question", "akiosctl stop CAGE"),
    ("p", "pause a standing cage, or let it go on", "akiosctl cage pause, resume"),
    ("?", "this page", ""),
    ("q", "leave; cages go on", ""),
)
"""Key, what it does, and the plain command for the same."""


def help_text() -> str:
    """The page of ``?``."""
    lines = ["Keys, and the plain commands for the same:", ""]
    for key, text, command in KEYS:
        lines.append(f"{key:<8} {text}")
        if command:
            lines.append(f"{'':<8}   {command}")
    lines += [
        "",
        "The list without this screen: akiosctl top --once (--json)",
        "What was denied, and what would allow it: akiosctl why CAGE",
        "",
        "RED   pieces of personal data that did not leave",
        "DEN   what was denied: system calls, names, calls to models",
        "CPU   100% is one processor; a limit beside each other number",
    ]
    return "\n".join(lines)


class Help(ModalScreen[None]):
    """Closed by any of its keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def compose(self) -> ComposeResult:
        """One text that scrolls where it does not fit."""
        with VerticalScroll(id="help"):
            yield Static(help_text(), markup=False)

    def action_scroll(self, by: int) -> None:
        """By one line."""
        self.query_one("#help", VerticalScroll).scroll_relative(y=by, animate=False)


class Question(ModalScreen[bool]):
    """Yes only by y: any other answer is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", show=False),
        Binding("n,escape,q,enter", "dismiss(False)", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question."""
        yield Static(f"{self._text}\n\n[y] yes   [n] no", id="question", markup=False)
