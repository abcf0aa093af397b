"""The commands that the README and its pages print, as a reader types them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPO = Path(__file__).resolve().parents[2]
SOCKET = "export AKIOS_SOCKET="
_COMMANDS = ("akiosctl ", "akios ", "sudo ", ".venv/bin/", "export ", "source ")
# What stands for something of the reader's, and what this reader takes.
PLACEHOLDERS = {
    "CMD …": "sh -c 'cp agent.py new; for n in 1 2 3 4 5; do sh -c true; done'",
    "CAGE": "last",
    "FILE": "agent.py",
}
# Variables and methods of HTTP are no placeholders.
_LEFT = re.compile(r"(?<![$\w])(?!GET |PATH=)[A-Z]{3,}\b|…")
# What is typed otherwise here, because of where it is typed.
INSTEAD = {
    # The suite is what runs this; a path among its arguments runs that only.
    "sudo packaging/test": "sudo packaging/test tests/unit/values/test_units.py",
    # It asks at a terminal.
    "sudo akiosctl keys set openai": "echo sk-of-the-first-hour | sudo akiosctl keys set openai",
    # They go on until somebody ends them.
    "akiosctl run -d -- CMD …": "akiosctl run -d -- sh -c 'echo output; sleep 1000'",
    "akiosctl attach": "timeout --preserve-status -s KILL 5 akiosctl attach",
    "akiosctl events --follow": "timeout --preserve-status -s INT 5 akiosctl events --follow",
    # For root, `last` would be a cage of root's; the newest here has no changes that wait.
    "sudo akiosctl ledger destroy CAGE": (
        "sudo akiosctl ledger destroy $(akiosctl ps --all | sed -n '$s/ .*//p')"
    ),
    # A container has no systemd.
    "sudo systemctl enable --now akiosd": "sudo akiosd --detach",
    "sudo akiosd --check && sudo systemctl reload akiosd": "sudo akiosd --check",
}
# What cannot be typed here, and why.
LEFT_OUT = {
    "sudo akiosctl ledger witness https://witness.example/ --witness-key witness.vkey": (
        "there is no such witness"
    ),
    "sudo systemctl edit akiosd": "a container has no systemd, and it asks in an editor",
    "sudo systemctl restart akiosd": "a container has no systemd",
}
# Lines that are right to end so: the default policy allows no name but those of models, and who
# follows or watches ends that by a signal.
CODES = {
    "akiosctl http GET https://example.com/": (22,),
    "akiosctl events --follow": (130,),
    "akiosctl attach": (137,),
}


class Line(NamedTuple):
    """``printed`` on a page, ``typed`` here."""

    page: str
    number: int
    printed: str
    typed: str


def read_page(page: str) -> list[Line]:
    """Every command of a page, in order."""
    return list(_read_page(page, (REPO / page).read_text()))


def read_readme() -> tuple[list[Line], list[Line]]:
    """The commands of the README: (to set up, afterwards).

    The line that names a private daemon's socket ends the set-up; what stands before the set-up is
    a promise, and is typed after it.
    """
    found = read_page("README.md")
    first = next(n for n, line in enumerate(found) if line.printed == "sudo packaging/quickstart")
    last = next(n for n, line in enumerate(found) if line.printed.startswith(SOCKET))
    return found[first : last + 1], found[:first] + found[last + 1 :]


def read_pages() -> list[Line]:
    """The commands of the pages, from the one that starts the service on."""
    administrator = read_page("docs/administrator.md")
    return [
        *administrator[:1],
        *read_page("docs/developer.md"),
        *administrator[1:],
        *read_page("docs/auditor.md"),
    ]


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
        if printed.startswith(_COMMANDS) and printed not in LEFT_OUT:
            yield Line(page, number, printed, _type(printed))


def _type(printed: str) -> str:
    typed = printed
    for name, mine in PLACEHOLDERS.items():
        typed = typed.replace(name, mine)
    left = _LEFT.search(typed)
    if left is not None:
        pytest.fail(f"nobody says what {left[0]} stands for in: {printed}")
    return INSTEAD.get(printed, typed)
