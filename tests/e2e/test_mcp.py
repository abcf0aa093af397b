"""``akiosctl mcp`` with the official client: its tools work in a cage, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, ClientSession, StdioServerParameters, stdio_client

from tests.e2e.daemon import BIN, NOBODY, Daemon

PATIENCE = 120


@asynccontextmanager
async def client(daemon: Daemon, project: Path, *flags: str) -> AsyncIterator[ClientSession]:
    """A client of an ordinary user's, which starts the server itself."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    words = [*user, str(BIN / "akiosctl"), "--socket", str(daemon.socket), "mcp", *flags]
    env = {name: str(value) for name, value in daemon.as_user(NOBODY)["env"].items()}
    server = StdioServerParameters(command=words[0], args=words[1:], env=env, cwd=project)
    with anyio.fail_after(PATIENCE):
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield session


async def call(session: ClientSession | Client, tool: str, **arguments: Any) -> tuple[bool, str]:
    """(whether it failed, its text)."""
    got = await session.call_tool(tool, arguments)
    return bool(got.is_error), "".join(getattr(part, "text", "") for part in got.content)


def with_client(
    daemon: Daemon, project: Path, work: Callable[[ClientSession], Awaitable[None]], *flags: str
) -> None:
    async def main() -> None:
        async with client(daemon, project, *flags) as session:
            await work(session)

    anyio.run(main)


@pytest.fixture
def project(daemon: Daemon) -> Path:
    return daemon.workspace(uid=NOBODY)


def standing(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        daemon.ctl("cage", "list", "--json", uid=NOBODY).stdout
    )
    return found


def test_what_the_tools_do_waits_for_a_commit(daemon: Daemon, project: Path) -> None:
    (project / "file").write_text("before\n")
    before = len(standing(daemon))

    async def work(session: ClientSession) -> None:
        tools = {tool.name for tool in (await session.list_tools()).tools}
        assert tools == {"run", "read", "write", "diff", "commit", "discard"}
        assert await call(session, "read", path="file") == (False, "before\n")
        failed, text = await call(session, "write", path="made", text="by a tool\n")
        assert not failed, text
        command = ["sh", "-c", "cat made -; pwd; exit 3"]
        failed, text = await call(session, "run", command=command, input="and input\n")
        done = json.loads(text)
        assert not failed and done["exit_code"] == 3
        assert done["stdout"] == f"by a tool\nand input\n{project}\n"
        assert not (project / "made").exists()
        failed, text = await call(session, "diff")
        assert not failed and '"made"' in text
        failed, text = await call(session, "commit")
        assert not failed and "1 change written" in text, text
        assert (project / "made").read_text() == "by a tool\n"
        assert (project / "made").stat().st_uid == NOBODY
        # The next call has a cage again; what is not committed goes.
        assert (await call(session, "write", path="lost", text="x"))[0] is False
        assert len(standing(daemon)) == before + 1

    with_client(daemon, project, work)
    assert not (project / "lost").exists() and len(standing(daemon)) == before


def test_the_policy_of_the_project_holds_and_denials_say_what_helps(
    daemon: Daemon, project: Path
) -> None:
    (project / "akios.yaml").write_text("version: 1\nlimits: {memory: 64M}\n")
    secret = daemon.workspace(uid=NOBODY) / "secret"
    secret.write_text("of the host\n")

    async def work(session: ClientSession) -> None:
        failed, text = await call(session, "read", path=str(secret))
        assert failed and "of the host" not in text, text
        failed, text = await call(session, "write", path=str(secret), text="x")
        assert failed and secret.read_text() == "of the host\n"
        command = ["curl", "-sS", "http://denied.example"]
        done = json.loads((await call(session, "run", command=command))[1])
        assert done["exit_code"] and done["denied"][0]["subjects"] == ["denied.example"]
        assert "allowed_domains" in json.dumps(done["denied"])
        done = json.loads((await call(session, "run", command=["yes"], timeout=0.5))[1])
        assert done["exit_code"] == 137 and "left out here" in done["stdout"]
        small = ["/usr/bin/python3", "-c", "x = bytearray(4 << 20)"]
        assert json.loads((await call(session, "run", command=small))[1])["exit_code"] == 0
        await call(session, "write", path="made", text="x")
        # A limit ends the cage; what it changed is not lost without a word.
        eater = ["/usr/bin/python3", "-c", "x = bytearray(400 << 20)"]
        assert json.loads((await call(session, "run", command=eater))[1])["exit_code"] == 137
        failed, text = await call(session, "run", command=small)
        assert failed and "memory" in text and "commit or discard" in text, text
        assert '"made"' in (await call(session, "diff"))[1]
        assert (await call(session, "discard"))[0] is False
        assert json.loads((await call(session, "run", command=["cat", "made"]))[1])["exit_code"]

    with_client(daemon, project, work)


def test_what_stands_in_the_way_is_told_to_the_client(daemon: Daemon, project: Path) -> None:
    async def work(session: ClientSession) -> None:
        failed, text = await call(session, "run", command=["true"])
        assert failed and "cannot read the policy" in text and "next: check the path" in text

    with_client(daemon, project, work, "--policy", "/nonexistent/policy.yaml")
