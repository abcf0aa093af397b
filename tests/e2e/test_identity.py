"""Who the agent is: one uid of its own outside, an ordinary user inside, never root on the host."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.resources import wait_until

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]
MODES = ["agent", "caller", "root"]


def policy(daemon: Daemon, mode: str) -> tuple[str, str]:
    path = daemon.base / f"identity-{mode}.yaml"
    path.write_text(f"version: 1\nidentity: {mode}\n")
    return "--policy", str(path)


class Standing:
    """A cage that waits; its processes as the host sees them."""

    def __init__(
        self, daemon: Daemon, uid: int, mode: str = "agent", cwd: Path | None = None
    ) -> None:
        self.daemon, self.uid = daemon, uid
        done = daemon.run(
            "sleep", "1000", flags=["--detach", *policy(daemon, mode)], uid=uid, cwd=cwd
        )
        self.cage = done.stdout.strip()
        assert self.cage.startswith("c-"), done.stderr
        found = [
            cage
            for cage in json.loads(daemon.ctl("ps", "--json").stdout)
            if cage["cage"] == self.cage
        ]
        self.pid = int(found[0]["pid"])

    def __enter__(self) -> Standing:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.ctl("stop", "--kill", self.cage, uid=self.uid)

    def processes(self) -> list[int]:
        """Init and everything below it, by proc(5)'s ``children``."""
        found, left = [], [self.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            left += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def status(self, pid: int) -> dict[str, list[str]]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("uid", CALLERS)
def test_ids_on_the_host(daemon: Daemon, uid: int, mode: str) -> None:
    """Every process of the cage, whatever it is called inside: an id nobody has, no groups, no
    capabilities.
    """
    with Standing(daemon, uid, mode) as cage:
        seen = set()
        for pid in cage.processes():
            status = cage.status(pid)
            assert len(set(status["Uid"])) == len(set(status["Gid"])) == 1
            assert status["Uid"] == status["Gid"] and status["Groups"] == []
            assert int(status["Uid"][0]) > 1_000_000
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[name][0], 16) == 0
            assert status["NoNewPrivs"] == ["1"] and status["Seccomp"] == ["2"]
            seen.add(status["Uid"][0])
        assert len(seen) == 1
        for line in Path(f"/proc/{cage.pid}/uid_map").read_text().splitlines():
            _, outside, _ = map(int, line.split())
            assert outside != 0


def test_every_cage_has_an_id_of_its_own(daemon: Daemon) -> None:
    with (
        Standing(daemon, NOBODY) as one,
        Standing(daemon, NOBODY) as two,
        Standing(daemon, OTHER) as three,
    ):
        ids = [cage.status(cage.pid)["Uid"][0] for cage in (one, two, three)]
        assert len(set(ids)) == 3
        assert str(NOBODY) not in ids and "0" not in ids


@pytest.mark.parametrize(
    ("mode", "uid", "inside"),
    [("agent", 0, 1000), ("agent", NOBODY, 1000), ("caller", NOBODY, NOBODY), ("caller", 0, 1000), ("root", 0, 0),
     ("root", NOBODY, 0)],
)  # fmt: skip
def test_ids_inside(daemon: Daemon, mode: str, uid: int, inside: int) -> None:
    done = daemon.run(
        "sh",
        "-c",
        "id -u; id -g; touch f; stat -c %u f; getent passwd $(id -u) | cut -d: -f3",
        flags=policy(daemon, mode),
        uid=uid,
    )
    lines = done.stdout.split()
    assert lines[0] == lines[2] == lines[3] == str(inside), done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_root_inside_is_none_outside(daemon: Daemon, mode: str) -> None:
    """What only root may do, asked by a cage of root's own."""
    script = (
        "cat /etc/shadow; mount -t tmpfs none /mnt; chown 0:0 f; chown 5 f; mknod d c 1 3; hostname x;"
        "date -s 2000-01-01 > /dev/null; chroot / true; echo x > /proc/sys/kernel/core_pattern;"
        "kill -9 1; dd if=/dev/mem count=1; true"
    )
    where = daemon.workspace()
    (where / "f").write_text("x")
    os.chown(where / "f", 3, 3)
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    done = daemon.run("sh", "-c", script, flags=policy(daemon, mode), cwd=where)
    assert done.returncode == 0 and done.stdout == ""
    assert len(done.stderr.splitlines()) >= 10, done.stderr
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.parametrize("mode", MODES)
def test_owners_in_a_workspace(daemon: Daemon, mode: str) -> None:
    """The caller's files are the agent's, everybody else's are not: neither root's nor the host's
    uid 1000's.
    """
    where = daemon.workspace(uid=NOBODY)
    for name, uid in (("mine", NOBODY), ("of-root", 0), ("of-1000", 1000), ("of-other", OTHER)):
        (where / name).write_text(name)
        (where / name).chmod(0o600)
        os.chown(where / name, uid, uid)
    script = (
        "cat * 2> /dev/null; echo; for f in *; do test -O $f && echo $f; done; "
        "chmod 644 of-1000 2> /dev/null; true"
    )
    done = daemon.run("sh", "-c", script, flags=policy(daemon, mode), cwd=where, uid=NOBODY)
    assert done.stdout == "mine\nmine\n", done.stderr


