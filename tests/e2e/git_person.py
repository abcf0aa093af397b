"""A user with a home and repositories, who works in them outside and lets an agent do so inside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.daemon import BIN, Daemon

DATES = "export GIT_AUTHOR_DATE='2026-01-02 03:04:05 +0000' GIT_COMMITTER_DATE='2026-01-02 03:04:05 +0000'\n"
"""So that the same commit has the same name wherever it is made."""


class Person:
    """``where`` is the directory that they work in."""

    def __init__(self, daemon: Daemon, uid: int) -> None:
        self.daemon, self.uid = daemon, uid
        self.where = daemon.workspace(uid=uid)
        self.home = daemon.base / f"git-home-{len(list(daemon.base.iterdir()))}"
        self.home.mkdir()
        os.chown(self.home, uid, -1)
        self.options = {
            **daemon.as_user(uid),
            "env": {"PATH": "/usr/bin:/bin", "HOME": str(self.home)},
        }

    def outside(self, script: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=at or self.where,
            capture_output=True,
            text=True,
            **self.options,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def inside(self, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.akiosctl("run", *(flags or ("--discard",)), "--", "sh", "-ec", script)

    def akiosctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "akiosctl", "--socket", self.daemon.socket, *words],
            cwd=self.where,
            capture_output=True,
            text=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
            **self.options,
        )

    def write(self, path: str, text: str) -> None:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        for made in (target, *target.parents):
            if made.is_relative_to(self.home):
                os.chown(made, self.uid, -1)
