"""``akiosctl mcp --listen`` with the official client, by the protocol with sessions (2025-11-25) and
by the one without (2026-07-28); who may not use it, and what is left when a conversation ends.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from akiosctl.api.address import Names
from akiosctl.api.tokens import TokenFile, make_token
from akiosctl.mcp_http import Conversations, Door, make_app
from tests.e2e.api_server import ApiServer
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.test_mcp import PATIENCE, call, standing

TOOLS = ("run", "output", "changes")
MODES = ("legacy", "2026-07-28")
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


class McpServer(ApiServer):
    VERB = "mcp"

    def say(self, message: dict[str, Any], token: str, **headers: str) -> http.client.HTTPResponse:
        """One message of a client that is written by hand; the answer is closed."""
        body = json.dumps(message).encode()
        given = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/mcp", body, given)
        answer = connection.getresponse()
        answer.text = answer.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def announce(self, size: int, token: str) -> int:
        """The status for a body of that size, of which nothing is sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest("POST", "/mcp")
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status

    def begin(self, token: str) -> str:
        """A session."""
        answer = self.say(HELLO, token)
        assert answer.status == 200, answer.status
        return str(answer.headers["mcp-session-id"])


def wrote(path: str) -> dict[str, Any]:
    arguments = {"path": path, "text": "x"}
    params = {"name": "write", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


@pytest.fixture
def project(daemon: Daemon) -> Path:
    return daemon.workspace(uid=NOBODY)


@pytest.fixture
def server(daemon: Daemon, project: Path) -> Iterator[McpServer]:
    with McpServer(daemon, cwd=project) as running:
        yield running


@asynccontextmanager
async def connected(url: str, token: str, mode: str, **more: Any) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    timeout = httpx2.Timeout(30, read=PATIENCE)
    async with httpx2.AsyncClient(headers=headers, timeout=timeout, **more) as carrier:
        async with Client(streamable_http_client(url, http_client=carrier), mode=mode) as client:
            yield client


def with_client(
    server: McpServer, token: str, mode: str, work: Callable[[Client], Awaitable[None]]
) -> None:
    async def main() -> None:
        with anyio.fail_after(PATIENCE):
            async with connected(server.url, token, mode) as client:
                await work(client)

    anyio.run(main)


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def up(daemon: Daemon) -> set[str]:
    return {one["cage"] for one in standing(daemon) if one["state"] == "up"}


@pytest.mark.parametrize("mode", MODES)
def test_what_the_tools_do_waits_for_a_commit(
    daemon: Daemon, server: McpServer, project: Path, mode: str
) -> None:
    (project / "file").write_text("before\n")
    before = up(daemon)
    token = server.new_token(*TOOLS)

    async def work(client: Client) -> None:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"run", "read", "write", "diff", "commit", "discard"}
        assert await call(client, "read", path="file") == (False, "before\n")
        failed, text = await call(client, "write", path="made", text="by a tool\n")
        assert not failed, text
        command = ["sh", "-c", "cat made -; pwd; exit 3"]
        done = json.loads((await call(client, "run", command=command, input="and input\n"))[1])
        assert done["exit_code"] == 3
        assert done["stdout"] == f"by a tool\nand input\n{project}\n"
        assert not (project / "made").exists()
        assert '"made"' in (await call(client, "diff"))[1]
        failed, text = await call(client, "commit")
        assert not failed and "1 change written" in text, text
        assert (project / "made").read_text() == "by a tool\n"
        assert (project / "made").stat().st_uid == NOBODY
        assert (await call(client, "write", path="lost", text="x"))[0] is False
        failed, text = await call(client, "read", path="/root/secret")
        assert failed, text
        command = ["curl", "-sS", "http://denied.example"]
        done = json.loads((await call(client, "run", command=command))[1])
        assert done["exit_code"] and done["denied"][0]["subjects"] == ["denied.example"]
        assert len(up(daemon) - before) == 1

    with_client(server, token, mode, work)
    if mode == "legacy":
        until(lambda: up(daemon) == before)  # the session's end
    assert server.stop() == 0
    assert up(daemon) == before and not (project / "lost").exists()


