"""A private akiosd for tests: real daemon, real client, own state.  It dies with the test process,
and cleans up.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akiosd.daemon.host import cgroup_name

REPO = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NOBODY = 65534
OTHER = 65533

CONFIG = """
state_dir: {base}/state
runtime_dir: {base}/run
system_policy: {base}/policy.yaml
groups: {{user: nogroup, admin: akios-test-nobody-has-it, monitor: akios-test-nobody-has-it}}
"""


def die_with_parent() -> None:
    """For preexec_fn: SIGTERM when the test process is killed, so that the daemon still cleans
    up.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Daemon:
    """``run`` starts a cage and waits; every path it makes is below one temporary directory."""

    def __init__(
        self, config: str = "", system_policy: str = "", prefix: Sequence[str] = ()
    ) -> None:
        """``prefix``: words before the daemon's command, which must exec it."""
        self._prefix = list(prefix)
        self.base = Path(tempfile.mkdtemp(prefix="akios-test-"))
        self.base.chmod(0o755)
        self.config = self.base / "akiosd.yaml"
        self.config.write_text(CONFIG.format(base=self.base) + config)
        (self.base / "policy.yaml").write_text("version: 1\n" + system_policy)
        self.socket = self.base / "run" / "control.sock"
        self.state = self.base / "state"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.base / "log"

    def start(self) -> Daemon:
        read_end, write_end = os.pipe()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._prefix,
                    BIN / "akiosd",
                    "--config",
                    self.config,
                    "--ready-fd",
                    str(write_end),
                ],
                pass_fds=[write_end],
                stderr=log,
                stdout=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,
                cwd="/",
            )
        os.close(write_end)
        ready = os.read(read_end, 1)
        os.close(read_end)
        assert ready == b"\n", self.log.read_text()
        return self

    def stop(self, signo: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(signo)
        code = self.process.wait(60)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.stop()
        self.end_keeper()
        self._remove_cgroups()
        shutil.rmtree(self.base, ignore_errors=True)

    def end_keeper(self) -> None:
        """Have the keeper of a daemon that was killed, and is not started again, let everything
        go.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            try:
                client.connect(str(self.base / "run" / "keeper.sock"))
                client.send(struct.pack("=II", 7, 0))  # AKIOS_KEEP_LEAVE
                client.recv(4096)
            except OSError:
                pass  # there is none

    def _remove_cgroups(self) -> None:
        """What a daemon leaves that was killed and is not started again: its next start would
        remove them.
        """
        name = cgroup_name(str(self.state))
        # os.walk passes over what other daemons remove meanwhile.
        for directory, below, _ in os.walk("/sys/fs/cgroup", topdown=False):
            if os.path.basename(directory) == name:
                for group in (*(os.path.join(directory, entry) for entry in below), directory):
                    with contextlib.suppress(OSError):
                        os.rmdir(group)

    def workspace(self, name: str = "", uid: int = 0) -> Path:
        """A fresh directory that belongs to ``uid``."""
        path = Path(tempfile.mkdtemp(prefix=f"ws-{name}", dir=self.base))
        path.chmod(0o755)
        os.chown(path, uid, NOBODY if uid else 0)
        return path

    def ctl(
        self, *arguments: str | os.PathLike[str], uid: int = 0, **more: Any
    ) -> subprocess.CompletedProcess[Any]:
        """``akiosctl`` with these arguments; as ``uid`` when it is not 0.  Output is captured as
        text.
        """
        options: dict[str, Any] = {
            "capture_output": True,
            "text": True,
            "timeout": 90,
            "stdin": subprocess.DEVNULL,
        }
        options |= self.as_user(uid) | more
        if "input" in more:
            options.pop("stdin")
        return subprocess.run([BIN / "akiosctl", "--socket", self.socket, *arguments], **options)

    def popen(
        self, *arguments: str | os.PathLike[str], uid: int = 0, **more: Any
    ) -> subprocess.Popen[Any]:
        options = self.as_user(uid) | more
        return subprocess.Popen([BIN / "akiosctl", "--socket", self.socket, *arguments], **options)

    def run(
        self,
        *argv: str | os.PathLike[str],
        flags: Sequence[str] = (),
        cwd: Path | None = None,
        uid: int = 0,
        **more: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """``akiosctl run FLAGS -- ARGV`` in a workspace (a fresh one unless ``cwd`` is given)."""
        cwd = cwd if cwd is not None else self.workspace(uid=uid)
        return self.ctl("run", *flags, "--workspace", cwd, "--", *argv, uid=uid, cwd=cwd, **more)

    def as_user(self, uid: int) -> dict[str, Any]:
        if uid == 0:
            return {}
        home = self.base / f"home-{uid}"
        if not home.exists():
            home.mkdir()
            os.chown(home, uid, NOBODY)
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"user{uid}"
        env = {**os.environ, "HOME": str(home), "USER": name, "LOGNAME": name}
        return {"user": uid, "group": NOBODY, "extra_groups": [], "env": env}

    def report(self, *argv: str, **more: Any) -> dict[str, Any]:
        """Run with ``--json`` and return the report that stands in the last line of stderr."""
        flags = ["--json", *more.pop("flags", ())]
        done = self.run(*argv, flags=flags, **more)
        found: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])
        return found

    def events(self, cage: str = "") -> list[dict[str, Any]]:
        """Every durable record of a cage's log (or of all logs), as ``akiosctl events --json``
        prints them.
        """
        done = self.ctl("events", "--json", *(["--cage", cage] if cage else []))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
