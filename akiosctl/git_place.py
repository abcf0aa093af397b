"""Where git keeps the repository of a workspace: in it, or, of a linked worktree and a submodule,
elsewhere.

gitrepository-layout(5), git-worktree(1).  A file ``.git`` names that place, and anybody who packs
an archive can write one.  So it counts only where the place names the workspace in return: then it
is this workspace's, and nothing is shown inside that has nothing to do with it.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from akiosctl.open_regular import read_head
from akiosctl.version_managers import is_below

_POINTER = b"gitdir:"
_MAX_POINTER = 1 << 13
_MAX_CONFIG = 1 << 16
_WORKTREE = re.compile(rb'(?im)^[ \t]*worktree[ \t]*=[ \t]*"?([^"\r\n]*?)"?[ \t\r]*$')
_NEEDS = (("HEAD", os.path.isfile), ("objects", os.path.isdir), ("refs", os.path.isdir))


class GitPlace(NamedTuple):
    """Real, absolute paths.  ``own``: the directory of this work tree; ``common``: that of the
    repository, which a linked worktree shares with others.  ``outside``: it has to be brought into
    a cage.  ``problem``: why that cannot be, or "".
    """

    own: str
    common: str
    outside: bool = False
    problem: str = ""

    @property
    def name(self) -> str:
        """``own`` relative to ``common``; "" when they are the same."""
        return os.path.relpath(self.own, self.common) if self.own != self.common else ""


def find_git(workspace: str) -> GitPlace | None:
    """``workspace`` is a real path.  None when it is no work tree."""
    link = f"{workspace}/.git"
    own = os.path.realpath(link)
    if os.path.isfile(link):
        pointer = read_head(link, _MAX_POINTER)
        if not pointer.startswith(_POINTER):
            return None
        named = os.fsdecode(pointer[len(_POINTER) :].strip())
        if "\0" in named or not named:
            return None
        own = os.path.realpath(os.path.join(workspace, named))
    elif not os.path.isdir(link):
        return GitPlace(own, own, True, "is not there") if os.path.islink(link) else None
    shared = read_head(f"{own}/commondir", _MAX_POINTER).strip()
    common = os.path.realpath(os.path.join(own, os.fsdecode(shared))) if shared else own
    if is_below(common, workspace):
        return GitPlace(own, common)
    return GitPlace(own, common, True, _object(workspace, own, common))


def _object(workspace: str, own: str, common: str) -> str:
    """What speaks against showing ``common`` inside."""
    if not all(is_there(f"{common}/{name}") for name, is_there in _NEEDS):
        return "is not a repository"
    if not _points_back(workspace, own, common):
        return "does not name this workspace as a work tree of its own"
    if is_below(workspace, common):
        return "holds the workspace"
    try:
        owners = {os.geteuid(), os.stat(workspace).st_uid}
        return "" if os.stat(common).st_uid in owners else "belongs to somebody else"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _points_back(workspace: str, own: str, common: str) -> bool:
    if own != common:
        back = os.fsdecode(read_head(f"{own}/gitdir", _MAX_POINTER).strip())
        place = os.path.join(own, back)
        is_one = os.path.dirname(own) == f"{common}/worktrees"
        return (
            is_one
            and os.path.basename(place) == ".git"
            and _same(os.path.dirname(place), workspace)
        )
    named = _WORKTREE.findall(read_head(f"{own}/config", _MAX_CONFIG))
    return bool(named) and _same(os.path.join(own, os.fsdecode(named[-1])), workspace)


def _same(path: str, workspace: str) -> bool:
    return "\0" not in path and os.path.realpath(path) == workspace
