"""The guest boots again while cages run: once in good order, once as when the power goes.

The command that runs in the guest is run anew after each boot (tests/vm/rig.py), and this test goes on
where it was.  The state directory is a file system with a journal of its own, since the guest's root
has none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import resources
from tests.guest.service import ctl, serving

pytestmark = pytest.mark.named_set("reboots")
STATE, IMAGE, BOOTS = Path("/var/lib/akios"), Path("/var/lib/image"), Path("/var/lib/boots")
WORKSPACE = Path("/var/lib/workspace")
WRITES = "echo kept >kept; sync; while :; do date >>log; sleep 1; done"


@contextmanager
def state() -> Iterator[None]:
    if not IMAGE.exists():
        STATE.mkdir(exist_ok=True)
        WORKSPACE.mkdir(exist_ok=True)
        # Written, not sparse: at a power loss the root is to have nothing in hand.
        IMAGE.write_bytes(bytes(256 << 20))
        subprocess.run(["mkfs.ext4", "-q", "-F", IMAGE], check=True)
    subprocess.run(["mount", "-o", "loop", IMAGE, STATE], check=True)
    with serving():
        yield
    subprocess.run(["umount", STATE], check=True)


def start(*names: str) -> None:
    for name in names:
        words = ("run", "--detach", "--name", name, "--workspace", str(WORKSPACE), "--")
        ctl(*words, "sh", "-c", WRITES)
    listed = json.loads(ctl("ps", "--json"))  # with those whose changes wait
    running = {line["name"] for line in listed if line["state"] == "running"}
    assert running == set(names)
    for name in names:
        assert resources.wait_until(lambda n=name: "kept" in ctl("diff", n))  # type: ignore[misc]


def boot_again(command: list[str]) -> None:
    BOOTS.write_text(str(boots() + 1))
    os.sync()
    Path("/dev/ttyS0").write_text("AKIOS-AGAIN \n")
    subprocess.run(command, check=True)
    signal.pause()


def boots() -> int:
    return int(BOOTS.read_text()) if BOOTS.exists() else 0


def look_at(names: dict[str, str]) -> None:
    """Each of these ended, with its reason; changes wait, and no log lost what was acknowledged."""
    listed = {line["name"]: line for line in json.loads(ctl("ps", "--all", "--json"))}
    for name, reason in names.items():
        assert listed[name]["state"] != "running" and reason in listed[name]["reason"], listed
        assert "kept" in ctl("diff", name)
        records = ctl("events", "--json", "--cage", listed[name]["cage"]).splitlines()
        kinds = [json.loads(line)["kind"] for line in records]
        assert kinds.count("started") == kinds.count("end") == 1 and kinds[-1] == "end", kinds
    assert ctl("ledger", "verify", "--all").endswith(" 0 bad\n")
    assert not resources.caged_processes()
    words = ("run", "--discard", "--workspace", str(WORKSPACE), "--", "echo", "caged")
    assert ctl(*words) == "caged\n"


def test_cages_at_a_reboot_and_at_a_power_loss() -> None:
    with state():
        if boots() == 0:
            start("one", "two")
            boot_again(["systemctl", "reboot"])
        in_order = {"one": "akiosd stopped", "two": "akiosd stopped"}
        look_at(in_order)
        if boots() == 1:
            start("three", "four")
            boot_again(["sh", "-c", "echo b >/proc/sysrq-trigger"])
        look_at(in_order | {"three": "the host stopped", "four": "the host stopped"})
