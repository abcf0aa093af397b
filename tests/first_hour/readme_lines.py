"""The commands that the README and its pages print, as a reader types them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPO = Path(__file__).resolve().parents[2]
# Pages in the order in which somebody new reads them; those that are not there are passed over.
PAGES = ("README.md", "docs/developer.md", "docs/administrator.md", "docs/auditor.md")
SOCKET = "export AKIOS_SOCKET="
_COMMANDS = ("akiosctl ", "akios ", "sudo ", ".venv/bin/", "export ")
# What stands for something of the reader's, and what this reader takes.
PLACEHOLDERS = {
    "CMD …": "sh -c 'cat agent.py > new; for n in 1 2 3 4 5; do sh -c true; done; sleep 1'",
    "CAGE": "last",
    "FILE": "agent.py",
}
# Variables and methods of HTTP are no placeholders.
_LEFT = re.compile(r"(?<![$\w])(?!GET |PATH=)[A-Z]{3,}\b|…")
# Their effect here is not what the reader wants of them.
INSTEAD = {
    # It asks at a terminal.
    "akiosctl keys set openai": "echo sk-a-key-of-the-first-hour | akiosctl keys set openai",
    # The suite is what runs this; a path among its arguments runs that only.
    "sudo packaging/test": "sudo packaging/test tests/unit/values/test_units.py",
    # It follows until somebody ends it.
    "akiosctl events -f": "timeout --preserve-status -s INT 5 akiosctl events -f",
}
# Lines that are right to fail: in the default policy no name but those of models is allowed.
CODES = {"akiosctl http GET https://example.com/": 125}


class Line(NamedTuple):
    """``printed`` on a page, ``typed`` here."""

    page: str
    number: int
    printed: str
    typed: str


def read_lines(repo: Path) -> tuple[list[Line], list[Line]]:
    """Every command of the pages, in order: (to set up, for every day).

    The line that names a private daemon's socket ends the set-up; what stands before the set-up is
    a promise, and is typed after it.
    """
    found = [
        line
        for page in PAGES
        if (repo / page).exists()
        for line in _read_page(page, (repo / page).read_text())
    ]
    first = next(n for n, line in enumerate(found) if line.printed == "sudo packaging/quickstart")
    last = next(n for n, line in enumerate(found) if line.printed.startswith(SOCKET))
    return found[first : last + 1], found[:first] + found[last + 1 :]


def _read_page(page: str, text: str) -> Iterator[Line]:
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        if not fenced and not line.startswith("    "):
            continue
        printed = re.split(r"\s{2,}[#(]|\s+# ", line.strip())[0].strip()
        printed = printed.removeprefix("$ ")
        if printed.startswith(_COMMANDS):
            yield Line(page, number, printed, _type(printed))


def _type(printed: str) -> str:
    typed = printed
    for name, mine in PLACEHOLDERS.items():
        typed = typed.replace(name, mine)
    left = _LEFT.search(typed)
    if left is not None:
        pytest.fail(f"nobody says what {left[0]} stands for in: {printed}")
    return INSTEAD.get(printed, typed)
