"""A developer's workspace, an agent in a copy of it, a commit, and the developer's next command."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from akiosctl.changes import (
    DEFAULT_PROTECTED,
    CommitReport,
    Plan,
    Rules,
    commit,
    compare,
    make_plan,
    survey_workspace,
)

QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A commit syncs its file system; of this one nothing is on a disk."""


class Desk:
    """``place`` is the workspace, ``home`` the developer's; ``$PWNED`` is the file that a planted
    command makes.
    """

    def __init__(self, base: Path, below: str = "") -> None:
        self.base = base
        self.home = base / "home"
        self.home.mkdir(parents=True)
        self.top = base / "desk"
        self.place = self.top / below if below else self.top
        self.place.mkdir(parents=True)
        self.mark = base / "pwned"

    def shell(self, script: str, cwd: Path | None = None) -> None:
        """As the developer, or as an agent when ``cwd`` is a view."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PWNED": str(self.mark),
            "DESK": str(self.place),
            "BASE": str(self.base),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "n",
            "GIT_AUTHOR_EMAIL": "e",
            "GIT_COMMITTER_NAME": "n",
            "GIT_COMMITTER_EMAIL": "e",
            "EVIL": f"#!/bin/sh\ntouch {self.mark}\n",
        }
        subprocess.run(
            ["bash", "-ec", script],
            cwd=cwd or self.place,
            env=env,
            capture_output=True,
            check=False,
        )

    def caged(self, script: str, survey: bool = True) -> tuple[Plan, CommitReport]:
        """The script runs on a copy, and what it changed is committed, as far as it may be."""
        view = self.base / "view"
        shutil.copytree(self.place, view, symlinks=True)
        self.shell(script, view)
        fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (self.place, view)]
        home, os.environ["HOME"] = os.environ.get("HOME", "/"), str(self.home)
        try:
            diff = compare(*fds)
            found = survey_workspace(*fds, diff) if survey else None
            plan = make_plan(
                diff,
                Rules(protected=DEFAULT_PROTECTED, root=os.fsencode(self.place), survey=found),
                skip_refused=True,
            )
            report = commit(*fds, plan)
        finally:
            os.environ["HOME"] = home
            for fd in fds:
                os.close(fd)
            shutil.rmtree(view)
        return plan, report
