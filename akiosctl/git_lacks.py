"""The git configuration that a cage gets in place of its user's, and what of theirs is not in it.

Imported only when that is not remembered.  Values are copied by an allow-list: who commits, how
lines end, what merges and pulls do.  What runs a program, opens a file or holds a secret is left
out: hooks, aliases, credentials, signing.  Of that, what makes git write otherwise without a word
is named.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from akiosctl.changes.git_config import BadConfigError, Setting, parse_config
from akiosctl.changes.host_paths import expand_home, read_small
from akiosctl.git_conditions import Repository, asks_about_state, is_met

_SAFE = frozenset((
    "user.name", "user.email", "user.useconfigonly", "author.name", "author.email",
    "committer.name", "committer.email",
    "core.autocrlf", "core.eol", "core.safecrlf", "core.whitespace", "core.precomposeunicode",
    "core.sharedrepository", "core.quotepath", "core.abbrev", "core.commentchar",
    "core.commentstring", "core.checkroundtripencoding", "core.logallrefupdates",
    "commit.cleanup", "commit.verbose", "commit.status", "format.signoff", "apply.whitespace",
    "apply.ignorewhitespace", "i18n.commitencoding", "i18n.logoutputencoding",
    "init.defaultbranch", "init.defaultobjectformat", "init.defaultrefformat",
    "merge.ff", "merge.conflictstyle", "merge.renames", "merge.renamelimit",
    "merge.directoryrenames", "merge.log", "merge.autostash", "merge.branchdesc",
    "pull.rebase", "pull.ff", "pull.twohead", "pull.octopus", "rebase.autosquash",
    "rebase.autostash", "rebase.updaterefs", "rebase.rebasemerges", "rebase.forkpoint",
    "push.default", "push.autosetupremote", "push.followtags", "fetch.prune", "fetch.prunetags",
    "transfer.fsckobjects", "fetch.fsckobjects", "receive.fsckobjects", "submodule.recurse",
    "branch.autosetupmerge", "branch.autosetuprebase", "branch.sort", "tag.sort",
    "checkout.defaultremote", "checkout.guess", "worktree.guessremote", "clone.defaultremotename",
    "diff.algorithm", "diff.renames", "diff.renamelimit", "diff.mnemonicprefix", "diff.noprefix",
    "diff.context", "diff.interhunkcontext", "diff.colormoved", "diff.colormovedws",
    "diff.submodule", "diff.indentheuristic", "rerere.enabled", "rerere.autoupdate",
    "log.date", "log.follow", "log.decorate", "log.abbrevcommit", "log.mailmap",
    "status.short", "status.branch", "status.showuntrackedfiles", "status.submodulesummary",
    "color.ui", "stash.showincludeuntracked", "versionsort.suffix", "core.ignorecase",
    "diff.*.xfuncname", "diff.*.funcname", "diff.*.binary", "diff.*.wordregex",
    "diff.*.algorithm", "merge.*.name", "merge.*.recursive",
))  # fmt: skip
"""Names whose values are words and numbers to git: git-config(1)."""
# Of what is left out: settings that make git write otherwise, and say nothing where they are
# missing → the values that are git's own.  What fails loudly without it (a credential, a proxy), or
# only looks otherwise (a pager, an alias), is not here.
SILENT: dict[str, tuple[str, ...]] = {
    "core.hookspath": (),
    "commit.gpgsign": ("false",),
    "tag.gpgsign": ("false",),
    "tag.forcesignannotated": ("false",),
    "push.gpgsign": ("false",),
    "init.templatedir": (),
}
# Programs that git runs on what it reads and writes, where attributes name them.
DRIVERS = {"filter": ("clean", "smudge", "process"), "merge": ("driver",)}
_WITH_DRIVER = {"filter": ("clean", "smudge", "process", "required"), "merge": ("driver",)}
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin")
_GIT_PROGRAMS = ("/usr/lib/git-core", "/usr/libexec/git-core", *_PLACES)
_MAX_DEPTH = 10  # as in git's config.c
_MAX_VALUE = 4096
_ESCAPES = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\t": b"\\t", b"\b": b"\\b"}


class Flat(NamedTuple):
    """Settings in the order in which git reads them, what was included in its place, and the files
    that were read.  ``by_state``: whether a condition asked about more than the repository's place.
    """

    settings: list[Setting]
    read: list[str]
    by_state: bool


def summarise(files: Iterable[str], home: str, repository: Repository) -> dict[str, Any]:
    """Plain values: ``ignore`` and ``attributes`` if they are set, ``config`` (the text for
    inside), ``safe`` (directories), ``lacks``, and the files that were ``read``.
    """
    base = os.fsencode(home)
    flat = flatten([os.fsencode(path) for path in files], base, repository)
    programs = _Programs()
    missing = find_missing(flat.settings, programs.is_there)
    kept = [one for one in flat.settings if is_kept(one, missing)]
    return {
        "ignore": _path(flat.settings, "core.excludesfile", base),
        "attributes": _path(flat.settings, "core.attributesfile", base),
        "config": os.fsdecode(write_config(kept)),
        "safe": [
            os.fsdecode(one.value)
            for one in flat.settings
            if one.name == "safe.directory" and one.value is not None
        ],
        "lacks": find_lacks(flat.settings, missing),
        "read": list(dict.fromkeys([*flat.read, *programs.asked])),
        "by_state": flat.by_state,
    }


def flatten(files: Iterable[bytes], home: bytes, repository: Repository) -> Flat:
    """These files, with what they include where it stands.  One that git would stop at says
    nothing.
    """
    settings: list[Setting] = []
    read: list[str] = []
    by_state = False

    def add(path: bytes, depth: int) -> None:
        nonlocal by_state
        read.append(os.fsdecode(path))
        data = read_small(path) if depth <= _MAX_DEPTH else None
        try:
            found = parse_config(data) if data is not None else []
        except BadConfigError:
            return
        for one in found:
            settings.append(one)
            if one.name == "includeif.*.path" and one.subsection is not None:
                by_state = by_state or asks_about_state(one.subsection)
                wanted = is_met(one.subsection, path, repository, home)
            else:
                wanted = one.name == "include.path"
            if wanted and one.value:
                add(os.path.join(os.path.dirname(path), expand_home(one.value, home)), depth + 1)

    for file in files:
        add(file, 0)
    return Flat(settings, read, by_state)


def _path(settings: Iterable[Setting], name: str, home: bytes) -> str:
    """The last value, as git makes a path of it; "" when there is none that leads somewhere."""
    values = [setting.value for setting in settings if setting.name == name]
    path = os.fsdecode(expand_home(values[-1], home)) if values and values[-1] else ""
    return path if path.startswith("/") and "\0" not in path else ""


class _Programs:
    """Which programs a cage has: those of the system.  ``asked``: the paths that the answers
    depend on.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def is_there(self, command: str) -> bool:
        try:
            words = shlex.split(command)
        except ValueError:
            return False
        if not words:
            return False
        if words[0] == "git" and len(words) > 1:
            return self._finds(f"git-{words[1]}", _GIT_PROGRAMS)
        if "/" in words[0]:
            place, name = os.path.split(words[0])
            return place in _GIT_PROGRAMS and self._finds(name, (place,))
        return self._finds(words[0], _PLACES)

    def _finds(self, name: str, places: Iterable[str]) -> bool:
        paths = [f"{place}/{name}" for place in places]
        self.asked += paths
        return any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)


