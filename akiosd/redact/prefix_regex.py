"""Answers whether a text that ends here could still become a finding, by the prefixes of the
patterns' languages.

For a regular expression ``r``, the set of all beginnings of its matches is regular too;
:func:`prefixes` writes it down. A stream searches the end of its text for such a beginning, and
holds back from there.

A search for the beginnings of all patterns at once would be large if it counted every repetition.
So long repetitions are not counted: more is held back than necessary, and where that is more than
``LONG`` characters, only beginnings of patterns without an end count (:func:`endless`).
"""

from __future__ import annotations

import re
import re._parser as sre
from typing import Any

from akiosd.redact.model import Pattern
from akiosd.redact.normalise import MASK
from akiosd.redact.re2_search import compiled, folded, latin

LONG = 1200
"""No match of a pattern that has an end is longer than this, in characters."""
_COUNTED = 28
_CATEGORIES = {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w",
               "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_NOT_WORD": r"\W"}  # fmt: skip


def _char(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else re.escape(chr(code))


def _set(items: list[Any]) -> str:
    parts = []
    for op, value in items:
        name = str(op)
        if name == "NEGATE":
            parts.append("^")
        elif name == "LITERAL":
            parts.append(_char(value))
        elif name == "RANGE":
            parts.append(f"{_char(value[0])}-{_char(value[1])}")
        else:
            parts.append(_CATEGORIES[str(value)])
    return f"[{''.join(parts)}]"


def _repeat(low: int, high: Any) -> str:
    if high == sre.MAXREPEAT:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return f"{{{low},{high}}}"


def _whole(nodes: Any, exact: bool) -> str:
    return "".join(_node(op, value, exact)[0] for op, value in nodes)


def _node(op: Any, value: Any, exact: bool) -> tuple[str, str]:
    """(the node, the beginnings of the node) as regular expressions."""
    name = str(op)
    if name == "LITERAL":
        return _char(value), f"{_char(value)}?"
    if name == "NOT_LITERAL":
        return f"[^{_char(value)}]", f"[^{_char(value)}]?"
    if name == "IN":
        return _set(value), f"{_set(value)}?"
    if name == "AT":
        return {"AT_BOUNDARY": r"\b"}[str(value)], ""
    if name == "BRANCH":
        branches = value[1]
        return (
            f"(?:{'|'.join(_whole(b, exact) for b in branches)})",
            f"(?:{'|'.join(prefixes(b, exact) for b in branches)})",
        )
    if name == "SUBPATTERN":
        _, add, _, inner = value
        flag = "(?i:" if add & re.IGNORECASE else "(?:"
        return f"{flag}{_whole(inner, exact)})", f"{flag}{prefixes(inner, exact)})"
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, inner = value
        high = high if exact or high - low <= _COUNTED else sre.MAXREPEAT
        whole = f"(?:{_whole(inner, exact)})"
        before = "*" if high == sre.MAXREPEAT else f"{{0,{high - 1}}}"
        return f"{whole}{_repeat(low, high)}", f"{whole}{before}{prefixes(inner, exact)}"
    raise ValueError(f"a pattern uses {name}, whose prefixes are not known")


def prefixes(nodes: Any, exact: bool) -> str:
    """A regular expression for every beginning, the whole included, of what ``nodes`` match;
    ``exact`` or of more.
    """
    result = ""
    for op, value in reversed(list(nodes)):
        whole, begun = _node(op, value, exact)
        result = (
            f"{whole}{result}"
            if str(op) == "AT"
            else f"(?:{begun}|{whole}{result})"
            if result
            else begun
        )
    return f"(?:{result})"


def endless(nodes: Any) -> bool:
    """Whether a match may have any length."""
    return bool(nodes.getwidth()[1] >= sre.MAXREPEAT)


def _at_end(regexes: list[str]) -> Any:
    """Finds, leftmost, one of ``regexes`` at the end of a text."""
    return compiled(latin(f"(?:{'|'.join(regexes)})\\z"))


class Growth:
    """The beginnings of ``patterns``, and of masks."""

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self._any = _at_end(
            [prefixes(sre.parse(regex), False) for regex in (MASK, *map(folded, patterns))]
        )
        without_end = [p for p in patterns if endless(sre.parse(p.regex))]
        long = [p.endless or prefixes(sre.parse(folded(p)), True) for p in without_end]
        self._endless = _at_end(long) if long else None

    def start(self, data: bytes, position: int) -> int:
        """The position from which ``data`` may still become a finding; its length when there is
        none.
        """
        size = len(data)
        match = self._any.search(data, position)
        if not match or size - match.start() <= LONG:
            return match.start() if match else size
        ends = [self._any.search(data, max(position, size - LONG))]
        if self._endless is not None:
            ends.append(self._endless.search(data, position))
        return min((int(m.start()) for m in ends if m), default=size)
