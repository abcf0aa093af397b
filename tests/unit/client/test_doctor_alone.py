"""``doctor`` where no daemon answers: judged over facts, and the real program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from akiosctl.help.schemas import SCHEMAS
from akiosctl.host_check import CONTROLLERS, NAMESPACES, Facts, how_to_start, judge, what_starts

GOOD = Facts(
    kernel="6.12.1-amd64",
    namespaces=frozenset(NAMESPACES),
    user_namespaces=1000,
    controllers=frozenset(CONTROLLERS),
    overlay=True,
    landlock_abi=6,
    seccomp=frozenset({"user_notif"}),
    unit="/usr/lib/systemd/system",
    systemd=True,
    member=True,
    mkfs=True,
    program="akiosd",
)
# What a host lacks → the layer that is missing, and what is said of it.
LACKS: list[tuple[dict[str, object], str, str]] = [
    ({"kernel": "5.15.0-91-generic"}, "kernel", "5.15.0-91-generic, needed is 5.19"),
    ({"kernel": "strange"}, "kernel", "needed is 5.19"),
    ({"namespaces": frozenset(NAMESPACES) - {"user"}}, "namespaces", "not in this kernel: user"),
    ({"user_namespaces": 0}, "namespaces", "switched off"),
    ({"controllers": frozenset({"cpu"})}, "cgroups", "no controller: memory, pids"),
    ({"overlay": False}, "overlay", "no module"),
    ({"landlock_abi": 1}, "landlock", "ABI 1, needed is 2"),
    ({"seccomp": frozenset[str]()}, "seccomp", "no user notification"),
    ({"mkfs": False}, "programs", "mkfs.ext4 is not installed"),
    ({"member": False}, "access", "sudo usermod -aG akios"),
]


def test_a_good_host_lacks_nothing() -> None:
    assert {finding.status for finding in judge(GOOD)} == {"present"}


@pytest.mark.parametrize(("change", "layer", "says"), LACKS, ids=[row[1] for row in LACKS])
def test_what_is_missing_is_named_alone(change: dict[str, object], layer: str, says: str) -> None:
    findings = judge(msgspec.structs.replace(GOOD, **change))
    missing = [finding for finding in findings if finding.status == "missing"]
    assert [finding.layer for finding in missing] == [layer] and says in missing[0].detail


def test_what_starts_it_is_what_is_installed() -> None:
    assert what_starts(GOOD) == "sudo systemctl enable --now akiosd"
    alone = msgspec.structs.replace(GOOD, systemd=False)
    assert what_starts(alone) == "sudo akiosd --detach", "a command alone, which can be pasted"
    bare = msgspec.structs.replace(GOOD, unit="", systemd=False, program="/opt/akiosd")
    assert what_starts(bare) == "sudo /opt/akiosd --detach"
    assert what_starts(msgspec.structs.replace(bare, become="")) == "/opt/akiosd --detach"
    again = msgspec.structs.replace(alone, again="akiosd --detach --config /srv/a.yaml")
    assert what_starts(again) == "sudo akiosd --detach --config /srv/a.yaml"
    said = "start it: sudo akiosd --detach; or for a single run: sudo akiosctl run --standalone"
    assert how_to_start(alone).startswith(said)
    assert "systemctl enable --now akiosd; or for a single run" in how_to_start(GOOD)


def test_without_a_daemon_it_says_what_it_saw_and_what_starts_one(tmp_path: Path) -> None:
    akiosctl = Path(sys.executable).with_name("akiosctl")
    words = [akiosctl, "--socket", tmp_path / "control.sock", "doctor"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (1, "")
    assert "akiosd is not running" in told.stdout and f"--runtime-dir {tmp_path}" in told.stdout
    assert "What mends it" not in told.stdout, "only where it is asked for"
    hinted = subprocess.run([*words, "--fix-hints"], capture_output=True, text=True, timeout=60)
    assert "What mends it; nothing of it was run:" in hinted.stdout
    assert "akiosd --detach" in hinted.stdout.splitlines()[-1], "what starts it comes last"
    found = subprocess.run(
        [*words, "--fix-hints", "--json"], capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stderr) == (1, "")
    report = json.loads(found.stdout)
    msgspec.convert(report, SCHEMAS["doctor"][0])
    assert report["hints"][-1]["layer"] == "akiosd"
    assert (
        not report["running"]
        and not report["ok"]
        and report["next"].startswith("start one there: ")
    )
