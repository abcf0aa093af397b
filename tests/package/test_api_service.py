"""akios-api.service under a real systemd: who may ask it what, that it outlives restarts of akiosd and
upgrades, and what of it stays.

The named set `package`, in the guest (`tests/vm/package --all`).
"""

from __future__ import annotations

import gzip
import json
import pwd
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.resources import wait_until
from tests.package.machine import DEBS, cage, install, leftovers, run, sh
from tests.unit.test_service import EXPOSED

[DEB] = [path for name, path in DEBS.items() if name.startswith("akios-api_")] or [None]
pytestmark = [
    pytest.mark.named_set("package"),
    pytest.mark.skipif(DEB is None, reason="akios alone was handed in (tests/vm/package)"),
]
BASE = "/api/v1"
URL = "http://127.0.0.1:8470"
UNIT = "akios-api.service"
TOKENS = Path("/var/lib/akios-api/tokens.json")


@pytest.fixture(scope="module", autouse=True)
def installed(package: None) -> Iterator[None]:
    """Both packages of this build, and a cage of dev's that runs."""
    assert DEB is not None
    sh("apt-get", "install", "-y", "--allow-downgrades", str(DEBS["akios"]), str(DEB))
    run("--detach", "--name", "watched", "--", "sleep", "3600")
    yield
    sh("akiosctl", "stop", "watched", user="dev")
    sh("dpkg", "--purge", "akios-api", ok=False)


def show(name: str) -> str:
    return sh("systemctl", "show", "-P", name, UNIT).stdout.strip()


def ask(path: str, token: str = "", body: object = None) -> tuple[int, bytes]:
    """Status and body of what the service answers."""
    asked = urllib.request.Request(
        URL + path, data=None if body is None else json.dumps(body).encode()
    )
    asked.add_header("Content-Type", "application/json")
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def told(path: str, token: str, body: object = None) -> Any:
    status, answer = ask(BASE + path, token, body)
    assert status in (200, 202), answer
    return json.loads(answer)


def is_served() -> bool:
    try:
        return ask(f"{BASE}/health")[0] == 200
    except OSError:
        return False


