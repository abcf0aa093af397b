"""The Range header (RFC 9110, 14): one range of bytes, over a body of which parts may be missing.
Pure.
"""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{1,15})?|-([0-9]{1,15}))")


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """(first, behind the last) of a range, which may be empty where ``size`` is reached; None for
    a header that asks for none, or for what is not understood and counts as none.
    """
    found = _RANGE.fullmatch(text.strip().replace(" ", ""))
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size
    stop = size if last is None else min(size, int(last) + 1)
    if last is not None and int(last) < int(first):
        return None
    return int(first), max(stop, int(first))
