"""What was read of cages' logs for their denials: a log of a million records is read once, and by
one request at a time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from akiosctl.read_denials import Reading

_MOST = 32


class Readings:
    """The last that were asked for, in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[threading.Lock, Reading]] = OrderedDict()

    @contextmanager
    def take(self, cage: str) -> Iterator[Reading]:
        """Of this cage, for one at a time; what failed is read anew."""
        with self._lock:
            if cage not in self._kept:
                self._kept[cage] = threading.Lock(), Reading()
            self._kept.move_to_end(cage)
            held, reading = self._kept[cage]
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        with held:
            try:
                yield reading
            except BaseException:
                with self._lock:
                    self._kept.pop(cage, None)
                raise
