"""What was recorded: commands that were run again and again with nothing changed between
(``recorded.json``), and whole runs of real agents before a stand-in model (``agents.json``, made by
``record_agents.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.unit.meter.traces.shapes import Claude, Codex, Gemini, Step, Talk

RECORDED: dict[str, list[str]] = json.loads(Path(__file__).with_name("recorded.json").read_text())
AGENTS: dict[str, Any] = json.loads(Path(__file__).with_name("agents.json").read_text())
KINDS: dict[str, type[Talk]] = {"claude": Claude, "codex": Codex, "gemini": Gemini}


def runs(loops: bool) -> dict[str, Callable[[], Iterator[Step]]]:
    """The runs of real agents that go in circles, or those that work."""
    return {
        f"real agent: {name}": lambda run=run: _steps(run)  # type: ignore[misc]
        for name, run in AGENTS.items()
        if run["loops"] == loops
    }


def _steps(run: Any) -> Iterator[Step]:
    kind = KINDS[run["agent"]]
    name = {Codex: "input", Gemini: "contents"}.get(kind, "messages")
    head: dict[str, Any] = {}
    items: list[Any] = []
    for step in run["steps"]:
        head = step.get("head", head)
        items = [*items[: step["same"]], *step["new"]]
        body = {**head, name: items}
        yield Step(kind.provider, kind.target, body, step["reply"], round=step.get("round", 0))
