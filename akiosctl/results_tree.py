"""What a workflow brought, in ``data/output/RUN`` of its project: ``output.json``, and a file for
each step.

Programs in cages write into data/output, too, and may have put anything there: no link is followed,
and every file is made anew.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from akiosd.errors import AkiosError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write_tree(output: int, run: str, report: Mapping[str, Any]) -> None:
    """``output`` is data/output; it stays the caller's.  Raises AkiosError."""
    try:
        top = _make(output, run)
        try:
            steps = _make(top, "steps")
            try:
                for step in report["steps"]:
                    _write(steps, f"{step['name']}.json", step)
            finally:
                os.close(steps)
            _write(top, "output.json", report)
        finally:
            os.close(top)
    except OSError as error:
        raise AkiosError(
            f"the results cannot be written: {error.strerror}",
            f"data/output/{run}",
            "see them in the journal: akiosctl output show",
        ) from None


def _make(parent: int, name: str) -> int:
    """A directory that only the user enters; the caller's to close."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _write(parent: int, name: str, value: Any) -> None:
    """A new file in the place of what may be there."""
    temporary = f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
