"""Changes outlive the daemon: after a restart the client sends the workspace again, and only that
workspace will do.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from akiosctl.client import Client, DaemonError
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import View, ViewReply

from tests.e2e.daemon import NOBODY, Daemon


def change(daemon: Daemon, uid: int, where: Path) -> str:
    script = "mv dir moved; echo agent > moved/file; rm old; echo new > new"
    for path in (where / "dir" / "file", where / "old"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("before\n")
        os.chown(path.parent, uid, -1)
        os.chown(path, uid, -1)
    report = daemon.report("sh", "-ec", script, cwd=where, uid=uid)
    assert report["exit_code"] == 0 and report["changes"], report
    return str(report["cage"])


def tree(where: Path) -> dict[str, str]:
    return {
        str(path.relative_to(where)): path.read_text()
        for path in where.rglob("*")
        if path.is_file()
    }


AFTER = {"moved/file": "agent\n", "new": "new\n"}


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_diff_and_commit_after_a_restart(private: Daemon, uid: int, signo: signal.Signals) -> None:
    where = private.workspace(uid=uid)
    cage = change(private, uid, where)
    before = json.loads(private.ctl("diff", "--json", cage, uid=uid).stdout)
    private.stop(signo)
    private.start()
    assert cage in private.ctl("ps", uid=uid).stdout
    after = private.ctl("diff", "--json", cage, uid=uid)
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout) == before
    assert private.ctl("commit", cage, uid=uid).returncode == 0
    assert tree(where) == AFTER
    assert cage not in private.ctl("ps", uid=uid).stdout


def test_discard_after_a_restart_needs_no_workspace(private: Daemon) -> None:
    where = private.workspace(uid=NOBODY)
    cage = change(private, NOBODY, where)
    private.stop()
    private.start()
    where.rename(where.with_name(where.name + "-away"))
    assert private.ctl("discard", cage, uid=NOBODY).returncode == 0
    assert cage not in private.ctl("ps", uid=NOBODY).stdout


def test_another_directory_under_the_old_name_is_refused(private: Daemon) -> None:
    where = private.workspace(uid=NOBODY)
    cage = change(private, NOBODY, where)
    private.stop()
    private.start()
    away = where.with_name(where.name + "-away")
    where.rename(away)
    where.mkdir()
    os.chown(where, NOBODY, NOBODY)
    for verb in ("diff", "commit"):
        done = private.ctl(verb, cage, uid=NOBODY)
        assert done.returncode == 125 and "not the directory the cage was started in" in done.stderr
    assert list(where.iterdir()) == []
    where.rmdir()
    away.rename(where)
    assert private.ctl("commit", cage, uid=NOBODY).returncode == 0
    assert tree(where) == AFTER


def test_what_else_a_view_request_may_carry(private: Daemon) -> None:
    """A file, a directory of somebody else's, /proc: not the workspace, so refused; the daemon
    closes what it got.
    """
    where = private.workspace(uid=NOBODY)
    cage = change(private, NOBODY, where)
    with Client(str(private.socket)) as client:
        for path in (
            "/",
            "/etc",
            "/proc",
            "/etc/passwd",
            "/dev/null",
            where / "dir",
            where / "old",
        ):
            fd = os.open(path, os.O_PATH)
            try:
                with pytest.raises(DaemonError, match="not the directory the cage was started in"):
                    client.call(View(cage=cage), ViewReply, [fd])
            finally:
                os.close(fd)
        fd = os.open(where, os.O_PATH)
        reply, fds = client.call(View(cage=cage), ViewReply, [fd])
        os.close(fd)
        assert reply.workspace == os.fsencode(where) and len(fds) == 2
        assert sorted(os.listdir(f"/proc/self/fd/{fds[0]}")) == ["moved", "new"]
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("made", dir_fd=fds[0])
        close_fds(fds)
    assert private.ctl("discard", cage).returncode == 0
