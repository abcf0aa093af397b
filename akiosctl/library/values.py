"""What a cage tells a program that uses it, and what it raises."""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosctl.render import escape
from akiosd.errors import AkiosError

Stream = Literal["stdout", "stderr"]
_LONGEST = 400


class Done(msgspec.Struct, frozen=True):
    """A program that ended.  ``kind`` and ``reason`` say why it did: ``exited`` and "" where it
    ended by itself, else the limit that ended it.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    kind: str = "exited"
    reason: str = ""

    @property
    def text(self) -> str:
        """Its standard output as text; what is no UTF-8 is escaped."""
        return self.stdout.decode("utf-8", "backslashreplace")


class Denial(msgspec.Struct, frozen=True):
    """What one rule denied, ``count`` times: ``subjects`` are names, files or calls.  ``hint`` says
    who can allow it and how, ``setting`` is the line of the policy that would, "" where none does.
    """

    rule: str
    what: str
    count: int
    subjects: tuple[str, ...]
    hint: str
    setting: str


class Change(msgspec.Struct, frozen=True):
    """A file that a cage changed.  ``kind``: added, modified, deleted, …; ``refused``: why a commit
    would leave it out, "" where it would not.
    """

    path: str
    kind: str
    refused: str = ""


class Spent(msgspec.Struct, frozen=True):
    """What calls to models cost so far.  ``limit_usd`` is 0 where nothing limits it."""

    usd: float
    limit_usd: float
    calls: int
    input_tokens: int
    output_tokens: int
    refused: int


class CageError(AkiosError):
    """``what`` happened, ``where``, and what to do ``next``.  Where something was denied, ``rule``
    is what denied it first, and ``hint`` what would allow it.
    """

    def __init__(
        self, what: str, where: str = "", next: str = "", denials: tuple[Denial, ...] = ()
    ) -> None:
        super().__init__(what, where, next)
        self.denials = denials
        self.rule = denials[0].rule if denials else ""
        self.hint = denials[0].hint if denials else ""


class ProgramFailed(CageError):
    """A program ended with another exit code than 0, and it was asked for success."""

    def __init__(
        self, what: str, where: str, next: str, done: Done, denials: tuple[Denial, ...]
    ) -> None:
        super().__init__(what, where, next, denials)
        self.done = done


class ProgramTimeout(CageError):
    """A program took too long, and was killed.  ``done`` holds what it had printed."""

    def __init__(self, what: str, where: str, next: str, done: Done) -> None:
        super().__init__(what, where, next)
        self.done = done


def failed(done: Done, command: str, denials: tuple[Denial, ...]) -> ProgramFailed:
    """What is raised for a program that failed."""
    last = escape(done.stderr.rstrip().rpartition(b"\n")[2][:_LONGEST])  # the agent's words
    return ProgramFailed(
        done.reason or f"{command} ended with exit code {done.exit_code}",
        command,
        denials[0].hint
        if denials
        else last or "see what it printed: done.stdout and done.stderr of this error",
        done,
        denials,
    )


def too_slow(seconds: float, command: str, out: bytes = b"", err: bytes = b"") -> ProgramTimeout:
    """What is raised for a program that was killed for its time."""
    what = f"{command} did not end within {seconds:g} s, and was killed"
    done = Done(137, out, err, "timeout", what)
    return ProgramTimeout(what, command, "give it more time: timeout=…", done)