def test_who_may_not_ask_is_refused(daemon: Daemon, server: McpServer) -> None:
    before = up(daemon)
    token, other = server.new_token(*TOOLS), server.new_token(*TOOLS)
    session = server.begin(token)

    def status(who: str = token, **headers: str) -> int:
        return server.say(wrote("a"), who, **{"mcp_session_id": session, **headers}).status

    assert status(token[:-1] + ("A" if token[-1] != "A" else "B")) == 401
    assert status("") == 401
    assert status(Origin="http://evil.example") == 403
    assert status(Host="evil.example") == 421
    assert status(Host=f"evil.example:{server.port}") == 421
    assert status(server.new_token("read")) == 403
    assert status(other) == 404  # another's session is none
    assert status(other, mcp_session_id=session.upper()) == 404
    assert server.ask("/mcp", "DELETE", other, mcp_session_id=session).status == 404
    assert server.ask("/mcp", "GET", token, mcp_session_id=session).status == 405
    assert server.ask("/", "POST", token, b"{}").status == 404
    assert server.announce(5 << 20, token) == 413
    assert up(daemon) == before
    # Each of them with what is right, which is the control.
    assert status() == 200
    assert status(Origin=f"http://127.0.0.1:{server.port}") == 200
    assert status(Host=f"localhost:{server.port}") == 200
    assert status(other, mcp_session_id=server.begin(other)) == 200
    assert len(up(daemon) - before) == 2
    assert server.ask("/mcp", "DELETE", token, mcp_session_id=session).status == 200
    assert status() == 404
    until(lambda: len(up(daemon) - before) == 1)


def test_a_tool_needs_its_scope(daemon: Daemon, server: McpServer, project: Path) -> None:
    async def work(client: Client) -> None:
        assert json.loads((await call(client, "run", command=["true"]))[1])["exit_code"] == 0
        for tool, arguments, scope in (
            ("read", {"path": "a"}, "output"),
            ("write", {"path": "a", "text": "x"}, "output"),
            ("diff", {}, "changes"),
            ("commit", {}, "changes"),
            ("discard", {}, "changes"),
        ):
            failed, text = await call(client, tool, **arguments)
            assert failed and f"lacks the scope {scope!r}" in text, text

    with_client(server, server.new_token("run"), "legacy", work)
    assert not (project / "a").exists()


@pytest.mark.parametrize("mode", MODES)
def test_clients_have_cages_of_their_own(
    daemon: Daemon, server: McpServer, project: Path, mode: str
) -> None:
    """Of two tokens; and of two sessions, where there are some."""
    token = server.new_token(*TOOLS)
    tokens = (token, token if mode == "legacy" else server.new_token(*TOOLS))

    async def main() -> None:
        async with (
            connected(server.url, tokens[0], mode) as one,
            connected(server.url, tokens[1], mode) as two,
        ):
            assert (await call(one, "write", path="mine", text="x"))[0] is False
            assert (await call(two, "read", path="mine"))[0] is True
            assert (await call(one, "read", path="mine")) == (False, "x")
            assert (await call(two, "commit"))[0] is False
            assert not (project / "mine").exists()

    anyio.run(main)


@pytest.mark.parametrize("mode", MODES)
def test_a_token_that_is_revoked_ends_its_cage_and_what_runs(
    daemon: Daemon, server: McpServer, mode: str
) -> None:
    before = up(daemon)
    token = server.new_token(*TOOLS)
    words = ("token", "revoke", token.split("_")[1])

    async def work(client: Client) -> None:
        assert (await call(client, "write", path="a", text="x"))[0] is False
        started = time.monotonic()

        async def revoke() -> None:
            await anyio.sleep(1)
            await anyio.to_thread.run_sync(lambda: daemon.ctl(*words, uid=NOBODY))

        async with anyio.create_task_group() as group:
            group.start_soon(revoke)
            await call(client, "run", command=["sleep", "60"])
        assert time.monotonic() - started < 30

    with_client(server, token, mode, work)
    until(lambda: up(daemon) == before)
    assert server.say(HELLO, token).status == 401


@pytest.mark.parametrize("mode", MODES)
def test_a_call_that_is_cancelled_is_killed(server: McpServer, mode: str) -> None:
    async def work(client: Client) -> None:
        with anyio.move_on_after(3):
            await call(client, "run", command=["sh", "-c", "echo $$ > pid; exec sleep 1000"])
        see = ["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do test -e /proc/$(cat pid) || exit 0; "
               "sleep 1; done; exit 1"]  # fmt: skip
        assert json.loads((await call(client, "run", command=see))[1])["exit_code"] == 0

    with_client(server, server.new_token(*TOOLS), mode, work)


