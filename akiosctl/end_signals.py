"""SIGTERM, and SIGHUP of a terminal that is closed, end a verb as Ctrl-C does: what it began is
undone, and no file of its own stays behind.
"""

from __future__ import annotations

import signal
import time

_TOGETHER_S = 2.0
"""Who ends a session sends both signals, one after the other; what they undo takes a while."""


class EndedBySignal(KeyboardInterrupt):
    """One of these signals came.  ``number`` is which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def end_as_interrupts_do() -> None:
    """Have both raise :class:`EndedBySignal` in the main thread.  One that is ignored, as nohup has
    it, stays ignored; another within 2 s of the first counts as the same.
    """
    came = float("-inf")

    def leave(number: int, frame: object) -> None:
        nonlocal came
        now = time.monotonic()
        if now - came > _TOGETHER_S:
            came = now
            raise EndedBySignal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)


def status_of(error: BaseException | None) -> int:
    """The exit status of a verb that ``error`` ended: 143, 129, and 130 for Ctrl-C."""
    return 128 + (error.number if isinstance(error, EndedBySignal) else signal.SIGINT)
