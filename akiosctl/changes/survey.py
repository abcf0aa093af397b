"""Looks at a workspace before a commit: its links, its repositories, and what git's configuration
names in it.

Everything is read as the user who commits, because the programs that must not be misled run as that
user. The agent has ended, and what it changed is not here yet.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

import akiosctl
import akiosd
from akiosctl.changes import git_index
from akiosctl.changes.git_config import BadConfigError, forbidden_changes
from akiosctl.changes.git_hooks import LFS, is_hook, is_lfs_hook
from akiosctl.changes.git_survey import Repository, survey_git
from akiosctl.changes.host_paths import reenter
from akiosctl.changes.model import ChangeKind, Diff, EntryType, join, name_of, parent_of
from akiosctl.changes.names import fold
from akiosctl.changes.path_survey import list_commands, survey_path
from akiosctl.changes.reached_paths import Row, Survey, resolve, show
from akiosctl.changes.script_survey import survey_scripts
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import openat2
from akiosd.values.protected import NAMING_PROGRAMS

_MAX_CONFIG = 1 << 20
_MAX_INDEX = 256 << 20
# is_git_directory() of git's setup.c: where there is a commondir, objects and refs are elsewhere.
_GIT_DIRS = (frozenset((b"HEAD", b"objects", b"refs")), frozenset((b"HEAD", b"commondir")))
_REFERENCES = {"head": git_index.object_to_head, "packed-refs": git_index.object_to_packed}
# By their first component, which a directory's listing shows.
_NAMING: dict[bytes, list[str]] = {}
for _pattern in NAMING_PROGRAMS:
    _NAMING.setdefault(os.fsencode(_pattern.partition("/")[0]), []).append(_pattern)


def survey_workspace(workspace_fd: int, view_fd: int, diff: Diff) -> Survey:
    """What :func:`akiosctl.changes.protect.find_refusals` has to know; both fds stay the caller's.

    Raises :class:`AkiosError` when the workspace has no name any more.
    """
    root = os.readlink(b"/proc/self/fd/%d" % workspace_fd)
    try:
        same = os.path.samestat(os.stat(root), os.fstat(workspace_fd))
    except OSError:
        same = False
    if not same:
        raise AkiosError(
            "the workspace was moved or removed", os.fsdecode(root), "put it back and try again"
        )
    links, repositories, naming = _walk(root)
    for path in list(links):
        if resolve(path, links, root)[0] is None:
            again = reenter(os.path.join(root, parent_of(path), links[path]), root)
            if again is not None:
                links[path] = root + b"/" + again
    rows, everywhere = survey_git(root, repositories, os.environb)
    named = [row.base for row in rows if not row.rest]
    rows += tuple(survey_scripts(root, [*naming, *_files(root, named)]))
    rows += tuple(_own_rows(root))
    rows += tuple(survey_path(root, naming, links, diff, os.environb))
    taken = _taken(root, everywhere, diff)
    configurations = _configurations(workspace_fd, view_fd, diff)
    configurations |= _hooks(root, view_fd, diff)
    return Survey(root, links, rows, everywhere, taken, _contents(view_fd, diff), configurations)


def _own_rows(root: bytes) -> Iterator[Row]:
    """Where the installation that runs here lies in the workspace: it would be the agent's at the
    next command.
    """
    for place in dict.fromkeys((sys.prefix, *akiosctl.__path__, *akiosd.__path__)):
        inside = reenter(os.fsencode(place), root)
        if inside:
            yield Row(inside, (), "AKIOS itself is installed there")


def _walk(root: bytes) -> tuple[dict[bytes, bytes], list[Repository], list[bytes]]:
    """Every link, every repository, every file that names programs.  What the user cannot list does
    not count.
    """
    links: dict[bytes, bytes] = {}
    repositories: list[Repository] = []
    naming: list[bytes] = []
    todo = [b""]
    while todo:
        here = todo.pop()
        names, directories = set(), []
        try:
            with os.scandir(os.path.join(root, here)) as listing:
                for entry in listing:
                    names.add(entry.name)
                    if entry.is_symlink():
                        links[join(here, entry.name)] = os.readlink(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
        except OSError:
            continue
        for first in names & _NAMING.keys():
            naming += [path for pattern in _NAMING[first] for path in _glob(root, here, pattern)]
        if b".git" in names:
            repositories.append(
                Repository(os.path.join(root, here), os.path.join(root, here, b".git"))
            )
        is_git = any(needed <= names for needed in _GIT_DIRS)
        if is_git and name_of(here) != b".git":
            repositories.append(Repository(None, os.path.join(root, here)))
        todo += [join(here, name) for name in directories if not (is_git and name == b"objects")]
    return links, repositories, naming


def _glob(root: bytes, here: bytes, pattern: str) -> list[bytes]:
    found = glob.glob(os.fsencode(pattern), root_dir=os.path.join(root, here))
    return [join(here, name) for name in found if not name.endswith(b".sample")]


def _files(root: bytes, places: Iterable[bytes]) -> Iterator[bytes]:
    """The places that are files, and the files of those that are directories of hooks."""
    for place in places:
        if os.path.isdir(os.path.join(root, place)):
            yield from _glob(root, place, "*")
        else:
            yield place


def _taken(root: bytes, in_repositories: Iterable[Row], diff: Diff) -> dict[bytes, str]:
    """Repositories that would set in motion what an earlier commit may have brought."""
    found = {}
    for change in diff.changes:
        if name_of(change.path) == b".git" and change.old is None:
            for row in in_repositories:
                if os.path.lexists(os.path.join(root, parent_of(change.path), row.base)):
                    found[change.path] = f"{show(row.base)} is there already, and {row.why}"
    return found


def _configurations(workspace_fd: int, view_fd: int, diff: Diff) -> dict[bytes, str]:
    """What speaks against each changed ``.git/config``; the two sides are files that nobody writes
    to any more.
    """
    found = {}
    for change in diff.changes:
        is_config = fold(name_of(change.path)) == "config" and (
            fold(name_of(parent_of(change.path))) == ".git"
            or parent_of(change.path) in diff.git_dirs
        )
        if (
            is_config
            and change.kind in (ChangeKind.ADDED, ChangeKind.MODIFIED)
            and change.type is EntryType.FILE
        ):
            found[change.path] = _objection(
                workspace_fd if change.old else -1, view_fd, change.path
            )
    return found


def _hooks(root: bytes, view_fd: int, diff: Diff) -> dict[bytes, str]:
    """New hooks that run nothing but a program of the user's."""
    new = [
        change.path
        for change in diff.changes
        if change.kind is ChangeKind.ADDED
        and change.type is EntryType.FILE
        and is_hook(change.path, diff.git_dirs)
    ]
    if not new or LFS not in list_commands(root, os.environb):
        return {}
    found = {}
    for path in new:
        with suppress(OSError):
            if is_lfs_hook(path, _read(view_fd, path)):
                found[path] = ""
    return found


