"""Files of AKIOS 1.4, put into the form of now before they are read: a table of what is called
otherwise.

``step: 1`` gives a step its number, and its name where it has none (``step_1``); ``condition`` is
``if``; ``on_error`` is ``continue_on_error`` or ``retry``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from akiosd.policy.yaml_lines import Mark
from akiosd.workflow.steps.kinds import OLD_ACTIONS, OLD_KINDS

Path = tuple[str | int, ...]
Complain = Callable[[Path, str, str], None]

ON_ERROR: dict[str, dict[str, Any]] = {
    "fail": {},
    "skip": {"continue_on_error": True},
    "retry": {"retry": {"attempts": 2}},
}
"""What ``on_error`` said → what says it now; 1.4's retry was one more attempt."""
RENAMED = {"condition": "if"}


def renew(content: dict[str, Any], marks: dict[Path, Mark], complain: Complain) -> list[str]:
    """Changes ``content`` and ``marks`` in place; returns what somebody should know of it."""
    notes: list[str] = []
    steps = content.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            _renew_step(step, ("steps", index), marks, notes, complain)
    return list(dict.fromkeys(notes))


def _renew_step(
    step: dict[str, Any], path: Path, marks: dict[Path, Mark], notes: list[str], complain: Complain
) -> None:
    if "step" in step:
        number = step.pop("step")
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            complain(
                (*path, "step"), f"step: {number!r} is not a number from 1 on", "write step: 1"
            )
        elif len(path) == 2 and number != int(path[-1]) + 1:
            complain(
                (*path, "step"),
                f"step {number} stands in place {int(path[-1]) + 1}",
                "number the steps 1, 2, 3 in the order of the file",
            )
        notes.append("step: N is read; a name says more: name: summarise")
    for old, new in RENAMED.items():
        if old in step and new in step:
            complain((*path, old), f"{old} and {new} are the same key", f"keep {new}")
        elif old in step:
            step[new] = step.pop(old)
            marks[(*path, new)] = marks.get((*path, old), (0, 0))
            notes.append(f"{old} is called {new} now")
    if "on_error" in step:
        _on_error(step, path, marks, notes, complain)
    _renew_names(step, notes)
    parallel = step.get("parallel")
    for index, inner in enumerate(parallel if isinstance(parallel, list) else []):
        if isinstance(inner, dict):
            _renew_step(inner, (*path, "parallel", index), marks, notes, complain)


def _on_error(
    step: dict[str, Any], path: Path, marks: dict[Path, Mark], notes: list[str], complain: Complain
) -> None:
    word = step.pop("on_error")
    if not isinstance(word, str) or word not in ON_ERROR:
        what = f"on_error: {word!r} is not known"
        complain((*path, "on_error"), what, f"write one of: {', '.join(ON_ERROR)}")
        return
    for key, value in ON_ERROR[word].items():
        step.setdefault(key, value)
        marks.setdefault((*path, key), marks.get((*path, "on_error"), (0, 0)))
    notes.append("on_error is called continue_on_error (skip) and retry (retry) now")


def _renew_names(step: dict[str, Any], notes: list[str]) -> None:
    agent, action = step.get("agent"), step.get("action")
    if isinstance(agent, str) and agent in OLD_KINDS:
        step["agent"] = agent = OLD_KINDS[agent]
        notes.append("agent tool_executor is called tool now")
    if isinstance(agent, str) and isinstance(action, str) and (agent, action) in OLD_ACTIONS:
        step["action"] = OLD_ACTIONS[agent, action]
        notes.append(f"action {action} of {agent} is called {step['action']} now")
    config = step.get("config")
    if agent == "llm" and isinstance(config, dict) and config.pop("api_key", None) is not None:
        notes.append(
            "api_key is not read: akiosctl keys set PROVIDER keeps keys, the gateway uses them"
        )
