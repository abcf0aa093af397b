"""The story of a real cage: by the daemon and from a backup of its log, as a page, and its sums
beside the budget's.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.models import Models
from tests.e2e.standing import before_models

WHO = "ada.lovelace@example.org"
AGENT = f"""
import http.client, json, os, socket, sys
connection = http.client.HTTPSConnection("api.openai.com", timeout=60)
text = "write to {WHO} about it"
body = {{"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{{"role": "user", "content": text}}]}}
key = {{"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}}
connection.request("POST", "/v1/chat/completions", json.dumps(body), key)
assert connection.getresponse().read()
open("data/output/for-{WHO}", "w").write("x")
try:
    socket.create_connection(("evil.example", 443))
except OSError:
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def akios() -> Iterator[Daemon]:
    with Models() as models, before_models(models) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def project(akios: Daemon) -> Path:
    """With a standing cage in which a program asked a model, and was denied a name."""
    place = akios.workspace(uid=NOBODY)
    (place / "agent.py").write_text(AGENT)
    ctl(akios, place, "cage", "up", "work", "-q")
    ctl(akios, place, "run", "--cage", "work", "--", "python3", "agent.py", f"--to={WHO}", status=3)
    return place


def ctl(akios: Daemon, place: Path, *words: str, status: int = 0) -> str:
    done = akios.ctl(*words, uid=NOBODY, cwd=place)
    assert done.returncode == status, (done.stdout, done.stderr)
    text: str = done.stdout
    return text


def test_a_timeline_tells_the_same_from_a_backup_without_akiosd(
    akios: Daemon, project: Path
) -> None:
    asked = json.loads(ctl(akios, project, "timeline", "work", "--json"))
    ctl(akios, project, "ledger", "export", "work", "--format", "archive", "--out", "backup.tar")
    offline = [
        "--socket", "/nonexistent", "timeline", "--dir", "backup.tar", "--json",
    ]  # fmt: skip
    done = akios.ctl(*offline, uid=NOBODY, cwd=project)
    kept = json.loads(done.stdout)
    assert {**kept, "records": 0, "last_ns": 0} == {**asked, "records": 0, "last_ns": 0}
    (program,) = asked["programs"]
    assert program["exit_code"] == 3 and program["argv"][-1] == f"--to={WHO}"
    assert asked["counts"]["model"] == 1 and asked["counts"]["redacted"] == 1
    (denied,) = asked["denied"]
    assert [one["name"] for one in denied["subjects"]] == ["evil.example"]
    assert denied["count"] == asked["counts"]["denied"] >= 1
    (model,) = (row for row in asked["rows"] if row["lane"] == "model")
    spent = json.loads(ctl(akios, project, "budget", "work", "--json"))["usd_micro"]
    assert model["usd_micro"] == asked["usd_micro"] == spent > 0
    drawn = ctl(akios, project, "timeline", "work")
    assert "openai/gpt-4o-mini" in drawn and "evil.example" in drawn and "EMAIL → openai" in drawn


def test_a_report_has_the_verdict_and_the_policy_and_no_personal_value(
    akios: Daemon, project: Path
) -> None:
    said = ctl(akios, project, "report", "work", "--out", "report.html")
    assert "the log is OK" in said
    page = (project / "report.html").read_text()
    shown = ctl(akios, project, "ledger", "show", "work")
    assert WHO in shown, "the control: the log has it in the command and the file's name"
    assert WHO not in page and "--to=[EMAIL]" in page and "data/output/[EMAIL]" in page
    for word in ("evil.example", "openai/gpt-4o-mini", "seccomp", "limits.memory", ">OK<"):
        assert word in page, word


def test_a_report_on_a_log_that_was_changed_says_so(akios: Daemon, project: Path) -> None:
    ctl(akios, project, "ledger", "export", "work", "--format", "archive", "--out", "taken.tar")
    subprocess.run(["tar", "-xf", "taken.tar"], cwd=project, check=True)
    words = ("report", "--dir", "audit", "--out", "bad.html", "--json")
    good: dict[str, Any] = json.loads(akios.ctl(*words, cwd=project).stdout)
    assert good["verdict"] == "OK"
    for one in (project / "audit/tile/entries").rglob("*"):
        if one.is_file():
            one.write_bytes(one.read_bytes().replace(b"evil.example", b"good.example"))
    done = akios.ctl(*words, cwd=project)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "TAMPERED")
    page = (project / "bad.html").read_text()
    assert ">TAMPERED<" in page and "do not rely on this page" in page


def test_status_says_what_it_cost_and_what_was_denied_today(akios: Daemon, project: Path) -> None:
    found = json.loads(ctl(akios, project, "status", "--json"))
    (cage,) = found["cages"]
    assert (cage["name"], cage["state"], found["running"]) == ("work", "up", True)
    spent = json.loads(ctl(akios, project, "budget", "work", "--json"))
    today = found["today"]
    assert (today["usd_micro"], today["calls"]) == (spent["usd_micro"], spent["calls"])
    told = json.loads(ctl(akios, project, "timeline", "work", "--json"))
    assert today["denied"] == told["counts"]["denied"] > 0 and today["whole"]
    text = ctl(akios, project, "status")
    assert "akiosctl why work" in text and "akiosd" in text and os.fspath(project) in text
    gone = akios.ctl("--socket", "/nonexistent", "status")
    assert gone.returncode == 1 and "is not running" in gone.stdout and "next: " in gone.stdout
