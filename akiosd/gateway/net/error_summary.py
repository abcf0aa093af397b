"""Our own errors in words that can be written down anywhere."""

from __future__ import annotations

import traceback
from pathlib import PurePath

from akiosd.errors import KernelError


def describe(error: BaseException) -> str:
    """Which error, and the line that raised it; never its text, which may hold what an agent sent.

    Of a group the first.  What the kernel said, and what could not be imported or opened, is told: it is ours.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}{_words(error)}"


def _words(error: BaseException) -> str:
    if isinstance(error, KernelError | ImportError):
        return f": {error}"
    if isinstance(error, OSError):
        return f": {error.strerror}" + (f": {error.filename}" if error.filename else "")
    return ""
