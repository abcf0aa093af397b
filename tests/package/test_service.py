"""The service under a real systemd: restarts that clients do not see, a stop that stays one, the
watchdog, reloads, the journal, credentials, and what `systemd-analyze` says.

Runs in the guest only (`tests/vm/package`), which forgets everything afterwards, on the package that
it installs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akiosd.values.journal import MESSAGE_IDS
from tests.e2e.resources import wait_until
from tests.package.machine import DEBS, sh
from tests.unit.test_service import reasons

pytestmark = pytest.mark.skipif(not DEBS, reason="no package was handed in (tests/vm/package)")
DROP_INS = Path("/run/systemd/system/akiosd.service.d")
GATE = Path("/run/akios-gate")
CONFIG = Path("/etc/akios/akiosd.yaml")
VERSION = int(sh("systemctl", "--version").stdout.split()[1]) if DEBS else 0


def show(name: str, unit: str = "akiosd.service") -> str:
    return sh("systemctl", "show", "-P", name, unit).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def installed(package: None) -> None:
    """The package is there, from here on or from before."""


@pytest.fixture
def drop_in() -> Iterator[Callable[[str], None]]:
    """Adds lines to the service until the test ends."""

    def add(text: str) -> None:
        DROP_INS.mkdir(parents=True, exist_ok=True)
        (DROP_INS / "test.conf").write_text("[Service]\n" + text)
        sh("systemctl", "daemon-reload")

    yield add
    (DROP_INS / "test.conf").unlink(missing_ok=True)
    sh("systemctl", "daemon-reload")
    sh("systemctl", "restart", "akiosd")


@pytest.fixture
def config() -> Iterator[Callable[[str], None]]:
    """Writes akiosd.yaml; the one that was there is back when the test ends."""
    before = CONFIG.read_text()
    yield lambda text: CONFIG.write_text(text) and None
    CONFIG.write_text(before)


def ps() -> subprocess.Popen[str]:
    words = ("runuser", "-u", "dev", "--", "akiosctl", "ps")
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd="/home/dev/work", stdout=pipe, stderr=pipe, text=True)


def test_systemd_has_nothing_to_say_of_the_units() -> None:
    for unit in ("akiosd.service", "akiosd.socket", "akios.slice"):
        # The guest's packages come without their manuals.
        done = sh("systemd-analyze", "verify", "--man=no", unit, ok=False)
        assert (done.returncode, "akios" in done.stderr) == (0, False), done.stderr
    assert "/akios.slice/" in Path(f"/proc/{show('MainPID')}/cgroup").read_text()


def test_who_connects_during_a_restart_waits(drop_in: Callable[[str], None]) -> None:
    os.mkfifo(GATE)
    drop_in(f"ExecStartPre=/bin/sh -c 'read line < {GATE}'\n")
    before = Path("/run/akios/control.sock").stat().st_ino
    sh("systemctl", "restart", "--no-block", "akiosd")
    assert wait_until(lambda: show("SubState") == "start-pre")
    with ps() as client:
        assert client.stderr is not None
        assert "does not answer yet" in client.stderr.readline()
        assert show("SubState") == "start-pre"
        GATE.write_text("go\n")
        out, _ = client.communicate()
    assert client.returncode == 0 and "CAGE" in out
    assert Path("/run/akios/control.sock").stat().st_ino == before, "the very same socket"
    GATE.unlink()


def test_a_crash_is_waited_for_too() -> None:
    first = show("MainPID")
    os.kill(int(first), signal.SIGKILL)
    assert sh("akiosctl", "ps", user="dev").returncode == 0
    assert show("MainPID") != first and show("Result") == "success"


def test_nobody_starts_again_what_was_stopped() -> None:
    sh("systemctl", "stop", "akiosd")
    assert wait_until(lambda: show("ActiveState", "akiosd.socket") == "inactive")
    refused = sh("akiosctl", "ps", user="dev", ok=False)
    assert refused.returncode == 125 and "akiosd is not running" in refused.stderr
    assert show("ActiveState") == "inactive"
    # The control: with the socket there, the same command starts it.
    sh("systemctl", "start", "akiosd.socket")
    sh("systemctl", "start", "akiosd")
    assert sh("akiosctl", "ps", user="dev").returncode == 0


def test_a_stop_with_a_client_in_the_queue_is_a_stop() -> None:
    pid = int(show("MainPID"))
    os.kill(pid, signal.SIGSTOP)
    with ps() as client:
        assert client.stderr is not None and "does not answer yet" in client.stderr.readline()
        stopping = threading.Thread(target=sh, args=("systemctl", "stop", "akiosd"))
        stopping.start()
        assert wait_until(lambda: "stop" in sh("systemctl", "list-jobs").stdout)
        os.kill(pid, signal.SIGCONT)
        stopping.join()
        client.communicate()
    assert wait_until(lambda: show("ActiveState", "akiosd.socket") == "inactive")
    assert show("ActiveState") == "inactive"
    sh("systemctl", "start", "akiosd")


def test_many_restarts_in_a_row_leave_it_serving() -> None:
    for _ in range(8):
        sh("systemctl", "restart", "--no-block", "akiosd")
    with ps() as client:
        _, said = client.communicate()
    assert client.returncode == 0 or "closed the connection" in said, said
    assert sh("akiosctl", "run", "--", "echo", "here", user="dev").stdout == "here\n"


def test_the_watchdog_ends_a_daemon_that_hangs_and_no_other(
    drop_in: Callable[[str], None],
) -> None:
    # Less is too little for a start on a guest whose host is at other work.
    drop_in("WatchdogSec=20\n")
    sh("systemctl", "restart", "akiosd")
    pid, restarts = int(show("MainPID")), int(show("NRestarts"))
    last = show("WatchdogTimestampMonotonic")
    for _ in range(3):  # the control: it answers, again and again, and lives
        assert wait_until(lambda seen=last: show("WatchdogTimestampMonotonic") != seen)  # type: ignore[misc]
        last = show("WatchdogTimestampMonotonic")
    assert int(show("MainPID")) == pid
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: int(show("NRestarts")) > restarts)
    assert sh("akiosctl", "run", "--", "echo", "back", user="dev").stdout == "back\n"


def test_two_capabilities_that_are_missed_by_what_does_not_fail(
    drop_in: Callable[[str], None],
) -> None:
    """Each start works without them, so it is here that they are seen to be needed (akiosd(8))."""
    shielded = "echo -500 >/proc/self/oom_score_adj 2>/dev/null; cat /proc/self/oom_score_adj"
    agent = ("akiosctl", "run", "--discard", "--", "sh", "-c", shielded)
    assert sh(*agent, user="dev").stdout == "0\n"
    assert os.getpriority(os.PRIO_PROCESS, int(show("MainPID"))) == -10
    drop_in("CapabilityBoundingSet=~CAP_SYS_RESOURCE CAP_SYS_NICE\n")  # the control
    sh("systemctl", "restart", "akiosd")
    assert sh(*agent, user="dev").stdout == "-500\n"
    assert os.getpriority(os.PRIO_PROCESS, int(show("MainPID"))) == 0


def test_a_reload_takes_what_is_right_and_says_what_is_not(
    config: Callable[[str], None],
) -> None:
    if VERSION >= 254:
        assert show("Type") == "notify-reload"
    config("quotas: {cages_total: 7}\n")
    sh("systemctl", "reload", "akiosd")
    assert wait_until(lambda: "quotas.cages_total" in read_journal("settings were read again"))
    config("quotas: {cages_totla: 7}\n")
    assert sh("systemctl", "reload", "akiosd", ok=False).returncode != 0
    assert show("ActiveState") == "active"
    journal = sh("journalctl", "-u", "akiosd", "-o", "cat", "--no-pager").stdout
    assert "cages_totla" in journal, "akiosd --check says where"
    if VERSION >= 254:  # there systemd sends SIGHUP beside the check, and akiosd refuses as well
        assert wait_until(lambda: "is not taken" in show("StatusText"))
    config("{}\n")
    sh("systemctl", "reload", "akiosd")
    assert wait_until(lambda: re.fullmatch(r"\w+ cages? runs?", show("StatusText")) is not None)


def read_journal(text: str) -> str:
    """The last entry with that text, as JSON."""
    entries = sh("journalctl", "-u", "akiosd", "-o", "json", "--no-pager").stdout.splitlines()
    return next((line for line in reversed(entries) if text in line), "")


def test_the_journal_has_fields_and_the_catalog_has_words() -> None:
    ready = json.loads(read_journal(MESSAGE_IDS["ready"]))
    assert ready["AKIOS_CONTROL"] == "/run/akios/control.sock"
    assert ready["PRIORITY"] == "6" and ready["_SYSTEMD_UNIT"] == "akiosd.service"
    assert (
        int(ready["AKIOS_CAGES"]) >= 0
        and ready["AKIOS_VERSION"] in sh("akiosd", "--version").stdout
    )
    assert ready["MESSAGE"].startswith("ready (") and "\n" not in ready["MESSAGE"]
    words = ("journalctl", "-x", "-u", "akiosd", f"MESSAGE_ID={MESSAGE_IDS['ready']}")
    assert "What to do: Nothing." in sh(*words, "--no-pager").stdout
    known = sh("journalctl", "--list-catalog").stdout
    assert {one for one in MESSAGE_IDS.values() if one not in known} == set()


def test_a_start_that_fails_says_why_in_one_message(config: Callable[[str], None]) -> None:
    config("quotas: 3\n")
    sh("systemctl", "restart", "--no-block", "akiosd")
    failed = MESSAGE_IDS["akiosd cannot start or go on"]
    assert wait_until(lambda: bool(read_journal(failed)))
    entry = json.loads(read_journal(failed))
    assert entry["PRIORITY"] == "2" and entry["AKIOS_WHERE"].startswith(str(CONFIG))
    config("{}\n")  # it is tried again, and nobody has to say so
    assert sh("akiosctl", "ps", user="dev").returncode == 0


def test_an_encrypted_credential_is_a_key(
    config: Callable[[str], None], drop_in: Callable[[str], None]
) -> None:
    secret = "sk-proj-0123456789abcdef"
    made = subprocess.run(
        ["systemd-creds", "encrypt", "--with-key=host", "--name=work-key", "-", "-"],
        input=secret.encode(), capture_output=True, check=True,
    )  # fmt: skip
    store = Path("/etc/credstore.encrypted")
    was_there = store.is_dir()  # systemd 252 brings none
    store.mkdir(mode=0o700, exist_ok=True)
    (store / "work-key").write_bytes(made.stdout)
    assert secret.encode() not in made.stdout
    config("gateway: {providers: {openai: {credential: work-key}}}\n")
    sh("systemctl", "restart", "akiosd")
    without = sh("akiosctl", "keys", "list").stdout
    assert "there is none" in without, without
    drop_in("LoadCredentialEncrypted=work-key:/etc/credstore.encrypted/work-key\n")
    sh("systemctl", "restart", "akiosd")
    listed = sh("akiosctl", "keys", "list").stdout
    assert re.search(r"openai +credential +[0-9a-f]{12}", listed), listed
    (store / "work-key").unlink()
    if not was_there:
        store.rmdir()


def complaints() -> set[str]:
    """The settings that `systemd-analyze security` finds wanting."""
    text = sh("systemd-analyze", "security", "--no-pager", "akiosd.service").stdout
    return {line.split()[1] for line in text.splitlines() if line.startswith("✗")}


def test_each_complaint_about_the_unit_has_its_reason_in_the_manual() -> None:
    found = complaints()
    out = os.environ.get("VM_OUT")
    if out:
        Path(out, "security").write_text("\n".join(sorted(found)))
    assert found - reasons() == set()
