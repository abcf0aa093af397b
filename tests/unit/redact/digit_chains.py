"""Which expressions match only where digits follow one another with little between."""

from __future__ import annotations

import re._parser as sre
from typing import Any, NamedTuple

_DIGITS = frozenset("0123456789")
_SPACE = frozenset(" \t\n\r\f\v")
MOST_GAP = 6
"""Characters between two digits; a pattern that allows more is not one of digits in a chain."""


class Chain(NamedTuple):
    """Of everything that an expression matches: at least ``digits`` in a row, at most ``lead``
    other characters before the first, ``gap`` between two and ``trail`` after the last, and no
    letter.  Without a digit for certain, ``lead`` and ``trail`` are all that is not one.
    """

    digits: int
    lead: int = 0
    gap: int = 0
    trail: int = 0


_NOTHING, _DIGIT, _OTHER = Chain(0), Chain(1), Chain(0, 1, 0, 1)


def chain_of(regex: str) -> Chain | None:
    """The longest chain that every match of ``regex`` has; None where there is none of two."""
    return _longest(sre.parse(regex))


def beside_chain(regex: str) -> int:
    """At most so many characters of a match stand before the chain, or after it."""
    nodes = sre.parse(regex)
    whole, chain = _sequence(nodes), _longest(nodes)
    if whole is not None:
        return max(whole.lead, whole.trail)
    return int(nodes.getwidth()[1]) - (chain.digits if chain else 0)


def _longest(nodes: Any) -> Chain | None:
    found = [one for one in _parts(nodes) if one.digits > 1 and one.gap <= MOST_GAP]
    return max(found, key=lambda one: one.digits, default=None)


def _parts(nodes: Any) -> list[Chain]:
    """The chains of a sequence, which ends where something else may stand."""
    parts: list[Chain] = []
    at = _NOTHING
    for op, value in nodes:
        one = _node(str(op), value)
        if one is None:
            parts, at = [*parts, at, _within(str(op), value)], _NOTHING
        else:
            at = _joined(at, one)
    return [*parts, at]


def _within(name: str, value: Any) -> Chain:
    """A chain that is in each branch, whatever else is."""
    if name == "SUBPATTERN":
        return _longest(value[3]) or _NOTHING
    if name == "BRANCH":
        some = [_longest(branch) or _NOTHING for branch in value[1]]
        return Chain(min(one.digits for one in some), 0, max(one.gap for one in some))
    return _NOTHING


def _sequence(nodes: Any) -> Chain | None:
    parts = _parts(nodes)
    return parts[0] if all(_node(str(op), value) for op, value in nodes) else None


def _node(name: str, value: Any) -> Chain | None:
    if name == "AT":
        return _NOTHING
    if name == "LITERAL":
        return _character(frozenset(chr(value)))
    if name == "IN":
        return _character(_characters(value))
    if name == "SUBPATTERN":
        return _sequence(value[3])
    if name == "BRANCH":
        return _either([_sequence(branch) for branch in value[1]])
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeated(*value)
    return None


def _characters(items: Any) -> frozenset[str]:
    """Those of a set; none where not all are known."""
    found: frozenset[str] = frozenset()
    for op, value in items:
        name = str(op) if str(op) != "CATEGORY" else str(value)
        if name == "LITERAL":
            found |= {chr(value)}
        elif name == "RANGE":
            found |= {chr(code) for code in range(value[0], value[1] + 1)}
        elif name in ("CATEGORY_DIGIT", "CATEGORY_SPACE"):
            found |= _DIGITS if name == "CATEGORY_DIGIT" else _SPACE
        else:
            return frozenset()
    return found


def _character(some: frozenset[str]) -> Chain | None:
    if some and some <= _DIGITS:
        return _DIGIT
    known = some and not any(one.isascii() and one.isalnum() for one in some)
    return _OTHER if known else None


def _joined(first: Chain, second: Chain) -> Chain:
    gap = max(first.gap, second.gap)
    if not first.digits and not second.digits:
        wide = first.lead + second.lead
        return Chain(0, wide, gap, wide)
    if not first.digits:
        return Chain(second.digits, first.trail + second.lead, gap, second.trail)
    if not second.digits:
        return Chain(first.digits, first.lead, gap, first.trail + second.lead)
    gap = max(gap, first.trail + second.lead)
    return Chain(first.digits + second.digits, first.lead, gap, second.trail)


def _either(branches: list[Chain | None]) -> Chain | None:
    known = [one for one in branches if one is not None]
    if len(known) < len(branches):
        return None
    digits, gap = min(one.digits for one in known), max(one.gap for one in known)
    lead, trail = max(one.lead for one in known), max(one.trail for one in known)
    wide = max(lead, trail)
    return Chain(digits, lead, gap, trail) if digits else Chain(0, wide, gap, wide)


def _repeated(low: int, high: Any, nodes: Any) -> Chain | None:
    one = _sequence(nodes)
    if one is None:
        return None
    if not one.digits:
        wide = MOST_GAP + 1 if high == sre.MAXREPEAT else one.lead * int(high)
        return Chain(0, wide, one.gap, wide)
    gap = max(one.gap, one.trail + one.lead) if high > 1 else one.gap
    if low:
        return Chain(one.digits * low, one.lead, gap, one.trail)
    wide = max(one.lead, one.trail)
    return Chain(0, wide, gap, wide)
