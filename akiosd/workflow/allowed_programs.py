"""Tells before a run that a tool step will be refused its program, as its ``allow`` will do it
(:mod:`akiosd.workflow.steps.tool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from akiosd.values.workflow import Step
from akiosd.workflow.interpolate import PieceError, has_reference

LISTS = ("allow", "allowed_commands")


def program_not_allowed(step: Step) -> str:
    """The program that no entry allows, whatever is filled in; empty where one may."""
    argv = step.parameters.get("argv") or step.parameters.get("command")
    if not isinstance(argv, list) or not argv or not _is_settled(argv[0]):
        return ""
    entries: list[Any] = []
    for name in LISTS:
        given = step.config.get(name, [])
        if not isinstance(given, list):
            return ""
        entries += given
    return "" if any(_may_allow(entry, argv) for entry in entries) else str(argv[0])


def _may_allow(entry: Any, argv: Sequence[Any]) -> bool:
    words = entry if isinstance(entry, list) else [entry]
    if not words or len(words) > len(argv):
        return False
    pairs = zip(words, argv, strict=False)
    return all(one == other or not _is_settled(one, other) for one, other in pairs)


def _is_settled(*words: Any) -> bool:
    """Whether nothing is filled into them later."""
    try:
        return not any(has_reference(word) for word in words)
    except PieceError:
        return False
