"""What a policy shows of the host: check says what a run would, both with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon

REFUSED = [
    ("read", "/nosuch", "/nosuch cannot be opened: No such file or directory"),
    ("write", "/nosuch", "/nosuch cannot be opened: No such file or directory"),
    ("read", "/root", "/root cannot be read by you"),
    ("read", "/etc", "/etc cannot be shown: it would cover the cage's own system"),
    ("write", "/usr", "/usr cannot be shown: it would cover the cage's own system"),
    ("read", "/etc/shadow", "/etc/shadow is not shown: such files hold secrets"),
    ("read", "HOME", "is your home, and the cage has a home of its own"),
    ("read", "WORKSPACE", "is the workspace, which the cage has anyway"),
]


def written(daemon: Daemon, kind: str, path: str) -> Path:
    workspace = daemon.workspace(uid=NOBODY)
    home = daemon.as_user(NOBODY)["env"]["HOME"]
    path = {"HOME": home, "WORKSPACE": str(workspace)}.get(path, path)
    (workspace / "akios.yaml").write_text(f"version: 1\nfilesystem:\n  {kind}: [{path}]\n")
    return workspace


@pytest.mark.parametrize(("kind", "path", "says"), REFUSED)
def test_check_says_what_every_run_would_say(
    daemon: Daemon, kind: str, path: str, says: str
) -> None:
    where = written(daemon, kind, path)
    ran = daemon.run("true", cwd=where, uid=NOBODY)
    here = daemon.ctl("policy", "check", cwd=where, uid=NOBODY)
    file = daemon.ctl("policy", "check", "akios.yaml", "--json", cwd=where, uid=NOBODY)
    assert (ran.returncode, here.returncode, file.returncode) == (125, 1, 1)
    for told in (ran.stderr, here.stderr):
        assert says in told and "akios.yaml, line 3" in told, told
        assert f"filesystem.{kind}" in told, "what helps"
    assert says in json.loads(file.stdout)["what"]
    assert json.loads(file.stdout)["where"] == "akios.yaml, line 3"


@pytest.mark.parametrize("path", ["/var/lib", "/etc/login.defs"])
def test_the_control_is_shown_and_checked(daemon: Daemon, path: str) -> None:
    where = written(daemon, "read", path)
    checked = daemon.ctl("policy", "check", cwd=where, uid=NOBODY)
    assert checked.returncode == 0 and "OK" in checked.stdout, checked.stderr
    ran = daemon.run("test", "-e", path, cwd=where, uid=NOBODY)
    assert ran.returncode == 0, ran.stderr
