"""Checks of a well-typed request before anything acts on it: no NUL, absolute normal paths,
existing names.
"""

from __future__ import annotations

import re

from akiosd.errors import DeniedError
from akiosd.values.ids import NAME_FORM, is_cage_id, is_cage_name
from akiosd.values.places import DATA, PLACES_FOR_FILES, is_system_path
from akiosd.values.policy import PROVIDERS
from akiosd.values.providers import facts_of
from akiosd.values.trust import MAX_STORES, STORES
from akiosd.wire.messages import (
    Attach,
    Bind,
    CageStatus,
    Detach,
    Discard,
    Down,
    Http,
    KeyRemove,
    KeySet,
    LedgerInfo,
    ListLogFiles,
    Message,
    Output,
    Pause,
    Program,
    ReadLog,
    ReadLogFile,
    Rejoin,
    Run,
    Signal,
    Stop,
    Subscribe,
    View,
)

MAX_PATH = 4096  # PATH_MAX, limits.h
MAX_DIMENSION = 10_000
"""Most rows or columns of a terminal."""
_MAX_OUTSIDE = 2048
MAX_KEY = 8192
"""Longest API key, in bytes."""
_LONGEST_TOKEN = 32
_OTHER_CLIENT = "use the akiosctl that was installed with this akiosd"
_NO_NUL = "leave the NUL byte out: no argument and no variable of a program can hold one"
_SET_HOME = "set HOME to the plain path of your home directory, as getent passwd shows it"
_MIN_KEY = 8
# Signals that a terminal or a service manager sends.  KILL is the message Stop, STOP the freezer.
SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "USR1": 10,
    "USR2": 12,
    "TERM": 15,
    "CONT": 18,
    "TSTP": 20,
    "WINCH": 28,
}

# Words of letters and digits: no "..", nothing absolute, nothing empty.  The reader of the log
# decides
# which of them name a file of a log.
_MAX_NAME = 80
_LOG_FILE = re.compile(r"[0-9a-z]+(?:\.p)?(?:/[0-9a-z]+(?:\.p)?){0,15}")

# Projects of an administrator, on top of the host's /usr.
_SOURCES = re.compile(rb"/usr/(local/)?src/.")


def check_request(message: Message, fd_count: int) -> None:
    """Raise :class:`DeniedError` when ``message``, which came with ``fd_count`` descriptors, cannot
    be meant.
    """
    if isinstance(message, Run):
        _check_run(message, fd_count)
    elif isinstance(message, Program):
        _check_cage(message.cage)
        _check_program(message)
        if len(message.token) > _LONGEST_TOKEN:
            what = "the identifier that akiosctl sent for this start is too long"
            raise DeniedError(what, "program", _OTHER_CLIENT)
    elif isinstance(message, Pause | CageStatus | Down):
        _check_cage(message.cage)
    elif isinstance(message, LedgerInfo | ReadLog | ReadLogFile | ListLogFiles):
        _check_log(message)
    elif isinstance(message, Signal | Stop | Attach | Rejoin | Detach | Output | View | Discard):
        _check_cage(message.cage)
    elif isinstance(message, Http):
        if message.cage:
            _check_cage(message.cage)
    elif isinstance(message, KeySet | KeyRemove):
        if message.provider not in PROVIDERS:
            raise DeniedError(
                f"there is no provider {message.provider[:40]!r}",
                "keys",
                "known: " + ", ".join(PROVIDERS),
            )
        if isinstance(message, KeySet):
            check_key(message.provider, message.key)
    elif isinstance(message, Subscribe):
        for name in (*message.cages, *message.cursors):
            if name != "host":
                _check_cage(name)
    if isinstance(message, Signal) and message.signo not in SIGNALS.values():
        raise DeniedError(
            f"signal {message.signo} is not forwarded", "signal", "use one of " + ", ".join(SIGNALS)
        )
    if isinstance(message, Signal | Stop | Rejoin) and message.program < 0:
        raise DeniedError("the number of a program is negative", "program", _OTHER_CLIENT)
    if isinstance(message, Down) and len(message.outside) > _MAX_OUTSIDE:
        raise DeniedError("the words about what was wiped are too long", "down", _OTHER_CLIENT)
    if isinstance(message, Stop) and message.grace_ns < 0:
        raise DeniedError("the grace period is negative", "stop", _OTHER_CLIENT)
    if isinstance(message, Subscribe) and any(index < 0 for index in message.cursors.values()):
        raise DeniedError("a cursor is negative", "subscribe", _OTHER_CLIENT)


