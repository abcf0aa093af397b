"""What an administrator writes: the system policy reaches every run, and is read again on SIGHUP.

The client here is the real one, as an ordinary user, and once a hostile one of that user's.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import BIN, NOBODY, REPO, Daemon
from tests.e2e.models import Models
from tests.e2e.resources import wait_until
from tests.unit.describe_policy import readme_project

TIGHT = "version: 1\nlimits:\n  memory: 256M\nbudget:\n  usd: $10\n"
OFFLINE = "from tests.e2e.test_settings import deceive; deceive()"


@pytest.fixture(scope="module")
def own() -> Iterator[Daemon]:
    daemon = Daemon()
    try:
        yield daemon.start()
    finally:
        daemon.close()


def policy_of(daemon: Daemon) -> Path:
    return daemon.base / "policy.yaml"


def settings_read(daemon: Daemon) -> list[dict[str, Any]]:
    shown = daemon.ctl("ledger", "show", "--kind", "settings_read", "--json")
    return [json.loads(line) for line in shown.stdout.splitlines()]


def reload(daemon: Daemon) -> dict[str, Any]:
    """SIGHUP; the record that it left in the host's ledger."""
    assert daemon.process is not None
    before = len(settings_read(daemon))
    daemon.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: len(settings_read(daemon)) > before)
    return settings_read(daemon)[-1]


def test_a_default_install_runs_the_readmes_project(own: Daemon) -> None:
    """Without any system policy, as in a checkout; and where one is made that grants nothing, its
    line is named.
    """
    policy_of(own).unlink()
    assert "error" not in reload(own)
    project = own.workspace(uid=NOBODY)
    (project / "akios.yaml").write_text(readme_project())
    done = own.run("echo", "it runs", cwd=project, uid=NOBODY)
    assert (done.returncode, done.stdout) == (0, "it runs\n"), done.stderr
    policy_of(own).write_text("version: 1\nnetwork:\n  allowed_domains: [a.example]\n")
    reload(own)
    done = own.run("true", cwd=project, uid=NOBODY)
    assert done.returncode == 125
    assert f"asks for pypi.org and files.pythonhosted.org; {policy_of(own)}, line 3" in done.stderr
    assert "an administrator of this host may allow more by projects_may" in done.stderr


def test_the_client_merges_over_the_policy_that_akiosd_reads(own: Daemon) -> None:
    """``system_policy`` of akiosd.yaml is elsewhere than /etc/akios; the user cannot even read it."""
    policy_of(own).write_text(TIGHT)
    policy_of(own).chmod(0o600)
    reload(own)
    done = own.run("true", flags=["--budget", "$20"], uid=NOBODY)
    assert f"--budget $20 is above the $10 of {policy_of(own)}, line 5" in done.stderr
    shown = own.ctl("policy", "explain", "--json", uid=NOBODY, cwd=own.workspace(uid=NOBODY))
    memory = json.loads(shown.stdout)["limits.memory"]
    assert (memory["value"], memory["line"]) == (256 << 20, 3), shown.stderr


def deceive() -> None:
    """A client of the user's own making: for it there is no system policy."""
    from akiosctl import cli, client
    from akiosd.policy.schema import PartialPolicy
    from akiosd.policy.system import SystemPolicy, pack

    wide = pack(SystemPolicy("/mine", True, PartialPolicy({"budget.usd_micro": 10**9})))
    client.PlainClient.read_system = lambda self: wide  # type: ignore[method-assign]
    client.PlainClient.system_digest = lambda self: b"mine"  # type: ignore[method-assign]
    cli.main()


def test_a_client_that_leaves_the_system_policy_out_is_refused_by_akiosd(own: Daemon) -> None:
    def hostile(*flags: str) -> subprocess.CompletedProcess[str]:
        workspace = own.workspace(uid=NOBODY)
        words = [sys.executable, "-c", OFFLINE, "--socket", str(own.socket), "run", *flags]
        user = own.as_user(NOBODY)
        user["env"] |= {"PYTHONPATH": str(REPO)}
        return subprocess.run(
            [*words, "--workspace", str(workspace), "--", "true"],
            capture_output=True, text=True, timeout=90, cwd=workspace, **user,
        )  # fmt: skip

    # Control: the same request is served where the administrator gives as much; and what was
    # admitted once is looked at again when the policy is another.
    policy_of(own).write_text("version: 1\nbudget: {usd: $1000}\n")
    reload(own)
    assert hostile().returncode == 0
    policy_of(own).write_text(TIGHT)
    reload(own)
    refused = hostile()
    assert refused.returncode == 125
    assert refused.stderr.splitlines()[0] == (
        f"akiosctl: limits.memory 2 GiB is above the 256M of {policy_of(own)}, line 3; "
        f"budget.usd $1,000.00 is above the $10 of {policy_of(own)}, line 5"
    )
    refused = hostile("--memory", "256M", "--budget", "20")
    assert f"budget.usd $20.00 is above the $10 of {policy_of(own)}, line 5" in refused.stderr
    # Control: the same client is served within the bound, so it is refused for what it asks.
    assert hostile("--memory", "256M", "--budget", "10").returncode == 0


