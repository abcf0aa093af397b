"""What a commit refuses, decided from values alone: protected names, mode bits, entry types, escaping links.

A protected name is one that some program of the developer runs or obeys without being asked to run the project: a git
hook, a shell start file, an editor task, the configuration of another agent.  A pattern is a row of components; it
protects every path that holds this row anywhere, and everything below it, so nested repositories are covered.  A
pattern that starts with ``/`` holds at the root only; ``*`` and ``?`` work within a component.  Names are compared
as a case-insensitive file system would (case, Unicode composition and invisible characters do not count).
Renames need no rule of their own: a comparison lists each name that vanished and each that appeared.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import msgspec

from akiosctl.changes.model import Change, ChangeKind, Diff, Entry, EntryType, ancestors, name_of, parent_of
from akiosd.values.policy import PROTECTED_NAMES

DEFAULT_PROTECTED = PROTECTED_NAMES

# Inside the cage these are the system's read-only trees, outside only root writes them: a link there gives nothing.
SYSTEM_TARGETS: tuple[bytes, ...] = (b"/usr", b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64", b"/dev/null")

_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
# What git runs or obeys in a repository's directory, by whatever name that goes.
_OBEYED_BY_GIT = ("config", "config.worktree", "hooks", "commondir")
# What makes a directory one; that it became one is refused, for the rest may have been committed before.
_SIGNS_OF_A_REPOSITORY = ("head", "objects", "refs")
_REPOSITORIES_IN_GIT = ("modules", "worktrees")
_SPECIAL_BITS = {0o4000: "setuid", 0o2000: "setgid", 0o1000: "sticky"}


class Rules(msgspec.Struct, frozen=True):
    """What the caller allows.  ``root`` is the absolute path of the workspace (links into it do not escape)."""

    protected: tuple[str, ...] = DEFAULT_PROTECTED
    allow_escaping_links: bool = False
    root: bytes = b""
    safe_targets: tuple[bytes, ...] = SYSTEM_TARGETS


class Refusal(msgspec.Struct, frozen=True):
    """A path that must not be committed, and why in one phrase."""

    path: bytes
    reason: str


@lru_cache(maxsize=4096)
def fold(name: bytes) -> str:
    """A component as the laxest file system compares it; bytes that are no UTF-8 stand for themselves."""
    text = name.decode("utf-8", "surrogateescape")
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join(c for c in decomposed if not _is_invisible(c))
    folded = text.lower()
    # NTFS and FAT drop trailing dots and spaces and know .git by its short name.
    if folded.strip(". "):
        folded = folded.rstrip(". ")
    return ".git" if folded == "git~1" else folded


def _is_invisible(character: str) -> bool:
    """Unicode's default-ignorable code points, which case-folding file systems leave out of a comparison."""
    return unicodedata.category(character) == "Cf" or _IGNORABLE.match(character) is not None


def protecting_pattern(
    path: bytes, patterns: tuple[str, ...], known: dict[bytes, str | None] | None = None
) -> str | None:
    """The first pattern that protects ``path``, or ``None``.

    ``known`` remembers answers between calls with the same patterns, so that a deep tree costs one look at each name.
    """
    known = {} if known is None else known
    matcher = _compile(patterns)
    unknown = []
    while path and path not in known:
        unknown.append(path)
        path = parent_of(path)
    found = known.get(path)
    for place in reversed(unknown):
        # A row that ended higher up has protected all below it, so only rows that end in this name are new.
        found = known[place] = found or matcher.match_end(place)
    return found


class _Matcher:
    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.depth = max((pattern.count("/") + 1 for pattern in patterns), default=1)
        self.patterns = [(pattern, re.compile(_expression(pattern), re.DOTALL)) for pattern in patterns]
        self.any = re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns) or "(?!)", re.DOTALL)

    def match_end(self, path: bytes) -> str | None:
        parts = path.rsplit(b"/", self.depth)
        # The first part of a longer path stands for all above; NUL keeps it from looking like the root.
        is_whole = b"/" not in parts[0]
        text = ("/" if is_whole else "\0/") + "/".join(fold(part) for part in parts[0 if is_whole else 1 :]) + "/"
        if not self.any.search(text):
            return None
        return next(pattern for pattern, expression in self.patterns if expression.search(text))