def _check_log(message: LedgerInfo | ReadLog | ReadLogFile | ListLogFiles) -> None:
    if message.cage:
        _check_cage(message.cage)  # else the host log
    if isinstance(message, ReadLog) and not 0 <= message.start <= message.stop:
        raise DeniedError("the range of entries ends before it begins", "read_log", _OTHER_CLIENT)
    if isinstance(message, ReadLogFile | ListLogFiles) and message.start < 0:
        raise DeniedError("the place to begin at is negative", "read_log_file", _OTHER_CLIENT)
    if isinstance(message, ReadLogFile):
        shown = message.path[:_MAX_NAME]
        if shown != message.path or _LOG_FILE.fullmatch(shown) is None:
            raise DeniedError(
                f"{shown!r} is not the name of a file of a log", "read_log_file", _OTHER_CLIENT
            )


def check_key(provider: str, key: bytes) -> None:
    """Raise :class:`DeniedError` when ``key`` cannot be a key of ``provider``.  The error holds
    nothing of the key.
    """
    parts = key.split(b"\n")
    form = facts_of(provider).key
    if not len(form.prompts) - form.optional <= len(parts) <= len(form.prompts):
        raise DeniedError(
            f"{len(parts)} lines were given; {provider} takes {form.words}",
            "keys",
            "see akiosctl keys --help",
        )
    if len(key) > MAX_KEY or any(len(part) < _MIN_KEY or not _is_token(part) for part in parts):
        what = "a key is of printable ASCII without spaces, and at least 8 characters long"
        raise DeniedError(what, "keys", "give the key alone, as the provider shows it")


def _is_token(text: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in text)


def _check_cage(name: str) -> None:
    if not is_cage_id(name):
        raise DeniedError(f"{name[:40]!r} is not a cage", next="list cages with: akiosctl ps --all")


def _check_program(run: Run | Program) -> None:
    """What is said of a program: of a cage's agent, and of one in a standing cage."""
    if not run.argv or not run.argv[0]:
        raise DeniedError(
            "no command was given",
            "run",
            "write the command after --: akiosctl run -- python agent.py",
        )
    _check_texts(run)
    check_path("command", run.command)
    check_path("cwd", run.cwd)
    _check_terminal(run)


def _check_texts(run: Run | Program) -> None:
    for number, word in enumerate(run.argv):
        if b"\0" in word:
            called = f"argument {number}" if number else "the command"
            raise DeniedError(f"{called} holds a NUL byte", "run", _NO_NUL)
    for name, value in run.env.items():
        if b"\0" in name or b"\0" in value:
            shown = name.decode("utf-8", "backslashreplace")[:40]
            raise DeniedError(f"the variable {shown!r} holds a NUL byte", "run", _NO_NUL)
    for name in run.env:
        if not name or b"=" in name:
            raise DeniedError(
                "an environment variable has an empty name, or one with '='", "run", _OTHER_CLIENT
            )


def _check_terminal(run: Run | Program) -> None:
    if run.tty is not None and not (
        0 <= run.tty.rows <= MAX_DIMENSION and 0 <= run.tty.columns <= MAX_DIMENSION
    ):
        raise DeniedError("a terminal of that size does not exist", "run", _OTHER_CLIENT)


def _check_run(run: Run, fd_count: int) -> None:
    if run.feeds and (run.standing or run.tty is not None or not run.detach):
        raise DeniedError(
            "akiosctl sent input along with a run that has a terminal or is not detached",
            "run",
            _OTHER_CLIENT,
        )
    if run.standing:
        if run.argv or run.tty is not None or not run.detach or not run.name:
            raise DeniedError(
                "a standing cage has a name, and neither a command nor a terminal",
                "run",
                _OTHER_CLIENT,
            )
        _check_texts(run)
        check_path("cwd", run.cwd)
    else:
        _check_program(run)
    for what, path in (("workspace", run.workspace), ("home", run.home)):
        if path:
            check_path(what, path)
    for bind in run.binds:
        check_path("bind", bind.path)
    shown = [("bind", bind.path) for bind in run.binds if not _covers_file(bind)]
    for what, path in (("workspace", run.workspace), *shown):
        if is_system_path(path) and not (what == "workspace" and _SOURCES.match(path)):
            place = path.decode("utf-8", "backslashreplace")
            raise DeniedError(
                f"the {what} {place} would cover the cage's own system",
                "run",
                "choose another directory",
            )
    _check_stores(run)
    _check_data(run)
    if run.policy.filesystem.workspace == "rw-direct":
        inside = run.workspace + b"/"
        if any(path.startswith(inside) for path in (run.home, *(bind.path for bind in run.binds))):
            # The directories that lead there would be made by root, on the host.
            if run.standing:
                raise DeniedError(
                    "a standing cage cannot have workspace: rw-direct, because data/input and"
                    " data/output are shown inside the workspace",
                    "run",
                    "write filesystem: {workspace: cow}, the default; where akiosd runs in policy"
                    " mode, start each program with: akiosctl run",
                )
            raise DeniedError(
                "with workspace: rw-direct no other directory or file can be shown inside the"
                " workspace",
                "run",
                "write filesystem: {workspace: cow}, the default, or leave those directories out",
            )
    if len(run.user_name) > 64 or not run.user_name.isprintable() or ":" in run.user_name:
        raise DeniedError(
            "the name of your account is longer than 64 characters, or has some that cannot be"
            " shown",
            "run",
            "see it with id -un; run from an account with another name",
        )
    if run.name and not is_cage_name(run.name):
        raise DeniedError(f"{run.name[:80]!r} cannot be a cage's name", "--name", NAME_FORM)
    _check_descriptors(run, fd_count)


