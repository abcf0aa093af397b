"""Finds what git reaches in a workspace: the directories of its repositories, and files that its
configuration names.

The files that git reads are read (git-config(1), FILES): the system's, the user's, each
repository's, and what they include under any condition. A file that git itself would stop at says
nothing. Git is not run, because a repository's configuration decides what running it does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from akiosctl.changes.git_config import (
    BadConfigError,
    Setting,
    hook_paths,
    includes,
    named_words,
    parse_config,
    worktrees,
)
from akiosctl.changes.host_paths import expand_home, is_program_name, read_small, reenter
from akiosctl.changes.reached_paths import Row, show
from akiosd.values.protected import GIT_OBEYS

_MAX_DEPTH = 10  # as in git's config.c
_OBEYS = "git runs or obeys it at the next command, as git status"


class Repository(msgspec.Struct, frozen=True):
    """Absolute paths: the top of the work tree (``None`` in a bare one), and its ``.git`` or the
    directory itself.
    """

    top: bytes | None
    git: bytes


class Configuration(msgspec.Struct, frozen=True):
    """Settings of one kind, where they stand, and the files that were included on the way."""

    settings: tuple[tuple[bytes, Setting], ...] = ()
    included: tuple[tuple[bytes, bytes], ...] = ()
    """(including file, included file), both as git opens them"""


def survey_git(
    root: bytes, repositories: Iterable[Repository], env: Mapping[bytes, bytes]
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(what git reaches, the same relative to the top of a repository that does not exist yet)."""
    home = env.get(b"HOME", b"")
    users = read_configuration(_general_files(env, home), home)
    place = _Places(root, home)
    rows = list(place.included(users))
    for repository in (*repositories, *_around(root)):
        git, common = _directories(repository)
        own = read_configuration(_own_files(git, common), home)
        rows += place.included(own)
        for directory in dict.fromkeys((git, common)):
            inside = place.inside(directory)
            if inside is not None:
                rows += [Row(inside, rest, _OBEYS) for rest in GIT_OBEYS]
        tops = _tops(repository, git, own)
        for configuration in (users, own):
            rows += place.named(configuration, tops, git)
    return tuple(dict.fromkeys(rows)), tuple(_relative(users))


def _general_files(env: Mapping[bytes, bytes], home: bytes) -> list[bytes]:
    system = env.get(b"GIT_CONFIG_SYSTEM") or b"/etc/gitconfig"
    if b"GIT_CONFIG_GLOBAL" in env:
        return [system, env[b"GIT_CONFIG_GLOBAL"]]
    base = env.get(b"XDG_CONFIG_HOME") or os.path.join(home, b".config")
    return [system, os.path.join(base, b"git/config"), os.path.join(home, b".gitconfig")]


def _own_files(git: bytes, common: bytes) -> list[bytes]:
    return [os.path.join(common, b"config"), os.path.join(git, b"config.worktree")]


def _around(root: bytes) -> Iterator[Repository]:
    """Repositories that the workspace lies in: git looks upwards for one."""
    place = root
    while place not in (b"/", b""):
        place = os.path.dirname(place)
        if os.path.lexists(os.path.join(place, b".git")):
            yield Repository(place, os.path.join(place, b".git"))


def _directories(repository: Repository) -> tuple[bytes, bytes]:
    """(the directory of the repository, that of what its work trees share):
    gitrepository-layout(5).
    """
    git = repository.git
    pointer = read_small(git)
    if pointer is not None and pointer.startswith(b"gitdir:"):
        git = os.path.join(os.path.dirname(git), pointer[len(b"gitdir:") :].strip())
    shared = read_small(os.path.join(git, b"commondir"))
    return git, os.path.join(git, shared.strip()) if shared is not None else git


def _tops(repository: Repository, git: bytes, own: Configuration) -> list[bytes]:
    """The directories that git runs in: the top of the work tree, or its own."""
    found = [
        os.path.join(git, value) for value in worktrees([setting for _, setting in own.settings])
    ]
    return [repository.top if repository.top is not None else git, *found]


def read_configuration(files: Iterable[bytes], home: bytes) -> Configuration:
    """These files and all that they include."""
    settings: list[tuple[bytes, Setting]] = []
    included: list[tuple[bytes, bytes]] = []
    todo = [(path, 0) for path in reversed(list(files))]
    seen = set()
    while todo:
        path, depth = todo.pop()
        data = read_small(path) if path not in seen and depth <= _MAX_DEPTH else None
        seen.add(path)
        try:
            found = parse_config(data) if data is not None else []
        except BadConfigError:
            continue
        settings += [(path, setting) for setting in found]
        for value in includes(found):
            target = os.path.join(os.path.dirname(path), expand_home(value, home))
            included.append((path, target))
            todo.append((target, depth + 1))
    return Configuration(tuple(settings), tuple(included))


class _Places:
    """Turns what configuration names into rows of the workspace."""

    def __init__(self, root: bytes, home: bytes) -> None:
        self._root = root
        self._home = home

    def inside(self, absolute: bytes) -> bytes | None:
        return reenter(absolute, self._root)

    def row(self, absolute: bytes, why: str) -> Iterator[Row]:
        inside = self.inside(absolute)
        if inside is not None:
            yield Row(inside, (), why)

    def included(self, configuration: Configuration) -> Iterator[Row]:
        for source, target in configuration.included:
            yield from self.row(
                target, f"{show(source)} includes it: git obeys it at the next command"
            )

    def named(self, configuration: Configuration, tops: list[bytes], git: bytes) -> Iterator[Row]:
        for source, setting in configuration.settings:
            for value in hook_paths([setting]):
                for top in tops:
                    path = os.path.join(top, expand_home(value, self._home))
                    yield from self.row(
                        path, f"core.hooksPath of {show(source)} leads here: git runs it"
                    )
            for name, word in named_words([setting]):
                for base in (*tops, git):
                    yield from self._word(
                        base, expand_home(word, self._home), f"{name} of {show(source)} names it"
                    )

    def _word(self, base: bytes, word: bytes, why: str) -> Iterator[Row]:
        """A word counts when it looks like a path or a program, or names a file; a whole directory
        is not meant.
        """
        path = os.path.join(base, word)
        if not os.path.isdir(path) and (
            b"/" in word or is_program_name(word) or os.path.isfile(path)
        ):
            yield from self.row(path, why)
        inner = os.path.join(base, word.lstrip(b"/"))
        # What stands behind a variable: $PWD/tools/x.
        if word.startswith(b"/") and os.path.isfile(inner):
            yield from self.row(inner, why)


def _relative(users: Configuration) -> Iterator[Row]:
    """What the user's configuration names relative to any repository's top."""
    for source, setting in users.settings:
        words = [("core.hooksPath", value) for value in hook_paths([setting])] + named_words(
            [setting]
        )
        for name, word in words:
            if not word.startswith((b"/", b"~")) and (
                b"/" in word or b"." in word or name == "core.hooksPath"
            ):
                yield Row(word, (), f"{name} of {show(source)} leads here: git runs it")
