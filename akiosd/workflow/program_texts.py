"""Which words of a command a program reads as the text of a program, by a table of how programs
take their options: POSIX utility conventions, getopt_long(3), and each program's manual page.

What the table does not have is taken for a program that reads its words as data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

FILLED = "\0"
"""Stands in a word for what is filled in later."""

Operand = Literal["data", "text", "text unless given", "program", "settings, then program"]


class Program(NamedTuple):
    """How one program takes its words.  Options are letters, or whole words as they are written."""

    text: str = ""
    """With an argument that is program text."""
    takes: str = ""
    """With another argument, in the same word or the next."""
    files: str = ""
    """With a file that has the program, so that no operand is it."""
    rest: str = ""
    """What follows in the same word belongs to it."""
    makes_text: str = ""
    """Without an argument; it makes text of the first operand."""
    ends: str = ""
    """Nothing behind its argument is an option, or text."""
    long_text: tuple[str, ...] = ()
    long_takes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """Whole words behind which another command stands, up to ``;`` or ``+``."""
    settings: str = ""
    """With an argument KEY=VALUE, which is text where the key is none of :data:`_HARMLESS`."""
    operands: tuple[Operand, ...] = ("data",)
    """What each is; the last stands for all that follow."""
    permutes: bool = False
    """Options may follow operands."""
    one_word: bool = False
    """A single word can be an option together with its text: no value stands where options are
    read.
    """
    bundle: bool = False
    """Its first word may be letters of options without a dash; their arguments follow in order."""


def _wrapper(takes: str = "", *before: Operand, long_takes: tuple[str, ...] = ()) -> Program:
    return Program(takes=takes, long_takes=long_takes, operands=(*before, "program"))


_SHELL = Program(makes_text="c", takes="oO", long_takes=("--rcfile", "--init-file"))
_SED = Program(
    text="e", takes="l", files="f", rest="i", long_text=("--expression",), long_takes=("--file", "--line-length"),
    operands=("text unless given", "data"), permutes=True, one_word=True,
)  # fmt: skip
_AWK = Program(
    text="e", takes="Fvil", files="fE", long_text=("--source",),
    long_takes=("--field-separator", "--assign", "--file", "--include", "--load", "--exec"),
    operands=("text unless given", "data"), one_word=True,
)  # fmt: skip
_VI = Program(text="cS", takes="uTwWirst", long_text=("--cmd",), permutes=True, one_word=True)
_SU = Program(text="c", takes="sgGwu", long_text=("--command", "--session-command"), long_takes=("--shell",),
              permutes=True, one_word=True)  # fmt: skip

# fmt: off
PROGRAMS: dict[str, Program] = {
    **dict.fromkeys(("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash"), _SHELL),
    "fish": Program(text="cC", long_text=("--command", "--init-command"), one_word=True),
    "pwsh": Program(long_text=("-c", "-Command", "-command", "-e", "-EncodedCommand"), one_word=True),
    "eval": Program(operands=("text",)),
    **dict.fromkeys(("python", "pypy"), Program(text="c", takes="WX", ends="cm", one_word=True)),
    "perl": Program(text="eEMm", takes="I", rest="iFDxV", one_word=True),
    "ruby": Program(text="er", takes="IEC", rest="iFKxTW", long_text=("--require",), one_word=True),
    "node": Program(
        long_text=("-e", "-p", "-pe", "--eval", "--print", "--import", "--experimental-loader", "--loader"),
        long_takes=("-r", "--require", "-C", "--conditions", "--env-file"), one_word=True),
    "bun": Program(long_text=("-e", "-p", "--eval", "--print"), one_word=True),
    "deno": Program(runs=("eval",)),
    "php": Program(text="rBRE", takes="cfFztd", ends="f", long_text=("--run", "--process-code"), one_word=True),
    **dict.fromkeys(("lua", "luajit"), Program(text="e", takes="l", one_word=True)),
    **dict.fromkeys(("Rscript", "R", "osascript"), Program(text="e", one_word=True)),
    "expect": Program(text="c", takes="f", one_word=True),
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk", "original-awk"), _AWK),
    **dict.fromkeys(("sed", "gsed", "ssed"), _SED),
    **dict.fromkeys(("vi", "vim", "nvim", "ex", "view"), _VI),
    "emacs": Program(long_text=("--eval", "-eval", "--execute", "-f", "--funcall"), permutes=True, one_word=True),
    **dict.fromkeys(("tar", "gtar", "bsdtar"), Program(
        text="IF", takes="fbCTXgKNVHL", permutes=True, one_word=True, bundle=True,
        long_text=("--to-command", "--checkpoint-action", "--use-compress-program", "--rsh-command", "--rmt-command",
                   "--info-script", "--new-volume-script"),
        long_takes=("--file", "--directory", "--exclude", "--files-from", "--exclude-from", "--transform", "--owner",
                    "--group", "--mode", "--mtime", "--strip-components", "--format"))),
    "rsync": Program(text="eM", takes="fTB", long_text=("--rsh", "--rsync-path", "--remote-option"),
                     long_takes=("--exclude", "--include"), permutes=True),
    **dict.fromkeys(("ssh", "slogin"), Program(
        text="F", settings="o", takes="bcDeEIiJLlmOpQRSWw", operands=("data", "text"), one_word=True)),
    **dict.fromkeys(("scp", "sftp"), Program(text="FS", settings="o", takes="cilPJ", permutes=True, one_word=True)),
    "sqlite": Program(long_text=("-cmd", "--cmd"), long_takes=("-init", "--init", "-separator", "-nullvalue", "-vfs"),
                       operands=("data", "text")),
    "psql": Program(text="c", takes="vdfhLopPRTUF", long_text=("--command",),
                    long_takes=("--dbname", "--file", "--host", "--port", "--username", "--set", "--variable"), permutes=True),
    **dict.fromkeys(("mysql", "mariadb"), Program(
        text="e", takes="hPDS", rest="pu", long_text=("--execute", "--init-command", "--pager"), permutes=True)),
    "gdb": Program(long_text=("-ex", "--ex", "-iex", "--iex", "-eval-command", "--eval-command", "--init-eval-command"),
                   long_takes=("-x", "--command"), one_word=True),
    "make": Program(takes="CfIjloW", long_text=("--eval",), permutes=True),
    **dict.fromkeys(("find", "gfind"), Program(runs=("-exec", "-execdir", "-ok", "-okdir"), permutes=True)),
    **dict.fromkeys(("fd", "fdfind"), Program(runs=("-x", "-X", "--exec", "--exec-batch"), permutes=True)),
    "git": Program(settings="c", takes="C", long_text=("--config-env", "--exec-path"),
                   long_takes=("--git-dir", "--work-tree", "--namespace"), one_word=True),
    "env": Program(text="S", takes="uCa", long_text=("--split-string",), long_takes=("--unset", "--chdir"),
                   operands=("settings, then program",), one_word=True),
    **dict.fromkeys(("su", "runuser"), _SU),
    "script": Program(text="c", takes="oEmBITt", long_text=("--command",), permutes=True, one_word=True),
    "watch": Program(takes="nq", operands=("text",)),
    "parallel": Program(takes="jaIdNnSP", operands=("text",)),
    "flock": Program(text="c", takes="wE", operands=("data", "program"), permutes=True),
    **dict.fromkeys(("sudo", "doas"), _wrapper("ugphCRDTUcl")),
    "xargs": _wrapper("EILnPsda", long_takes=("--arg-file", "--delimiter", "--replace", "--max-args", "--max-procs")),
    "timeout": _wrapper("sk", "data", long_takes=("--signal", "--kill-after")),
    "nice": _wrapper("n", long_takes=("--adjustment",)),
    "ionice": _wrapper("cnpPu"),
    "stdbuf": _wrapper("ioe", long_takes=("--input", "--output", "--error")),
    **dict.fromkeys(("nohup", "setsid", "command", "exec", "builtin", "busybox", "toybox", "catchsegv", "firejail"),
                    _wrapper()),
    "time": _wrapper("fo"),
    **dict.fromkeys(("chrt", "taskset", "setarch", "chroot"), _wrapper("", "data")),
    **dict.fromkeys(("unshare", "nsenter", "bwrap", "setpriv"), _wrapper("tSGrw")),
    **dict.fromkeys(("strace", "ltrace"), _wrapper("abeEIoOpPsSuX")),
}
_GIT: dict[str, Program] = {
    "rebase": Program(text="x", takes="sXC", long_text=("--exec",), permutes=True),
    "clone": Program(text="cu", takes="bojO", long_text=("--config", "--upload-pack"), permutes=True),
    **dict.fromkeys(("fetch", "pull", "ls-remote"), Program(long_text=("--upload-pack", "--exec"), permutes=True)),
    "push": Program(long_text=("--receive-pack", "--exec"), permutes=True),
    "grep": Program(rest="O", long_text=("--open-files-in-pager",), takes="efABCm", permutes=True),
    "difftool": Program(text="x", long_text=("--extcmd",), permutes=True),
    "filter-branch": Program(long_text=("--setup", "--env-filter", "--tree-filter", "--index-filter", "--msg-filter",
                                        "--parent-filter", "--commit-filter", "--tag-name-filter"), permutes=True),
    "config": Program(operands=("data", "text"), takes="f"),
    "submodule foreach": Program(operands=("text",)),
    "bisect run": Program(operands=("program",)),
}
# fmt: on
_VERSION = re.compile(r"(?<=[A-Za-z])[0-9][0-9.]*\Z")
_HARMLESS = re.compile(
    r"(user|author|committer)\.(name|email)|(color|advice|init|i18n|log|status|column|pack|gc)\.[\w.-]+"
    r"|(?!(proxy|local|knownhosts|remote)command|match|include|[\w-]*provider)[a-z0-9]+",
    re.IGNORECASE,
)
"""Settings of git and ssh that name no program: git-config(1), ssh_config(5)."""
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def find_texts(words: Sequence[str]) -> set[int]:
    """The places of words in which something is filled in that a program would read as program
    text, or as an option with such text.
    """
    return {at for at in _read_command(words, 0) if at < len(words) and FILLED in words[at]}


def _read_command(words: Sequence[str], at: int) -> Iterator[int]:
    """The places of all words of the command at ``at`` that are text, or a program."""
    if at >= len(words):
        return
    yield at
    name = words[at].rpartition("/")[2]
    found = PROGRAMS.get(_VERSION.sub("", name)) or PROGRAMS.get(name)
    if found is None:
        return
    yield from _Reading(words, at + 1, found).run()
    if found is PROGRAMS["git"]:
        yield from _read_git(words, at + 1)


def _read_git(words: Sequence[str], at: int) -> Iterator[int]:
    top = PROGRAMS["git"]
    while at < len(words) and words[at].startswith("-"):
        takes = words[at] in ("-c", "-C") or words[at] in (*top.long_takes, "--config-env")
        at += 2 if takes else 1
    for length in (1, 2):
        verb = _GIT.get(" ".join(words[at : at + length]))
        key = "".join(words[at + 1 : at + 2])
        is_harmless = verb is _GIT["config"] and _HARMLESS.fullmatch(key)
        if verb is not None and not is_harmless:
            yield from _Reading(words, at + length, verb).run()


class _Reading:
    """One program's words, from the first behind its name."""

    def __init__(self, words: Sequence[str], at: int, program: Program) -> None:
        self.words, self.at, self.program = words, at, program
        self.first = at
        self.operands = 0
        self.text_is_given = self.makes_text = self.has_ended = False
        own = program.text + program.settings + program.takes + program.files
        self._last_letters = own + program.rest + program.ends

    def run(self) -> Iterator[int]:
        are_options = True
        while self.at < len(self.words) and not self.has_ended:
            word, here = self.words[self.at], self.at
            self.at += 1
            if not are_options:
                yield from self._operand(here)
            elif word == "--":
                are_options = False
            elif word in self.program.runs:
                yield from self._run_another()
            elif self.program.bundle and here == self.first and not word.startswith("-"):
                yield from self._bundle(word, here)
            elif len(word) > 1 and word[0] in "-+":
                yield from self._option(word, here)
            else:
                if word.startswith(FILLED) and self._may_be_an_option():
                    yield here
                are_options = self.program.permutes
                yield from self._operand(here)

    def _may_be_an_option(self) -> bool:
        """Whether a word that is filled in could be one that brings its text, or has the next one
        read as text.
        """
        follows = any(FILLED in word for word in self.words[self.at :])
        return self.program.one_word or bool(self.program.makes_text and follows)

    def _option(self, word: str, here: int) -> Iterator[int]:
        name, equals, value = word.partition("=")
        program = self.program
        if _is_one_of(name, program.long_text):
            yield from self._text(value if equals else "", here)
        elif _is_one_of(name, program.long_takes):
            self.at += not equals
        elif word.startswith("--"):
            # What it is called is filled in.
            yield from [here] if FILLED in name and program.one_word else []
        else:
            yield from self._letters(word, here)

    def _letters(self, word: str, here: int) -> Iterator[int]:
        program = self.program
        for number, letter in enumerate(word[1:], 2):
            rest = word[number:]
            if letter == FILLED:
                yield from [here] if program.one_word or program.makes_text else []
                return
            self.makes_text |= letter in program.makes_text and word[0] == "-"
            if letter in program.text:
                yield from self._text(rest, here)
                if letter == "S" and program is PROGRAMS["env"]:
                    yield from self._split(rest, here)
            elif letter in program.settings:
                yield from self._setting(rest, here)
            elif letter in program.takes + program.files + program.ends:
                self.at += not rest
                self.text_is_given |= letter in program.files
            self.has_ended |= letter in program.ends
            if letter in self._last_letters:
                return

    def _setting(self, attached: str, here: int) -> Iterator[int]:
        place = here if attached else self.at
        self.at += not attached
        setting = attached or "".join(self.words[place : place + 1])
        if not _HARMLESS.fullmatch(setting.partition("=")[0]):
            yield place

    def _text(self, attached: str, here: int) -> Iterator[int]:
        """The text of an option is in its own word, or is the next one."""
        self.text_is_given = True
        if attached:
            yield here
        else:
            yield self.at
            self.at += 1

    def _split(self, attached: str, here: int) -> Iterator[int]:
        """env -S makes several words of one, and goes on with the others."""
        text = attached or (self.words[here + 1] if here + 1 < len(self.words) else "")
        parts = text.split()
        for found in _read_command([*parts, *self.words[self.at :]], 0):
            if found >= len(parts):
                yield self.at + found - len(parts)
        self.has_ended = True

    def _bundle(self, word: str, here: int) -> Iterator[int]:
        if FILLED in word:
            yield here
        for letter in word:
            if letter in self.program.text:
                yield self.at
            self.at += letter in self.program.text + self.program.takes

    def _run_another(self) -> Iterator[int]:
        end = self.at
        while end < len(self.words) and self.words[end] not in (";", "+", "\\;"):
            end += 1
        yield from (found for found in _read_command(self.words[:end], self.at))
        self.at = end + 1

    def _operand(self, here: int) -> Iterator[int]:
        kinds = self.program.operands
        kind = kinds[min(self.operands, len(kinds) - 1)]
        self.operands += 1
        if self.makes_text:
            yield here
            self.has_ended = True
        elif kind == "settings, then program" and _SETTING.match(self.words[here]):
            return
        elif kind in ("program", "settings, then program"):
            yield from _read_command(self.words, here)
            self.has_ended = True
        elif kind == "text" or (kind == "text unless given" and not self.text_is_given):
            yield here
        elif not self.program.permutes and len(kinds) == 1:
            self.has_ended = True  # what follows are a script's own words


def _is_one_of(name: str, options: tuple[str, ...]) -> bool:
    """Whether it is one, or the beginning of a long one (getopt_long(3))."""
    is_long = name.startswith("--") and len(name) > 3 and FILLED not in name
    return name in options or (is_long and any(one.startswith(name) for one in options))
