"""A SIGTERM that comes before akiosd serves: it is kept until then.

Cages that an earlier akiosd left may be gone on with by then, and a stop ends them in good order;
an akiosd that died of the signal at once would leave them to the keeper.
"""

from __future__ import annotations

import signal
from types import FrameType

_told: list[int] = []


def hold() -> None:
    """From now on SIGTERM only waits, until something else handles it (signal(7))."""
    signal.signal(signal.SIGTERM, _keep)


def was_told() -> bool:
    """Whether one came meanwhile."""
    return bool(_told)


def _keep(signo: int, frame: FrameType | None) -> None:
    _told.append(signo)
