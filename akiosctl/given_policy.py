"""A policy that came as text is a file like any other: kept by its content, so that the same text
is parsed once.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from akiosctl.run_policy import user_directory
from akiosd.errors import AkiosError

_MOST = 256


def keep_policy(text: str) -> str:
    """The path of a file of this user's with this text.  Raises :class:`AkiosError`."""
    data = text.encode()
    directory = Path(user_directory("XDG_CACHE_HOME", ".cache"), "policies")
    path = directory / f"{hashlib.sha256(data).hexdigest()[:40]}.yaml"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _holds(path, data):
            _forget(directory)
            scratch = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}")
            scratch.write_bytes(data)
            os.replace(scratch, path)
    except OSError as error:
        what = f"the policy cannot be kept: {error.strerror}"
        raise AkiosError(what, str(directory), "check its mode, and the room on its disk") from None
    return str(path)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _forget(directory: Path) -> None:
    """The oldest go."""
    found = sorted(directory.iterdir(), key=lambda one: one.stat().st_mtime_ns)
    for one in found[: max(0, len(found) - _MOST + 1)]:
        one.unlink(missing_ok=True)