@lru_cache(maxsize=16)
def _compile(patterns: tuple[str, ...]) -> _Matcher:
    return _Matcher(patterns)


def _expression(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part]
    body = "/".join(_component(fold(part.encode("utf-8", "surrogateescape"))) for part in parts)
    return ("^/" if pattern.startswith("/") else "/") + body + r"/\Z"


def _component(glob: str) -> str:
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(character) or re.escape(character) for character in glob)


def escapes(path: bytes, target: bytes, rules: Rules) -> bool:
    """Whether following a link at ``path`` with this ``target`` could lead out of the workspace.

    ``..`` after a name is taken as an escape too: the name may be a link itself, and then ``..`` is its target's
    parent.  Links stay as they are on commit; refusing the escaping ones keeps a developer's tools, which do
    follow links, from writing where the agent could not.
    """
    if target.startswith(b"/"):
        inside = (*rules.safe_targets, rules.root) if rules.root else rules.safe_targets
        plain = b".." not in target.split(b"/")
        return not (plain and any(target == root or target.startswith(root + b"/") for root in inside))
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


def find_refusals(diff: Diff, rules: Rules) -> list[Refusal]:
    """Every change that the rules forbid, in path order, at most one refusal for a path."""
    directories = {change.path: change.new for change in diff.changes if change.new is not None}
    known: dict[bytes, str | None] = {}
    found = []
    for change in diff.changes:
        pattern = protecting_pattern(change.path, rules.protected, known)
        reason = f"protected name ({pattern})" if pattern else _reason(change, diff, rules, directories)
        if reason:
            found.append(Refusal(change.path, reason))
    return found


def _reason(change: Change, diff: Diff, rules: Rules, new_entries: dict[bytes, Entry]) -> str:
    if change.problem:
        return change.problem
    if _is_git_link(change):
        return "protected name (.git may only be a directory, and stays)"
    if _is_in_bare_repository(change, diff.git_dirs) or _is_in_inner_repository(change.path):
        return "protected name (what git runs or obeys in a repository's directory)"
    new = change.new
    if new is None:
        return ""
    if new.type not in (EntryType.FILE, EntryType.DIRECTORY, EntryType.SYMLINK):
        return f"a {new.type} is not committed"
    if new.type is EntryType.SYMLINK:
        escaping = not rules.allow_escaping_links and escapes(change.path, new.target, rules)
        return "the link leads out of the workspace" if escaping else ""
    return _special_bits(change, new, new_entries)


def _is_git_link(change: Change) -> bool:
    if fold(name_of(change.path)) != ".git":
        return False
    is_plain = change.kind in (ChangeKind.ADDED, ChangeKind.MODE) and change.type is EntryType.DIRECTORY
    return not is_plain


def _is_in_bare_repository(change: Change, git_dirs: frozenset[bytes]) -> bool:
    if not git_dirs:
        return False
    path = change.path
    for place in (b"", *ancestors(path)):
        if place in git_dirs and fold(name_of(place)) != ".git":
            below = path[len(place) + 1 :] if place else path
            name = fold(below.split(b"/", 1)[0])
            makes_it_one = change.old is None and b"/" not in below and name in _SIGNS_OF_A_REPOSITORY
            if name in _OBEYED_BY_GIT or makes_it_one:
                return True
    return False


def _is_in_inner_repository(path: bytes) -> bool:
    """Directories of submodules and worktrees, at any depth: a submodule's name may hold slashes."""
    if b"/" not in path:
        return False
    names = [fold(name) for name in path.split(b"/")]
    for at, name in enumerate(names[:-2]):
        if name == ".git" and names[at + 1] in _REPOSITORIES_IN_GIT:
            return any(below in _OBEYED_BY_GIT for below in names[at + 2 :])
    return False


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
