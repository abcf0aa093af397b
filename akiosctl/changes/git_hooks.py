"""Hooks that a well-known program writes by itself, and that run nothing but that program.  Pure.

git-lfs makes four of them at its first command in a repository: git-lfs-install(1).  They are taken
where the user who commits has that program, outside of the workspace: it is theirs that runs then,
and no other of its name can be put before it.
"""

from __future__ import annotations

import re

from akiosctl.changes.names import fold

LFS = b"git-lfs"
_NAMES = frozenset((b"pre-push", b"post-checkout", b"post-commit", b"post-merge"))
# Words for people: nothing that a shell expands within double quotes.
_WORDS = rb"\"(?:[A-Za-z0-9 .,'():;=%/_-]|\\n)*\""
_LFS_HOOK = re.compile(
    rb"#!/bin/sh\ncommand -v git-lfs >/dev/null 2>&1 \|\| "
    rb"\{ (?:echo|printf) >&2 " + _WORDS + rb"(?: " + _WORDS + rb")?; exit 2; \}\n"
    rb'git lfs ([a-z-]+) "\$@"\n?'
)


def is_hook(path: bytes, git_dirs: frozenset[bytes]) -> bool:
    """Whether ``path`` is where git-lfs puts a hook of its own."""
    place, _, name = path.rpartition(b"/")
    repository, _, hooks = place.rpartition(b"/")
    if name not in _NAMES or hooks != b"hooks":
        return False
    return fold(repository.rpartition(b"/")[2]) == ".git" or repository in git_dirs


def is_lfs_hook(path: bytes, data: bytes) -> bool:
    """Whether ``data`` hands what this hook is told to the command of git-lfs for it, and no
    more.
    """
    found = _LFS_HOOK.fullmatch(data)
    return found is not None and found[1] == path.rpartition(b"/")[2]
