"""Finds programs of a workspace that its protected files name.

Examples: a hook that calls ``scripts/lint.py``, an ``.envrc`` that sources ``env.sh``, a server in
``.mcp.json``. The text is not understood, only searched for words that are names of programs or
shell files in the workspace, and what is found is searched in turn. Data (a lock file, a document)
has no name of that kind. Not found is what a program composes while it runs, or takes by a name of
another sort (``make``, ``npm test``, an import).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator

from akiosctl.changes.host_paths import is_program_name, read_small, reenter
from akiosctl.changes.reached_paths import Row, show

_MAX_TEXT = 64 << 10
_MAX_DEPTH = 4
_WORD = re.compile(rb"[^\s'\"`;&|<>(){}=,\[\]:]+")
# What names files to be looked at or passed over (the choice of files for a hook, direnv's
# watch_file), and permissions of an agent, "Bash(python x.py:*)", by which nothing runs yet.
_ONLY_LOOKED_AT = re.compile(
    rb'(?m)^[ \t-]*"?(?:exclude|files|ignore\w*|globs?|watch_file)\b.*$|"[A-Z][A-Za-z]+\([^"]*\)"'
)
# direnv-stdlib(1): words that stand for files.
_STANDS_FOR = {
    b"flake": (b"flake.nix",), b"nix": (b"shell.nix", b"default.nix"), b"dotenv": (b".env",),
    b"devenv": (b"devenv.nix", b"devenv.yaml", b"devenv.local.nix"), b"devbox": (b"devbox.json",),
}  # fmt: skip
# What follows is run whatever its name is, as in ``source .venv/bin/activate``.
_RUN = re.compile(
    rb"""(?m)(?:^|[\s;&|({`'"])(?:\.|source|source_env|source_env_if_exists|dotenv|dotenv_if_exists|exec|eval|"""
    rb"""(?:ba|z|da|k|fi)?sh|python[0-9.]*|node|ruby|perl)[ \t]+(?:-[^\s]+[ \t]+)*['"]?([^\s'"`;&|<>(){}]+)"""
)


def survey_scripts(root: bytes, files: Iterable[bytes]) -> list[Row]:
    """What these files of the workspace (relative paths, links followed) name, directly or through
    one another.
    """
    rows: list[Row] = []
    todo = [(path, 0) for path in files]
    seen = set()
    while todo:
        path, depth = todo.pop()
        if path in seen or depth >= _MAX_DEPTH:
            continue
        seen.add(path)
        for named in _programs(root, path):
            rows.append(
                Row(named, (), f"{show(path)} names it, and that runs without being called")
            )
            todo.append((named, depth + 1))
    return list(dict.fromkeys(rows))


def _programs(root: bytes, path: bytes) -> Iterator[bytes]:
    text = read_small(os.path.join(root, path))
    if text is None or len(text) > _MAX_TEXT or b"\0" in text:
        return
    text = _ONLY_LOOKED_AT.sub(b"", text)
    words, run = set(_WORD.findall(text)), set(_RUN.findall(text))
    words |= run
    for word in list(words):
        words.update(_STANDS_FOR.get(word, ()))
    # From the file's own directory up to the root: only its program knows which of them a word is
    # relative to.
    places = [os.path.dirname(path)]
    while places[-1]:
        places.append(os.path.dirname(places[-1]))
    for word in words:
        # Behind a variable the path goes on: $PWD/tools/x, ${CLAUDE_PROJECT_DIR}/hooks/x.
        rest = word.partition(b"/")[2] if word.startswith(b"$") else word.lstrip(b"/")
        for part in {word, rest} - {b""}:
            for place in places:
                there = os.path.join(root, place, part)
                if _is_program(there, word in run) or (
                    _may_come(word, word in run) and not os.path.exists(there)
                ):
                    inside = reenter(there, root)
                    if inside and inside != path:
                        yield inside


def _is_program(absolute: bytes, is_run: bool) -> bool:
    try:
        if not stat.S_ISREG(os.stat(absolute).st_mode):
            return False
    except (OSError, ValueError):
        return False
    return is_run or is_program_name(absolute) or os.access(absolute, os.X_OK)


def _may_come(word: bytes, is_run: bool) -> bool:
    """Whether a file that is not there would be run if it were, as in ``source_env_if_exists
    .envrc.local``.
    """
    return (is_run or is_program_name(word)) and (b"/" in word or word.startswith(b".env"))
