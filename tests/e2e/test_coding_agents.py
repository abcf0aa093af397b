"""Claude Code and Codex, as npm installs them, in cages of the real daemon, before stand-in models
on loopback.

They come from the package registry in their newest versions, once for a machine: a temporary
directory keeps them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.models import Models, Plan

PACKAGES = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}
MAIL = "ada@example.org"
ASKED = f"Say hello to {MAIL}"
KEY = "real-key"
RUN: dict[str, list[str]] = {
    "claude": ["-p", "--allowedTools", "Bash", "--model", "claude-sonnet-4-5"],
    # What holds an agent is the cage; a sandbox in it cannot make its own namespaces.
    "codex": [
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        "-m",
        "gpt-5.4",
    ],
}
PROVIDER = {"claude": "anthropic", "codex": "openai"}
PATHS = {"claude": "/v1/messages", "codex": "/v1/responses"}
COMMAND = f"echo to {MAIL} > letter.txt; cat letter.txt"
PLANS: dict[str, Plan] = {
    "claude": ("Bash", {"command": COMMAND, "description": "write a letter"}),
    "codex": ("exec_command", {"cmd": COMMAND}),
}
agents = pytest.mark.parametrize("agent", PACKAGES)


@pytest.fixture(scope="session")
def packages() -> Path:
    """A prefix of npm's with both."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    home = Path(tempfile.gettempdir()) / f"akios-test-agents-{os.getuid()}"
    home.mkdir(mode=0o755, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            words = [
                npm,
                "install",
                "-g",
                "--prefix",
                home,
                "--foreground-scripts",
                *PACKAGES.values(),
            ]
            # npm that asks before it runs a package's script is told that Claude Code may unpack
            # itself.
            words.append(f"--allow-scripts={PACKAGES['claude']}")
            done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                pytest.skip(
                    f"the package registry is not reachable: {done.stderr.strip().splitlines()[-1:]}"
                )
            (home / "done").touch()
    return home


@pytest.fixture(scope="module")
def server() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture
def models(server: Models) -> Iterator[Models]:
    server.received.clear()
    server.plan = ("none", {})
    yield server
    server.plan = server.fail = None
    server.turns = 1
    server.failures.clear()


@pytest.fixture(scope="module")
def caged(server: Models) -> Iterator[Daemon]:
    upstreams = "".join(f"    {name}: {{upstream: '{server.url}'}}\n" for name in PROVIDER.values())
    daemon = Daemon(f"gateway:\n  providers:\n{upstreams}", "projects_may: {loops: 50}\n")
    try:
        daemon.start()
        for name in PROVIDER.values():
            done = daemon.ctl("keys", "set", name, input=f"{KEY}-of-{name}\n")
            assert done.returncode == 0, done.stderr
        yield daemon
    finally:
        daemon.close()


class Ran:
    def __init__(
        self, caged: Daemon, done: subprocess.CompletedProcess[str], models: Models
    ) -> None:
        self.out, self.err = done.stdout, done.stderr
        self.report: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])
        self.records = caged.events(self.report["cage"])
        self.sent = [received for received in models.received if received.method == "POST"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["kind"] == kind]

    def denied(self, rule: str) -> list[dict[str, Any]]:
        return [record for record in self.of("net_denied") if record["rule"] == rule]


def answered(ran: Ran) -> bool:
    """Both put words of their own around the user's."""
    return ran.out.startswith("You said: ") and ASKED in ran.out


def run(
    caged: Daemon, models: Models, packages: Path, agent: str, *flags: str, said: str = ASKED
) -> Ran:
    words = [*RUN[agent], said] if agent == "codex" else [RUN[agent][0], said, *RUN[agent][1:]]
    flags = ("--json", "--timeout", "80s", *flags)
    done = caged.run(packages / "bin" / agent, *words, flags=flags, timeout=120)
    return Ran(caged, done, models)


@agents
def test_it_asks_and_is_answered(caged: Daemon, models: Models, packages: Path, agent: str) -> None:
    """No login, no proxy settings: the key it is given is a placeholder, and the vendor's address
    is what it uses.
    """
    ran = run(caged, models, packages, agent)
    assert ran.report["exit_code"] == 0 and answered(ran), ran.out + ran.err
    assert ran.sent and all(received.target.startswith(PATHS[agent]) for received in ran.sent)
    for received in ran.sent:
        assert MAIL.encode() not in received.everything()
        assert any(f"{KEY}-of-{PROVIDER[agent]}" in value for _, value in received.headers)
    paid = ran.of("llm_call")
    assert len(paid) == len(ran.sent) and all(record["outcome"] == "completed" for record in paid)
    assert ran.report["usage"]["usd_micro"] == sum(record["usd_micro"] for record in paid) > 0
    assert not ran.of("gateway_failed") and not ran.of("spend_warning")


@agents
def test_it_works_with_tools(caged: Daemon, models: Models, packages: Path, agent: str) -> None:
    """The command that the model asks for names the person as the agent does; its result goes back
    without her.
    """
    models.plan = PLANS[agent]
    # The model has seen a stand-in only: it can but call with what it saw.
    seen = run(caged, models, packages, agent)
    assert seen.report["exit_code"] == 0, seen.out + seen.err
    results = [
        received.body
        for received in seen.sent
        if b"letter.txt" in received.body and b"to " in received.body
    ]
    assert results and all(MAIL.encode() not in received.everything() for received in seen.sent)
    shown = caged.ctl("diff", "-p", seen.report["cage"])
    assert f"+to {MAIL}" in shown.stdout, shown.stdout + shown.stderr
    caged.ctl("discard", seen.report["cage"])