def find_missing(settings: Iterable[Setting], is_there: Callable[[str], bool]) -> set[str]:
    """``filter.NAME`` and ``merge.NAME`` of drivers with a program that a cage does not have."""
    last: dict[tuple[str, str], str] = {}
    for one in settings:
        if one.subsection is not None and one.key in DRIVERS.get(one.section, ()):
            last[_driver(one), one.key] = os.fsdecode(one.value or b"")
    return {driver for (driver, _), command in last.items() if command and not is_there(command)}


def _driver(setting: Setting) -> str:
    return f"{setting.section}.{(setting.subsection or b'').decode('utf-8', 'surrogateescape')}"


def is_kept(setting: Setting, missing: set[str]) -> bool:
    """Whether a cage gets it."""
    if len(setting.value or b"") > _MAX_VALUE or b"\0" in (setting.value or b""):
        return False
    if setting.subsection is not None and setting.key in _WITH_DRIVER.get(setting.section, ()):
        return _driver(setting) not in missing
    return setting.name in _SAFE


def write_config(settings: Iterable[Setting]) -> bytes:
    """A file that git reads as these settings, in their order."""
    return b"".join(_lines(settings))


def _lines(settings: Iterable[Setting]) -> Iterator[bytes]:
    for one in settings:
        header = one.section.encode()
        if one.subsection is not None:
            header += b' "' + one.subsection.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        value = b""
        if one.value is not None:
            quoted = b"".join(_ESCAPES.get(bytes((byte,)), bytes((byte,))) for byte in one.value)
            value = b' = "' + quoted + b'"'
        yield b"[" + header + b"]\n\t" + one.key.encode() + value + b"\n"


def find_lacks(settings: Iterable[Setting], missing: set[str]) -> list[str]:
    """Names of settings that are left out, not git's own, and change what git writes; drivers
    without their program; sorted.
    """
    last: dict[str, str] = {}
    for setting in settings:
        value = "true" if setting.value is None else setting.value.decode("utf-8", "replace")
        if setting.subsection is None:
            last[setting.name] = value
    changed = [
        name for name, own in SILENT.items() if name in last and _plain(last[name]) not in own
    ]
    return sorted((*changed, *missing))


def _plain(value: str) -> str:
    """A boolean as git understands it; anything else in lower case."""
    word = value.strip().lower()
    return {
        "": "false",
        "no": "false",
        "off": "false",
        "0": "false",
        "yes": "true",
        "on": "true",
        "1": "true",
    }.get(word, word)
