"""Writings to a user's directory that are whole or not there, such as a commit: who ends the
process waits for those that have begun, and has none begin any more.

A thread that writes gets no signal, and what it does would be cut off with its process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from akiosd.errors import AkiosError


class Writings:
    """Of one process; threads may ask."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._going = 0
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """A writing, as long as the block lasts.  Raises AkiosError where none may begin."""
        with self._changed:
            if self._closed:
                raise AkiosError(
                    "this process of akiosctl ends, and nothing is written any more",
                    "akiosctl",
                    "start akiosctl again, then do the same again",
                )
            self._going += 1
        try:
            yield
        finally:
            with self._changed:
                self._going -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """From here on none begins."""
        with self._changed:
            self._closed = True

    def wait(self, say: Callable[[int], object]) -> None:
        """Until those are done that have begun; ``say`` is called once, with their number, where
        there are any.
        """
        with self._changed:
            if self._going:
                say(self._going)
            while self._going:
                self._changed.wait()


WRITINGS = Writings()
"""Those of this process."""
