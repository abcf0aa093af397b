"""Gives back several parts, so that a failure of one does not keep the others from being given
back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from akiosd.daemon.base.log import get_log

_log = get_log("cage")


async def attempt(cage: str, what: str, step: Callable[[], Awaitable[None] | None]) -> bool:
    """Give one part of ``cage`` back; returns False, after logging it, when that failed.  ``what``
    names the part.
    """
    try:
        waits = step()
        if waits is not None:
            await waits
    except Exception:  # whatever it was: what comes behind it must be given back all the same
        _log.exception("something of a cage stays", cage=cage, what=what)
        return False
    return True
