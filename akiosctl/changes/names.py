"""Compares names as the most lenient file system does, and matches the patterns that protect a
path.

A pattern is a sequence of components; it protects every path that has this sequence anywhere, and
everything below it, so nested repositories are covered. A pattern that starts with ``/`` holds at
the root only; ``*`` and ``?`` match within a component. Case, Unicode composition and invisible
characters are ignored.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from akiosctl.changes.model import parent_of

_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)


@lru_cache(maxsize=4096)
def fold(name: bytes) -> str:
    """A component as the laxest file system compares it; bytes that are no UTF-8 stand for
    themselves.
    """
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
    """Unicode's default-ignorable code points, which case-folding file systems leave out of a
    comparison.
    """
    return unicodedata.category(character) == "Cf" or _IGNORABLE.match(character) is not None


def protecting_pattern(
    path: bytes, patterns: tuple[str, ...], known: dict[bytes, str | None] | None = None
) -> str | None:
    """The first pattern that protects ``path``, or ``None``.

    ``known`` remembers answers between calls with the same patterns, so that a deep tree costs one
    look at each name.
    """
    known = {} if known is None else known
    matcher = _compile(patterns)
    unknown = []
    while path and path not in known:
        unknown.append(path)
        path = parent_of(path)
    found = known.get(path)
    for place in reversed(unknown):
        # A row that ended higher up has protected all below it, so only rows that end in this name
        # are new.
        found = known[place] = found or matcher.match_end(place)
    return found


class _Matcher:
    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.depth = max((pattern.count("/") + 1 for pattern in patterns), default=1)
        self.patterns = [
            (pattern, re.compile(_expression(pattern), re.DOTALL)) for pattern in patterns
        ]
        self.any = re.compile(
            "|".join(f"(?:{_expression(pattern)})" for pattern in patterns) or "(?!)", re.DOTALL
        )

    def match_end(self, path: bytes) -> str | None:
        parts = path.rsplit(b"/", self.depth)
        # The first part of a longer path stands for all above; NUL keeps it from looking like the
        # root.
        is_whole = b"/" not in parts[0]
        text = (
            ("/" if is_whole else "\0/")
            + "/".join(fold(part) for part in parts[0 if is_whole else 1 :])
            + "/"
        )
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


def matches(component: bytes, glob: str) -> bool:
    """Whether one name fits one component of a pattern."""
    return _glob(glob).fullmatch(fold(component)) is not None


@lru_cache(maxsize=1024)
def _glob(glob: str) -> re.Pattern[str]:
    return re.compile(_component(fold(glob.encode("utf-8", "surrogateescape"))), re.DOTALL)


@lru_cache(maxsize=16)
def rows_of(patterns: tuple[str, ...]) -> tuple[tuple[str, bool, tuple[str, ...]], ...]:
    """(pattern, whether it holds at the root only, its components) of each pattern with more than
    one component.
    """
    rows = (
        (name, name.startswith("/"), tuple(part for part in name.split("/") if part))
        for name in patterns
    )
    return tuple(row for row in rows if len(row[2]) > 1)


@lru_cache(maxsize=16)
def _middles(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Whether a name can stand before the last component of any pattern."""
    globs = sorted({glob for _, _, row in rows_of(patterns) for glob in row[:-1]})
    return re.compile("|".join(_glob(glob).pattern for glob in globs) or "(?!)", re.DOTALL)


def rests(path: bytes, patterns: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """(pattern, components still to come) for each pattern that ``path`` ends in the middle of."""
    parts = path.split(b"/")
    found: list[tuple[str, tuple[str, ...]]] = []
    if not _middles(patterns).fullmatch(fold(parts[-1])):
        return found
    for name, at_root, row in rows_of(patterns):
        for length in range(1, min(len(row), len(parts) + 1)):
            if at_root and length != len(parts):
                continue
            if all(map(matches, parts[-length:], row[:length])):
                found.append((name, row[length:]))
    return found
