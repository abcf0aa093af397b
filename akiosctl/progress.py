"""How far a long commit or verification is: one line on standard error, only where that is a
terminal, never with ``--json``; it comes after a second, and goes when the work is done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

_FIRST_S = 1.0
_EVERY_S = 0.2
_CLEAR = b"\r\x1b[K"


def progress_line(doing: str, unit: str, done: int, total: int, seconds: float) -> str:
    """As in ``committing: 1,234 of 5,000 files, 310 a second, 12 s left``; total 0: not known."""
    rate = done / seconds if seconds > 0 else 0.0
    speed = f"{rate:,.0f} a second" if rate >= 1 else f"{rate * 60:.0f} a minute"
    count = f"{done:,} of {total:,}" if total else f"{done:,}"
    parts = [f"{doing}: {count} {unit}", speed]
    if total and rate:
        parts.append(f"{_time_left(max(0, total - done) / rate)} left")
    return ", ".join(parts)


def _time_left(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def is_wanted() -> bool:
    """Whether somebody watches: a terminal, and no program that reads JSON."""
    if not os.isatty(2) or os.environ.get("TERM") == "dumb" or _in_thread():
        return False
    if "click" not in sys.modules:
        return True  # the end of a run, which imports no more than it needs
    import click

    context = click.get_current_context(silent=True)
    if context is None:
        return True
    return not (context.params.get("as_json") or getattr(context.obj, "as_json", False))


def _in_thread() -> bool:
    """Whether this is work of a server, of which its terminal shows nothing."""
    threads = sys.modules.get("threading")
    return threads is not None and threads.current_thread() is not threads.main_thread()


class Progress(AbstractContextManager["Progress"]):
    """Counts what is done; ``total`` may be set when it becomes known."""

    def __init__(
        self,
        doing: str,
        unit: str,
        total: int = 0,
        *,
        wanted: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done = 0
        self._doing, self._unit, self._clock = doing, unit, clock
        self._wanted = is_wanted() if wanted is None else wanted
        self._begin = clock()
        self._next = self._begin + _FIRST_S
        self._painted = False

    def advance(self, count: int = 1) -> None:
        """``count`` more are done."""
        self.done += count
        if not self._wanted:
            return
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        self._painted = True
        seconds = now - self._begin
        line = progress_line(self._doing, self._unit, self.done, self.total, seconds)
        self._write(_CLEAR + line[: _columns() - 1].encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._painted:
            self._write(_CLEAR)

    @staticmethod
    def _write(data: bytes) -> None:
        sys.stderr.flush()
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
