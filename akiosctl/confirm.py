"""Asks before what cannot be overlooked: more changes than a screen shows, on a terminal where
somebody can answer.
"""

from __future__ import annotations

import os
import sys

from akiosctl.render import escape
from akiosd.errors import AkiosError

_KEPT_ROWS = 2
_DEFAULT_ROWS = 24


def is_too_much(count: int, rows: int) -> bool:
    """Whether ``count`` lines and the question do not fit on a screen of ``rows``."""
    return count > max(1, rows - _KEPT_ROWS)


def can_ask() -> bool:
    """Whether somebody is at the terminal."""
    return os.isatty(0) and os.isatty(2)


def ask(question: str, count: int | None, verb: str) -> None:
    """Ask when there is somebody to ask and too much (None: nobody knows how much) at stake.

    Raises :class:`AkiosError` unless the answer is yes.
    """
    if not can_ask() or (count is not None and not is_too_much(count, _rows())):
        return
    print(f"{escape(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=sys.stderr)  # Ctrl-D leaves the cursor behind the question
    if answer.strip().lower() not in ("y", "yes"):
        raise AkiosError(
            "nothing was done: the answer was not yes",
            verb,
            "see the changes: akiosctl diff; --yes does it without asking",
        )


def _rows() -> int:
    try:
        return os.get_terminal_size(2).lines or _DEFAULT_ROWS
    except OSError:
        return _DEFAULT_ROWS
