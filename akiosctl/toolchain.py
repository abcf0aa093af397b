"""Find what a command needs beside the system: the interpreter behind it and the tools its PATH
leads to.

From the command one goes along symlinks (each hop must exist inside), the shebang line and
``pyvenv.cfg``; from PATH along its entries.  Each installation found is shown read-only as its own
tree: a version of Python, never the manager's directory, never a home.  The workspace's own files
are the agent's work of yesterday: a link in it may lead to an installation that a known manager
made, to nothing else.  A foreign workspace leads nowhere: nothing that lies in it is followed.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from akiosctl.open_regular import read_head
from akiosctl.version_managers import (
    Host,
    installed_tree,
    is_below,
    is_private,
    known_roots,
    stands_for,
)
from akiosd import errors
from akiosd.errors import AkiosError

SYSTEM_TREES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives")
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
_TREE_VARIABLES = ("VIRTUAL_ENV", "CONDA_PREFIX", "JAVA_HOME", "GOROOT")
_MAX_HOPS = 40
_MAX_SHEBANGS = 4
# Each takes two of the descriptors that a request may carry, and one for what it belongs to.
_MAX_LINKS = 8


class CommandNotFoundError(AkiosError):
    """No such command; the exit code of a shell is 127."""

    exit_code = 127


class CommandNotExecutableError(AkiosError):
    """The command is there and cannot be executed; the exit code of a shell is 126."""

    exit_code = 126


class Bind(NamedTuple):
    """A tree (or one file) to show read-only: path inside, O_PATH fd, whether it is a directory,
    which manager.
    """

    inside: str
    fd: int
    is_directory: bool
    why: str


class Toolchain(NamedTuple):
    """``command`` is the path to execute inside; the fds in ``binds`` are the receiver's; ``env``
    to be added.
    """

    command: str
    binds: list[Bind]
    env: dict[str, str]
    notes: list[str]

    def close(self) -> None:
        """Close all descriptors."""
        for bind in self.binds:
            os.close(bind.fd)


def locate_toolchain(
    argv0: str,
    env: Mapping[str, str],
    workspace: str,
    home: str,
    cwd: str = "",
    shown: Sequence[str] = (),
    *,
    foreign: bool = False,
    own_command: bool = False,
) -> Toolchain:
    """Resolve ``argv0`` as execvp(3) would and find all it needs beside the system.

    ``workspace``, ``home`` and ``cwd`` (default: the workspace) are absolute.  The workspace
    appears inside under its own path, and so does ``shown``.  ``foreign``: ``argv0``, ``cwd`` and
    what lies in the workspace are the word of somebody who is not to see what this process may
    read.  They show nothing, and the command has to be there without them; ``own_command``: that
    one is this process's own, all the same.  Raises CommandNotFound, CommandNotExecutable; OSError
    never leaves an fd open.
    """
    host = Host(env, os.path.normpath(home), cwd or workspace, os.path.normpath(workspace), foreign)
    search = _Search(host, shown)
    search.examine_path()
    if foreign and not own_command:
        command = search.name_inside(search.find_visible(argv0))
    else:
        found = search.find(argv0)
        command = search.expose(found, trusted=True)
        search.own_code(found)
    search.keep_path()
    return Toolchain(command, search.open_binds(), search.env, search.notes)


class _Search:
    def __init__(self, host: Host, shown: Sequence[str]) -> None:
        self.host = host
        self.shown = shown
        self.roots = known_roots(host)
        self.trees: dict[str, str] = {}
        # Links of PATH that are shown, each as the file it leads to.
        self.links: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.notes: list[str] = []
        # Each entry of the caller's PATH with the directories it becomes; none: it is left out.
        self.path: list[tuple[str, list[str]]] = []

    def examine_path(self) -> None:
        text = self.host.env.get("PATH") or ":".join(_SYSTEM_PATH)
        for entry in dict.fromkeys(text.split(":")):
            if self.host.is_foreign and not entry.startswith("/"):
                continue  # it would be below a directory that somebody else named
            directory = os.path.normpath(os.path.join(self.host.cwd, entry))
            if os.path.isdir(directory):
                self.path.append((directory, self.path_entry(directory)))
        for variable in _TREE_VARIABLES:
            self.tree_variable(variable)
        for name in (".venv", "venv"):
            self.virtual_environment(f"{self.host.workspace}/{name}", trusted=False)

    def keep_path(self) -> None:
        """Set PATH: what its entries became, and those that hold something that is shown."""
        shown = (*self.trees, *self.links)
        kept = [
            place
            for directory, places in self.path
            for place in places
            or ([directory] if any(is_below(tree, directory) for tree in shown) else [])
        ]
        kept += [directory for directory in _SYSTEM_PATH if directory not in kept]
        self.env["PATH"] = ":".join(dict.fromkeys(kept))

    def path_entry(self, directory: str) -> list[str]:
        if self.is_visible(directory) or any(is_below(directory, tree) for tree in self.shown):
            self.virtual_environment(os.path.dirname(directory), trusted=False)
            return [directory]
        instead = stands_for(directory, self.host)
        if instead is not None:
            return [place for place in instead if self.add_tree(place + "/", trusted=True)]
        # fnm's entry is a link made for one shell; what it points to lasts.
        for place in dict.fromkeys((directory, os.path.realpath(directory))):
            if self.is_visible(place) or self.add_tree(place + "/", trusted=True):
                self.virtual_environment(os.path.dirname(place), trusted=True)
                return [place]
        if self.links_to_tools(directory):
            return [directory]
        self.notes.append(f"not shown inside: {directory} (in PATH, of no known tool)")
        return []

    def links_to_tools(self, directory: str) -> bool:
        """Show those links in a directory of no known tool (``~/.local/bin``) that lead to programs
        of one, each as a file of its own: what else lies there may be anything.
        """
        with os.scandir(directory) as entries:
            links = sorted(entry.path for entry in entries if entry.is_symlink())
        for link in links:
            real = os.path.realpath(link)
            if len(self.links) < _MAX_LINKS and self.stands_alone(real):
                self.expose(real, trusted=True)
                self.links[link] = "link"
        return any(is_below(link, directory) for link in self.links)

    def stands_alone(self, path: str) -> bool:
        """Whether a known tool's program works under another name: a script that names its
        interpreter, or a whole program in one file.  Others look beside themselves for more.
        """
        if self.is_system(path) or "/node_modules/" in path or not _is_executable(path):
            return False
        found = installed_tree(path, self.roots, self.host, trusted=True)
        return found is not None and (found[0] == path or bool(_interpreter(read_head(path, 512))))

    def is_system(self, path: str) -> bool:
        return any(is_below(path, tree) for tree in SYSTEM_TREES)

    def tree_variable(self, variable: str) -> None:
        value = self.host.env.get(variable, "")
        if not value.startswith("/") or not os.path.isdir(value):
            return
        value = os.path.normpath(value)
        if self.is_visible(value) or self.add_tree(value + "/bin/", trusted=True):
            self.virtual_environment(value, trusted=not is_below(value, self.host.workspace))
            self.env[variable] = value

    def virtual_environment(self, tree: str, *, trusted: bool) -> None:
        """Show the Python behind a venv: what its ``python`` links to and what ``pyvenv.cfg`` calls
        home.
        """
        config = b"" if self.is_foreign(tree) else read_head(f"{tree}/pyvenv.cfg", 8192)
        if not config:
            return
        for name in ("python3", "python"):
            if os.path.lexists(f"{tree}/bin/{name}"):
                self.expose(f"{tree}/bin/{name}", trusted=trusted)
                break
        base = venv_home(config)
        if base:
            for place in dict.fromkeys((base, os.path.realpath(base))):
                if not self.is_visible(place) and any(
                    _is_executable(f"{place}/{n}") for n in ("python3", "python")
                ):
                    self.add_tree(place + "/", trusted=trusted)

    def find(self, argv0: str) -> str:
        """The path of a command; a manager's shim is passed over for what it stands for."""
        _refuse_empty(argv0)
        if "/" in argv0:
            path = os.path.normpath(os.path.join(self.host.cwd, argv0))
            behind = stands_for(os.path.dirname(path), self.host)
            places = [*(behind or []), os.path.dirname(path)]
            candidates = [f"{place}/{os.path.basename(path)}" for place in places]
        else:
            candidates = [
                f"{place}/{argv0}"
                for directory, places in self.path
                for place in places
                or ([] if stands_for(directory, self.host) is not None else [directory])
            ]
        return self.first_executable(argv0, candidates)

    def find_visible(self, argv0: str) -> str:
        """The path of a command that a foreign request names.  What is not shown is not looked at:
        nobody learns by the answer what there is.
        """
        _refuse_empty(argv0)
        named = os.path.normpath(os.path.join(self.host.cwd, argv0)) if "/" in argv0 else ""
        candidates = (
            [named] if named else [f"{p}/{argv0}" for _, places in self.path for p in places]
        )
        shown = [
            path
            for path in candidates
            if self.is_visible(path) and self.is_visible(os.path.realpath(path))
        ]
        if not shown and named:
            raise _unseen(named)
        return self.first_executable(argv0, shown)

    def name_inside(self, path: str) -> str:
        """``path`` where each name it leads to is shown, else its real one, which is."""
        return path if all(map(self.is_visible, _hops(path))) else os.path.realpath(path)

    def first_executable(self, argv0: str, candidates: list[str]) -> str:
        found = next((path for path in candidates if _is_executable(path)), None)
        if found is None:
            raise self.explain_missing(argv0, candidates)
        return found

    def explain_missing(self, argv0: str, candidates: list[str]) -> AkiosError:
        present = next((path for path in candidates if os.path.lexists(path)), None)
        if present is None:
            return CommandNotFoundError(
                f"{argv0}: command not found", where="PATH", next="check the name and your PATH"
            )
        if os.path.isdir(present):
            return CommandNotExecutableError(
                f"{present} is a directory", where="run", next="name a program in it"
            )
        own = is_below(present, self.host.workspace) or is_below(present, self.host.home)
        hint = f"chmod +x {present}" if own else "name a program"
        return CommandNotExecutableError(f"{present} cannot be executed", where="run", next=hint)

    def expose(self, path: str, *, trusted: bool, depth: int = 0) -> str:
        """Show everything ``path`` needs; returns the first of its names that exists inside."""
        first = ""
        for hop in _hops(path):
            if self.is_foreign(hop):
                return first or hop
            if self.is_visible(hop) or self.add_tree(hop, trusted=trusted):
                first = first or hop
            trusted = trusted and not is_below(hop, self.host.workspace)
            last = hop
        real = os.path.realpath(last)
        if not self.is_visible(real) and not self.add_tree(real, trusted=trusted):
            if not self.add_file(real, path, trusted):
                return first or path
            first = first or real
        venv = os.path.dirname(os.path.dirname(path))
        if depth == 0 and not os.path.basename(path).startswith("python"):
            self.virtual_environment(venv, trusted=trusted)
        if depth < _MAX_SHEBANGS:
            self.shebang(real, trusted, depth)
        return first or real

    def shebang(self, path: str, trusted: bool, depth: int) -> None:
        interpreter = "" if self.is_foreign(path) else _interpreter(read_head(path, 512))
        if not interpreter:
            return
        if "/" not in interpreter:
            candidates = [f"{place}/{interpreter}" for _, places in self.path for place in places]
            found = next((place for place in candidates if _is_executable(place)), "")
        else:
            found = os.path.normpath(interpreter)
            trusted = trusted and not is_below(path, self.host.workspace)
        if found and _is_executable(found):
            self.expose(found, trusted=trusted, depth=depth + 1)
        if "/" in interpreter and not self.is_visible(found):
            self.notes.append(
                f"{path} names the interpreter {interpreter}, which is not shown inside"
            )

    def is_foreign(self, path: str) -> bool:
        """Whether it lies in a foreign workspace: what it says or leads to is not followed."""
        return self.host.is_foreign and is_below(path, self.host.workspace)

    def is_visible(self, path: str) -> bool:
        if is_below(path, self.host.workspace) or self.is_system(path):
            return True
        return any(is_below(path, tree) for tree in self.trees)

    def add_tree(self, path: str, *, trusted: bool) -> bool:
        """Show the installation that ``path`` belongs to, under this name and its real one."""
        found = installed_tree(path, self.roots, self.host, trusted=trusted)
        if found is None:
            return False
        tree, why = found
        tree = tree.rstrip("/")
        if not os.path.isdir(tree):
            return self.add_single(tree, why)
        for name in (tree, os.path.realpath(tree)):
            if not self.is_visible(name) and not is_private(name, self.host.home):
                self.trees[name] = why
        return True

    def add_single(self, path: str, why: str) -> bool:
        if _is_executable(path):
            self.trees.setdefault(path, why)
            return True
        return False

    def add_file(self, real: str, path: str, trusted: bool) -> bool:
        """Show one executable of no known installation, when the caller named it; never one the
        workspace names.
        """
        if trusted and _is_executable(real):
            self.trees[real] = "command"
            return True
        self.notes.append(
            f"{path} leads to {real}, which no known tool installed; it is not shown inside"
        )
        return False

    def own_code(self, command: str) -> None:
        """Where akiosctl runs from a checkout, its code lies beside its environment: show it to a
        program of that environment, such as the one that performs the steps of workflows.
        """
        code = os.path.dirname(os.path.abspath(errors.__file__))
        if sys.prefix == sys.base_prefix or not is_below(command, sys.prefix):
            return
        if not self.is_visible(code) and not is_private(code, self.host.home):
            self.trees[code] = "akios"

    def open_binds(self) -> list[Bind]:
        binds: list[Bind] = []
        kept: list[str] = []
        try:
            shown = self.trees | self.links
            for tree in sorted(shown):
                if any(is_below(tree, other) for other in kept):
                    continue
                kept.append(tree)
                fd = os.open(tree, os.O_PATH | os.O_CLOEXEC)
                binds.append(Bind(tree, fd, stat.S_ISDIR(os.fstat(fd).st_mode), shown[tree]))
        except OSError:
            for bind in binds:
                os.close(bind.fd)
            raise
        return binds


