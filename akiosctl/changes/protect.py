"""Decides what a commit refuses, from values alone: protected names and what they lead to, mode
bits, entry types, links that escape.

A protected name is one that some program of the developer runs or obeys without being asked to run
the project: a git hook, a shell start file, an editor task, the configuration of another agent
(``akiosd/values/protected.py``). What such names lead to through links, and what git's
configuration names, is protected too (``akiosctl/changes/reached_paths.py``). Renames need no rule
of their own: a comparison lists each name that vanished and each that appeared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from akiosctl.changes import git_index
from akiosctl.changes.model import (
    Change,
    ChangeKind,
    Diff,
    Entry,
    EntryType,
    ancestors,
    name_of,
    parent_of,
)
from akiosctl.changes.names import fold, protecting_pattern
from akiosctl.changes.reached_paths import Obeyed, Survey
from akiosd.values.protected import GIT_OBEYS, PROTECTED_NAMES, why_protected

DEFAULT_PROTECTED = PROTECTED_NAMES

# Inside the cage these are the system's read-only trees, outside only root writes them: a link
# there gives nothing.
SYSTEM_TARGETS: tuple[bytes, ...] = (
    b"/usr",
    b"/bin",
    b"/sbin",
    b"/lib",
    b"/lib32",
    b"/lib64",
    b"/dev/null",
)

# What makes a directory one; that it became one is refused, for the rest may have been committed
# before.
_SIGNS_OF_A_REPOSITORY = ("head", "objects", "refs")
_REPOSITORIES_IN_GIT = ("modules", "worktrees")
# What templates of git and of other programs that make repositories put beside hooks; no hook is
# called so, and none is run without the right to execute it: githooks(5), gitoxide's gix-init.
_TEXTS_BESIDE_HOOKS = ("docs.url", "readme", "readme.md", "readme.txt")
_REFERENCES_IN_GIT = ("refs", "logs")
_SPECIAL_BITS = {0o4000: "setuid", 0o2000: "setgid", 0o1000: "sticky"}


class RefusedChange(msgspec.Struct, frozen=True):
    """A path that must not be committed, and why in one phrase."""

    path: bytes
    reason: str


class Rules(msgspec.Struct, frozen=True):
    """What the caller allows.  ``root`` is the absolute path of the workspace (links into it do not
    escape).
    """

    protected: tuple[str, ...] = DEFAULT_PROTECTED
    allow_escaping_links: bool = False
    root: bytes = b""
    safe_targets: tuple[bytes, ...] = SYSTEM_TARGETS
    survey: Survey | None = None
    """What stands in the workspace.  Without it only names count."""
    refused: tuple[RefusedChange, ...] = ()
    """What was found to be refused before, for reasons of its own."""


def escapes(path: bytes, target: bytes, rules: Rules) -> bool:
    """Whether following a link at ``path`` with this ``target`` could lead out of the workspace.

    ``..`` after a name is taken as an escape too: the name may be a link itself, and then ``..`` is
    its target's parent.  Links stay as they are on commit; refusing the escaping ones keeps a
    developer's tools, which do follow links, from writing where the agent could not.
    """
    if target.startswith(b"/"):
        inside = (*rules.safe_targets, rules.root) if rules.root else rules.safe_targets
        plain = b".." not in target.split(b"/")
        return not (
            plain and any(target == root or target.startswith(root + b"/") for root in inside)
        )
    up, descended = 0, False
    for part in target.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            descended = True
        elif descended:
            return True
        else:
            up += 1
    return up > path.count(b"/")


def find_refusals(diff: Diff, rules: Rules) -> list[RefusedChange]:
    """Every change that the rules forbid, in path order, at most one refusal for a path."""
    directories = {change.path: change.new for change in diff.changes if change.new is not None}
    known: dict[bytes, str | None] = {}
    found = {refusal.path: refusal.reason for refusal in rules.refused}
    for change in diff.changes:
        if change.path in found:
            continue
        pattern = _protecting(change.path, rules.protected, known)
        if pattern is not None and not _is_harmless(change, rules):
            found[change.path] = f"protected name ({pattern}): {_why(change, pattern, rules)}"
        elif reason := _reason(change, diff, rules, directories):
            found[change.path] = reason
        elif rules.survey is not None and change.path in rules.survey.taken:
            found[change.path] = f"protected: {rules.survey.taken[change.path]}"
        elif rules.survey is not None and change.path in rules.survey.contents:
            found[change.path] = f"protected: {rules.survey.contents[change.path]}"
    if rules.survey is not None:
        _refuse_obeyed(diff, rules, rules.survey, found)
    return [RefusedChange(path, found[path]) for path in sorted(found)]


def standing_protection(rules: Rules) -> Callable[[bytes], bool]:
    """Returns a function: is a path of the workspace, as it is now, protected by its name or by
    what leads there?
    """
    obeyed = Obeyed(rules.survey, {}, rules.protected) if rules.survey is not None else None

    def is_protected(path: bytes) -> bool:
        by_name = protecting_pattern(path, rules.protected) is not None
        return by_name or (obeyed is not None and obeyed.why(path) is not None)

    return is_protected


def _refuse_obeyed(diff: Diff, rules: Rules, survey: Survey, found: dict[bytes, str]) -> None:
    """Add what is reached: as things stand, and after what is left of the changes.  Each round
    leaves less, or ends.
    """
    accepted: dict[bytes, Change] = {}
    while True:
        obeyed = Obeyed(survey, accepted, rules.protected)
        for change in diff.changes:
            # A sample is one no longer where a hook is a link to it.
            if change.path not in found and (
                not _is_harmless(change, rules) or obeyed.is_named(change.path)
            ):
                why = obeyed.why(change.path)
                if why is not None:
                    found[change.path] = f"protected: {why}"
        left = {c.path: c for c in diff.changes if c.path not in found and _changes_ways(c)}
        if left == accepted:
            return
        accepted = left


def _changes_ways(change: Change) -> bool:
    """Whether it can change what is reached: by a link, or by a repository for the user's
    configuration.
    """
    ends = (change.old, change.new)
    return name_of(change.path) == b".git" or any(
        e is not None and e.type is EntryType.SYMLINK for e in ends
    )


def _protecting(
    path: bytes, protected: tuple[str, ...], known: dict[bytes, str | None]
) -> str | None:
    pattern = protecting_pattern(path, protected, known)
    if pattern is None or ".git" in pattern:
        return pattern
    # A branch may be called as it likes.  (No reference's name begins with a dot:
    # git-check-ref-format(1).)
    names = [fold(name) for name in path.split(b"/")]
    is_reference = any(a == ".git" and b in ("refs", "logs") for a, b in itertools.pairwise(names))
    return None if is_reference and not names[-1].startswith(".") else pattern


def _why(change: Change, pattern: str, rules: Rules) -> str:
    objection = rules.survey.configurations.get(change.path) if rules.survey is not None else None
    return f"{why_protected(pattern)}; {objection}" if objection else why_protected(pattern)


def _is_harmless(change: Change, rules: Rules) -> bool:
    """What ``git init`` makes and nothing runs: samples of hooks, their directory, a plain
    configuration.
    """
    names = [fold(name) for name in change.path.split(b"/")]
    is_file = all(
        entry is None or entry.type is EntryType.FILE for entry in (change.old, change.new)
    )
    if names[-3:-1] == [".git", "hooks"]:
        is_text = names[-1] in _TEXTS_BESIDE_HOOKS and not change.mode & 0o111
        if rules.survey is not None and rules.survey.configurations.get(change.path) == "":
            return is_file
        return is_file and (names[-1].endswith(".sample") or is_text)
    if names[-2:] == [".git", "hooks"]:
        return change.kind is ChangeKind.ADDED and change.type is EntryType.DIRECTORY
    if names[-2:] == [".git", "config"] and rules.survey is not None:
        return is_file and rules.survey.configurations.get(change.path) == ""
    return False


def _reason(change: Change, diff: Diff, rules: Rules, new_entries: dict[bytes, Entry]) -> str:
    if change.problem:
        return change.problem
    if _is_git_link(change):
        return "protected name (.git may only be a directory, and stays)"
    if _is_run_by_prompts(change.path) and _is_in_repository(change.path, diff.git_dirs):
        return "protected: a prompt that shows the name of this reference may run what is in it"
    if _is_in_bare_repository(change, diff.git_dirs) or _is_in_inner_repository(
        change.path, diff.git_dirs
    ):
        return "protected name (what git runs or obeys in a repository's directory)"
    new = change.new
    if new is None:
        return ""
    if new.type not in (EntryType.FILE, EntryType.DIRECTORY, EntryType.SYMLINK):
        return f"a {new.type} is not committed"
    if new.type is EntryType.SYMLINK:
        if _is_in_repository(change.path, diff.git_dirs):
            return (
                "protected: git writes through links in a repository's directory, and makes none"
                " there"
            )
        escaping = not rules.allow_escaping_links and escapes(change.path, new.target, rules)
        return "the link leads out of the workspace" if escaping else ""
    return _special_bits(change, new, new_entries)


def _is_run_by_prompts(path: bytes) -> bool:
    """bash(1), PROMPTING: what a prompt is made of is expanded once more."""
    _, inside, name = (b"/" + path).rpartition(b"/refs/")
    return bool(inside) and git_index.ACTIVE.search(name) is not None


def _is_git_link(change: Change) -> bool:
    if fold(name_of(change.path)) != ".git":
        return False
    is_plain = (
        change.kind in (ChangeKind.ADDED, ChangeKind.MODE) and change.type is EntryType.DIRECTORY
    )
    return not is_plain


def _is_in_repository(path: bytes, git_dirs: frozenset[bytes]) -> bool:
    """Whether ``path`` is in the directory of a repository, at any depth: through a link there, git
    fills what it leads to.
    """
    return (
        any(fold(name_of(place)) == ".git" or place in git_dirs for place in ancestors(path))
        or b"" in git_dirs
    )


def _is_in_bare_repository(change: Change, git_dirs: frozenset[bytes]) -> bool:
    if not git_dirs:
        return False
    path = change.path
    for place in (b"", *ancestors(path)):
        if place in git_dirs and fold(name_of(place)) != ".git":
            below = path[len(place) + 1 :] if place else path
            names = [fold(name) for name in below.split(b"/")]
            makes_it_one = (
                change.old is None and len(names) == 1 and names[0] in _SIGNS_OF_A_REPOSITORY
            )
            if _obeyed_by_git(names) or makes_it_one:
                return True
    return False


def _is_in_inner_repository(path: bytes, git_dirs: frozenset[bytes]) -> bool:
    """Directories of submodules and worktrees, at any depth: a submodule's name may hold slashes.

    A branch may be called as it likes there too: where the comparison found a repository, what is
    below its references is none of these.
    """
    if b"/" not in path:
        return False
    parts = path.split(b"/")
    names = [fold(name) for name in parts]
    for at, name in enumerate(names[:-2]):
        if name == ".git" and names[at + 1] in _REPOSITORIES_IN_GIT:
            starts = range(at + 2, len(names))
            return any(
                _obeyed_by_git(names[start:])
                and not any(
                    names[end] in _REFERENCES_IN_GIT and b"/".join(parts[:end]) in git_dirs
                    for end in range(at + 3, start)
                )
                for start in starts
            )
    return False


def _obeyed_by_git(names: list[str]) -> bool:
    """Whether this folded path in a repository's directory is one that git runs or obeys."""
    return any(names[: len(row)] == list(row) for row in GIT_OBEYS)


def _special_bits(change: Change, new: Entry, new_entries: dict[bytes, Entry]) -> str:
    """setuid, setgid and sticky, but for a directory's setgid bit that its parent hands down."""
    bits = new.mode & 0o7000
    if new.type is EntryType.DIRECTORY:
        if change.old is not None and change.old.type is EntryType.DIRECTORY:
            bits &= ~change.old.mode
        parent = new_entries.get(parent_of(change.path))
        inherits = parent is None or bool(parent.mode & 0o2000)
        if change.kind is ChangeKind.ADDED and inherits:
            bits &= ~0o2000
    names = [name for bit, name in _SPECIAL_BITS.items() if bits & bit]
    return f"the {' and '.join(names)} bit is set" if names else ""
