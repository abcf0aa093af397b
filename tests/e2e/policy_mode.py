"""A private akiosd without privileges, as in an ordinary container: one unused uid for it and for
its agents, no capability, no_new_privs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon

UID = 1_899_999_001
"""Of nobody else on this host."""
BECOME = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--bounding-set=-all"),
    *("--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--pdeathsig", "TERM"),
)


PYTHON = ("/usr/bin/python3", "-c")


class PolicyModeDaemon(Daemon):
    """Everything is done as ``uid``: the daemon, its clients, and what is the control."""

    uid = UID

    def __init__(self, config: str = "", system_policy: str = "") -> None:
        policy = "allow_widening: true\nfilesystem: {workspace: rw-direct}\n" + system_policy
        super().__init__("policy_mode: true\n" + config, policy, BECOME)
        os.chown(self.base, self.uid, self.uid)
        self.home = self.base / "home"
        self.home.mkdir(mode=0o755)
        os.chown(self.home, self.uid, self.uid)

    def workspace(self, name: str = "", uid: int = 0) -> Path:
        """A fresh directory of ``uid``."""
        path = super().workspace(name)
        os.chown(path, self.uid, self.uid)
        return path

    def as_user(self, uid: int) -> dict[str, Any]:
        return {
            "user": UID,
            "group": UID,
            "extra_groups": [],
            "env": {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(self.home),
                "USER": "agent",
            },
        }

    def spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        """A process of the same uid, in no cage, that goes on."""
        return subprocess.Popen([*BECOME, *argv], cwd="/", stdin=subprocess.DEVNULL)

    def processes(self) -> list[tuple[int, str]]:
        """(pid, name) of what runs as ``uid``."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if f"Uid:\t{self.uid}\t" in (path / "status").read_text():
                    found.append((int(path.name), (path / "comm").read_text().strip()))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def pid_inside(self, pid: int) -> int:
        """The number of a process for those in a cage: there is no other."""
        return pid

    def outside(self, *argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """The same program as the same uid, in no cage: the control."""
        place = [f"HOME={self.home}", f"TMPDIR={self.home}"]
        return subprocess.run(
            [*BECOME, "env", *place, *map(str, argv)],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
        )

    def try_inside(self, source: str, *words: object, cwd: Path) -> dict[str, str]:
        """What became of the attempts of a program (:func:`attempts`) in a cage."""
        done = self.run(*PYTHON, source, *map(str, words), cwd=cwd)
        assert done.returncode == 0, done.stderr
        return _answers(done.stdout)

    def try_outside(self, source: str, *words: object, cwd: Path) -> dict[str, str]:
        """The same in no cage."""
        done = self.outside(*PYTHON, source, *map(str, words), cwd=cwd)
        assert done.returncode == 0, done.stderr
        return _answers(done.stdout)


def _answers(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


def attempts(source: str, names: Sequence[str]) -> str:
    """A program that tries the functions ``names`` of ``source``, and prints what became of each:
    ``ok``, or the name of an errno.
    """
    return f"""
import ctypes, errno, fcntl, os, resource, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
{source}
for name in {list(names)!r}:
    try:
        globals()[name]()
        print(name, "ok", flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, str(error)), flush=True)
    except Exception as error:
        print(name, type(error).__name__, flush=True)
"""
