"""Private keys that others than root could read: akiosd does not start with such a one.

A backup that is restored without modes makes them readable; what was signed or paid for with them
since may be anybody's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from akiosd.errors import AkiosError

KEYS = "keys"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def refuse_exposed_keys(state_dir: Path) -> None:
    """Raises :class:`AkiosError` with the first of :func:`find_exposed_keys`."""
    for error in find_exposed_keys(state_dir):
        raise error


def find_exposed_keys(state_dir: Path) -> Iterator[AkiosError]:
    """One error for each directory and file below ``keys`` that is not root's alone; nothing where
    there are no keys yet.
    """
    for path in _below(state_dir / KEYS):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in (0, os.geteuid()):
            what = f"a private key belongs to uid {status.st_uid}, not to root"
            yield AkiosError(what, str(path), f"chown root:root {path}; {_RENEW}")
        elif stat.S_ISLNK(status.st_mode):
            what = "there is a symbolic link among the private keys"
            yield AkiosError(what, str(path), "put the file itself there")
        elif mode & _OTHERS:
            what = f"users other than root may reach a private key (mode {mode:04o})"
            yield AkiosError(what, str(path), f"chmod go= {path}; {_RENEW}")


_RENEW = (
    "where somebody may have read it, replace it too: akiosctl ledger rotate-key, akiosctl keys set"
)


def _below(keys: Path) -> Iterator[Path]:
    if not os.path.lexists(keys):
        return
    yield keys
    for folder, directories, files in os.walk(keys):
        yield from (Path(folder, name) for name in sorted([*directories, *files]))
