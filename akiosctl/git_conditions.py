"""Whether the condition of an ``includeIf`` holds: git-config(1), Conditional includes.  Pure.

Identities are often chosen by them (one address at work, another at home), so a configuration that
counted every condition as met would commit under the wrong name.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from akiosctl.changes.host_paths import expand_home


class Repository(NamedTuple):
    """What conditions ask about: the directory of git under all its names, the branch, and the
    addresses of remotes.
    """

    places: tuple[bytes, ...] = ()
    branch: bytes = b""
    urls: tuple[bytes, ...] = ()


def is_met(condition: bytes, source: bytes, repository: Repository, home: bytes) -> bool:
    """``condition``: what stands in the header of the section; ``source``: the file it stands in.
    A condition of no known kind is not met, as in git.
    """
    kind, _, pattern = condition.partition(b":")
    if kind in (b"gitdir", b"gitdir/i"):
        expression = _expression(
            _as_directory(pattern, source, home), ignore_case=kind == b"gitdir/i"
        )
        return any(expression.fullmatch(place) for place in repository.places)
    if kind == b"onbranch":
        return bool(_expression(_open_ended(pattern)).fullmatch(repository.branch))
    if kind == b"hasconfig" and pattern.startswith(b"remote.*.url:"):
        expression = _expression(pattern.removeprefix(b"remote.*.url:"))
        return any(expression.fullmatch(url) for url in repository.urls)
    return False


def asks_about_state(condition: bytes) -> bool:
    """Whether the answer changes with the repository's HEAD or configuration, not with its place
    only.
    """
    return not condition.startswith((b"gitdir:", b"gitdir/i:"))


def _as_directory(pattern: bytes, source: bytes, home: bytes) -> bytes:
    if pattern.startswith(b"./"):
        pattern = os.path.dirname(source) + pattern[1:]
    pattern = expand_home(pattern, home)
    return _open_ended(pattern if pattern.startswith(b"/") else b"**/" + pattern)


def _open_ended(pattern: bytes) -> bytes:
    return pattern + b"**" if pattern.endswith(b"/") else pattern


_TOKEN = re.compile(
    rb"(?P<any>\*\*/|\*\*\Z)|(?P<star>\*+)|(?P<one>\?)|(?P<set>\[[!^]?\]?[^\]/]*\])"
)


def _expression(pattern: bytes, *, ignore_case: bool = False) -> re.Pattern[bytes]:
    """As wildmatch() of git has it, with slashes that only ``**`` crosses."""
    parts, at = [], 0
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[at : token.start()]))
        at = token.end()
        starts = token.start() == 0 or pattern[token.start() - 1 : token.start()] == b"/"
        if token["any"] and starts:
            parts.append(rb"(?:.*/)?" if token[0] == b"**/" else rb".*")
        elif token["any"] or token["star"]:
            parts.append(rb"[^/]*" + (b"/" if token[0].endswith(b"/") else b""))
        elif token["one"]:
            parts.append(rb"[^/]")
        else:
            inner = token[0][1:-1].replace(b"\\", b"\\\\").replace(b"[", rb"\[")
            negated = inner.startswith((b"!", b"^"))
            parts.append(b"[" + (b"^/" if negated else b"") + inner[negated:] + b"]")
    parts.append(re.escape(pattern[at:]))
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    try:
        return re.compile(b"".join(parts), flags)
    except re.error:
        return re.compile(rb"(?!)")
