"""The table of what was tried, as Markdown: made by the tests, never by hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.compat.row import Row
from tests.compat.runs import Outcome

HEAD = """# What works in a cage

Made by `packaging/test --compat`, which runs each line in a cage and, but for agents, outside as
well, by the same ordinary user on the same files; what both print must be the same. Agents and
SDKs ask a stand-in for the provider's models. A refusal is shown with the words that a user sees.
A run of some of the rows (`packaging/test --compat -k NAME`) renews their lines alone.

"""
COLUMNS = "| program | version | from | result | how, or the words of the refusal |"
SOURCES = {"debian": "Debian", "pypi": "PyPI", "npm": "npm", "host": "the host"}
_SHORT = {"skipped": "not tried"}


def render(
    rows: Sequence[Row], outcomes: Iterable[Outcome], not_had: Mapping[str, str], before: str = ""
) -> str:
    """The table of ``rows``: a line from its outcome, else the line it had ``before``."""
    lines = read_lines(before)
    for outcome in outcomes:
        key = (outcome.row.kind, outcome.row.name)
        if outcome.verdict != "skipped" or key not in lines:
            lines[key] = _line(outcome)
    shown = {(row.kind, row.name): lines[row.kind, row.name] for row in rows
             if (row.kind, row.name) in lines}  # fmt: skip
    counts = Counter(line.split(" | ")[3] for line in shown.values())
    text = [f"{len(shown)} programs, agents and SDKs: {counts['works']} work,"
            f" {counts['refused']} are refused, {counts['not tried']} were not there.", ""]  # fmt: skip
    for kind in dict.fromkeys(kind for kind, _ in shown):
        text += [f"## {kind[0].upper()}{kind[1:]}", "", COLUMNS, "|---|---|---|---|---|"]
        text += [line for (of, _), line in shown.items() if of == kind]
        text.append("")
    text += ["## Not to be had from a registry", ""]
    text += [f"- {name}: {why}." for name, why in not_had.items()]
    return HEAD + "\n".join(text) + "\n"


def read_lines(text: str) -> dict[tuple[str, str], str]:
    """(kind, name) → its line, of a table that was rendered."""
    found: dict[tuple[str, str], str] = {}
    kind = ""
    for line in text.splitlines():
        if line.startswith("## "):
            # "SDKs" and the like keep their capitals.
            kind = line[3:] if re.match(r"## [A-Z]{2}", line) else line[3].lower() + line[4:]
        elif line.startswith("| ") and line != COLUMNS:
            found[kind, line[2:].partition(" | ")[0]] = line
    return found


def _line(outcome: Outcome) -> str:
    row = outcome.row
    words = [f"`{outcome.words}`"] if outcome.words and outcome.verdict == "refused" else []
    words += [row.how] if row.how else []
    words += [outcome.words] if outcome.verdict == "skipped" else []
    verdict = _SHORT.get(outcome.verdict, outcome.verdict)
    source = SOURCES[row.source.partition(":")[0]]
    return f"| {row.name} | {outcome.version} | {source} | {verdict} | {'; '.join(words)} |"


def render_first_runs(outcomes: Iterable[Outcome]) -> list[str]:
    """The lines of the second table: what was typed first, and what was seen."""
    lines = [
        "| agent | version | typed after akiosctl run -- | seen | result |",
        "|---|---|---|---|---|",
    ]
    for one in outcomes:
        typed = one.row.script.replace("|", "\\|")
        lines.append(f"| {one.row.name} | {one.version} | {typed} | {one.words} | {one.verdict} |")
    return lines
