"""The unit and its companions: what akiosd counts on stands in them, and what would break it does
not.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from akiosd.daemon.base.config import Config

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
# systemd.exec(5): each makes a mount namespace, or loads a filter that cages would inherit.
NAMESPACE = (
    "Private",
    "Protect",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
)
NAMESPACE += (
    "TemporaryFileSystem",
    "BindPaths",
    "BindReadOnlyPaths",
    "MountAPIVFS",
    "RootDirectory",
    "RootImage",
)
NAMESPACE += ("DynamicUser", "ProcSubset", "MountFlags", "RemoveIPC")
FILTERS = ("SystemCall", "Restrict", "LockPersonality", "MemoryDenyWriteExecute")


def settings(name: str) -> list[tuple[str, str]]:
    lines = [
        line
        for line in (SYSTEMD / name).read_text().splitlines()
        if "=" in line and not line.startswith("#")
    ]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


UNIT = dict(settings("akiosd.service"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("Delegate", "yes"),
        ("DelegateSubgroup", "supervisor"),  # kernel/cgroup.py looks for its parent's delegation
        ("KillMode", "mixed"),
        ("Restart", "on-failure"),
        ("TasksMax", "infinity"),
        ("OOMScoreAdjust", "-500"),
        ("StateDirectory", "akios"),
        ("StateDirectoryMode", "0711"),
        ("RuntimeDirectory", "akios"),
        ("RuntimeDirectoryMode", "0755"),
        ("RuntimeDirectoryPreserve", "yes"),  # daemon/ledger/seen.py remembers over a stop
        ("ConditionKernelVersion", ">=5.19"),
    ],
)
def test_what_akiosd_counts_on_is_set(key: str, value: str) -> None:
    assert UNIT[key] == value


def test_the_directories_are_those_of_the_configuration() -> None:
    assert Config().state_dir == f"/var/lib/{UNIT['StateDirectory']}"
    assert Config().runtime_dir == f"/run/{UNIT['RuntimeDirectory']}"


def test_nothing_takes_akiosd_out_of_the_hosts_mounts_or_filters_its_cages() -> None:
    assert not [
        key for key, _ in settings("akiosd.service") if key.startswith((*NAMESPACE, *FILTERS))
    ]


def test_no_capability_that_a_cage_needs_in_the_making_is_dropped() -> None:
    dropped = {
        name
        for key, value in settings("akiosd.service")
        if key == "CapabilityBoundingSet"
        for name in value.removeprefix("~").split()
    }
    assert all(
        value.startswith("~")
        for key, value in settings("akiosd.service")
        if key == "CapabilityBoundingSet"
    )
    needed = "SYS_ADMIN SYS_RESOURCE SYS_PTRACE SETUID SETGID SETPCAP SETFCAP CHOWN FOWNER FSETID DAC_OVERRIDE"
    needed += " KILL MKNOD NET_ADMIN NET_BIND_SERVICE SYS_CHROOT DAC_READ_SEARCH"
    assert dropped and not dropped & {f"CAP_{name}" for name in needed.split()}


def test_the_groups_are_those_of_the_configuration() -> None:
    lines = (SYSTEMD / "akios.sysusers").read_text().splitlines()
    made = {line.split()[1] for line in lines if line.startswith("g ")}
    groups = Config().groups
    assert made == {groups.user, groups.admin, groups.monitor}


def test_tmpfiles_agree_with_the_unit() -> None:
    lines = (SYSTEMD / "akios.tmpfiles").read_text().splitlines()
    made = {
        fields[1]: fields[2] for line in lines if line.startswith("d ") and (fields := line.split())
    }
    assert made["/var/lib/akios"] == ":" + UNIT["StateDirectoryMode"]
    assert made["/run/akios"] == ":" + UNIT["RuntimeDirectoryMode"]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # The program and the manual are installed by the package; here something executable stands for
    # the former.
    lines = (SYSTEMD / "akiosd.service").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("Documentation="))
    unit = tmp_path / "akiosd.service"
    unit.write_text(text.replace("/usr/bin/akiosd", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    # systemd before 254 does not know this one, and goes on without it.
    complaints = [
        line
        for line in done.stderr.splitlines()
        if str(unit) in line and "DelegateSubgroup" not in line
    ]
    assert complaints == [] and "akiosd.service:" not in done.stderr.replace(str(unit) + ":", "")


@pytest.mark.parametrize(
    ("program", "name"),
    [("systemd-sysusers", "akios.sysusers"), ("systemd-tmpfiles", "akios.tmpfiles")],
)
def test_systemd_reads_the_companions(program: str, name: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (tmp_path / "etc" / "akios").mkdir(parents=True, mode=0o700)
    verb = ["--create"] if program == "systemd-tmpfiles" else []
    done = subprocess.run(
        [program, f"--root={tmp_path}", *verb, SYSTEMD / name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if verb:
        assert (tmp_path / "var/lib/akios").stat().st_mode & 0o7777 == 0o711
        kept = (tmp_path / "etc/akios").stat().st_mode & 0o7777
        assert kept == 0o700, "what was there keeps its mode"
    else:
        assert {
            line.split(":")[0] for line in (tmp_path / "etc/group").read_text().splitlines()
        } >= {"akios"}