def _contents(view_fd: int, diff: Diff) -> dict[bytes, str]:
    """An index under whatever name: a link of the developer's may lead there from the place where
    git looks.
    """
    found = {}
    for change in diff.changes:
        if (
            change.new is not None
            and change.new.type is EntryType.FILE
            and change.kind is not ChangeKind.MODE
        ):
            judge = _REFERENCES.get(fold(name_of(change.path)))
            magic = b"" if judge else git_index.MAGIC
            try:
                data = _read(view_fd, change.path, magic, _MAX_INDEX)
            except OSError:
                continue  # a commit cannot read it either
            objection = (judge or git_index.find_objection)(data) if data else ""
            if objection:
                found[change.path] = objection
    return found


def _objection(workspace_fd: int, view_fd: int, path: bytes) -> str:
    try:
        old = _read(workspace_fd, path) if workspace_fd >= 0 else b""
        names = forbidden_changes(old, _read(view_fd, path))
    except (OSError, BadConfigError):
        return "it cannot be read"
    return f"it changes {', '.join(names)}" if names else ""


def _read(root_fd: int, path: bytes, magic: bytes = b"", limit: int = _MAX_CONFIG) -> bytes:
    """A regular file; empty when it does not begin with ``magic``.  Too large a one is cut, and so
    is no index.
    """
    fd = openat2(root_fd, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("not a regular file")
        if magic and file.read(len(magic)) != magic:
            return b""
        file.seek(0)
        data = file.read(limit + 1)
    if len(data) > limit and not magic:
        raise OSError("too large")
    return data
