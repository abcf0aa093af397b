"""What mends a host: for each thing that can be missing, on each distribution, commands or a word."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from akiosctl.fix_hints import Hint, System, find_family, find_hints
from akiosctl.host_check import Finding, judge
from tests.unit.client.test_doctor_alone import GOOD, LACKS

DEBIAN = System(
    family="debian",
    modules="lockdown,capability,yama,apparmor",
    has_group=True,
    start="sudo systemctl enable --now akiosd",
)
FAMILIES = ("debian", "ubuntu", "fedora", "arch", "suse", "")


def on(family: str, **more: object) -> System:
    return msgspec.structs.replace(DEBIAN, family=family, **more)


def hint(layer: str, detail: str = "", status: str = "missing", system: System = DEBIAN) -> Hint:
    (found,) = find_hints([Finding(layer, status, detail)], system)
    return found


# What is missing, where → the commands.
COMMANDS: list[tuple[str, str, System, tuple[str, ...]]] = [
    (
        "kernel", "", DEBIAN,
        ("sudo apt install linux-image-$(dpkg --print-architecture)", "sudo reboot"),
    ),
    ("kernel", "", on("fedora"), ("sudo dnf install kernel", "sudo reboot")),
    ("programs", "", on("arch"), ("sudo pacman -S e2fsprogs",)),
    ("programs", "", on("suse"), ("sudo zypper install e2fsprogs",)),
    (
        "overlay", "no module overlay", on("ubuntu"),
        ("sudo apt install linux-modules-extra-$(uname -r)", "sudo modprobe overlay"),
    ),
    (
        "memory", "no controller", on("fedora"),
        ("sudo grubby --update-kernel=ALL --args='cgroup_enable=memory'", "sudo reboot"),
    ),
    (
        "landlock", "ABI 0, needed is 2", DEBIAN,
        (
            "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX"
            " lsm=landlock,lockdown,capability,yama,apparmor\"'"
            " | sudo tee /etc/default/grub.d/akios-landlock.cfg",
            "sudo update-grub",
            "sudo reboot",
        ),
    ),
    ("access", "", DEBIAN, ('sudo usermod -aG akios "$USER"',)),
    (
        "access", "", on("debian", has_group=False),
        ("sudo groupadd --system akios", 'sudo usermod -aG akios "$USER"'),
    ),
    ("akiosd", "", DEBIAN, ("sudo systemctl enable --now akiosd",)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "detail", "system", "commands"), COMMANDS)
def test_the_commands_are_those_of_the_distribution(
    layer: str, detail: str, system: System, commands: tuple[str, ...]
) -> None:
    assert hint(layer, detail, system=system).commands == commands


def test_everything_that_can_be_missing_has_its_hint_everywhere_and_a_shell_takes_it() -> None:
    findings = [
        finding
        for change, _, _ in LACKS
        for finding in judge(msgspec.structs.replace(GOOD, **change))
        if finding.status == "missing"
    ]
    # Of a daemon: what its posture may say, in words of akiosd/daemon/requests/doctor.py.
    findings += [
        Finding("pids", "unavailable", "no controller"),
        Finding("disk", "enforced", "tmpfs, in memory: changes that wait end with akiosd"),
        Finding("files", "unavailable", "no fanotify"),
        Finding("room", "unavailable", "no cage can begin: No space left on device"),
        Finding("ledger", "unavailable", "all 9 inodes of its file system are used"),
        Finding("ledger", "degraded", "logs of the last 7 days take 2 GiB"),
    ]
    script = []
    for family in FAMILIES:
        hints = find_hints(findings, on(family))
        assert [one.layer for one in hints] == [finding.layer for finding in findings]
        assert all(one.commands or one.note for one in hints)
        assert not [one for one in hints if one.note.startswith("no command is known")]
        script += [command for one in hints for command in one.commands]
    done = subprocess.run(
        ["sh", "-n"], input="\n".join(script), text=True, capture_output=True, timeout=60
    )
    assert len(script) > 60 and (done.returncode, done.stderr) == (0, "")


def test_what_is_well_has_none_and_what_is_unknown_says_so() -> None:
    assert find_hints(judge(GOOD), DEBIAN) == []
    assert find_hints([Finding("disk", "enforced", "project quota")], DEBIAN) == []
    unknown = hint("identity", "no id-mapped mounts", "degraded")
    assert unknown.commands == () and "no id-mapped mounts" in unknown.note
    assert hint("landlock", system=on("debian", modules="landlock,yama")).commands[-1] == (
        "sudo reboot"
    )


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=debian\n", "debian"),
        ("NAME=x\nID=ubuntu\nID_LIKE=debian\n", "ubuntu"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "ubuntu"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("ID=opensuse-leap\nID_LIKE='suse opensuse'\n", "suse"),
        ("ID=nixos\n", ""),
        ("", ""),
    ],
)
def test_the_distribution_is_the_one_that_os_release_names(text: str, family: str) -> None:
    assert find_family(text) == family
