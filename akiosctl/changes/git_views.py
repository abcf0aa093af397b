"""The git directory of a linked worktree or a submodule, beside its workspace: what a cage changed
there, fit to be judged and committed with the workspace's own changes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import msgspec

from akiosctl.changes.git_share import (
    PACKED,
    References,
    choose_own,
    original,
    read_packed,
    relocate,
    relocate_survey,
)
from akiosctl.changes.model import Diff, EntryType, Stamp
from akiosctl.changes.protect import RefusedChange
from akiosctl.changes.reached_paths import Survey
from akiosctl.changes.survey import survey_workspace
from akiosctl.changes.walk import compare
from akiosctl.git_place import find_git
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import open_directory, openat2

_MAX_VALUE = 1 << 12
_MAX_PACKED = 64 << 20
_HEAD = b"ref: "


class GitChanges(msgspec.Struct, frozen=True):
    """``diff`` as if the directory were the workspace's own ``.git``; ``refused`` is part of it.
    ``left`` counts what is the other work trees', or housekeeping.
    """

    diff: Diff
    refused: tuple[RefusedChange, ...] = ()
    left: int = 0


class GitDirectory:
    """``fd`` is the directory, ``view_fd`` what the cage made of it; both stay the caller's."""

    def __init__(self, workspace: bytes, fd: int, view_fd: int) -> None:
        self.fd, self.view_fd = fd, view_fd
        self.root = os.readlink(b"/proc/self/fd/%d" % fd)
        place = find_git(os.fsdecode(workspace))
        if place is None or place.problem or os.fsencode(place.common) != self.root:
            raise AkiosError(
                f"{os.fsdecode(workspace)}/.git no longer names {os.fsdecode(self.root)}",
                "the git directory that was shown with the workspace",
                "restore .git so that it names that directory; if the worktree was moved: git"
                " worktree repair",
            )
        self.name = os.fsencode(place.name)

    def compare(
        self,
        started_ns: int | None,
        step: Callable[[], object] = lambda: None,
        put_back: frozenset[Stamp] = frozenset(),
    ) -> GitChanges:
        """What differs and is this work tree's.  AkiosError as of
        :func:`akiosctl.changes.walk.compare`.
        """
        diff = compare(self.fd, self.view_fd, started_ns=started_ns, step=step, put_back=put_back)
        own, refused = diff.changes, tuple[RefusedChange, ...]()
        if self.name:
            own, refused = choose_own(diff, self.name, self._references(diff))
        known = {refusal.path: refusal.reason for refusal in refused}
        shown = (*own, *(change for change in diff.changes if change.path in known))
        found = relocate(diff, shown)
        placed = tuple(
            RefusedChange(change.path, known[original(change.path)])
            for change in found.changes
            if original(change.path) in known
        )
        return GitChanges(found, placed, len(diff.changes) - len(shown))

    def survey(self, found: GitChanges) -> Survey:
        """What stands there: :func:`akiosctl.changes.survey.survey_workspace`."""
        back = tuple(
            msgspec.structs.replace(change, path=original(change.path))
            for change in found.diff.changes
        )
        return relocate_survey(
            survey_workspace(self.fd, self.view_fd, Diff(back, frozenset((b"",))))
        )

    def _references(self, diff: Diff) -> References:
        packed = [read_packed(_read(fd, PACKED, _MAX_PACKED)) for fd in (self.fd, self.view_fd)]
        names = {name for name in packed[0].keys() | packed[1].keys()
                 if packed[0].get(name) != packed[1].get(name)}  # fmt: skip
        names |= {
            change.path
            for change in diff.changes
            if change.path.startswith(b"refs/") and change.type is not EntryType.DIRECTORY
        }
        changed = {
            name
            for name in names
            if self._value(self.fd, name, packed[0]) != self._value(self.view_fd, name, packed[1])
        }
        return References(frozenset(changed), frozenset(self._elsewhere()))

    def _value(self, fd: int, name: bytes, packed: dict[bytes, bytes]) -> bytes:
        return _read(fd, name, _MAX_VALUE).strip() or packed.get(name, b"")

    def _elsewhere(self) -> set[bytes]:
        """The branches that the other work trees stand on, as the developer has them."""
        heads = [b"HEAD"]
        try:
            fd = open_directory(self.fd, b"worktrees", readable=True)
        except OSError:
            fd = -1
        if fd >= 0:
            try:
                heads += [b"worktrees/" + os.fsencode(name) + b"/HEAD" for name in os.listdir(fd)]
            finally:
                os.close(fd)
        own = self.name + b"/HEAD"
        found = {_branch(_read(self.fd, head, _MAX_VALUE)) for head in heads if head != own}
        return found - {b"", _branch(_read(self.fd, own, _MAX_VALUE))}


def _branch(head: bytes) -> bytes:
    return head.removeprefix(_HEAD).strip() if head.startswith(_HEAD) else b""


def _read(root_fd: int, path: bytes, limit: int) -> bytes:
    """A small regular file; empty when there is none.  No link is followed."""
    try:
        fd = openat2(root_fd, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    with open(fd, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
