"""The kinds of steps, their actions, and the names that files of AKIOS 1.4 have for them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from akiosd.errors import AkiosError
from akiosd.workflow.steps.kind import Action, Actions


def _filesystem() -> Actions:
    from akiosd.workflow.steps import filesystem

    return filesystem.ACTIONS


def _http() -> Actions:
    from akiosd.workflow.steps import http

    return http.ACTIONS


def _llm() -> Actions:
    from akiosd.workflow.steps import llm

    return llm.ACTIONS


def _tool() -> Actions:
    from akiosd.workflow.steps import tool

    return tool.ACTIONS


def _webhook() -> Actions:
    from akiosd.workflow.steps import webhook

    return webhook.ACTIONS


def _mcp() -> Actions:
    from akiosd.workflow.steps import mcp

    return mcp.ACTIONS


def _database() -> Actions:
    from akiosd.workflow.steps import database

    return database.ACTIONS


def _approve() -> Actions:
    from akiosd.workflow.steps import approve

    return approve.ACTIONS


KINDS: dict[str, Callable[[], Actions]] = {
    "approve": _approve,
    "filesystem": _filesystem,
    "http": _http,
    "llm": _llm,
    "database": _database,
    "mcp": _mcp,
    "webhook": _webhook,
    "tool": _tool,
}
"""Each kind with its actions; imported when asked for, because a step needs one of them."""

OLD_KINDS = {"tool_executor": "tool"}
OLD_ACTIONS = {
    ("filesystem", "analyze"): "stat",
    ("llm", "generate"): "complete",
    ("tool", "execute"): "run",
    ("tool", "call"): "run",
    ("webhook", "notify"): "send",
}


def find_action(kind: str, action: str) -> Action:
    """The action of a kind, by its own name or its old one.  Raises :class:`AkiosError`."""
    kind = OLD_KINDS.get(kind, kind)
    if kind not in KINDS:
        raise AkiosError(f"there is no kind of step {kind!r}", "kind", _near(kind, KINDS))
    actions, name = KINDS[kind](), OLD_ACTIONS.get((kind, action), action)
    if name not in actions:
        raise AkiosError(f"{kind} has no action {action!r}", "action", _near(action, actions))
    return actions[name]


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean {near[0]}?" if near else f"there is {', '.join(names)}"
