"""Commands in a workflow are lists of words: what a shell would read is refused, and so is a value
that would become the text of a program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from akiosd.errors import AkiosError
from akiosd.values.workflow import Step
from akiosd.workflow.interpolate import has_reference, pieces_of
from akiosd.workflow.program_texts import (
    FILLED,
    find_added,
    find_at_files,
    find_open,
    find_texts,
    names_program,
    reads_program,
)
from akiosd.workflow.references import Path

Complain = Callable[[Path, str, str], None]

ONE_TEXT = "is one text, and no shell reads it"
"""Of a command that is not a list of words: an attempt, which is logged."""
COMMANDS: dict[str, tuple[tuple[str, str], ...]] = {
    "tool": (("parameters", "argv"), ("parameters", "command")),
    "mcp": (("config", "command"),),
}
"""Agent → where its commands stand."""
_OPTION = re.compile(r"-(?![0-9]+(\.[0-9]+)?\Z)[^\s]")
"""The beginning of an option: neither a number below zero nor the dash of a list."""


def check_words(agent: str, step: Step, complain: Complain) -> None:
    """``complain(path, what, next)`` for each command that is no list of words of its own."""
    for section, key in COMMANDS.get(agent, ()):
        command = getattr(step, section).get(key)
        if command is not None:
            _check(step, command, (section, key), complain)


def _check(step: Step, command: Any, at: Path, complain: Complain) -> None:
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
    _check_around(step, command, complain)


def _check_around(step: Step, command: list[Any], complain: Complain) -> None:
    """What a program takes besides its words: its input, and variables."""
    if _refers(step.parameters.get("stdin")) and reads_program(
        [_with_places(word) for word in command]
    ):
        complain(
            ("parameters", "stdin"),
            "a value would be read as the text of a program: this one takes it from its input",
            "write the program itself: [python3, -c, '…'] or a file; its input is data then",
        )
    for section in ("parameters", "config"):
        variables = getattr(step, section).get("env")
        if isinstance(variables, str):
            complain(
                (section, "env"), "the names of variables are filled in later", "write them out"
            )
        for name, value in variables.items() if isinstance(variables, dict) else ():
            if _refers(value) and names_program(str(name)):
                complain(
                    (section, "env", name),
                    f"a value would be read as a command, or as the place of one: {name} names what"
                    " programs run",
                    "write it out, or give the value by a variable that only your program reads",
                )


def check_filled(agent: str, section: str, written: Any, filled: Any) -> None:
    """Raises :class:`AkiosError` for a value that a program would read as an option of its own.

    ``written`` is the section of a step as the file has it, ``filled`` as it is to be done.
    """
    for _, key in (one for one in COMMANDS.get(agent, ()) if one[0] == section):
        command = written.get(key)
        if not isinstance(command, list | tuple):
            continue
        words = [_with_places(word) for word in command]
        for at in sorted(find_at_files(words)):
            value = filled[key][at]
            if isinstance(value, str) and value.startswith("@"):
                raise AkiosError(
                    f"the value {value[:40]!r} begins with @, and {command[0]} would read further"
                    " words from a file of that name, options among them",
                    f"{section}.{key}[{at}]",
                    "if the value may begin with @, write ./{inputs.x}",
                )
        _check_input(written, filled, words, section)
        for at in sorted(find_open(words)):
            value = filled[key][at]
            if isinstance(value, str) and _OPTION.match(value):
                raise AkiosError(
                    f"the value {value[:40]!r} begins with -, and {command[0]} would read it as an"
                    " option",
                    f"{section}.{key}[{at}]",
                    "if the value may begin with -, make it part of a word, as in"
                    " --name={inputs.x} or ./{inputs.x}",
                )


def _check_input(
    written: Mapping[str, Any], filled: Mapping[str, Any], words: list[str], section: str
) -> None:
    added = find_added(words) if _refers(written.get("stdin")) else None
    if added is None:
        return
    begin, between = re.escape(added.begin), re.escape(added.between)
    found = re.search(f"(?:\\A|[{between}])([{begin}][^\\s]{{1,40}})", str(filled["stdin"]))
    if found is not None:
        raise AkiosError(
            f"{words[0]} would add the word {found[1]!r} of its input to a command, which would"
            " read it as an option",
            f"{section}.stdin",
            "where there may be such words, write -- before them, as in [xargs, rm, --]",
        )


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
