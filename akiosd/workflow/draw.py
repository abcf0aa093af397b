"""Draws a plan: as a mermaid flowchart (mermaid.js.org, "Flowcharts"), and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from akiosd.workflow.plan import Plan, PlannedStep


def mermaid(plan: Plan) -> list[str]:
    """The lines of a flowchart.  Ids are our own; names and conditions are quoted text."""
    ids = {step.name: f"s{number}" for number, step in enumerate(plan.steps, 1)}
    lines = ["flowchart TD"]
    groups = dict.fromkeys(step.group for step in plan.steps if step.group)
    for step in plan.steps:
        if not step.group:
            lines.append(f"    {_node(step, ids)}")
    for number, group in enumerate(groups, 1):
        lines.append(f'    subgraph g{number}["{_quoted(group)}"]')
        lines += [f"        {_node(step, ids)}" for step in plan.steps if step.group == group]
        lines.append("    end")
    for step in plan.steps:
        label = f'|"{_quoted(str(step.condition))}"|' if step.condition is not True else ""
        lines += [f"    {ids[before]} -->{label} {ids[step.name]}" for before in step.needs]
    return lines


def _node(step: PlannedStep, ids: dict[str, str]) -> str:
    shape = ("{{", "}}") if step.matrix else ("[", "]")
    return f'{ids[step.name]}{shape[0]}"{_quoted(step.name)}<br/>{_what(step)}"{shape[1]}'


def _quoted(text: str) -> str:
    """Text within quotes: entities for what mermaid or HTML would read."""
    return "".join(
        letter if letter.isalnum() or letter in " _-.,=!()'[]" else f"#{ord(letter)};"
        for letter in text
    )


def _what(step: PlannedStep) -> str:
    return f"{step.agent} {step.action}".strip()


def drawing(plan: Plan, width: int = 80) -> list[str]:
    """Boxes from top to bottom, one row a rank; beside each other what runs at the same time."""
    steps = {step.name: step for step in plan.steps}
    lines: list[str] = []
    for place, rank in enumerate(plan.order):
        if place:
            lines += ["   │", "   ▼"]
        rows = list(_rows([_box(steps[name], width) for name in rank], width))
        for row in rows:
            height = max(len(box) for box in row)
            padded = [box + [" " * len(box[0])] * (height - len(box)) for box in row]
            lines += ["  ".join(parts).rstrip() for parts in zip(*padded, strict=True)]
    return lines


def _box(step: PlannedStep, width: int) -> list[str]:
    texts = [step.name, _what(step)]
    if step.condition is not True:
        texts.append(f"if {step.condition}")
    if step.matrix:
        texts.append(f"for each {', '.join(step.matrix)}")
    if len(step.needs) > 1:
        texts.append(f"after {', '.join(step.needs)}")
    texts = [_short(text, width - 4) for text in texts]
    inner = max(map(len, texts))
    return [
        f"┌{'─' * (inner + 2)}┐",
        *(f"│ {text:<{inner}} │" for text in texts),
        f"└{'─' * (inner + 2)}┘",
    ]


def _short(text: str, most: int) -> str:
    """One printable line; what is cut says so."""
    text = "".join(letter if letter.isprintable() else "·" for letter in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _rows(boxes: list[list[str]], width: int) -> Iterator[list[list[str]]]:
    row: list[list[str]] = []
    used = 0
    for box in boxes:
        size = len(box[0]) + 2
        if row and used + size > width:
            yield row
            row, used = [], 0
        row.append(box)
        used += size
    if row:
        yield row