@pytest.mark.parametrize("uid", CALLERS)
def test_who_owns_what_was_committed(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    for mode in MODES:
        done = daemon.run(
            "touch", mode, flags=["--commit", *policy(daemon, mode)], cwd=where, uid=uid
        )
        assert done.returncode == 0, done.stderr
        assert (where / mode).stat().st_uid == uid


def test_set_user_id_programs_are_ordinary_ones(daemon: Daemon) -> None:
    """In the system, in the workspace, in a bind: the bit does nothing inside."""
    where, tool = daemon.workspace(uid=NOBODY), daemon.workspace()
    for place in (where, tool):
        subprocess.run(["cp", "/usr/bin/id", place / "id"], check=True)
        os.chown(place / "id", 0, 0)
        (place / "id").chmod(0o4755)
    system = daemon.base / "read.yaml"
    system.write_text(f"version: 1\nfilesystem: {{read: [{tool}]}}\n")
    control = subprocess.run(
        [tool / "id", "-u"], capture_output=True, text=True, **daemon.as_user(NOBODY)
    )
    assert control.stdout == "0\n", "the control: outside it works"
    done = daemon.run(
        "sh",
        "-c",
        f"./id -u; {tool}/id -u; su -c id < /dev/null; true",
        flags=["--policy", str(system)],
        cwd=where,
        uid=NOBODY,
    )
    assert done.stdout.split() == ["1000", "1000"], done.stderr


def test_another_cage_of_the_same_user_is_out_of_reach(daemon: Daemon) -> None:
    """Neither its processes nor its files: ids differ, and so do the namespaces."""
    where = daemon.workspace(uid=NOBODY)
    with Standing(daemon, NOBODY) as other:
        script = f"ls /proc | grep -c '^[0-9]'; kill -0 {other.pid}; ls -d /proc/{other.pid}; true"
        done = daemon.run("sh", "-c", script, cwd=where, uid=NOBODY)
        assert int(done.stdout.split()[0]) < 10
        assert len(done.stdout.split()) == 1, done.stdout


@pytest.fixture
def unmapped(daemon: Daemon) -> Iterator[Path]:
    """A workspace of NOBODY's on a file system without id maps: an overlay."""
    base = Path(tempfile.mkdtemp(prefix="unmapped-", dir=daemon.base))
    base.chmod(0o755)
    for name in ("lower", "upper", "work", "merged"):
        (base / name).mkdir()
        (base / name).chmod(0o755)
        os.chown(base / name, NOBODY, NOBODY)
    mine, foreign = base / "lower" / "mine", base / "lower" / "foreign"
    mine.write_text("old\n")
    os.chown(mine, NOBODY, NOBODY)
    foreign.write_text("of root\n")
    options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, base / "merged"], check=True
    )
    try:
        yield base / "merged"
    finally:
        subprocess.run(["umount", "-l", base / "merged"], check=True)


def test_without_id_maps_a_run_is_refused_and_says_what_would_help(
    daemon: Daemon, unmapped: Path
) -> None:
    done = daemon.run("true", cwd=unmapped, uid=NOBODY)
    assert (
        done.returncode == 125
        and "no id-mapped mounts" in done.stderr
        and "--allow-degraded" in done.stderr
    ), done.stderr
    root = daemon.run("true", flags=["--allow-degraded"], cwd=unmapped)
    assert root.returncode == 125 and "never runs as root" in root.stderr, root.stderr


