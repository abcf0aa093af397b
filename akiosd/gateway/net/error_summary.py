"""Describes an error of AKIOS's own without any text that could hold data of the agent."""

from __future__ import annotations

import traceback
from pathlib import PurePath

from akiosd.errors import KernelError


def describe(error: BaseException) -> str:
    """The class of the error and the line that raised it, and never its message, which may quote
    the agent.

    Of a group, the first error is described. Messages of the kernel and of failed imports are
    included: they hold nothing from the agent.
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
