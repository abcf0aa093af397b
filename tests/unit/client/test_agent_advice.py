"""What is said at the start of a known agent's run, and that nothing is said otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from akiosctl.agent_advice import find_agent, start_lines
from akiosctl.known_agents import AGENTS
from akiosd.values.policy import DEFAULT_POLICY, Policy

BYPASS = "--dangerously-bypass-approvals-and-sandbox"


def lines(
    words: list[str],
    workspace: Path = Path("/nowhere"),
    env: Mapping[str, str] = MappingProxyType({}),
    policy: Policy = DEFAULT_POLICY,
    shown: tuple[str, ...] = (),
    home: Path = Path("/nowhere/home"),
) -> list[str]:
    request = {
        "policy": msgspec.msgpack.encode(policy),
        "argv": [word.encode() for word in words],
        "command": words[0].encode(),
        "env": {name.encode(): text.encode() for name, text in env.items()},
        "workspace": str(workspace).encode(),
        "home": str(home).encode(),
    }
    return start_lines(request, shown)


@pytest.mark.parametrize(
    "command",
    [
        "codex",
        "codex exec fix",
        "/home/me/.local/bin/codex -m gpt-5 exec fix",
        "npx -y @openai/codex@0.171.0 exec fix",
        "npx @openai/codex",
        "pnpm dlx @openai/codex exec",
        "env RUST_LOG=debug timeout 60 codex exec",
        "/usr/bin/node /x/lib/node_modules/@openai/codex/bin/codex.js exec",
        "codex -s workspace-write exec",
        "codex --sandbox=read-only exec",
        "codex -c model=x exec",
        f"codex exec -- {BYPASS}",
    ],
)
def test_codex_is_told_the_flag(command: str) -> None:
    [line] = lines(command.split())
    assert line.startswith("codex fences its commands with bubblewrap")
    assert line.endswith("add --sandbox danger-full-access")


@pytest.mark.parametrize(
    "command",
    [
        f"codex {BYPASS}",
        "codex exec --yolo fix",
        "codex exec -s danger-full-access fix",
        "codex exec -sdanger-full-access fix",
        "codex --sandbox danger-full-access",
        "codex --sandbox=danger-full-access",
        'codex -c sandbox_mode="danger-full-access"',
        "codex --config sandbox_mode='danger-full-access'",
        f"npx -y @openai/codex {BYPASS}",
        "codex login",
        "codex --version",
        "git commit -m codex",
        "python codex.py",
        "./codex.sh",
        "grep codex file",
        "true",
    ],
)
def test_nothing_is_said_where_the_flag_is_given_or_nothing_needs_it(command: str) -> None:
    assert lines(command.split()) == []


def test_the_words_of_a_shell_are_looked_at() -> None:
    assert len(lines(["bash", "-lc", "cd app && codex exec fix; echo done"])) == 1
    assert lines(["bash", "-lc", f"cd app && codex {BYPASS} exec fix"]) == []
    assert lines(["sh", "-c", "echo codex"]) == []


def test_a_name_of_the_users_own_is_seen_through(tmp_path: Path) -> None:
    program = tmp_path / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
    program.parent.mkdir(parents=True)
    program.touch()
    (tmp_path / "helper").symlink_to(program)
    assert len(lines([str(tmp_path / "helper"), "exec"])) == 1


def test_the_users_own_setting_counts_where_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text('sandbox_mode = "danger-full-access"\n')
    assert len(lines(["codex"], home=tmp_path)) == 1, "the cage has a home of its own"
    assert lines(["codex"], home=tmp_path, shown=(f"{tmp_path}/.codex",)) == []


def test_a_sandbox_that_the_project_asks_for(tmp_path: Path) -> None:
    assert lines(["claude", "-p", "hi"], tmp_path) == []
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text('{"sandbox": {"enabled": true}}')
    [line] = lines(["claude", "-p", "hi"], tmp_path)
    cure = """--settings '{"sandbox":{"enabled":false}}'"""
    assert line.endswith(f"add {cure}")
    assert lines(["claude", "--settings", '{"sandbox":{"enabled":false}}'], tmp_path) == []


def test_a_container_that_is_asked_for() -> None:
    assert lines(["gemini"]) == []
    assert len(lines(["gemini", "-s"])) == len(lines(["gemini", "--sandbox"])) == 1
    assert len(lines(["gemini"], env={"GEMINI_SANDBOX": "docker"})) == 1
    assert lines(["gemini", "--sandbox=false"], env={"GEMINI_SANDBOX": "false"}) == []


def test_a_service_that_the_policy_does_not_name() -> None:
    [line] = lines(["amp", "-x", "hi"])
    assert "allowed_domains: [ampcode.com, *.ampcode.com]" in line
    assert "--keep-env AMP_API_KEY" in line
    named = msgspec.structs.replace(
        DEFAULT_POLICY.network, allowed_domains=("ampcode.com", "*.ampcode.com")
    )
    policy = msgspec.structs.replace(DEFAULT_POLICY, network=named)
    [line] = lines(["amp"], policy=policy)
    assert "allowed_domains" not in line and "--keep-env" in line
    assert lines(["amp"], policy=policy, env={"AMP_API_KEY": "k"}) == []
    assert lines(["copilot"], env={"COPILOT_PROVIDER_BASE_URL": "https://api.openai.com/v1"}) == []


def test_the_table_holds_together() -> None:
    """No name twice, every line complete, every expression one."""
    commands = [name for agent in AGENTS for name in agent.commands]
    assert len(commands) == len(set(commands))
    for agent in AGENTS:
        assert agent.hints or agent.service, agent.name
        assert find_agent([agent.commands[0]]) == (agent, [])
        for hint in agent.hints:
            assert hint.why[0].islower() and hint.give and not hint.give.endswith(".")
            for _, expression in (*hint.when_files, *hint.unless_home):
                re.compile(expression)
