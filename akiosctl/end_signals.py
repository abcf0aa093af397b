"""SIGTERM, and SIGHUP of a terminal that is closed, end a verb as Ctrl-C does: what it began is
undone, and no file of its own stays behind.

A handler of Python's raises between any two instructions of the main thread.  So what must not be
cut in two is done in :func:`held_back`, where a signal is only noted, and raises where it is asked
about; and what ends once in :func:`ended_once`.  In both, one signal ends it: those that follow
do nothing until it is through.  Both stand in for the handlers that are there, whosever they are:
also for those of a program that uses the library.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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


class _StandIn:
    """The handler of all three signals while it is ``active``; else it hands them on, so that it
    does no harm where taking it away was itself interrupted.
    """

    def __init__(self, *, holds: bool) -> None:
        self.active = False
        self._holds = holds
        self._came: tuple[int, FrameType | None] | None = None
        self._is_ending = False
        found = {number: signal.getsignal(number) for number in _ENDING}
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {
            number: handler for number, handler in found.items() if callable(handler)
        }

    def put_in(self) -> None:
        for number in self._before:
            signal.signal(number, self)

    def take_out(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.active:
            self._before[number](number, frame)
        elif not self._is_ending and self._came is None:
            self._came = number, frame
            if not self._holds:
                self.ask()

    def ask(self) -> None:
        """Let the handler that was there have the signal that came, if one did; it raises, as a
        rule, and then it was the last.
        """
        if self._came is None or self._is_ending:
            return
        (number, frame), self._came = self._came, None
        self._is_ending = True
        self._before[number](number, frame)
        self._is_ending = False


_holding: _StandIn | None = None


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """In here none of the three signals raises but where what is yielded is called; one that came
    after the last call raises at the end.  In any thread but the main one, where no signal raises,
    and in another such block it changes nothing.
    """
    global _holding
    if not _is_main_thread():
        yield _nothing
        return
    if _holding is not None and _holding.active:
        yield _holding.ask
        return
    held = _StandIn(holds=True)
    try:
        held.put_in()
        _holding = held
        held.active = True
        yield held.ask
    finally:
        # From the first of these lines on a signal goes where it went before.
        held.active = False
        held.take_out()
        held.ask()


@contextmanager
def ended_once() -> Iterator[None]:
    """In here the first of the three signals ends what runs, and no other cuts short what is done
    about it.
    """
    if not _is_main_thread():
        yield
        return
    once = _StandIn(holds=False)
    try:
        once.put_in()
        once.active = True
        yield
    finally:
        once.active = False
        once.take_out()


def _is_main_thread() -> bool:
    import threading  # not for each run, which holds nothing back

    return threading.current_thread() is threading.main_thread()


def _nothing() -> None:
    pass


def status_of(error: BaseException | None) -> int:
    """The exit status of a verb that ``error`` ended: 143, 129, and 130 for Ctrl-C."""
    return 128 + (error.number if isinstance(error, EndedBySignal) else signal.SIGINT)
