"""The client: works with the user's own rights, and asks akiosd for everything else.

Programs in Python use ``from akiosctl import Cage``.  The names are found when they are asked for:
the verbs do not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akiosctl.library.aio import AsyncCage
    from akiosctl.library.cage import Cage
    from akiosctl.library.program import Program
    from akiosctl.library.values import (
        CageError,
        CageFileError,
        Change,
        Denial,
        Done,
        ProgramFailed,
        ProgramTimeout,
        Spent,
    )
    from akiosd.errors import AkiosError

__all__ = [
    "AkiosError",
    "AsyncCage",
    "Cage",
    "CageError",
    "CageFileError",
    "Change",
    "Denial",
    "Done",
    "Program",
    "ProgramFailed",
    "ProgramTimeout",
    "Spent",
]
_VALUES = (
    *("CageError", "CageFileError", "Change", "Denial", "Done"),
    *("ProgramFailed", "ProgramTimeout", "Spent"),
)


def __getattr__(name: str) -> Any:
    if name == "Cage":
        from akiosctl.library.cage import Cage

        return Cage
    if name == "AsyncCage":
        from akiosctl.library.aio import AsyncCage

        return AsyncCage
    if name == "Program":
        from akiosctl.library.program import Program

        return Program
    if name in _VALUES:
        from akiosctl.library import values

        return getattr(values, name)
    if name == "AkiosError":
        from akiosd.errors import AkiosError

        return AkiosError
    raise AttributeError(f"akiosctl has no {name!r}")
