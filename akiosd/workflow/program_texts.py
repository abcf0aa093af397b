"""Which words of a command a program reads as the text of a program, by a table of how programs
take their options: POSIX utility conventions, getopt_long(3), and each program's manual page.

What the table does not have is taken for a program that reads its words as data, unless a shell or
an interpreter with an option stands among them; and for one whose options may stand anywhere
before ``--`` (:func:`find_open`), so that no value becomes one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

FILLED = "\0"
"""Stands in a word for what is filled in later."""

Reads = Literal["data", "program", "program unless given", "program unless text", "words"]
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
    joined: str = ""
    """What follows in the same word is program text."""
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
    takes_two: tuple[str, ...] = ()
    """Whole words behind which two arguments stand."""
    reads: Reads = "data"
    """What it takes its standard input for: a program, unless an operand or an option gives one, or
    unless a text does; or words that it adds to a command.
    """
    reads_with: str = ""
    """Letters with which it reads a program there in any case."""
    at_files: Literal["", "all", "options"] = ""
    """Whether of a word ``@FILE`` the file has further words, options among them: all words are read
    so, behind ``--`` and behind options, too, or those up to its first operand.
    """
    text_prefixes: tuple[str, ...] = ()
    """Words that begin so bring options of another program."""


_UNLESS: Reads = "program unless given"


def _wrapper(takes: str = "", *before: Operand, long_takes: tuple[str, ...] = ()) -> Program:
    return Program(takes=takes, long_takes=long_takes, operands=(*before, "program"))


_SHELL = Program(makes_text="c", takes="oO", long_takes=("--rcfile", "--init-file"), reads=_UNLESS,
                 reads_with="si")  # fmt: skip
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

_BINUTILS = Program(long_text=("--plugin", "-plugin"), takes="o", permutes=True, at_files="all")
_AT_FILES = Program(permutes=True, at_files="all")

# fmt: off
PROGRAMS: dict[str, Program] = {
    **dict.fromkeys(("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash"), _SHELL),
    "fish": Program(text="cC", long_text=("--command", "--init-command"), one_word=True, reads=_UNLESS),
    "pwsh": Program(long_text=("-c", "-Command", "-command", "-e", "-EncodedCommand"), one_word=True),
    "eval": Program(operands=("text",)),
    **dict.fromkeys(("python", "pypy"), Program(
        text="c", takes="WX", ends="cm", one_word=True, reads=_UNLESS, reads_with="i")),
    "perl": Program(text="eEMm", takes="I", rest="iFDxV", one_word=True, reads=_UNLESS),
    "ruby": Program(text="er", takes="IEC", rest="iFKxTW", long_text=("--require",), one_word=True,
                    reads=_UNLESS),
    "node": Program(
        long_text=("-e", "-p", "-pe", "--eval", "--print", "--import", "--experimental-loader", "--loader"),
        long_takes=("-r", "--require", "-C", "--conditions", "--env-file"), one_word=True,
        reads=_UNLESS),
    "bun": Program(long_text=("-e", "-p", "--eval", "--print"), one_word=True),
    "deno": Program(runs=("eval",)),
    "php": Program(text="rBRE", takes="cfFztd", ends="f", long_text=("--run", "--process-code"), one_word=True,
                   reads=_UNLESS),
    **dict.fromkeys(("lua", "luajit"), Program(text="e", takes="l", one_word=True, reads=_UNLESS)),
    **dict.fromkeys(("Rscript", "R", "osascript"), Program(text="e", one_word=True)),
    "expect": Program(text="c", takes="f", one_word=True, reads=_UNLESS),
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
    **dict.fromkeys(("scp", "sftp"), Program(text="FSD", settings="o", takes="cilPJ", permutes=True, one_word=True)),
    "sqlite": Program(long_text=("-cmd", "--cmd"), long_takes=("-init", "--init", "-separator", "-nullvalue", "-vfs"),
                       operands=("data", "text"), reads="program unless text"),
    "psql": Program(text="c", takes="vdfhLopPRTUF", long_text=("--command",),
                    long_takes=("--dbname", "--file", "--host", "--port", "--username", "--set", "--variable"), permutes=True,
                    reads="program unless text"),
    **dict.fromkeys(("mysql", "mariadb"), Program(
        text="e", takes="hPDS", rest="pu", long_text=("--execute", "--init-command", "--pager"), permutes=True,
        reads="program unless text")),
    "gdb": Program(long_text=("-ex", "--ex", "-iex", "--iex", "-eval-command", "--eval-command", "--init-eval-command"),
                   long_takes=("-x", "--command"), one_word=True, reads="program"),
    **dict.fromkeys(("make", "gmake"), Program(
        takes="CIjloW", files="f", long_text=("--eval",), long_takes=("--file", "--makefile"), permutes=True,
        operands=("text",))),
    "just": Program(long_text=("--shell", "--shell-arg", "--set"), permutes=True),
    **dict.fromkeys(("find", "gfind"), Program(runs=("-exec", "-execdir", "-ok", "-okdir"), permutes=True)),
    **dict.fromkeys(("fd", "fdfind"), Program(runs=("-x", "-X", "--exec", "--exec-batch"), permutes=True)),
    "git": Program(settings="c", takes="C", long_text=("--config-env", "--exec-path"),
                   long_takes=("--git-dir", "--work-tree", "--namespace"), one_word=True),
    "env": Program(text="S", takes="uCa", long_text=("--split-string",), long_takes=("--unset", "--chdir"),
                   operands=("settings, then program",), one_word=True),
    **dict.fromkeys(("su", "runuser"), _SU),
    "script": Program(text="c", takes="oEmBITt", long_text=("--command",), permutes=True, one_word=True),
    "watch": Program(takes="nq", operands=("text",)),
    "parallel": Program(takes="jaIdNnSP", operands=("text",), reads="program"),
    "flock": Program(text="c", takes="wE", operands=("data", "program"), permutes=True),
    **dict.fromkeys(("sudo", "doas"), _wrapper("ugphCRDTUcl")),
    "xargs": _wrapper("EILnPsda", long_takes=("--arg-file", "--delimiter", "--replace", "--max-args", "--max-procs"))._replace(
        reads="words"),
    "timeout": _wrapper("sk", "data", long_takes=("--signal", "--kill-after")),
    "nice": _wrapper("n", long_takes=("--adjustment",)),
    "ionice": _wrapper("cnpPu"),
    "stdbuf": _wrapper("ioe", long_takes=("--input", "--output", "--error")),
    **dict.fromkeys(("nohup", "setsid", "command", "exec", "builtin", "busybox", "toybox", "firejail"), _wrapper()),
    "time": _wrapper("fo"),
    **dict.fromkeys(("chrt", "taskset", "setarch", "chroot"), _wrapper("", "data")),
    **dict.fromkeys(("unshare", "nsenter", "bwrap", "setpriv"), _wrapper("tSGrw")),
    **dict.fromkeys(("strace", "ltrace"), _wrapper("abeEIoOpPsSuX")),
    **dict.fromkeys(("linux32", "linux64", "i386", "x86_64", "catchsegv", "sshpass"), _wrapper("pfd")),
    **dict.fromkeys(("prlimit", "choom"), _wrapper("np")),
    "systemd-run": _wrapper("uHMtE", long_takes=("--unit", "--description", "--slice", "--uid", "--gid", "--nice",
                                                 "--working-directory", "--setenv"))._replace(
        text="p", long_text=("--property",)),
    "start-stop-daemon": Program(text="xa", long_text=("--exec", "--startas"), takes="nupcgdP", permutes=True),
    "capsh": Program(operands=("text",), one_word=True, long_text=("--shell",)),
    "tmux": Program(operands=("data", "text"), takes="LSf", text="c"),
    **dict.fromkeys(("csh", "tcsh", "nu", "elvish", "xonsh", "yash", "guile"), Program(
        text="c", one_word=True, reads=_UNLESS)),
    **dict.fromkeys(("tclsh", "wish"), Program(one_word=True, reads=_UNLESS)),
    **dict.fromkeys(("ed", "red", "bc", "dc", "m4", "at", "batch"), Program(
        text="e", takes="fq", long_text=("--expression",), permutes=True, one_word=True, reads="program")),
    **dict.fromkeys(("julia", "raku", "racket", "gnuplot", "elixir", "groovy", "scala", "ghc", "ocaml", "swift", "bpftrace",
                     "stap", "clojure", "bb"), Program(
        text="eE", long_text=("--eval", "--print"), permutes=True, one_word=True, reads=_UNLESS)),
    **dict.fromkeys(("octave", "sbcl", "erl", "matlab"), Program(
        long_text=("--eval", "-eval", "--load", "-r", "-batch"), permutes=True, one_word=True, reads=_UNLESS)),
    "jq": Program(takes="LF", files="f", long_takes=("--indent", "--tab"), operands=("text unless given", "data"),
                  takes_two=("--arg", "--argjson", "--slurpfile", "--rawfile"), permutes=True),
    "less": Program(takes="bhjkoOpPtTxyz", one_word=True),
    "man": Program(text="PHX", long_text=("--pager", "--html", "--preprocessor"), takes="CRLmMSseErpT",
                   long_takes=("--config-file", "--locale", "--manpath", "--sections"), permutes=True),
    "zip": Program(joined="T", long_text=("-TT", "--unzip-command"), takes="bnst", permutes=True),
    "split": Program(long_text=("--filter",), takes="abClnt", permutes=True),
    "sort": Program(long_text=("--compress-program",), takes="koStT", permutes=True),
    "tcpdump": Program(text="z", takes="BcCFGiMrsTVwWyEjmQ", permutes=True),
    "wget": Program(text="e", long_text=("--execute", "--use-askpass"), takes="oaiBtOTwQPUlADIX", permutes=True),
    "socat": Program(operands=("text",), takes="lftTbL"),
    **dict.fromkeys(("nc", "ncat", "netcat"), Program(
        text="ec", long_text=("--exec", "--sh-exec", "--lua-exec"), takes="iIMmOpqsTVWwXx", permutes=True)),
    **dict.fromkeys(("gcc", "g++", "cc", "c++", "clang", "clang++", "cpp", "gfortran"), Program(
        long_text=("-wrapper", "-fplugin", "-specs", "--specs", "-Xlinker", "-Xassembler", "-Xpreprocessor"),
        takes="oIDLlxBU", permutes=True, at_files="all", text_prefixes=("-Wl,", "-Wa,", "-Wp,"))),
    **dict.fromkeys(("ld", "as", "ar", "nm", "objcopy", "objdump", "strip", "ranlib", "size", "readelf", "strings",
                     "addr2line", "c++filt"), _BINUTILS),
    **dict.fromkeys(("javac", "javadoc", "jar", "rustc", "gs", "mypy", "pytest", "ruff"), _AT_FILES),
    "cmake": Program(takes="SBGTA", permutes=True, runs=("-E",)),
    **dict.fromkeys(("npm", "npx", "pnpm", "yarn"), Program(
        text="c", long_text=("--call", "--script-shell", "--shell-mode", "--node-options"), permutes=True)),
    "cargo": Program(long_text=("--config",), permutes=True),
    "go": Program(long_text=("-exec", "-toolexec", "-vettool", "--exec", "--toolexec"), permutes=True),
    "java": Program(long_text=("-XX:OnError", "-XX:OnOutOfMemoryError", "-agentpath", "-agentlib", "-javaagent"),
                    takes="cp", one_word=True, at_files="options"),
    **dict.fromkeys(("apt", "apt-get"), Program(text="oc", long_text=("--option", "--config-file"), permutes=True)),
    "dpkg": Program(long_text=("--pre-invoke", "--post-invoke", "--status-logger"), permutes=True),
    **dict.fromkeys(("hg", "chg"), Program(long_text=("--config",), permutes=True, one_word=True)),
    "svn": Program(long_text=("--config-option", "--editor-cmd", "--diff-cmd", "--diff3-cmd"), permutes=True),
    "pandoc": Program(text="FL", long_text=("--filter", "--lua-filter", "--pdf-engine"), takes="ofrtwMVT", permutes=True),
    **dict.fromkeys(("tex", "latex", "pdflatex", "xelatex", "lualatex", "pdftex", "luatex", "context"), Program(
        operands=("text",), one_word=True)),
    "gpg": Program(long_text=("--photo-viewer", "--agent-program", "--dirmngr-program", "--exec-path"), permutes=True),
    "nix-shell": Program(long_text=("--run", "--command", "-E", "--expr"), takes="pAI", permutes=True),
    "nmap": Program(long_text=("--script", "--datadir", "--script-args"), permutes=True),
    "redis-cli": Program(long_text=("--eval",), takes="hpnau", reads="program"),
    "duckdb": Program(long_text=("-c", "-cmd", "-s"), operands=("data", "text"), reads="program unless text"),
}
_GIT: dict[str, Program] = {
    "rebase": Program(text="x", takes="sXC", long_text=("--exec",), permutes=True),
    "clone": Program(text="cu", takes="bojO", long_text=("--config", "--upload-pack"), permutes=True),
    **dict.fromkeys(("fetch", "pull", "ls-remote"), Program(long_text=("--upload-pack", "--exec"), permutes=True)),
    "push": Program(long_text=("--receive-pack", "--exec"), permutes=True),
    "grep": Program(joined="O", long_text=("--open-files-in-pager",), takes="efABCm", permutes=True),
    "difftool": Program(text="x", long_text=("--extcmd",), permutes=True),
    "filter-branch": Program(long_text=("--setup", "--env-filter", "--tree-filter", "--index-filter", "--msg-filter",
                                        "--parent-filter", "--commit-filter", "--tag-name-filter"), permutes=True),
    "config": Program(operands=("data", "text"), takes="f"),
    "commit": Program(takes="mFCct", long_takes=("--message", "--author", "--date", "--file"), permutes=True),
    "tag": Program(takes="mFu", long_takes=("--message",), permutes=True),
    "log": Program(takes="SGLn", long_takes=("--grep", "--author", "--since", "--until", "--format"), permutes=True),
    "archive": Program(long_text=("--exec", "--remote"), takes="o", permutes=True),
    **dict.fromkeys(("upload-pack", "receive-pack", "send-pack", "fetch-pack"), Program(
        long_text=("--exec", "--upload-pack", "--receive-pack"), permutes=True)),
    "send-email": Program(long_text=("--to-cmd", "--cc-cmd", "--header-cmd", "--sendmail-cmd", "--smtp-server"),
                          permutes=True),
    "submodule foreach": Program(operands=("text",)),
    "bisect run": Program(operands=("program",)),
}
# fmt: on
_VERSION = re.compile(r"(?<=[A-Za-z+])-?[0-9][0-9.]*\Z")
_MACHINE = re.compile(r"\w+-(?:\w+-)?linux-\w+-")
"""What stands before the name of a compiler for one kind of machine."""
_STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_PROGRAM_FILES = ("--file", "--makefile", "--exec")
_HARMLESS = re.compile(
    r"(user|author|committer)\.(name|email)|(color|advice|init|i18n|log|status|column|pack|gc)\.[\w.-]+"
    r"|(?!(proxy|local|knownhosts|remote)command|match|include|[\w-]*provider)[a-z0-9]+",
    re.IGNORECASE,
)
"""Settings of git and ssh that name no program: git-config(1), ssh_config(5)."""
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_INTERPRETERS = (
    _SHELL,
    *(PROGRAMS[name] for name in ("python", "perl", "ruby", "node", "php", "lua")),
)
_NAMES_PROGRAM = re.compile(
    r"""PATH|HOME|SHELL|ENV|IFS|PS[0-4]|CDPATH|ZDOTDIR|XDG_(CONFIG|DATA)_(HOME|DIRS)|PROMPT_COMMAND|BASH_\w+
    |(LD|DYLD|CARGO|CMAKE|CGO|PIP|UV|NPM_CONFIG|PKG_CONFIG|JULIA|TEXMF)_\w+|GCONV_PATH|LOCPATH|TERMINFO\w*|OPENSSL_\w+
    |(\w+_)?(PAGER|EDITOR|BROWSER|ASKPASS|RSH)|VISUAL|MANPAGER|MANOPT|MANROFFOPT|MANPATH|LESS|LESS(OPEN|CLOSE|KEY\w*)
    |GIT_(SSH|SSH_COMMAND|PROXY_COMMAND|EXTERNAL_DIFF|CONFIG\w*|EXEC_PATH|TEMPLATE_DIR|DIR|WORK_TREE|COMMON_DIR)
    |GIT_(OBJECT_DIRECTORY|ALTERNATE\w+|ALLOW_PROTOCOL|INDEX_FILE|TRACE\w*|ATTR\w+)
    |SVN_SSH|RSYNC_CONNECT_PROG|SSH_AUTH_SOCK|DOCKER_(HOST|CONFIG|CONTEXT)
    |PERL(5OPT|5LIB|LIB|5DB|5SHELL)|PYTHON(PATH|HOME|STARTUP|INSPECT|BREAKPOINT|EXECUTABLE|USERBASE|PYCACHEPREFIX|PLATLIBDIR)
    |RUBY(OPT|LIB)|GEM_(HOME|PATH)|BUNDLE_\w+|NODE_(OPTIONS|PATH)|LUA_(INIT|PATH|CPATH)\w*|PHPRC|PHP_INI_SCAN_DIR|CLASSPATH
    |(_JAVA|JAVA_TOOL|JDK_JAVA|TAR|GREP)_OPTIONS|(MAVEN|GRADLE|JAVA)_OPTS|ZIPOPT|FZF_DEFAULT_\w+|RIPGREP_CONFIG_PATH
    |(GNU)?MAKE(FLAGS|FILES)?|CC|CXX|CPP|AS|AR|(C|CXX|CPP|LD|AS|RUST|GO)FLAGS|RUSTC(_\w+)?|GOENV|GCC_EXEC_PREFIX|COMPILER_PATH
    |AWK(LIB)?PATH|TCLLIBPATH|TEXINPUTS|WGETRC|CURL_HOME|GNUPGHOME|PSQLRC|R_(PROFILE|ENVIRON|HOME|LIBS)\w*
    |VIMINIT|EXINIT|VIM|VIMRUNTIME|EMACSLOADPATH""",
    re.IGNORECASE | re.VERBOSE,
)
"""Variables that programs read as a command, as options, or as the place of what they run: ld.so(8),
sh(1), git(1), environ(7), and each program's manual page.
"""


class _Found:
    """What was met on the way through a command."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        """Places of words that begin with what is filled in, and could be options."""
        self.at_files: set[int] = set()
        """Places of words that begin so, and of which an ``@`` would bring words from a file."""
        self.read: list[_Reading] = []


def find_texts(words: Sequence[str]) -> set[int]:
    """The places of words in which something is filled in that a program would read as program
    text, or as an option with such text.
    """
    found = _read_command(words, 0, _Found())
    return {at for at in found if at < len(words) and FILLED in words[at]}


def find_open(words: Sequence[str]) -> set[int]:
    """The places of words that begin with what is filled in, where a program reads options."""
    return _read_whole(words).open


def find_at_files(words: Sequence[str]) -> set[int]:
    """The places of words that begin with what is filled in, where ``@FILE`` brings options."""
    return _read_whole(words).at_files


class Words(NamedTuple):
    """Of words that a program adds to a command: what they may not begin with, as it would be an
    option or bring some, and what stands between them.
    """

    begin: str
    between: str


def find_added(words: Sequence[str]) -> Words | None:
    """Words of the standard input that become options; None where none do."""
    for reading in _read_whole(words).read:
        added = reading.find_added()
        if added is not None:
            return added
    return None


def reads_program(words: Sequence[str]) -> bool:
    """Whether a program of this command takes its standard input for the text of a program."""
    return any(reading.reads_program() for reading in _read_whole(words).read)


def _read_whole(words: Sequence[str]) -> _Found:
    found = _Found()
    for _ in _read_command(words, 0, found):
        pass
    return found


def names_program(variable: str) -> bool:
    """Whether programs read the value of this variable as a command, or as the place of one."""
    return _NAMES_PROGRAM.fullmatch(variable) is not None


def _read_command(words: Sequence[str], at: int, found: _Found) -> Iterator[int]:
    """The places of all words of the command at ``at`` that are text, or a program."""
    if at >= len(words):
        return
    yield at
    name = _MACHINE.sub("", words[at].rpartition("/")[2])
    program = PROGRAMS.get(_VERSION.sub("", name)) or PROGRAMS.get(name)
    if program is None:
        yield from _read_unknown(words, at + 1, found)
        return
    yield from _Reading(words, at + 1, program, found).run()
    if program is PROGRAMS["git"]:
        yield from _read_git(words, at + 1, found)


def _read_unknown(words: Sequence[str], at: int, found: _Found) -> Iterator[int]:
    """Words of a program that the table does not have: it may start another."""
    last = next((n for n in range(at, len(words)) if words[n] == "--"), len(words))
    found.open.update(n for n in range(at, last) if words[n].startswith(FILLED))
    for place in range(at, len(words) - 1):
        name = _VERSION.sub("", words[place].rpartition("/")[2])
        if PROGRAMS.get(name) in _INTERPRETERS and words[place + 1].startswith("-"):
            yield from _read_command(words, place, found)
            return


def _read_git(words: Sequence[str], at: int, found: _Found) -> Iterator[int]:
    top = PROGRAMS["git"]
    while at < len(words) and words[at].startswith("-"):
        takes = words[at] in ("-c", "-C") or words[at] in (*top.long_takes, "--config-env")
        at += 2 if takes else 1
    verbs = [(length, _GIT.get(" ".join(words[at : at + length]))) for length in (1, 2)]
    known = [(length, verb) for length, verb in verbs if verb is not None]
    if not known:
        yield from _read_unknown(words, at + 1, found)
    for length, verb in known:
        key = "".join(words[at + 1 : at + 2])
        if verb is _GIT["config"] and _HARMLESS.fullmatch(key):
            yield from _read_unknown(words, at + 1, found)
        else:
            yield from _Reading(words, at + length, verb, found).run()


class _Reading:
    """One program's words, from the first behind its name."""

    def __init__(self, words: Sequence[str], at: int, program: Program, found: _Found) -> None:
        self.words, self.at, self.program, self.found = words, at, program, found
        self.first = at
        self.operands = 0
        self.command_at = len(words)
        self.reads_anyway = self.has_script = False
        found.read.append(self)
        self.text_is_given = self.makes_text = self.has_ended = False
        own = program.text + program.settings + program.takes + program.files
        self._last_letters = own + program.rest + program.joined + program.ends

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
                if word.startswith(FILLED):
                    self.found.open.add(here)
                    yield from [here] if self._may_be_an_option() else []
                are_options = self.program.permutes
                yield from self._operand(here)
        yield from self._read_at_files()

    def _read_at_files(self) -> Iterator[int]:
        last = len(self.words) if self.program.at_files == "all" else self.at
        for here in range(self.first, last if self.program.at_files else self.first):
            word = self.words[here]
            if word.startswith(FILLED):
                self.found.at_files.add(here)
            elif word.startswith("@") and FILLED in word:
                yield here

    def _may_be_an_option(self) -> bool:
        """Whether a word that is filled in could be one that brings its text, or has the next one
        read as text.
        """
        follows = any(FILLED in word for word in self.words[self.at :])
        return self.program.one_word or bool(self.program.makes_text and follows)

    def _option(self, word: str, here: int) -> Iterator[int]:
        name, equals, value = word.partition("=")
        program = self.program
        if program.text_prefixes and word.startswith(program.text_prefixes):
            yield here
        elif _is_one_of(name, program.long_text):
            yield from self._text(value if equals else "", here)
        elif word in program.takes_two:
            self.at += 2
        elif _is_one_of(name, program.long_takes):
            argument = value if equals else "".join(self.words[self.at : self.at + 1])
            is_program = bool(program.files) and _is_one_of(name, _PROGRAM_FILES)
            self.reads_anyway |= is_program and argument in _STDIN
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
            self.reads_anyway |= letter in program.reads_with and word[0] == "-"
            if letter in program.text:
                yield from self._text(rest, here)
                if letter == "S" and program is PROGRAMS["env"]:
                    yield from self._split(rest, here)
            elif letter in program.joined:
                yield from [here] if rest else []
            elif letter in program.settings:
                yield from self._setting(rest, here)
            elif letter in program.takes + program.files + program.ends:
                argument = rest or "".join(self.words[self.at : self.at + 1])
                self.reads_anyway |= letter in program.files and argument in _STDIN
                self.at += not rest
                self.text_is_given |= letter in program.files
            self.has_ended |= letter in program.ends
            self.has_script |= letter in program.ends
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
        inner = _Found()
        for place in _read_command([*parts, *self.words[self.at :]], 0, inner):
            if place >= len(parts):
                yield self.at + place - len(parts)
        self.found.open |= {self.at + n - len(parts) for n in inner.open if n >= len(parts)}
        self.found.read += inner.read
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
        yield from _read_command(self.words[:end], self.at, self.found)
        self.at = end + 1

    def _operand(self, here: int) -> Iterator[int]:
        kinds = self.program.operands
        kind = kinds[min(self.operands, len(kinds) - 1)]
        self.operands += 1
        self.has_script |= self.words[here] != "-"
        if self.makes_text:
            yield here
            self.text_is_given = self.has_ended = True
        elif kind == "settings, then program" and _SETTING.match(self.words[here]):
            yield from [here] if names_program(self.words[here].partition("=")[0]) else []
        elif kind in ("program", "settings, then program"):
            self.command_at, self.has_ended = here, True
            yield from _read_command(self.words, here, self.found)
        elif kind == "text" or (kind == "text unless given" and not self.text_is_given):
            self.text_is_given |= kind != "text" or len(kinds) > 1
            yield here
        elif not self.program.permutes and len(kinds) == 1:
            self.has_ended = True  # what follows are a script's own words

    def reads_program(self) -> bool:
        """Whether standard input is the text of a program, for what :meth:`run` has read."""
        match self.program.reads:
            case "data":
                return self.reads_anyway
            case "program unless given":
                return self.reads_anyway or not (self.has_script or self.text_is_given)
            case "program unless text":
                return not self.text_is_given or self.reads_anyway
            case "program":
                return True
        words = self._with_input()
        return bool(find_texts(words)) or reads_program(words)

    def find_added(self) -> Words | None:
        """As the function of this name."""
        if self.program.reads != "words":
            return None
        words = self._with_input()
        begin = "-" * bool(find_open(words)) + "@" * bool(find_at_files(words))
        own = _delimiter(self.words[self.first : self.command_at])
        return Words(begin, " \t\r\n\f\v\0'\"\\" + own) if begin else None

    def _with_input(self) -> list[str]:
        """The command that is run, with the words that are added to it."""
        command = list(self.words[self.command_at :])
        mark = _replaced(self.words[self.first : self.command_at])
        words = [word.replace(mark, FILLED) for word in command] if mark else command
        return words + ([] if mark else [FILLED, FILLED])


def _replaced(options: Sequence[str]) -> str:
    """What xargs replaces by a word of its input; "" where it appends them."""
    for at, word in enumerate(options):
        if word.startswith("-I"):
            return word[2:] or "".join(options[at + 1 : at + 2])
        if word in ("-i", "--replace") or word.startswith("--replace="):
            return word.partition("=")[2] or "{}"
    return ""


def _delimiter(options: Sequence[str]) -> str:
    """What separates the words of xargs, as far as options say."""
    for at, word in enumerate(options):
        if word.startswith("-d"):
            return word[2:] or "".join(options[at + 1 : at + 2])
        if word.startswith("--delim"):
            return word.partition("=")[2] or "".join(options[at + 1 : at + 2])
    return ""


def _is_one_of(name: str, options: tuple[str, ...]) -> bool:
    """Whether it is one, or the beginning of a long one (getopt_long(3))."""
    is_long = name.startswith("--") and len(name) > 3 and FILLED not in name
    return name in options or (is_long and any(one.startswith(name) for one in options))
