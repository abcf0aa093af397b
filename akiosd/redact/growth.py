"""Could a text that ends here still become a finding?  Answered by the prefixes of the patterns' languages.

For a regular expression ``r`` the set of all beginnings of its matches is regular too; :func:`prefixes` writes it
down.  A stream searches the end of what it has for such a beginning and holds back from there, no more.
"""

from __future__ import annotations

import re
import re._parser as sre
from typing import Any

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


def _whole(nodes: Any) -> str:
    return "".join(_node(op, value)[0] for op, value in nodes)


def _node(op: Any, value: Any) -> tuple[str, str]:
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
        return f"(?:{'|'.join(map(_whole, branches))})", f"(?:{'|'.join(map(prefixes, branches))})"
    if name == "SUBPATTERN":
        _, add, _, inner = value
        flag = "(?i:" if add & re.IGNORECASE else "(?:"
        return f"{flag}{_whole(inner)})", f"{flag}{prefixes(inner)})"
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, inner = value
        whole = f"(?:{_whole(inner)})"
        before = "*" if high == sre.MAXREPEAT else f"{{0,{high - 1}}}"
        return f"{whole}{_repeat(low, high)}", f"{whole}{before}{prefixes(inner)}"
    raise ValueError(f"a pattern uses {name}, whose prefixes are not known")


def prefixes(nodes: Any) -> str:
    """A regular expression for every beginning, the whole included, of what ``nodes`` match."""
    result = ""
    for op, value in reversed(list(nodes)):
        whole, begun = _node(op, value)
        result = f"{whole}{result}" if str(op) == "AT" else f"(?:{begun}|{whole}{result})" if result else begun
    return f"(?:{result})"


def growing(regexes: list[str]) -> str:
    """A regular expression that finds, leftmost, where at the end of a text one of ``regexes`` may have begun."""
    return f"(?:{'|'.join(prefixes(sre.parse(regex)) for regex in regexes)})\\z"