def test_nothing_of_the_server_is_seen_inside(
    daemon: Daemon, project: Path, tmp_path: Path
) -> None:
    """Neither its environment nor its tokens; with what it prints nobody gets in."""
    secret = "planted-4711"
    environment = {**daemon.as_user(NOBODY)["env"], "OPENAI_API_KEY": secret, "OWN_SECRET": secret}
    with McpServer(daemon, cwd=project, env=environment) as server:
        token = server.new_token(*TOOLS)
        with open(f"/proc/{server.process.pid}/environ", "rb") as own:
            assert secret.encode() in own.read()  # the control: it is there

        async def work(client: Client) -> None:
            look = (
                "env; cat /proc/*/environ /proc/*/cmdline; grep -rs ak[t]_ $HOME /run /tmp; id -u"
            )
            done = json.loads((await call(client, "run", command=["sh", "-c", look]))[1])
            said = json.dumps(done)
            assert "PATH=" in said and secret not in said and "akt_" not in said
            home = environment["HOME"]
            failed, text = await call(
                client, "read", path=f"{home}/.local/state/akios/api-tokens.json"
            )
            assert failed, text

        with_client(server, token, "legacy", work)
        assert server.say(HELLO, token[:-2] + "xx").status == 401
        server.process.send_signal(2)
        out, err = server.process.communicate(timeout=60)
        said = out.decode() + err.decode()
        assert token not in said and token.split("_", 2)[2] not in said and secret not in said


def test_options_for_http_are_refused_without_it(daemon: Daemon, project: Path) -> None:
    done = daemon.ctl("mcp", "--plain-http", uid=NOBODY, cwd=project)
    assert done.returncode == 125 and "--listen" in done.stderr
    done = daemon.ctl("mcp", "--listen", "0.0.0.0:0", uid=NOBODY, cwd=project)
    assert done.returncode == 125 and "without TLS" in done.stderr
    done = daemon.ctl("mcp", "--listen", "127.0.0.1:0", cwd=project)
    assert done.returncode == 125 and "as root" in done.stderr


def test_another_user_finds_no_token(daemon: Daemon, server: McpServer) -> None:
    """The unix socket and the file of tokens are this user's alone."""
    path = Path(daemon.as_user(NOBODY)["env"]["HOME"]) / ".local/state/akios/api-tokens.json"
    server.new_token("run")
    assert path.exists() and path.stat().st_mode & 0o077 == 0
    assert path.stat().st_uid == NOBODY != OTHER


@pytest.mark.parametrize("mode", MODES)
def test_a_conversation_in_which_nobody_calls_ends(
    daemon: Daemon, tmp_path: Path, mode: str
) -> None:
    project = daemon.workspace()
    tokens = TokenFile(tmp_path / "tokens.json")
    text, token = make_token(TOOLS, time.time_ns(), 0)
    tokens.add(token)
    names = Names(frozenset({"here"}), frozenset())
    conversations = Conversations(str(project), {"socket": str(daemon.socket)}, tokens, idle_s=2)
    door = Door(conversations, idle_s=2)
    app = make_app(door, names, tokens)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {}  # as the server gives each request one
        await app(scope, receive, send)

    here = httpx2.ASGITransport(app=with_state)

    def mine() -> int:
        listed = json.loads(daemon.ctl("cage", "list", "--json").stdout)
        return sum(one["workspace"] == str(project) and one["state"] == "up" for one in listed)

    async def main() -> None:
        with anyio.fail_after(PATIENCE):
            async with door.running():
                async with connected("http://here/mcp", text, mode, transport=here) as client:
                    assert (await call(client, "write", path="lost", text="x"))[0] is False
                    # Work is no rest.
                    assert not (await call(client, "run", command=["sleep", "4"]))[0]
                    assert await call(client, "read", path="lost") == (False, "x")
                    assert mine() == 1
                    await anyio.sleep(5)
                    if mode == "legacy":
                        with pytest.raises(Exception, match="Session"):
                            await call(client, "read", path="lost")
                    else:
                        assert mine() == 0
                        failed, told = await call(client, "read", path="lost")
                        assert failed and "nobody called" in told and "destroyed" in told, told
                        assert (await call(client, "read", path="lost"))[0]
                        assert mine() == 1

    anyio.run(main, backend="trio")
    assert mine() == 0