def _unseen(path: str) -> CommandNotFoundError:
    return CommandNotFoundError(
        f"{path} is neither a program of the system nor of the workspace",
        where="run",
        next="name a program of the system, or send the program among the files of the request",
    )


def _refuse_empty(argv0: str) -> None:
    if not argv0 or "\0" in argv0:
        raise CommandNotFoundError(
            "the command is empty or holds a NUL byte",
            where="run",
            next="write akiosctl run -- CMD",
        )


def venv_home(config: bytes) -> str:
    """The absolute directory that a ``pyvenv.cfg`` calls home, as Python reads it (PEP 405); "" for
    anything else.
    """
    for line in config.decode("utf-8", "surrogateescape").split("\n"):
        key, equals, value = line.partition("=")
        if equals and key.strip().lower() == "home":
            value = value.strip()
            return os.path.normpath(value) if value.startswith("/") and "\0" not in value else ""
    return ""


def _hops(path: str) -> list[str]:
    """``path`` and each name it leads to by symlink, as path_resolution(7) meets them, the final
    component only.
    """
    hops = [path]
    while os.path.islink(hops[-1]) and len(hops) < _MAX_HOPS:
        target = os.readlink(hops[-1])
        # ".." is the parent of where the link really is, not of how it was reached.
        base = (
            os.path.realpath(os.path.dirname(hops[-1]))
            if ".." in target
            else os.path.dirname(hops[-1])
        )
        hops.append(os.path.normpath(os.path.join(base, target)))
    return hops


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _interpreter(head: bytes) -> str:
    """The program of a shebang line: a path, or the bare name that env(1) is asked to find.  Empty:
    no script.
    """
    if not head.startswith(b"#!"):
        return ""
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    words = lines[0][2:].split()
    # Installers write this when the path is too long or holds a space: the shell starts the real
    # interpreter.
    long_form = re.match(r"'''exec' (?:\"([^\"]+)\"|(\S+))", lines[1]) if len(lines) > 1 else None
    if long_form and words[:1] == ["/bin/sh"]:
        return long_form[1] or long_form[2]
    if words and os.path.basename(words[0]) == "env":
        rest = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        return rest[0] if rest else ""
    return words[0] if words else ""