def new_token(*scopes: str) -> str:
    """As the manual of serve has it made."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    mine = ("sudo", "-u", "akios-api", "akiosctl", "token", "create", "--tokens", str(TOKENS))
    return sh(*mine, *words).stdout.strip()


@pytest.fixture(scope="module")
def reads() -> str:
    return new_token("read")


def test_it_is_installed_and_waits_to_be_asked_for() -> None:
    assert sh("systemctl", "is-enabled", UNIT, ok=False).stdout == "disabled\n"
    assert show("ActiveState") == "inactive" and not is_served()
    groups = sh("id", "-Gn", "akios-api").stdout.split()
    assert sorted(groups) == ["akios", "akios-api", "akios-monitor"]
    assert pwd.getpwnam("akios-api").pw_shell.endswith("nologin")
    done = sh("systemd-analyze", "verify", "--man=no", UNIT, ok=False)
    assert (done.returncode, "akios" in done.stderr) == (0, False), done.stderr


def test_manual_and_completion_know_it() -> None:
    """They are in akios, which both verbs are of."""
    manual = gzip.decompress(Path("/usr/share/man/man1/akiosctl.1.gz").read_bytes()).decode()
    assert ".SS serve\n" in manual and "akios\\-api.service" in manual
    for name in (
        "bash-completion/completions/akiosctl",
        "zsh/vendor-completions/_akiosctl",
        "fish/vendor_completions.d/akiosctl.fish",
    ):
        assert "serve" in Path("/usr/share", name).read_text(), name
    completes = (
        "source /usr/share/bash-completion/completions/akiosctl; COMP_WORDS=(akiosctl serv);"
        "COMP_CWORD=1; f=$(complete -p akiosctl | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f akiosctl serv akiosctl;"
        'echo "${COMPREPLY[@]}"'
    )
    assert sh("bash", "-c", completes).stdout.strip() == "serve"


def test_systemctl_start_serves_whoever_has_a_token() -> None:
    sh("systemctl", "start", UNIT)
    assert wait_until(is_served, 120), sh("journalctl", "-u", UNIT, "--no-pager").stdout
    assert show("ActiveState") == "active"
    assert Path(f"/proc/{show('MainPID')}").stat().st_uid == pwd.getpwnam("akios-api").pw_uid
    status, answer = ask(f"{BASE}/cages")  # the control: without one
    assert status == 401 and json.loads(answer)["next"], answer
    assert ask(f"{BASE}/cages", "akt_0000000000000000000000000000000000000000000")[0] == 401


def test_a_monitors_token_reads_what_everybody_runs_and_ends_nothing(reads: str) -> None:
    watched = cage("watched")["cage"]
    assert watched in [one["cage"] for one in told("/cages", reads)["cages"]]
    assert told(f"/cages/{watched}", reads)["name"] == "watched"
    assert ask(f"{BASE}/cages/{watched}/stop", reads, {})[0] == 403
    status, answer = ask(f"{BASE}/cages/{watched}/stop", new_token("stop"), {})
    assert status == 403 and json.loads(answer)["rule"] == "cage.owner", answer
    assert cage("watched")["state"] == "running"


def test_its_page_is_there() -> None:
    status, page = ask("/")
    assert status == 200 and b"<html" in page and b"AKIOS" in page


def test_it_runs_cages_of_its_own() -> None:
    """By the rights that the unit leaves it."""
    token = new_token("read", "run", "output")
    script = {"path": "agent.sh", "text": "cat; id -u; exit 3\n"}
    begun = told("/cages", token, {"argv": ["sh", "agent.sh"], "files": [script], "stdin": "in\n"})
    while not (ended := told(f"/cages/{begun['cage']}?wait=20", token))["ended_ns"]:
        pass
    assert ended["exit_code"] == 3, ended
    assert ask(f"{BASE}/cages/{begun['cage']}/output", token) == (200, b"in\n1000\n")


def test_a_restart_of_akiosd_is_waited_for(reads: str) -> None:
    pid, watched = show("MainPID"), cage("watched")["cage"]
    sh("systemctl", "restart", "--no-block", "akiosd")
    assert told(f"/cages/{watched}", reads)["state"] == "running"
    assert wait_until(lambda: sh("systemctl", "is-active", "akiosd", ok=False).returncode == 0, 120)
    assert told(f"/cages/{watched}", reads)["state"] == "running"
    assert show("MainPID") == pid and show("NRestarts") == "0"
    sh("systemctl", "stop", "akiosd")
    status, answer = ask(f"{BASE}/cages", reads)  # the control: nobody answers
    assert status == 503 and "akiosd is not running" in answer.decode(), answer
    assert is_served() and show("MainPID") == pid
    sh("systemctl", "start", "akiosd")
    run("--detach", "--name", "watched", "--", "sleep", "3600")
    assert cage("watched")["cage"] in [one["cage"] for one in told("/cages", reads)["cages"]]


def test_what_systemd_finds_wanting_has_its_reason() -> None:
    text = sh("systemd-analyze", "security", "--no-pager", UNIT).stdout
    found = {line.split()[1] for line in text.splitlines() if line.startswith("✗")}
    assert found - EXPOSED == set()
    assert "OK" in text.splitlines()[-1], text.splitlines()[-1]


def test_a_crash_is_mended_and_an_upgrade_restarts_it(reads: str) -> None:
    first = show("MainPID")
    sh("systemctl", "kill", "--signal", "KILL", UNIT)
    assert wait_until(lambda: show("MainPID") not in ("0", first) and is_served(), 120)
    second = show("MainPID")
    sh("apt-get", "install", "-y", "--reinstall", str(DEB))
    assert wait_until(lambda: show("MainPID") not in ("0", second) and is_served(), 120)
    assert told("/cages", reads)["cages"]  # with the token from before
    assert sh("systemctl", "is-enabled", UNIT, ok=False).stdout == "disabled\n"


def test_a_stop_is_one_and_an_upgrade_leaves_it(reads: str) -> None:
    sh("systemctl", "stop", UNIT)
    assert (show("ActiveState"), show("Result")) == ("inactive", "success") and not is_served()
    sh("apt-get", "install", "-y", "--reinstall", str(DEB))
    assert show("ActiveState") == "inactive"
    said = sh("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout
    assert "Traceback" not in said and reads not in said, said


def test_removal_keeps_tokens_and_purging_leaves_its_user_alone() -> None:
    sh("systemctl", "enable", "--now", UNIT)
    assert wait_until(is_served, 120)
    served = show("MainPID")
    sh("apt-get", "remove", "-y", "akios-api")
    assert not Path("/proc", served).exists() and not is_served()
    assert TOKENS.is_file() and sh("systemctl", "is-active", "akiosd").stdout == "active\n"
    install(DEB)  # type: ignore[arg-type]
    assert sh("systemctl", "is-enabled", UNIT, ok=False).stdout == "enabled\n"
    assert wait_until(is_served, 120) == (show("ActiveState") == "active")
    sh("apt-get", "purge", "-y", "akios-api")
    left = leftovers()
    named = {name for names in left.values() for name in names if "akios-api" in name}
    assert named == {"akios-api"} & left["accounts"] == {"akios-api"}, named
    assert cage("watched")["state"] == "running"