def test_without_id_maps_the_agent_may_run_as_its_caller(daemon: Daemon, unmapped: Path) -> None:
    """Reported as degraded in the run, in the posture and in the log; files are the caller's;
    others' are not.
    """
    program = (
        "import os\n"
        "print(os.getuid(), open('mine').read().strip(), oct(os.stat('mine').st_uid))\n"
        "open('mine', 'w').write('new')\n"
        "open('made', 'w').close(); open(os.path.expanduser('~/x'), 'w').close(); open('/tmp/x', 'w').close()\n"
        "try: open('foreign', 'a')\n"
        "except PermissionError: print('refused')\n"
        "print(open('/proc/self/uid_map').read().split()[:3], flush=True)\n"
    )
    done = daemon.run(
        "python3", "-c", program, flags=["--allow-degraded", "--commit"], cwd=unmapped, uid=NOBODY
    )
    assert done.returncode == 0 and "refused" in done.stdout, (done.stdout, done.stderr)
    assert "identity: degraded" in done.stderr, done.stderr
    assert (unmapped / "mine").read_text() == "new"
    assert {os.stat(unmapped / name).st_uid for name in ("mine", "made")} == {NOBODY}
    cage = daemon.report("true", flags=["--allow-degraded"], cwd=unmapped, uid=NOBODY)["cage"]
    birth = next(record for record in daemon.events(cage) if record["kind"] == "birth")
    layers = {layer["layer"]: layer for layer in birth["posture"]}
    assert birth["degraded"]
    assert (
        layers["identity"]["status"] == "degraded" and str(NOBODY) in layers["identity"]["detail"]
    )


def test_cages_share_no_uid_however_few_there_are() -> None:
    """Three ids are three cages: a fourth is refused with words, and gets nobody's id."""
    few = Daemon("uids: {first_cage: 1900300000, cage_count: 3}\n")
    try:
        few.start()
        with ExitStack() as stack:
            living = [stack.enter_context(Standing(few, 0)) for _ in range(3)]
            assert {one.status(one.pid)["Uid"][0] for one in living} == {
                str(1_900_300_000 + n) for n in range(3)
            }
            refused = few.run("true")
            assert (
                refused.returncode == 125 and "all 3 uids for cages are in use" in refused.stderr
            ), refused.stderr
            assert "uids.cage_count" in refused.stderr
        assert wait_until(lambda: few.run("true").returncode == 0)
    finally:
        few.close()


@pytest.mark.parametrize("uid", CALLERS)
def test_a_directory_the_agent_may_not_enter_is_named(daemon: Daemon, uid: int) -> None:
    # Root opens what is another's, and the agent has none of root's rights over files; a user opens
    # what a second group of theirs may enter, and the agent has only the first.
    project = daemon.workspace(uid=OTHER)
    os.chown(project, OTHER, 60_123)
    project.chmod(0o770)
    groups = {"extra_groups": [60_123]} if uid else {}
    refused = daemon.ctl("run", "--", "true", uid=uid, cwd=project, **groups)
    assert refused.returncode == 125
    assert f"the cage cannot enter {project}: Permission denied" in refused.stderr
    assert "ls -ld" in refused.stderr and "first group" in refused.stderr
    # The control: whoever may enter it runs.
    project.chmod(0o775)
    assert daemon.ctl("run", "--", "true", uid=uid, cwd=project, **groups).returncode == 0


def test_data_of_another_that_root_cannot_show_is_named(daemon: Daemon) -> None:
    project = daemon.workspace(uid=OTHER)
    for name in ("data", "data/input", "data/output"):
        (project / name).mkdir(mode=0o700)
        os.chown(project / name, OTHER, 0)
    refused = daemon.ctl("cage", "up", "one", cwd=project)
    assert refused.returncode == 125
    assert f"the cage cannot enter {project}/data/input: Permission denied" in refused.stderr
    assert "run it as the owner" in refused.stderr
    # It was never up, and its name is free.
    assert "one" not in daemon.ctl("cage", "list", cwd=project).stdout
    # The control: with modes that let the agent in.
    for name in ("data", "data/input", "data/output"):
        os.chown(project / name, 0, 0)
    assert daemon.ctl("cage", "up", "one", cwd=project).returncode == 0
    assert daemon.ctl("cage", "down", "one", cwd=project).returncode == 0