def test_files_are_read_again_and_what_is_new_is_in_the_ledger(own: Daemon) -> None:
    policy_of(own).write_text("version: 1\nlimits: {pids: 100}\n")
    told = reload(own)
    digest = hashlib.sha256(policy_of(own).read_bytes()).hexdigest()
    assert {"path": str(policy_of(own)), "sha256": digest} in told["files"]
    assert own.run("true", flags=["--pids", "101"]).returncode == 125
    policy_of(own).write_text("version: 1\nlimits: {pids: 200}\n")
    assert "limits.pids: 100 → 200" in reload(own)["changed"]
    assert own.run("true", flags=["--pids", "101"]).returncode == 0
    assert own.run("true", flags=["--pids", "201"]).returncode == 125


def test_a_file_that_is_not_understood_changes_nothing_and_that_is_said(own: Daemon) -> None:
    policy_of(own).write_text("version: 1\nlimits: {pids: 150}\n")
    reload(own)
    config = own.config.read_text()
    # Of the two files one is good: nothing is taken from either.
    policy_of(own).write_text("version: 1\nlimits: {pids: 160}\n")
    own.config.write_text(config + "quotas: {cages_total: many}\n")
    told = reload(own)
    line = config.count("\n") + 1
    assert f"{own.config}, line {line}" in told["error"] and "files" not in told
    assert "the old ones hold" in own.log.read_text().splitlines()[-1]
    assert own.run("true", flags=["--pids", "155"]).returncode == 125
    own.config.write_text(config + "pools: {userns: 3}\nquotas: {cages_per_user: 0}\n")
    told = reload(own)
    assert told["restart"] == ["pools"]
    assert "quotas.cages_per_user: 100 → 0" in told["changed"]
    assert own.run("true", flags=["--pids", "155"]).returncode == 0, "root has no such quota"
    refused = own.run("true", uid=NOBODY)
    assert refused.returncode == 125
    assert (
        f"you have 0 cages running, and quotas.cages_per_user of {own.config} is 0"
        in refused.stderr
    )
    own.config.write_text(config)
    reload(own)


@pytest.mark.parametrize("good", [True, False])
def test_check_says_everything_that_is_wrong_and_starts_nothing(own: Daemon, good: bool) -> None:
    place = own.base / f"checked-{good}"
    place.mkdir()
    config, policy = place / "akiosd.yaml", place / "policy.yaml"
    text = f"state_dir: {place}/state\nruntime_dir: {place}/run\nsystem_policy: {policy}\n"
    config.write_text(text + ("" if good else "quotas:\n  cages_total: many\nfoo: 1\n"))
    policy.write_text(TIGHT + ("" if good else "limit: {}\nredact:\n  models: perhaps\n"))
    done = subprocess.run(
        [BIN / "akiosd", "--check", "--config", config],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert not (place / "state").exists()
    if good:
        assert (done.returncode, done.stderr) == (0, "")
        told = done.stdout.splitlines()
        assert told[:4] == [
            f"{config}: OK",
            f"{policy}: OK",
            f"{place}/state: will be made",
            f"{place}/run: will be made",
        ]
        assert all(line.startswith("groups.") for line in told[4:])
        running = subprocess.run(
            [BIN / "akiosd", "--check", "--config", own.config],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (running.returncode, running.stderr) == (0, "")
        assert own.process is not None
        assert f"{own.state}: in use by akiosd, process {own.process.pid}" in running.stdout
        return
    assert done.returncode == 1
    found = [line for line in done.stderr.splitlines() if not line.startswith("  next: ")]
    assert [line.partition(": ")[0] for line in found] == [
        f"{config}, line 5",
        f"{config}, line 6",
        f"{policy}, line 6",
        f"{policy}, line 8",
    ]


AGENT = """
import http.client, json, os, sys
for line in sys.stdin:
    body = {"model": "priced-later", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    connection = http.client.HTTPSConnection("api.openai.com", timeout=60)
    key = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), key)
        print(connection.getresponse().status, flush=True)
    except OSError:
        print("its gateway is still being made", flush=True)
"""


def test_a_running_cage_gets_the_prices_of_now() -> None:
    with Models() as models:
        config = f'gateway:\n  providers: {{openai: {{upstream: "{models.url}"}}}}\n'
        daemon = Daemon(config)
        try:
            daemon.start()
            assert daemon.ctl("keys", "set", "openai", input="sk-stand-in\n").returncode == 0
            workspace = daemon.workspace()
            (workspace / "agent.py").write_text(AGENT)
            agent = daemon.popen(
                "run", "--discard", "--workspace", workspace, "--", "python3", "agent.py",
                cwd=workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert agent.stdin is not None and agent.stdout is not None

            def ask() -> str:
                print("go", file=agent.stdin, flush=True)
                return str(agent.stdout.readline().strip())  # type: ignore[union-attr]

            assert wait_until(lambda: ask().isdecimal())
            refused = ask()
            assert refused.isdecimal() and refused != "200", "without a price: the control"
            price = "  prices: {priced-later: {input: 1, output: 2}}\n"
            daemon.config.write_text(daemon.config.read_text() + price)
            told = reload(daemon)
            assert any("gateway.prices.priced-later" in line for line in told["changed"])
            assert wait_until(lambda: ask() == "200")
            agent.stdin.close()
            assert agent.wait(60) == 0
        finally:
            daemon.close()
