"""Tells the service manager how akiosd is, for as long as it runs: more time for a long start or
stop, a line for ``systemctl status``, and that the watchdog need not bite.

What keeps the watchdog quiet is sent by a task of the event loop, so a loop that hangs says
nothing.  Beside the loop everything waits for two more: threads must start and return, and the one
that writes the ledger must come back from its disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from akiosd.daemon.base import systemd
from akiosd.daemon.base.log import get_log
from akiosd.kernel.probe import waits_for_disk
from akiosd.values.service_manager import (
    EXTENSION_S,
    Pulse,
    ServiceFacts,
    describe_pulses,
    describe_service,
    extension,
    find_stall,
    watchdog_period,
)

_log = get_log("service")
_LOOK_S = 2.0
_SLOW_S = 10.0
LONGEST_START_S, LONGEST_STOP_S = 900.0, 600.0
"""How long a start or stop may take in all, before the manager's own limit holds again."""


class Service:
    """One for the process.  ``run`` is its task; the other methods say where akiosd stands."""

    def __init__(self, period_s: float | None = None) -> None:
        """``period_s``: the manager's watchdog; None without one."""
        self._period = period_s
        self._words: Callable[[], str] = lambda: "Starting"
        self._extends_until = trio.current_time() + LONGEST_START_S
        self._look: Callable[[], ServiceFacts] | None = None
        self._writing_since: Callable[[], float | None] = lambda: None
        self._threads_seen = trio.current_time()
        self._extended = self._beat = -1e9
        self._told = self._stalled = ""
        self.refused = ""
        """Where the settings are wrong that the last reload did not take; "" when it took them."""

    @classmethod
    def from_environment(cls) -> Service:
        """With the watchdog that the environment asks for."""
        return cls(watchdog_period(os.environ, os.getpid()))

    def starting(self, words: str) -> None:
        """The start has come to this step."""
        self._words = lambda: words
        systemd.notify(extension(words))

    def serving(
        self, look: Callable[[], ServiceFacts], writing_since: Callable[[], float | None]
    ) -> None:
        """akiosd serves.  ``writing_since`` is the trio time since when the ledger's thread writes,
        None while it has nothing to write.
        """
        self._look, self._writing_since = look, writing_since
        self._threads_seen = trio.current_time()
        self.ready()

    def ready(self) -> None:
        """It serves, or serves on after a reload."""
        self._told = self._line(trio.current_time())
        systemd.notify("READY=1\nSTATUS=" + self._told)

    def stopping(self, words: Callable[[], str]) -> None:
        """akiosd was told to stop."""
        self._look, self._words, self._extended = None, words, -1e9
        self._extends_until = trio.current_time() + LONGEST_STOP_S
        systemd.notify("STOPPING=1\nSTATUS=" + words())

    async def run(self) -> None:
        """Tell the manager, for ever; returns at once where there is none."""
        if not systemd.is_there():
            return
        step = min(_LOOK_S, self._period / 4) if self._period else _LOOK_S
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._probe_threads, step)
            while True:
                for message in self.messages(trio.current_time()):
                    systemd.notify(message, wait=False)
                await trio.sleep(step)

    async def _probe_threads(self, step: float) -> None:
        # A limiter of its own: jobs that take long in the common pool are no hang.
        limiter = trio.CapacityLimiter(1)
        while True:
            await trio.to_thread.run_sync(lambda: None, limiter=limiter)
            self._threads_seen = trio.current_time()
            await trio.sleep(step)

    def messages(self, now: float) -> list[str]:
        """What is due at ``now``, the trio time."""
        found = []
        if self._look is None:
            if now < self._extends_until and now - self._extended >= EXTENSION_S / 3:
                self._extended = now
                found.append(extension(self._words()))
        else:
            line = self._line(now)
            if line != self._told:
                self._told = line
                found.append("STATUS=" + line)
        return [*found, *self._watchdog(now)]

    def _watchdog(self, now: float) -> list[str]:
        stall = find_stall(self._pulses(now), now)
        if stall and not self._stalled:
            _log.critical("akiosd makes no progress and awaits the watchdog", why=stall)
        self._stalled = stall
        if stall or self._period is None or now - self._beat < self._period / 2:
            return []
        self._beat = now
        return ["WATCHDOG=1"]

    def _pulses(self, now: float) -> list[Pulse]:
        if self._look is None or self._period is None:
            return []
        since = self._writing_since()
        written = now if since is None else since
        disk = now - written >= _SLOW_S and waits_for_disk()
        return [
            Pulse("a thread beside the event loop", self._threads_seen, self._period),
            Pulse("the thread that writes the ledger", written, self._period, disk),
        ]

    def _line(self, now: float) -> str:
        assert self._look is not None
        slow = describe_pulses(self._pulses(now), now, _SLOW_S)
        facts = self._look()
        return describe_service(
            ServiceFacts(
                cages=facts.cages,
                kept=facts.kept,
                full=facts.full,
                state_dir=facts.state_dir,
                refused=self.refused,
                slow=slow,
            )
        )
