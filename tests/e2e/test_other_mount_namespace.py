"""A client in another mount namespace than akiosd's (PrivateTmp, a container with the socket bound
into it) is served by its descriptors, or told what cannot be.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from akiosctl.client import Client
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import Ended, Run
from tests.e2e.daemon import BIN, NOBODY, Daemon

# A file system that only this namespace has, over a directory that everybody has.
PRIVATE = """
mount -t tmpfs -o mode=1777 private "$1"
mkdir -m 755 "$1/project"
echo mine > "$1/project/file"
chown -R {uid}:{gid} "$1/project"
cd "$1/project"
exec setpriv --reuid={uid} --regid={gid} --clear-groups bash -c "$2" bash "$3"
"""
WORK = """
set -e
ctl() { CTL --socket "$1" "${@:2}"; }
ctl "$1" run -- sh -c 'cat file; echo changed > file; echo new > new; ls -l file' 2> stderr-of-run
ctl "$1" diff
ctl "$1" commit -y
cat file new stderr-of-run
""".replace("CTL", str(BIN / "akiosctl"))


def in_namespace(
    daemon: Daemon, where: Path, script: str, *unshare: str
) -> subprocess.CompletedProcess[str]:
    """``script`` as nobody in a namespace of its own, where ``where`` is private."""
    setup = PRIVATE.format(uid=NOBODY, gid=NOBODY)
    command = ["unshare", "--mount", *unshare, "bash", "-ec", setup, "bash"]
    env = dict(daemon.as_user(NOBODY)["env"])
    return subprocess.run(
        [*command, str(where), script, str(daemon.socket)],
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("unshare", [(), ("--pid", "--fork", "--kill-child")])
def test_its_workspace_is_worked_on_and_it_is_told_what_is_whose(
    daemon: Daemon, unshare: tuple[str, ...]
) -> None:
    where = daemon.workspace()
    done = in_namespace(daemon, where, WORK, *unshare)
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "mine" and "changed" in lines and "new" in lines
    assert any(line.startswith("M file") for line in lines), done.stdout
    assert "in the mount namespace mnt:[" in done.stdout and "/usr" in done.stdout
    assert list(where.iterdir()) == [], "the control: outside, that directory is another"
    own = daemon.run("cat", "file", cwd=where)
    assert own.returncode == 1 and "mount namespace" not in own.stderr


# As a user without rights: own user namespace, and with it a mount namespace in which what came
# from outside is locked.
LOCKED = """
cd "$2"
exec setpriv --reuid={uid} --regid={gid} --clear-groups unshare --user --map-root-user --mount \
  {ctl} --socket "$1" run -- cat file
""".format(uid=NOBODY, gid=NOBODY, ctl=BIN / "akiosctl")
COVERED = 'mount -t tmpfs cover "$2/below"\n'


@pytest.mark.parametrize("covered", [False, True])
def test_what_its_namespace_may_not_uncover_stays_covered(daemon: Daemon, covered: bool) -> None:
    where = daemon.workspace(uid=NOBODY)
    (where / "file").write_text("hello\n")
    (where / "below").mkdir()
    script = (COVERED if covered else "") + LOCKED
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-ec", script, "bash", str(daemon.socket), str(where)],
        env=daemon.as_user(NOBODY)["env"],
        capture_output=True,
        text=True,
        timeout=90,
    )
    if covered:
        assert done.returncode == 125 and "may not look underneath" in done.stderr, done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_a_third_place_is_told_as_such(daemon: Daemon) -> None:
    where = daemon.workspace()
    script = 'mount -t tmpfs third "$1"; echo; read -r'
    holder = subprocess.Popen(
        ["unshare", "--mount", "bash", "-ec", script, "bash", str(where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None and holder.stdout is not None
    with holder, holder.stdin, Client(str(daemon.socket)) as client:
        assert holder.stdout.readline() == b"\n"
        name = os.fsencode(where)
        request = Run(
            argv=(b"true",), command=b"/usr/bin/true", cwd=name, workspace=name, home=b"/home/a"
        )
        fds = [os.open(f"/proc/{holder.pid}/root{where}", os.O_PATH | os.O_DIRECTORY)]
        try:
            client.send(request, fds)
            answer = client.receive().message
        finally:
            close_fds(fds)
    assert isinstance(answer, Ended), answer
    assert "neither in akiosd's mount namespace (mnt:[" in answer.reason, answer.reason