def _check_data(run: Run) -> None:
    """The data of a project lies in the workspace, at places that AKIOS names: of a standing cage,
    and of the cages in which steps of a workflow are done.
    """
    for bind in run.binds:
        if bind.kind in DATA:
            place = run.workspace + b"/" + DATA[bind.kind].encode()
            if bind.name or bind.path != place:
                raise DeniedError(
                    f"akiosctl asked to show something else as {DATA[bind.kind]}",
                    "run",
                    _OTHER_CLIENT,
                )


def _covers_file(bind: Bind) -> bool:
    return bool(bind.name) and bind.path in PLACES_FOR_FILES


def _check_descriptors(run: Run, fd_count: int) -> None:
    expected = [
        0,
        *(bind.fd for bind in run.binds),
        *(bind.holder for bind in run.binds if bind.holder),
    ]
    if sorted(expected) != list(range(fd_count)):
        raise DeniedError(
            f"{fd_count} file descriptors came with a workspace and {len(run.binds)} binds",
            "run",
            _OTHER_CLIENT,
        )
    if sum(bind.kind == "git" for bind in run.binds) > 1:
        raise DeniedError(
            "more than one git directory belongs to the workspace", "run", _OTHER_CLIENT
        )
    for bind in run.binds:
        if (
            bool(bind.holder) != bool(bind.name)
            or bind.name in (b".", b"..")
            or set(b"/\0") & set(bind.name)
        ):
            raise DeniedError(
                "akiosctl asked to show a file without its name, or without its directory",
                "run",
                _OTHER_CLIENT,
            )


def _check_stores(run: Run) -> None:
    """Only a file with the name of a trust store, in a tree of the caller or the system, may be
    covered.
    """
    if len(run.stores) > MAX_STORES:
        raise DeniedError(
            f"{len(run.stores)} files of trusted certificates would be shown, at most"
            f" {MAX_STORES} can be",
            "run",
            "show fewer directories that hold certificates: filesystem.read in the policy",
        )
    places = (b"/usr", run.workspace, *(bind.path for bind in run.binds))
    for path in run.stores:
        check_path("trust store", path)
        below = any(place and path.startswith(place + b"/") for place in places)
        if not below or path.rpartition(b"/")[2].decode("utf-8", "replace") not in STORES:
            shown = path.decode("utf-8", "backslashreplace")
            raise DeniedError(
                f"a variable names {shown} as the file of trusted certificates, and the cage does"
                " not show that file",
                "run",
                f"add it to filesystem.read in the policy; or see which variable it is, and unset"
                f" it: env | grep -F {shown}",
            )


def check_path(what: str, path: bytes) -> None:
    """Raise :class:`DeniedError` unless ``path`` is absolute and normal.

    Normal: no NUL, no ``.`` or ``..``, no empty part, shorter than PATH_MAX.
    """
    parts = path.split(b"/")
    next = _SET_HOME if what == "home" else _OTHER_CLIENT
    if parts[0] != b"" or b"\0" in path or len(path) >= MAX_PATH:
        raise DeniedError(
            f"the {what} is not an absolute path, or has {MAX_PATH} bytes or more", "run", next
        )
    if path != b"/" and any(part in (b"", b".", b"..") for part in parts[1:]):
        raise DeniedError(f"the {what} is not a normal path ('.', '..' or '//' in it)", "run", next)
