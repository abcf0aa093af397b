"""Claude Code, as npm installs it, with the tools of ``akiosctl mcp``: it runs outside, as an
ordinary user, and what its model asks for runs in a cage.  The model is a stand-in on loopback.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import BIN, NOBODY, Daemon
from tests.e2e.models import Models
from tests.e2e.test_coding_agents import packages  # noqa: F401 - a fixture
from tests.e2e.test_mcp import standing
from tests.e2e.test_mcp_http import TOOLS, McpServer

pytestmark = [pytest.mark.named_set("frameworks"), pytest.mark.timeout(900)]
TOOL = "mcp__akios__run"


@pytest.fixture
def project(daemon: Daemon) -> Path:
    return daemon.workspace(uid=NOBODY)


@pytest.fixture
def config(
    request: pytest.FixtureRequest, daemon: Daemon, project: Path
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The server as a client's configuration names it, and what the client's environment needs."""
    if request.param == "stdio":
        words = ["--socket", str(daemon.socket), "mcp"]
        yield {"command": str(BIN / "akiosctl"), "args": words}, {}
        return
    with McpServer(daemon, cwd=project) as server:
        headers = {"Authorization": "Bearer ${AKIOS_TOKEN}"}
        token = server.new_token(*TOOLS)
        yield {"type": "http", "url": server.url, "headers": headers}, {"AKIOS_TOKEN": token}


@pytest.mark.parametrize("config", ["stdio", "http"], indirect=True)
def test_claude_code_runs_what_its_model_asks_for_in_a_cage(
    daemon: Daemon,
    project: Path,
    packages: Path,  # noqa: F811
    config: tuple[dict[str, Any], dict[str, str]],
) -> None:
    settings, more = config
    hidden = daemon.workspace(uid=NOBODY) / "hidden"
    hidden.write_text("of the host\n")
    file = daemon.base / f"{project.name}.json"
    file.write_text(json.dumps({"mcpServers": {"akios": settings}}))
    command = f"cat {hidden}; echo seen by $(pwd) > made; cat made"
    options = daemon.as_user(NOBODY)
    # The control: the same command, by the same user, outside.
    outside = subprocess.run(
        ["sh", "-c", command], cwd=daemon.workspace(uid=NOBODY), capture_output=True, **options
    )
    assert outside.stdout.startswith(b"of the host\nseen by "), outside

    with Models() as models:
        models.plan = (TOOL, {"command": ["sh", "-c", command]})
        options["env"] = {
            **options["env"],
            "ANTHROPIC_BASE_URL": models.url,
            "ANTHROPIC_API_KEY": "none",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # It would begin without a server that takes longer to start.
            "CLAUDE_CODE_MCP_STARTUP_WAIT_MS": "60000",
            "MCP_CONNECTION_NONBLOCKING": "0",
            **more,
        }
        words = ["-p", "say hello", "--model", "claude-sonnet-4-5", "--allowedTools", TOOL]
        words += ["--mcp-config", str(file), "--strict-mcp-config"]
        done = subprocess.run(
            [packages / "bin" / "claude", *words],
            cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
            **options,
        )  # fmt: skip
        sent = [json.loads(one.body) for one in models.received if b"tool_result" in one.body]
    assert done.returncode == 0 and sent, done.stdout + done.stderr
    results = [
        part
        for message in sent[-1]["messages"]
        for part in message["content"]
        if isinstance(part, dict) and part.get("type") == "tool_result"
    ]
    assert len(results) == 1 and not results[0].get("is_error"), results
    said = json.dumps(results[0])
    assert f"seen by {project}" in said and "of the host" not in said, said
    assert "You said: " in done.stdout and not (project / "made").exists(), done.stdout
    if not more:  # it started the server, which took its cage down
        mine = [one for one in standing(daemon) if one["workspace"] == str(project)]
        assert not [one for one in mine if one["state"] == "up"], mine
