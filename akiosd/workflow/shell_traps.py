"""Commands in a workflow are lists of words: what a shell would read is refused, and so is a value
that would become the text of a program.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from akiosd.errors import AkiosError
from akiosd.values.workflow import Step
from akiosd.workflow.interpolate import has_reference, pieces_of
from akiosd.workflow.program_texts import FILLED, find_texts
from akiosd.workflow.references import Path

Complain = Callable[[Path, str, str], None]

ONE_TEXT = "is one text, and no shell reads it"
"""Of a command that is not a list of words: an attempt, which is logged."""
COMMANDS: dict[str, tuple[tuple[str, str], ...]] = {
    "tool": (("parameters", "argv"), ("parameters", "command")),
    "mcp": (("config", "command"),),
}
"""Agent → where its commands stand."""


def check_words(agent: str, step: Step, complain: Complain) -> None:
    """``complain(path, what, next)`` for each command that is no list of words of its own."""
    for section, key in COMMANDS.get(agent, ()):
        command = getattr(step, section).get(key)
        if command is not None:
            _check(command, (section, key), complain)


def _check(command: Any, at: Path, complain: Complain) -> None:
    if isinstance(command, str):
        complain(at, f"{'.'.join(map(str, at))} {ONE_TEXT}", explain(command))
        return
    if not isinstance(command, list) or not command:
        complain(at, "a command is a list of words", "write it as [program, word, word]")
        return
    if _refers(command[0]):
        complain((*at, 0), "the program is filled in later", "write the program itself")
    for index in sorted(find_texts([_with_places(word) for word in command]) - {0}):
        what = "a value would be read as the text of a program, or as an option that brings one"
        hint = (
            "give it as a word of its own: [sh, -c, 'wc -c \"$1\"', sh, '{inputs.x}']; a file name"
            " stands behind -- or begins with its directory"
        )
        complain((*at, index), what, hint)


def explain(command: str) -> str:
    """How somebody writes a command that was one text."""
    if re.search(r"[|&;<>$`(){}*?~\n]", command):
        return (
            "write one step for each program; a program that must have a shell names it: "
            "[sh, -c, 'a | b'], where no value may be filled in"
        )
    return f"write a list: [{', '.join(command.split()[:8])}]"


def _with_places(word: Any) -> str:
    """The word, with :data:`FILLED` for each thing that is filled in."""
    try:
        ((_, pieces),) = pieces_of(str(word))
    except AkiosError:
        return FILLED
    return "".join(piece if isinstance(piece, str) else FILLED for piece in pieces)


def _refers(word: Any) -> bool:
    try:
        return has_reference(word)
    except AkiosError:
        return True
