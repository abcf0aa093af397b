"""Paths and files beside the workspace, as the user's own programs would reach them."""

from __future__ import annotations

import os
import re

from akiosctl.open_regular import open_regular

_MAX_BYTES = 1 << 20
_MAX_LINKS = 40  # path_resolution(7)


# What an interpreter or a shell is given to run; an executable file needs no such name.
_PROGRAM = re.compile(
    rb"\.(?:sh|bash|zsh|fish|ksh|py|js|mjs|cjs|ts|mts|rb|pl|lua|php|ps1|nix|vim|el|R|exs|gdb)\Z|(?:\A|/)\.env[^/]*\Z",
    re.IGNORECASE,
)


def is_program_name(path: bytes) -> bool:
    """Whether the last part of ``path`` looks like the name of a program."""
    return _PROGRAM.search(path) is not None


def reenter(absolute: bytes, root: bytes) -> bytes | None:
    """The part of a path below the workspace, its own links not followed; ``None`` when it does not
    lead there.

    Empty is the workspace itself, and whatever it lies in.

    ``absolute`` is walked as path_resolution(7) has it until it is in ``root``, which has no links
    in its own path.
    """
    done: list[bytes] = []
    todo = absolute.split(b"/")[::-1]
    above = [part for part in root.split(b"/") if part]
    followed = 0
    while done != above:
        if not todo:
            return b"" if done == above[: len(done)] else None
        part = todo.pop()
        if part == b"..":
            done = done[:-1]
        elif part not in (b"", b"."):
            try:
                target = os.readlink(b"/" + b"/".join([*done, part]))
            except OSError:
                done.append(part)
                continue
            followed += 1
            if followed > _MAX_LINKS:
                return None
            done = [] if target.startswith(b"/") else done
            todo += target.split(b"/")[::-1]
    return b"/".join(part for part in reversed(todo) if part not in (b"", b"."))


def expand_home(value: bytes, home: bytes) -> bytes:
    """``~/`` and ``~user/``, as git's interpolate_path() has them."""
    if value.startswith(b"~/"):
        return os.path.join(home, value[2:])
    return os.path.expanduser(value) if value.startswith(b"~") else value


def read_small(path: bytes) -> bytes | None:
    """The bytes of a regular file, links followed as git does; None for anything else."""
    try:
        fd = open_regular(path)
    except (OSError, ValueError):
        return None
    try:
        data = os.read(fd, _MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) <= _MAX_BYTES else None
