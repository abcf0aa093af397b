"""The unit and its companions: what akiosd counts on stands in them, and what would break it does
not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from akiosd.daemon.base.config import Config
from akiosd.daemon.sockets.listening import CONTROL, EVENTS, NAME

UNITS = ("akiosd.service", "akiosd.socket", "akios.slice")
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
        ("KillMode", "mixed"),
        ("Restart", "always"),
        ("StartLimitIntervalSec", "0"),
        ("WatchdogSignal", "SIGKILL"),
        ("Requires", "akiosd.socket"),  # and so it comes and goes with the service
        ("Slice", "akios.slice"),
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


def test_the_socket_is_the_one_that_akiosd_takes_and_lives_as_long_as_it_is_needed() -> None:
    lines = settings("akiosd.socket")
    runtime = Config().runtime_dir
    assert [value for key, value in lines if key == "ListenStream"] == [
        f"{runtime}/{name}" for name in (CONTROL, EVENTS)
    ]
    socket = dict(lines)
    assert socket["FileDescriptorName"] == NAME and socket["StopWhenUnneeded"] == "yes"
    assert "WantedBy" not in socket, "then it would be needed by sockets.target"


def test_what_only_a_newer_systemd_knows_stands_apart() -> None:
    newer = dict(settings("akiosd.service.d/254.conf"))
    assert newer["DelegateSubgroup"] == "supervisor"  # kernel/cgroup.py looks one group higher
    assert newer["Type"] == "notify-reload"
    assert not {"DelegateSubgroup", "RestartSteps", "RestartMaxDelaySec"} & UNIT.keys()


def test_nothing_takes_akiosd_out_of_the_hosts_mounts_or_filters_its_cages() -> None:
    assert not [
        key for key, _ in settings("akiosd.service") if key.startswith((*NAMESPACE, *FILTERS))
    ]


def test_akiosd_holds_the_capabilities_that_cages_are_made_with_and_no_others() -> None:
    lines = [value for key, value in settings("akiosd.service") if key.startswith("Capab")]
    # Without each of these something fails or, for two (tests/package/test_service.py), is worse.
    needed = "SYS_ADMIN SYS_PTRACE SYS_RESOURCE SYS_NICE SYS_CHROOT NET_ADMIN NET_BIND_SERVICE"
    needed += " CHOWN FOWNER FSETID DAC_OVERRIDE SETUID SETGID SETPCAP SETFCAP MKNOD KILL"
    assert sorted(" ".join(lines).split()) == sorted(f"CAP_{name}" for name in needed.split())


def test_what_systemd_says_of_the_unit_has_its_reason_in_the_manual() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = SYSTEMD / "akiosd.service"
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    done = subprocess.run(words, capture_output=True, text=True)
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")}
    assert "PrivateNetwork=" in found, done.stderr
    assert found - reasons() == set()


API = dict(settings("akios-api.service"))
EXPOSED = {
    "RestrictSUIDSGID=",  # takes openat2(2) away
    "PrivateUsers=",  # akiosd would not see who asks
    "PrivateNetwork=",  # it listens
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "RestrictAddressFamilies=~AF_UNIX",
    "IPAddressDeny=",  # where it listens, the administrator says
    "RootDirectory=/RootImage=",
    "SupplementaryGroups=",  # what it may do
    "ProcSubset=",  # its own entries in /proc/self
    "DeviceAllow=",  # rtc, which PrivateDevices= leaves to be read
    "PrivateMounts=",  # PrivateTmp= brings them
}


def test_the_rest_api_runs_as_a_user_with_no_rights_but_its_groups() -> None:
    # A commit of a step that has begun is waited for; SIGKILL would cut it.
    assert API["TimeoutStopSec"] == "10min" and "SendSIGKILL" not in API
    assert API["User"] == "akios-api" and API["SupplementaryGroups"] == "akios akios-monitor"
    assert API["CapabilityBoundingSet"] == API["AmbientCapabilities"] == ""
    assert "--system" in API["ExecStart"].split()
    made = (SYSTEMD / "akios-api.sysusers").read_text().split()
    assert made.count("akios-api") == 3 and not {"akios-admin", "root"} & {*made}


def test_what_systemd_finds_open_in_the_rest_api_is_meant() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = SYSTEMD / "akios-api.service"
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    done = subprocess.run(words, capture_output=True, text=True)
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")}
    assert "PrivateNetwork=" in found, done.stderr
    assert found <= EXPOSED, done.stdout


def reasons() -> set[str]:
    """The settings that the manual gives a reason for."""
    page = (SYSTEMD.parent / "packaging/man/akiosd.8").read_text()
    page = page.replace("\\-", "-").replace("\\[u2026]", "…")
    return set(re.findall(r"^\\fB(\S+)\\fR$", page.partition(".SH SECURITY")[2], re.MULTILINE))


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


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # The program and the manual are installed by the package; here something executable stands for
    # the former.
    version = int(subprocess.check_output(["systemctl", "--version"]).split()[1])
    for name in UNITS:
        lines = (SYSTEMD / name).read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("Documentation="))
        (tmp_path / name).write_text(text.replace("/usr/bin/akiosd", "/bin/true"))
    if version >= 254:
        (tmp_path / "akiosd.service.d").mkdir()
        text = (SYSTEMD / "akiosd.service.d/254.conf").read_text()
        drop_in = tmp_path / "akiosd.service.d" / "254.conf"
        drop_in.write_text(text.replace("/usr/bin/akiosd", "/bin/true"))
    text = (SYSTEMD / "akios-api.service").read_text().replace("/usr/bin/akiosctl", "/bin/true")
    text = re.sub(r"^(Documentation|User|Group|SupplementaryGroups)=.*$", "", text, flags=re.M)
    (tmp_path / "akios-api.service").write_text(text)
    units = (*UNITS, "akios-api.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name in units)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if "akios" in line]
    assert (done.returncode, said) == (0, [])


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