def test_codex_falls_back_from_websockets_at_once(
    caged: Daemon, models: Models, packages: Path
) -> None:
    """One 426 and no second attempt.  It tries five times more before a server that does not say
    so.
    """
    ran = run(caged, models, packages, "codex")
    assert ran.report["exit_code"] == 0 and answered(ran)
    attempts = [record for record in ran.denied("http") if record["method"] == "GET"]
    assert [record.get("count", 1) for record in attempts] == [1], attempts
    assert "Reconnecting" not in ran.err


def test_codex_in_its_default_mode_is_told_the_flag_before_anything_fails(
    caged: Daemon, models: Models, packages: Path
) -> None:
    """The line comes first, the failure of its own fence after it; with the flag there is
    neither.
    """
    models.plan = PLANS["codex"]
    plain = ("exec", "--skip-git-repo-check", "-m", "gpt-5.4", ASKED)
    flags = ("--discard", "--timeout", "80s")
    done = caged.run(packages / "bin" / "codex", *plain, flags=flags, timeout=120)
    first = done.stderr.splitlines()[0]
    assert first.startswith("akios: codex fences its commands with bubblewrap"), done.stderr
    assert "bwrap: " in done.stderr and "bwrap: " not in first
    flag = first.partition(": add ")[2].split()
    assert flag == ["--sandbox", "danger-full-access"]
    done = caged.run(packages / "bin" / "codex", *flag, *plain, flags=flags, timeout=120)
    assert "bubblewrap" not in done.stderr and "bwrap" not in done.stderr, done.stderr
    assert "succeeded" in done.stderr and "akios: files changed" not in done.stderr


@agents
@pytest.mark.parametrize("why", ["budget", "price"])
def test_a_refusal_is_not_tried_again(
    caged: Daemon, models: Models, packages: Path, agent: str, why: str
) -> None:
    flags = ["--budget", "0.000001"] if why == "budget" else []
    before = RUN[agent]
    if why == "price":
        RUN[agent] = [*before[:-1], "no-such-model"]
    try:
        ran = run(caged, models, packages, agent, *flags)
    finally:
        RUN[agent] = before
    rule = "budget.usd" if why == "budget" else "prices"
    assert ran.report["exit_code"] != 0 and ran.report["kind"] == "exited", ran.report
    # Claude Code has a small model make a title at the same time: each is asked once.
    asked = [record["model"] for record in ran.of("spend_warning")]
    assert len(asked) == len(set(asked)) >= 1 and {
        record["rule"] for record in ran.of("spend_warning")
    } == {rule}
    assert sum(record.get("count", 1) for record in ran.denied(rule)) == len(asked), ran.denied(
        rule
    )
    assert not [received for received in ran.sent if b"no-such-model" in received.body]
    assert ("needs room for" if why == "budget" else "price is not known") in ran.out + ran.err


@agents
def test_what_failed_is_tried_again_and_is_no_loop(
    caged: Daemon, models: Models, packages: Path, agent: str
) -> None:
    """More failures than the number of equal requests that is a loop, then an answer."""
    overloaded = json.dumps(
        {"type": "error", "error": {"type": "overloaded_error", "message": "later"}}
    ).encode()
    models.failures = [(503, {"retry-after": "0"}, overloaded)] * 4
    flags = ["--json", "--timeout", "80s"]
    policy = caged.workspace()
    (policy / "akios.yaml").write_text("version: 1\nbudget: {same_request: 2}\n")
    words = [*RUN[agent], ASKED] if agent == "codex" else [RUN[agent][0], ASKED, *RUN[agent][1:]]
    ran = Ran(
        caged,
        caged.run(packages / "bin" / agent, *words, flags=flags, cwd=policy, timeout=120),
        models,
    )
    assert ran.report["exit_code"] == 0 and answered(ran), ran.out + ran.err
    outcomes = [record["outcome"] for record in ran.of("llm_call")]
    assert outcomes.count("failed") == 4 and outcomes[-1] == "completed", outcomes
    assert not ran.of("spend_warning")
    assert all(
        record["usd_micro"] == 0 for record in ran.of("llm_call") if record["outcome"] == "failed"
    )


# ---- loops ---------------------------------------------------------------------------------------


def repeated(agent: str, command: str) -> Plan:
    if agent == "codex":
        return "exec_command", {"cmd": command}
    return "Bash", {"command": command, "description": "look again"}


@agents
def test_polling_what_changes_is_no_loop(
    caged: Daemon, models: Models, packages: Path, agent: str
) -> None:
    """The same command a dozen times, as of a build, and each time it tells a little more."""
    models.plan, models.turns = repeated(agent, "echo . >> built; wc -l built; date"), 12
    ran = run(caged, models, packages, agent)
    assert ran.report["exit_code"] == 0, ran.out + ran.err
    assert sum(b"built" in received.body for received in ran.sent) >= 12
    assert not ran.of("spend_warning")
    caged.ctl("discard", ran.report["cage"])


@agents
def test_the_same_result_again_and_again_is_a_loop(
    caged: Daemon, models: Models, packages: Path, agent: str
) -> None:
    """Only the clock in it goes on.  The control is the poll above."""
    models.plan, models.turns = repeated(agent, "cat missing; date"), 60
    ran = run(caged, models, packages, agent)
    assert ran.report["exit_code"] != 0
    assert {record["rule"] for record in ran.of("spend_warning")} == {"budget.same_tool_calls"}
    # A result that codex tells in other pieces, which it does now and then, begins the count anew.
    assert sum(b"missing" in received.body for received in ran.sent) <= 20 < models.turns
    assert "budget.same_tool_calls is 8; akios.yaml may raise it" in ran.out + ran.err
