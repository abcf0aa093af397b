"""What a cage tells a program that uses it, and what it raises."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import msgspec

from akiosctl.render import escape
from akiosd.errors import AkiosError

Stream = Literal["stdout", "stderr"]
Path = str | os.PathLike[str]


class Options(TypedDict, total=False):
    """What a cage may be made with besides its project: the options of ``akiosctl cage up``, with
    values written as there, as in ``memory="1G"``, ``budget="0.50"``, ``timeout="8h"``.

    ``name``: by default one after the project.  ``env``: variables for all programs; ``keep_env``:
    names of variables of this program that they get.  ``allow_degraded``: also where this host
    cannot enforce a layer.  ``keep``: what was not committed waits, instead of being destroyed at
    the end.  ``socket``: akiosd's.
    """

    policy: Path
    mode: str
    memory: str | int
    pids: str | int
    cpu: str | float
    disk: str | int
    budget: str | float
    timeout: str
    trace: str
    name: str | None
    env: Mapping[str, str] | None
    keep_env: Sequence[str]
    allow_degraded: bool
    keep: bool
    socket: str | None


_LONGEST = 400


class Done(msgspec.Struct, frozen=True):
    """A program that ended.  ``kind`` and ``reason`` say why it did: ``exited`` and "" where it
    ended by itself, else the limit that ended it; a remark is a limit that it met on its way.
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

    @property
    def error_text(self) -> str:
        """Its standard error as text; what is no UTF-8 is escaped."""
        return self.stderr.decode("utf-8", "backslashreplace")


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


class CageFileError(CageError):
    """A file of the cage cannot be read or written; ``errno`` as of ``OSError``, 0 where no call
    of the system failed.
    """

    def __init__(self, what: str, where: str, next: str, errno: int = 0) -> None:
        super().__init__(what, where, next)
        self.errno = errno


class EndedError(CageError):
    """The cage has ended, and what was asked of it was not done."""


class ProgramFailed(CageError):
    """A program ended with another exit code than 0, and it was asked for success."""

    def __init__(
        self, what: str, where: str, next: str, done: Done, denials: tuple[Denial, ...]
    ) -> None:
        super().__init__(what, where, next, denials)
        self.done = done


class ProgramTimeout(CageError):
    """A program took too long, and was killed.  ``done`` holds what it had printed."""

    def __init__(
        self, what: str, where: str, next: str, done: Done, denials: tuple[Denial, ...] = ()
    ) -> None:
        super().__init__(what, where, next, denials)
        self.done = done


def done_of(ended: Mapping[str, Any], stdout: bytes = b"", stderr: bytes = b"") -> Done:
    """A program that ended as akiosd tells, and what it printed."""
    code, reason = int(ended.get("exit_code", 0)), str(ended.get("reason", ""))
    if reason == f"exited {code}":
        reason = ""
    return Done(code, stdout, stderr, str(ended.get("kind", "exited")), reason)


def as_bytes(data: bytes | str) -> bytes:
    """Text as UTF-8.  Raises ``TypeError`` for what is neither text nor bytes."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    try:
        return memoryview(data).tobytes()
    except TypeError:
        what = f"bytes or str are wanted, not {type(data).__name__}"
        raise TypeError(what) from None


def input_bytes(data: bytes | str | None) -> bytes:
    """What a program is to get, as :func:`as_bytes`."""
    return b"" if data is None else as_bytes(data)


def next_after(reason: str, otherwise: str) -> str:
    """What helps against a limit that ended a cage; ``otherwise`` where it was none."""
    option = next((option for words, option in _SETTINGS if words in reason), "")
    return f"raise the limit in a new cage: Cage({option}=…)" if option else otherwise


_SETTINGS = (
    ("memory limit ", "memory"),
    (" processes reached", "pids"),
    ("disk limit ", "disk"),
    ("wall clock limit ", "timeout"),
    ("killed: budget ", "budget"),
    ("its cage ended: budget ", "budget"),
)
"""Words of akiosd/cage/reasons.py, and the option of a cage that they are about."""


def failed(done: Done, command: str, denials: tuple[Denial, ...]) -> ProgramFailed:
    """What is raised for a program that failed."""
    what = done.reason or f"{command} ended with exit code {done.exit_code}"
    if last := escape(done.stderr.rstrip().rpartition(b"\n")[2][:_LONGEST]):
        what += f"; the last that it said: {last}"
    next = denials[0].hint if denials else next_after(done.reason, _SEE_PRINTED)
    return ProgramFailed(what, command, next, done, denials)


def too_slow(seconds: float, command: str, out: bytes = b"", err: bytes = b"") -> ProgramTimeout:
    """What is raised for a program that was killed for its time."""
    what = f"{command} did not end within {seconds:g} s, and was killed"
    done = Done(137, out, err, "timeout", what)
    return ProgramTimeout(what, command, _MORE_TIME, done)


def with_denials(slow: ProgramTimeout, denials: tuple[Denial, ...]) -> ProgramTimeout:
    """The same, and what was denied to the program: it may have waited for that."""
    next = denials[0].hint if denials else slow.next
    return ProgramTimeout(slow.what, slow.where, next or slow.next, slow.done, denials)


_SEE_PRINTED = (
    "see what the program printed: done.stdout and done.stderr, attributes of this exception"
)
_MORE_TIME = "give it more time: timeout=…"
