"""Git's configuration as values: what a file says, which settings a commit may change, and which
files it names.

The grammar is that of git-config(1), CONFIGURATION FILE; a test compares this reader with git's
own.
"""

from __future__ import annotations

import re

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """One line.  ``section`` and ``key`` are in lower case; a key without ``=`` has the value
    ``None``.
    """

    section: str
    subsection: bytes | None
    key: str
    value: bytes | None

    @property
    def name(self) -> str:
        """The full name, such as ``core.hookspath``, or ``filter.*.clean`` where there is a
        subsection.
        """
        return (
            f"{self.section}.*.{self.key}"
            if self.subsection is not None
            else f"{self.section}.{self.key}"
        )


class BadConfigError(Exception):
    """Git itself would stop at this file."""


_SECTION = re.compile(rb'\[([A-Za-z0-9.-]+)(?:[ \t\r]+"((?:[^"\\\n]|\\[^\n])*)")?\]')
_KEY = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*(=|(?=\n)|\Z)")
_SPACE = b" \t\r"
_BLANK = re.compile(rb"(?:[ \t\r\n]+|[#;][^\n]*)+")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"\\": b"\\", b'"': b'"'}


def parse_config(data: bytes) -> list[Setting]:
    """Every setting, in order.  Raises :class:`BadConfigError`."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    if b"\0" in text:
        raise BadConfigError("a NUL byte")
    found: list[Setting] = []
    section: tuple[str, bytes | None] | None = None
    at = 0
    while True:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        if at >= len(text):
            return found
        if header := _SECTION.match(text, at):
            section, at = _section(header), header.end()
        elif section is not None and (key := _KEY.match(text, at)):
            value, at = _value(text, key.end()) if key[2] == b"=" else (None, key.end())
            found.append(Setting(*section, key[1].decode().lower(), value))
        else:
            line = text.count(b"\n", 0, at) + 1
            raise BadConfigError(f"line {line}")


def _section(header: re.Match[bytes]) -> tuple[str, bytes | None]:
    """Section and subsection; the old form [section.subsection] has both in lower case."""
    name = header[1].lower()
    if header[2] is not None:
        name += b"." + re.sub(rb"\\(.)", rb"\1", header[2], flags=re.DOTALL)
    first, dot, rest = name.partition(b".")
    return first.decode(), rest if dot else None


def _value(text: bytes, at: int) -> tuple[bytes, int]:
    """The value that starts behind ``=``, and where the next line begins.  Space outside quotes is
    cut at both ends.
    """
    value, spaces, quoted = bytearray(), bytearray(), False
    while at < len(text):
        one = text[at : at + 1]
        at += 1
        if one == b"\n":
            break
        if one in _SPACE and not quoted:
            spaces += one if value else b""
            continue
        if one in b"#;" and not quoted:
            end = text.find(b"\n", at)
            return bytes(value), len(text) if end < 0 else end
        value += spaces
        spaces.clear()
        if one == b'"':
            quoted = not quoted
        elif one == b"\\":
            escaped, at = text[at : at + 1], at + 1
            if escaped not in (b"\n", b""):
                value += _unescaped(escaped)
        else:
            value += one
    if quoted:
        raise BadConfigError("a quote is not closed")
    return bytes(value), min(at, len(text))


def _unescaped(one: bytes) -> bytes:
    if one not in _ESCAPES:
        raise BadConfigError("an unknown escape")
    return _ESCAPES[one]


# What a commit may change: it names no program, no file and no other host for what is there
# already.
_BOOLEAN = rb"(?i:true|false|yes|no|on|off|1|0)"
_URL = rb"(?:https|ssh)://[A-Za-z0-9][^\s]*|[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:(?!:)[^\s]*"
_BRANCH = rb"[A-Za-z0-9_][A-Za-z0-9_./-]*"
_CHANGEABLE = {
    name: re.compile(value)
    for name, value in {
        "core.repositoryformatversion": rb"[01]",
        "core.filemode": _BOOLEAN,
        "core.bare": rb"(?i:false|no|off|0)",
        "core.logallrefupdates": rb"(?i:true|false|always)",
        "core.ignorecase": _BOOLEAN,
        "core.precomposeunicode": _BOOLEAN,
        "core.symlinks": _BOOLEAN,
        "extensions.objectformat": rb"sha1|sha256",
        "extensions.refstorage": rb"files|reftable",
        "user.name": rb"[^\n]*",
        "user.email": rb"[^\n]*",
        "pull.rebase": _BOOLEAN,
        "pull.ff": rb"(?i:true|false|only)",
        "merge.ff": rb"(?i:true|false|only)",
        "merge.conflictstyle": rb"merge|diff3|zdiff3",
        "rebase.autosquash": _BOOLEAN,
        "rebase.autostash": _BOOLEAN,
        "rerere.enabled": _BOOLEAN,
        "core.autocrlf": rb"(?i:true|false|input)",
        "core.eol": rb"lf|crlf|native",
        "core.safecrlf": rb"(?i:true|false|warn)",
        "fetch.prune": _BOOLEAN,
        "push.default": rb"nothing|current|upstream|tracking|simple|matching",
        "push.autosetupremote": _BOOLEAN,
        "gc.auto": rb"[0-9]{1,9}",
        "lfs.repositoryformatversion": rb"[0-9]",  # git-lfs writes it at its first command
        "branch.*.gh-merge-base": _BRANCH,  # so do gh and an editor, for each branch that they see
        "branch.*.vscode-merge-base": _BRANCH,
        "remote.*.prune": _BOOLEAN,
        "remote.*.tagopt": rb"--(?:no-)?tags",
    }.items()
}
# Only under a name that had no settings: else a push would go elsewhere without a word.
_ADDABLE = {
    "remote.*.url": re.compile(_URL),
    "remote.*.fetch": re.compile(rb"\+?refs/[^\s:]+:refs/[^\s:]+"),
    "branch.*.remote": re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_-]*"),
    "branch.*.merge": re.compile(rb"refs/[^\s:]+"),
    "branch.*.rebase": re.compile(_BOOLEAN),
}


def forbidden_changes(old: bytes, new: bytes) -> list[str]:
    """The names of settings that differ and that a commit must not change; empty when nothing
    speaks against it.

    Raises :class:`BadConfigError` when one of the two cannot be read.
    """
    before, after = parse_config(old), parse_config(new)
    known = frozenset(
        (setting.section, setting.subsection) for setting in before if setting.name in _ADDABLE
    )
    kept = [setting for setting in before if not _may_change(setting, known)]
    left = [setting for setting in after if not _may_change(setting, known)]
    if kept == left:
        return []
    differing = {setting.name for setting in kept if setting not in left}
    differing |= {setting.name for setting in left if setting not in kept}
    return sorted(differing or {setting.name for setting in left})


def _may_change(setting: Setting, known: frozenset[tuple[str, bytes | None]]) -> bool:
    value = setting.value if setting.value is not None else b"true"
    if setting.name in _ADDABLE:
        is_new = (setting.section, setting.subsection) not in known
        return is_new and _ADDABLE[setting.name].fullmatch(value) is not None
    return setting.name in _CHANGEABLE and _CHANGEABLE[setting.name].fullmatch(value) is not None


# Values that are data to git, whatever they look like: no program runs them and no configuration is
# read from them.
_DATA = frozenset((
    *_CHANGEABLE, *_ADDABLE, "commit.template", "blame.ignorerevsfile", "core.excludesfile",
    "core.attributesfile", "core.whitespace", "remote.*.push", "remote.*.pushurl",
    "branch.*.description", "submodule.*.url", "submodule.*.path", "init.defaultbranch",
    "user.signingkey", "url.*.insteadof", "url.*.pushinsteadof", "safe.directory",
    "gpg.ssh.allowedsignersfile", "gpg.ssh.revocationfile", "mailmap.file", "lfs.url",
    "core.worktree", "include.path", "includeif.*.path", "core.hookspath",
))  # fmt: skip
_WORD = re.compile(rb"[^\s'\"`;&|<>(){}=,]+")


def includes(settings: list[Setting]) -> list[bytes]:
    """The paths of further files, as written; every condition counts as met."""
    return [s.value for s in settings if s.value and s.name in ("include.path", "includeif.*.path")]


def hook_paths(settings: list[Setting]) -> list[bytes]:
    """The values of ``core.hooksPath``."""
    return [
        setting.value for setting in settings if setting.value and setting.name == "core.hookspath"
    ]


def worktrees(settings: list[Setting]) -> list[bytes]:
    """The values of ``core.worktree``."""
    return [
        setting.value for setting in settings if setting.value and setting.name == "core.worktree"
    ]


def named_words(settings: list[Setting]) -> list[tuple[str, bytes]]:
    """(name of the setting, word) for each word that may be a path, of every value that is not
    plain data.

    Commands stand there (core.fsmonitor, filters, drivers, pagers, helpers, aliases) and paths of
    other kinds; a key that this version does not know counts as one of them.
    """
    return [
        (setting.name, word.removeprefix(b"!"))
        for setting in settings
        if setting.value and setting.name not in _DATA
        for word in _WORD.findall(setting.value)
    ]
