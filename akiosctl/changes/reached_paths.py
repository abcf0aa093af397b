"""Computes which paths of a workspace the host's programs reach, whatever they are called.  Pure.

They are reached by protected names through links, and by what git's configuration names. A survey
(what stands in the workspace) and changes go in, paths come out. A commit must change nothing that
is reached before it, and let nothing of the agent's be reached after it. So the paths are computed
twice: for the workspace as it is, and for the one that the remaining changes would make. The second
matters where a link of the developer's leads to a name that does not exist: a link that the agent
puts on the way is followed like any other. Every link on a way is itself reached.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

import msgspec

from akiosctl.changes.model import Change, EntryType, join
from akiosctl.changes.names import fold, matches, protecting_pattern, rests
from akiosd.values.protected import why_protected

# path_resolution(7): the kernel gives up after as many.
_MAX_LINKS = 40


class Row(msgspec.Struct, frozen=True):
    """A pattern at a place: ``base`` in the workspace, which may lead through links, and the
    components that follow.

    With none left, ``base`` is reached, and everything below it. ``why`` tells people what reaches
    it.
    """

    base: bytes
    rest: tuple[str, ...]
    why: str


class Survey(msgspec.Struct, frozen=True):
    """What stands in a workspace.  ``root`` is its real path."""

    root: bytes
    links: dict[bytes, bytes] = {}
    """Every symbolic link and its target; one that leads in again from outside has a target below
    ``root``.
    """
    rows: tuple[Row, ...] = ()
    """What git reaches by its configuration, and in the directories of repositories."""
    in_repositories: tuple[Row, ...] = ()
    """The same by the configuration of the user, relative to the top of any repository."""
    taken: dict[bytes, str] = {}
    """Directories ``.git`` that changes add where the user's configuration reaches something that
    is there already.
    """
    contents: dict[bytes, str] = {}
    """Changed files that git could take as its index or its references: what speaks against their
    content.
    """
    configurations: dict[bytes, str] = {}
    """Changed files ``.git/config``: what speaks against their new content; empty when nothing
    does.  Also hooks that run nothing but a program of the user's.
    """


def resolve(
    path: bytes, links: Mapping[bytes, bytes], root: bytes
) -> tuple[bytes | None, list[bytes]]:
    """Where ``path`` leads, as path_resolution(7) has it, and the links on the way.  ``None``: out
    of the workspace.
    """
    done: list[bytes] = []
    todo = path.split(b"/")[::-1]
    met: list[bytes] = []
    while todo:
        part = todo.pop()
        if part in (b"", b"."):
            continue
        leaves = part == b".." and not done
        if part != b"..":
            done.append(part)
            here = b"/".join(done)
            if here not in links:
                continue
            met.append(here)
            todo += links[here].split(b"/")[::-1]
            leaves = links[here].startswith(b"/")
        if leaves:
            again = _from_outside(root, todo, from_top=part != b"..")
            if again is None:
                return None, met
            done, todo = [], again
        else:
            done.pop()
        if len(met) > _MAX_LINKS:
            return None, met
    return b"/".join(done), met


def _from_outside(root: bytes, todo: list[bytes], *, from_top: bool = False) -> list[bytes] | None:
    """What is left to walk (backwards) from one step above ``root``, or from ``/``, when it leads
    straight back in.

    A walk that ends above is taken as one that ends at ``root``: all of the workspace is below it.
    """
    above = [part for part in root.split(b"/") if part]
    at, left = [] if from_top else above[:-1], list(todo)
    while left and at != above:
        part = left.pop()
        if part == b"..":
            at = at[:-1]
        elif part not in (b"", b"."):
            at = [*at, part]
            if at != above[: len(at)]:
                return None
    return left if at == above or not left else None


class Obeyed:
    """The paths reached in the workspace when ``accepted`` has been done to it."""

    def __init__(
        self, survey: Survey, accepted: Mapping[bytes, Change], protected: tuple[str, ...]
    ) -> None:
        self._root = survey.root
        self._links = dict(survey.links)
        for path, change in accepted.items():
            if change.new is not None and change.new.type is EntryType.SYMLINK:
                self._links[path] = change.new.target
            else:
                self._links.pop(path, None)
        self._ordered = sorted(self._links)
        self._exact: dict[str, str] = {}
        self._rows: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        todo = [*survey.rows, *_new_repositories(survey, accepted), *self._named(protected)]
        seen: set[tuple[bytes, tuple[str, ...]]] = set()
        while todo:
            row = todo.pop()
            if (row.base, row.rest) not in seen:
                seen.add((row.base, row.rest))
                todo += self._follow(row)

    def why(self, path: bytes) -> str | None:
        """What reaches ``path``; ``None`` when nothing does."""
        if not self._rows and not self._exact:
            return None
        parts = path.split(b"/")
        folded = [fold(part) for part in parts]
        for length in range(len(parts) + 1):
            for rest, why in self._rows.get("/".join(folded[:length]), ()):
                if len(parts) - length >= len(rest) and all(map(matches, parts[length:], rest)):
                    return why
        return self._exact.get("/".join(folded))

    def is_named(self, path: bytes) -> bool:
        """Whether something leads to ``path`` itself, not only to a directory above it."""
        return any(not rest for rest, _ in self._rows.get(_folded(path), ()))

    def _named(self, protected: tuple[str, ...]) -> Iterator[Row]:
        """Links with a protected name, or on the way to one."""
        known: dict[bytes, str | None] = {}
        for path in self._links:
            pattern = protecting_pattern(path, protected, known)
            if pattern is not None:
                yield Row(path, (), f"{show(path)} leads here: {why_protected(pattern)}")
                continue
            for name, rest in rests(path, protected):
                yield Row(path, rest, f"{show(path)} leads here: {why_protected(name)}")

    def _follow(self, row: Row) -> Iterator[Row]:
        """Note where ``row`` leads; the links found there lead further."""
        final, met = resolve(row.base, self._links, self._root)
        for link in met:
            self._exact.setdefault(_folded(link), row.why)
        if final is None:
            return
        self._rows.setdefault(_folded(final), []).append((row.rest, row.why))
        for link in self._below(final):
            relative = (link[len(final) + 1 :] if final else link).split(b"/")
            if all(map(matches, relative, row.rest)):
                yield Row(link, row.rest[len(relative) :], row.why)

    def _below(self, directory: bytes) -> Iterator[bytes]:
        prefix = directory + b"/" if directory else b""
        for at in range(bisect_left(self._ordered, prefix), len(self._ordered)):
            if not self._ordered[at].startswith(prefix):
                return
            yield self._ordered[at]


def _new_repositories(survey: Survey, accepted: Mapping[bytes, Change]) -> Iterator[Row]:
    """A repository that a commit adds is under the user's configuration like all others."""
    for path, change in accepted.items():
        top, _, name = path.rpartition(b"/")
        if name == b".git" and change.old is None:
            for row in survey.in_repositories:
                yield msgspec.structs.replace(row, base=join(top, row.base))


def _folded(path: bytes) -> str:
    return "/".join(fold(part) for part in path.split(b"/")) if path else ""


def show(path: bytes) -> str:
    """A path in a sentence for people: nothing in it moves their cursor or hides."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
