"""Tasks of akiosd, by what a fault in them may take along.

A task that serves one request, one cage or one client is *guarded*: its fault is logged in full,
whoever it served is told, and everything else goes on.  What akiosd cannot go on without is
*vital*: at its fault something is done at once, before anything is unwound, because each task gives
back, at its end, what the next akiosd needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from akiosd.daemon.base.log import get_log

_log = get_log("faults")
_T = TypeVar("_T")


def _nobody() -> None:
    """There is nobody to tell but the reader of the log."""


async def guarded(
    what: str, on_fault: Callable[[], object], job: Callable[..., Awaitable[object]], *args: Any
) -> None:
    """Run ``job``; where that raises, log it, and call ``on_fault``.  ``what`` names the task."""
    try:
        await job(*args)
    except Exception:
        _log.exception("a task failed; everything else goes on", task=what)
        call_guarded(what, on_fault)


def call_guarded(what: str, call: Callable[..., object], *args: Any) -> None:
    """Call what others than the caller depend on; where that raises, log it."""
    try:
        call(*args)
    except Exception:
        _log.exception("a call failed; everything else goes on", call=what)


class Tasks:
    """A nursery in which no task fails its neighbours."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(
        self,
        what: str,
        job: Callable[..., Awaitable[object]],
        *args: object,
        on_fault: Callable[[], object] = _nobody,
    ) -> None:
        """Begin a guarded task."""
        self._nursery.start_soon(guarded, what, on_fault, job, *args)


class Vital:
    """What akiosd cannot go on without."""

    def __init__(self) -> None:
        self.on_fault: Callable[[Exception], None] = lambda error: None
        """Called in the moment of a fault, with the error, which goes on its way when the call
        returns.
        """

    async def run(self, job: Callable[..., Awaitable[_T]], *args: Any) -> _T:
        """Run ``job``."""
        try:
            return await job(*args)
        except Exception as error:
            self.on_fault(error)
            raise
