"""The table of what was tried, as Markdown: made by the tests, never by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.compat.runs import Outcome

HEAD = """# What works in a cage

Made by `packaging/test --compat`, which runs each line in a cage and, but for agents, outside as
well, by the same ordinary user on the same files; what both print must be the same. Agents and
SDKs ask a stand-in for the provider's models. A refusal is shown with the words that a user sees.
Programs that were not there were not tried.

"""
SOURCES = {"debian": "Debian", "pypi": "PyPI", "npm": "npm", "host": "the host"}


def render(outcomes: Iterable[Outcome], not_had: Mapping[str, str]) -> str:
    found = list(outcomes)
    counts = Counter(outcome.verdict for outcome in found)
    lines = [f"{len(found)} programs, agents and SDKs: {counts['works']} work,"
             f" {counts['refused']} are refused, {counts['skipped']} were not there.", ""]  # fmt: skip
    for kind in dict.fromkeys(outcome.row.kind for outcome in found):
        lines += [f"## {kind[0].upper()}{kind[1:]}", ""]
        lines += ["| program | version | from | result | how, or the words of the refusal |"]
        lines += ["|---|---|---|---|---|"]
        for outcome in found:
            if outcome.row.kind == kind:
                lines.append(_line(outcome))
        lines.append("")
    lines += ["## Not to be had from a registry", ""]
    lines += [f"- {name}: {why}." for name, why in not_had.items()]
    return HEAD + "\n".join(lines) + "\n"


def _line(outcome: Outcome) -> str:
    row = outcome.row
    words = [f"`{outcome.words}`"] if outcome.words and outcome.verdict == "refused" else []
    words += [row.how] if row.how else []
    words += [outcome.words] if outcome.verdict == "skipped" else []
    verdict = {"skipped": "not tried"}.get(outcome.verdict, outcome.verdict)
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
