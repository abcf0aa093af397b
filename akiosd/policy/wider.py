"""When is a value of a policy wider than another?  One function a kind of field.

Each takes ``(base, over)`` and says whether ``over`` is wider.

Past the system policy a layer may only narrow.  The same functions serve the client's merge and
akiosd's own check of a policy that a client merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from akiosd.values.domains import covers

Wider = Callable[[Any, Any], bool]


def never(base: Any, over: Any) -> bool:
    return False


def differs(base: Any, over: Any) -> bool:
    return bool(base != over)


def higher_limit(base: int, over: int) -> bool:
    """0 is no limit, so it is wider than any number."""
    return base != 0 and (over == 0 or over > base)


def turned_on(base: bool, over: bool) -> bool:
    return over and not base


def adds(base: Iterable[Any], over: Iterable[Any]) -> bool:
    return not set(over) <= set(base)


def removes(base: Iterable[Any], over: Iterable[Any]) -> bool:
    return not set(over) >= set(base)


def adds_domain(base: Sequence[str], over: Sequence[str]) -> bool:
    return not all(any(covers(pattern, entry) for pattern in base) for entry in over)


def uncovers_domain(base: Sequence[str], over: Sequence[str]) -> bool:
    return adds_domain(over, base)


def adds_variable(base: Sequence[str], over: Sequence[str]) -> bool:
    return not all(any(_keeps(pattern, name) for pattern in base) for name in over)


def _keeps(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))


def ranked(ranks: Mapping[str, int]) -> Wider:
    return lambda base, over: ranks[over] > ranks[base]


# ---- bounds: how far a later policy may go -------------------------------------------------------


def widens_names(wider: Wider) -> Wider:
    """For the bound of a list: ``any`` is wider than every list."""
    return lambda base, over: base != "any" and (over == "any" or wider(base, over))


def widens_most(base: int | None, over: int | None) -> bool:
    """For the bound of a number: None is nothing more, 0 any number."""
    return over is not None and (base is None or higher_limit(base, over))


def is_beyond(wider: Wider, base: Any, bound: Any, over: Any) -> bool:
    """Whether ``over`` is wider than ``base`` and ``bound`` together allow."""
    if bound is None or bound == ():
        return wider(base, over)
    if bound == "any":
        # A name with a port is passed through unread, which is more than any name.
        return wider is adds_domain and wider(base, [entry for entry in over if ":" in entry])
    if isinstance(bound, int):
        return wider(0 if 0 in (base, bound) else max(base, bound), over)
    return wider((*base, *bound), over)
