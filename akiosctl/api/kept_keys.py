"""Idempotency-Keys that outlive the server: a file beside the tokens, of its user alone.

A line is written before the work begins, and one when it is known what came of it.  Where only the
first is there, the server was ended between them, and nobody knows.  Keys are hashed with the
token's id; what was made is the id of a cage, or of a run of a workflow.  One server has the file:
another with the same tokens keeps its keys in memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec

from akiosd.errors import AkiosError

_MOST_BYTES = 4 << 20
State = Literal["begun", "made", "failed"]


class Line(msgspec.Struct, frozen=True):
    """``name``: of the token and key; ``what``: of the request, both as SHA-256 in hex."""

    name: str
    what: str
    state: State
    made: str = ""


def name_of(owner: str, key: str) -> str:
    """What a token's key is kept as."""
    return hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()


class KeptKeys:
    """``most`` are kept, the newest.  Raises :class:`AkiosError` where the file cannot be trusted
    or written.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._most = path, most
        self.file = _take(path)
        self._lines = 0

    def read(self) -> dict[str, Line]:
        """The last line of each, the oldest first.  A line that was torn is none."""
        found: dict[str, Line] = {}
        if self.file is None:
            return found
        self._lines = 0
        self.file.seek(0)
        for text in self.file.read(_MOST_BYTES).splitlines():
            try:
                line = msgspec.json.decode(text, type=Line)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            self._lines += 1
            found.pop(line.name, None)
            if line.state != "failed":
                found[line.name] = line
        return {name: found[name] for name in list(found)[-self._most :]}

    def write(self, line: Line) -> None:
        """Bring one to disk."""
        if self.file is None:
            return
        try:
            if self._lines >= 4 * self._most:
                self._begin_anew()
            self._append(self.file, line)
            self._lines += 1
        except OSError as error:
            raise AkiosError(
                f"the key cannot be kept: {error.strerror}",
                str(self._path),
                "see whether its disk is full, or ask without an Idempotency-Key",
            ) from None

    def close(self) -> None:
        """Let another server have the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _begin_anew(self) -> None:
        """Only what is still known is kept."""
        known = self.read()
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        scratch.unlink(missing_ok=True)
        made = _take(scratch)
        assert made is not None and self.file is not None  # a new file is nobody's
        made.write(b"".join(msgspec.json.encode(line) + b"\n" for line in known.values()))
        os.fdatasync(made.fileno())
        os.replace(scratch, self._path)
        self.file.close()
        self.file, self._lines = made, len(known)

    def _append(self, file: FileIO, line: Line) -> None:
        # A line that was torn before ends here.
        file.write(b"\n" + msgspec.json.encode(line))
        os.fdatasync(file.fileno())


def _take(path: Path) -> FileIO | None:
    """The file, locked; None where another server has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, flags, 0o600), "rb+", buffering=0)
    except OSError as error:
        what = f"the file of Idempotency-Keys cannot be written: {error.strerror}"
        next = (
            "it lies beside the file of tokens: make their directory writable, or name a file of"
            " tokens in a directory that is writable: --tokens FILE"
        )
        raise AkiosError(what, str(path), next) from None
    status = os.fstat(file.fileno())
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        file.close()
        what = "users other than you may read or write the file of Idempotency-Keys"
        raise AkiosError(what, str(path), "remove it: the server makes a new one")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
