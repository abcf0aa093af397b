"""Finds directories of a workspace in which a shell looks for programs.

What an agent puts there under the name of a system program runs instead of it, at the next ``ls``
or from the prompt. Such directories stand in the PATH of the user who commits (an activated
environment, ``./node_modules/.bin``), or a file that is read on entering the directory adds them. A
name that nothing else has belongs to the project: whoever types it means it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from akiosctl.changes.host_paths import read_small, reenter
from akiosctl.changes.model import Diff, EntryType, join, name_of, parent_of
from akiosctl.changes.reached_paths import Row, resolve, show

_SYSTEM = (b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin")
# direnv-stdlib(1) (PATH_add, path_add, layout), mise.jdx.dev/environments (_.path), and plain
# shell.
_ADDS = re.compile(rb"(?m)^.*?\b(?:PATH_add|path_add[ \t]+PATH|PATH=|_\.path[ \t]*=)(.*)$")
_LAYOUT = re.compile(rb"(?m)^[ \t]*layout[_ \t]+(node|php)\b")
_LAYOUTS = {b"node": b"node_modules/.bin", b"php": b"vendor/bin"}
_WORD = re.compile(rb"[^\s'\"`;&|<>(){}=,:\[\]]+")


def survey_path(
    root: bytes,
    files: Iterable[bytes],
    links: Mapping[bytes, bytes],
    diff: Diff,
    env: Mapping[bytes, bytes],
) -> list[Row]:
    """``files``: those that are read on entering a directory.  Only names that shadow others are
    rows.
    """
    places = dict(_from_environment(root, env))
    for path in files:
        places |= {
            place: f"{show(path)} puts {show(place)} into PATH" for place in _named(root, path)
        }
    if not places:
        return []
    commands = list_commands(root, env)
    changed: dict[bytes, list[bytes]] = {}
    for change in diff.changes:
        if change.new is not None and change.new.type is not EntryType.DIRECTORY:
            changed.setdefault(parent_of(change.path), []).append(name_of(change.path))
    turned = {c.path for c in diff.changes if c.new is not None and c.new.type is EntryType.SYMLINK}
    rows = []
    for place, why in places.items():
        real = resolve(place, links, root)[0]
        standing = (name for name in _list(os.path.join(root, place)) if name in commands)
        names = {name for name in standing if not os.path.isdir(os.path.join(root, place, name))}
        names |= {*changed.get(place, ()), *changed.get(place if real is None else real, ())}
        rows += [
            Row(join(place, name), (), f"{why}, where it would run as {show(name)}")
            for name in names & commands
        ]
        rows += [Row(path, (), why) for path in (place, real) if path in turned]
    return rows


def _from_environment(root: bytes, env: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, str]]:
    for entry in env.get(b"PATH", b"").split(b":"):
        inside = _inside(root, entry)
        if inside is not None:
            yield inside, f"{show(inside or b'.')} is in your PATH"


def _inside(root: bytes, entry: bytes) -> bytes | None:
    """An entry of PATH as a place of the workspace; "." and nothing are the directory that people
    are in.
    """
    absolute = os.path.join(root, entry)
    inside = reenter(absolute, root)
    return inside if inside or os.path.realpath(absolute) == root else None


def _named(root: bytes, path: bytes) -> Iterator[bytes]:
    text = read_small(os.path.join(root, path)) or b""
    words = [word for line in _ADDS.findall(text) for word in _WORD.findall(line)]
    words += [_LAYOUTS[name] for name in _LAYOUT.findall(text)]
    for word in words:
        rest = word.partition(b"/")[2] if word.startswith(b"$") else word
        inside = reenter(os.path.join(root, parent_of(path), rest), root) if rest else None
        if inside:
            yield inside


def list_commands(root: bytes, env: Mapping[bytes, bytes]) -> set[bytes]:
    """What the user's PATH offers outside of the workspace."""
    places = [entry for entry in env.get(b"PATH", b"").split(b":") if entry.startswith(b"/")]
    outside = [
        place for place in dict.fromkeys((*places, *_SYSTEM)) if _inside(root, place) is None
    ]
    return {name for place in outside for name in _list(place)}


def _list(place: bytes) -> list[bytes]:
    try:
        return os.listdir(place)
    except OSError:
        return []
