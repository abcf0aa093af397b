"""What the three engines of the ledger share: commits, publications, and who waits for either.

One object, made first and given to each.  Whatever changes what another engine waits for is a
method here, so that nobody sets anything in anybody else.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import trio

from akiosd.errors import LedgerError, LedgerStateError
from akiosd.ledger.sequencer import Sequencer
from akiosd.values.ids import LogId

Subscriber = Callable[[LogId, int, list[bytes]], None]
"""Called with a log, the index of the first entry, and the entries, once they are durable."""


class LedgerState:
    """``progress`` is set, and replaced by a new event, after each commit, after each publication,
    and when room returns.
    """

    def __init__(self, sequencer: Sequencer) -> None:
        self.sequencer = sequencer
        self.failure: LedgerError | None = None
        self.stopping = False
        """Everything is published once more, and then all engines end."""
        self.stopped = trio.Event()
        self.full = False
        """The disk has no room for records."""
        self.writing_since: float | None = None
        """The trio time at which the present write of the WAL began; None between two."""
        self.on_full: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None
        """Who is told when it becomes full, and when there is room again.  Must not raise."""
        self.on_fault: Callable[[Exception], None] = lambda error: None
        """Called in the moment of a failure, before anybody who waits for the ledger finds out."""
        self.subscribers: list[Subscriber] = []
        self.progress = trio.Event()
        self.to_commit = trio.Event()
        """There is something to commit."""
        self.urgent = trio.Event()
        """And somebody waits for it."""
        self.to_publish = trio.Event()
        """A log has something to publish that had nothing, or what is due may have changed."""
        self.untidy = trio.Event()
        """A segment of the WAL was taken, or may be given back."""
        self.outgrown = trio.Event()
        """Logs outgrew files, or an earlier run left some."""

    def check(self) -> None:
        """Raise ``LedgerError`` if the ledger has failed or is closed."""
        if self.failure is not None:
            raise LedgerError(
                "the ledger failed before, and writes nothing more",
                where=self.failure.what,
                next="see why in journalctl -u akiosd, mend that, and restart akiosd",
            )
        if self.stopped.is_set():
            raise LedgerStateError("the ledger is closed")

    def fail(self, error: LedgerError) -> None:
        """Keep the first failure, and wake everybody who waits for progress: they find it."""
        if self.failure is None:
            self.on_fault(error)
            self.failure = error
        self.progress.set()

    def advance(self) -> None:
        """Wake everybody who waits for ``progress``."""
        event, self.progress = self.progress, trio.Event()
        event.set()

    def no_room(self, error: OSError) -> None:
        """A full disk is a state, not a failure; any other error is final and raised again."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        if not self.full:
            self.full = True
            self.to_publish.set()
            if self.on_full is not None:
                self.on_full()

    def has_room(self) -> None:
        """Work that needs room was done."""
        if self.full:
            self.full = False
            self.advance()
            if self.on_room is not None:
                self.on_room()

    def end(self) -> None:
        """Nothing is taken any more; who waits is woken and finds the ledger closed."""
        self.stopping = True
        self.stopped.set()
        self.progress.set()
