"""Terminals by WebSockets: attach and exec, as a user, and where the server acts for nobody."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    RejectConnection,
    Request,
    TextMessage,
)

from akiosctl.api.endpoints import BASE, ENDPOINTS, Endpoint
from akiosctl.api.tokens import SCOPES
from tests.e2e.api_server import ApiServer
from tests.e2e.api_streams import connect
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.test_api_running import begin, finish

PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


class Dialogue:
    """A WebSocket that is open, or was ``refused`` with a status."""

    def __init__(self, stream: trio.SocketStream, socket: wsproto.WSConnection) -> None:
        self._stream, self._socket = stream, socket
        self.refused, self.opened, self.closed = 0, False, False
        self.output = b""
        self.told: list[dict[str, Any]] = []
        self._text = ""

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(self._socket.send(BytesMessage(data)))

    async def tell(self, **said: Any) -> None:
        await self._stream.send_all(self._socket.send(TextMessage(json.dumps(said))))

    async def until(self, is_there: Callable[[], Any]) -> None:
        """Read until it is, or the other side has closed."""
        with trio.fail_after(PATIENCE_S):
            while not is_there() and not self.closed:
                data = await self._stream.receive_some(1 << 16)
                self._socket.receive_data(data or None)
                for event in self._socket.events():
                    self._hear(event)
        assert is_there(), (self.output[-500:], self.told)

    def _hear(self, event: object) -> None:
        if isinstance(event, AcceptConnection):
            self.opened = True
        elif isinstance(event, RejectConnection):
            self.refused, self.closed = event.status_code, True
        elif isinstance(event, CloseConnection):
            self.closed = True
        elif isinstance(event, BytesMessage):
            self.output += event.data
        elif isinstance(event, TextMessage):
            self._text += event.data
            if event.message_finished:
                self.told.append(json.loads(self._text))
                self._text = ""

    async def end(self) -> dict[str, Any]:
        await self.until(lambda: self.told and self.told[-1]["event"] in ("end", "left"))
        last: dict[str, Any] = self.told[-1]
        return last


@asynccontextmanager
async def dialogue(
    server: ApiServer, path: str, buffer: int = 0, token: str = "", **headers: str
) -> AsyncIterator[Dialogue]:
    stream = await connect(server.port, buffer)
    socket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    host = headers.pop("Host", f"127.0.0.1:{server.port}")
    given = {"Authorization": f"Bearer {token or server.token}", **headers}
    extra = [(name.encode(), value.encode()) for name, value in given.items() if value]
    async with stream:
        await stream.send_all(socket.send(Request(host, f"{BASE}{path}", extra_headers=extra)))
        talk = Dialogue(stream, socket)
        await talk.until(lambda: talk.opened or talk.refused)
        yield talk


async def refusal(server: ApiServer, path: str, token: str = "", **headers: str) -> int:
    async with dialogue(server, path, token=token, **headers) as talk:
        return talk.refused


def left_running(daemon: Daemon, *argv: str, uid: int = NOBODY, tty: bool = True) -> str:
    flags = ("-t",) if tty else ("-T",)
    words = ("run", "--detach", *flags, "--", *argv)
    done = daemon.ctl(*words, uid=uid, cwd=daemon.workspace(uid=uid))
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


def is_running(server: ApiServer, cage: str) -> bool:
    return not server.ask(f"{BASE}/cages/{cage}").json()["ended_ns"]


SIZES = 'while read word; do stty size; echo "got $word"; test $word = bye && exit 7; done'


def test_a_terminal_is_taken_over_left_and_taken_over_again(
    server: ApiServer, daemon: Daemon
) -> None:
    cage = left_running(daemon, "sh", "-c", SIZES)

    async def talk() -> None:
        async with dialogue(server, f"/cages/{cage}/attach?rows=30&columns=90") as first:
            await first.send(b"one\n")
            await first.until(lambda: b"got one" in first.output)
            assert first.told[0] == {"event": "started", "data": {"cage": cage, "tty": True}}
            assert b"30 90" in first.output
            # While one has it, nobody else has.
            assert await refusal(server, f"/cages/{cage}/attach") == 403
            await first.tell(resize=[11, 22])
            await first.send(b"two\n")
            await first.until(lambda: b"got two" in first.output)
            assert b"11 22" in first.output
            for wrong in ("x", [1], [0, 5], [True, 5], [1 << 20, 2], None):
                await first.tell(resize=wrong)
            await first.tell(leave=True)
            assert (await first.end())["event"] == "left"
        assert is_running(server, cage)
        # A connection that breaks leaves it, too.
        async with dialogue(server, f"/cages/{cage}/attach") as second:
            await second.send(b"three\n")
            await second.until(lambda: b"got three" in second.output)
        await trio.sleep(1)
        assert is_running(server, cage)
        async with dialogue(server, f"/cages/{cage}/attach") as third:
            await third.send(b"bye\n")
            end = await third.end()
            data = {"exit_code": 7, "kind": "exited", "reason": "exited 7"}
            assert end == {"event": "end", "data": data}
            assert b"got bye" in third.output

    trio.run(talk)
    assert not is_running(server, cage)


def test_every_byte_goes_both_ways(server: ApiServer) -> None:
    cage = begin(server, standing=True, name="bytes").json()["cage"]
    data = bytes(range(256)) * 4096

    async def pipes() -> None:
        path = f"/cages/{cage}/exec?argv=cat&tty=false"
        async with dialogue(server, path) as talk, trio.open_nursery() as nursery:

            async def give() -> None:
                for start in range(0, len(data), 1 << 15):
                    await talk.send(data[start : start + (1 << 15)])
                await talk.tell(end=True)

            nursery.start_soon(give)
            assert (await talk.end())["data"]["exit_code"] == 0
            assert talk.told[0]["data"]["tty"] is False and talk.output == data

    async def terminal() -> None:
        words = "argv=sh&argv=-c&argv=stty+size;+echo+$TERM;+test+-t+0+%26%26+exit+5"
        async with dialogue(
            server, f"/cages/{cage}/exec?{words}&rows=5&columns=6&term=vt100"
        ) as talk:
            assert (await talk.end())["data"]["exit_code"] == 5
            assert talk.output.split() == [b"5", b"6", b"vt100"]

    trio.run(pipes)
    trio.run(terminal)
    finish(server, server.ask(f"{BASE}/cages/{cage}/down?fast=true", "POST"))


def test_what_was_started_by_a_terminal_ends_with_it(server: ApiServer) -> None:
    cage = begin(server, standing=True, name="ends").json()["cage"]

    def programs() -> int:
        told = server.ask(f"{BASE}/cages/{cage}/status").json()["programs"]
        return sum(not one["ended_ns"] for one in told)

    async def talk() -> None:
        words = "argv=sh&argv=-c&argv=echo+begun;+exec+sleep+300"
        async with dialogue(server, f"/cages/{cage}/exec?{words}") as talk:
            await talk.until(lambda: b"begun" in talk.output)
            assert programs() == 1
        with trio.fail_after(PATIENCE_S):
            while programs():
                await trio.sleep(0.1)

    trio.run(talk)
    finish(server, server.ask(f"{BASE}/cages/{cage}/down?fast=true", "POST"))


# Prints much more than all buffers hold, then goes on by the clock.
FLOOD = "import time\nfor n in range(400): print('x' * 50_000, flush=True)\nprint('over', flush=True)\ntime.sleep(300)"


def test_who_never_reads_is_left_and_the_cage_goes_on(server: ApiServer, daemon: Daemon) -> None:
    cage = left_running(daemon, "python3", "-c", "input()\n" + FLOOD)

    async def stall() -> None:
        async with dialogue(server, f"/cages/{cage}/attach", buffer=4096) as talk:
            await talk.until(lambda: talk.told)
            await talk.send(b"go\n")
            # Its output is read by others all the same, to its end.
            with trio.fail_after(PATIENCE_S):
                while b"over" not in server.ask(f"{BASE}/cages/{cage}/output").body[-20:]:
                    await trio.sleep(0.5)
        assert is_running(server, cage)
        async with dialogue(server, f"/cages/{cage}/attach") as after:  # free for the next one
            await after.until(lambda: after.told)
            assert after.told[0]["event"] == "started"

    trio.run(stall)
    assert server.ask(f"{BASE}/cages/{cage}/stop?grace=0", "POST").status == 200


def test_who_may_not_gets_no_terminal(server: ApiServer, daemon: Daemon) -> None:
    cage = left_running(daemon, "sh", "-c", SIZES)
    theirs = left_running(daemon, "sh", "-c", SIZES, uid=OTHER)
    path = f"/cages/{cage}/attach"
    run_only, output_only = server.new_token("run"), server.new_token("output")
    ended = begin(server, argv=["true"]).json()["cage"]

    async def ask() -> None:
        refused = {
            "another's cage": await refusal(server, f"/cages/{theirs}/attach"),
            "another's origin": await refusal(server, path, Origin="https://evil.example"),
            "another's name": await refusal(server, path, Host="evil.example"),
            "no token": await refusal(server, path, Authorization=""),
            "wrong token": await refusal(server, path, token="akt_00000000_" + "x" * 43),
            "run alone": await refusal(server, path, token=run_only),
            "output alone": await refusal(server, path, token=output_only),
            "no terminal": await refusal(server, f"/cages/{cage}/exec?argv=true"),
            "no command": await refusal(server, f"/cages/{cage}/exec"),
            "a wrong size": await refusal(server, f"{path}?rows=0"),
        }
        assert refused == {
            "another's cage": 404, "another's origin": 403, "another's name": 421,
            "no token": 401, "wrong token": 401, "run alone": 403, "output alone": 403,
            "no terminal": 409, "no command": 422, "a wrong size": 422,
        }  # fmt: skip
        while is_running(server, ended):
            await trio.sleep(0.1)
        assert await refusal(server, f"/cages/{ended}/attach") in (403, 404, 409)
        own = f"http://127.0.0.1:{server.port}"
        assert await refusal(server, path, Origin=own) == 0  # control

    trio.run(ask)
    for uid, name in ((NOBODY, cage), (OTHER, theirs)):
        assert daemon.ctl("stop", name, "--grace", "0", uid=uid).returncode == 0


def test_a_token_that_is_revoked_leaves_the_terminal(server: ApiServer, daemon: Daemon) -> None:
    cage = left_running(daemon, "sh", "-c", SIZES)
    token = server.new_token("run", "output", "read", "stop")

    async def talk() -> None:
        async with dialogue(server, f"/cages/{cage}/attach", token=token) as talk:
            await talk.until(lambda: talk.told)
            name = token.split("_")[1]
            assert daemon.ctl("token", "revoke", name, uid=NOBODY).returncode == 0
            end = await talk.end()
            assert end["event"] == "left" and "revoked" in end["data"]["what"]

    trio.run(talk)
    assert is_running(server, cage)
    assert daemon.ctl("stop", cage, "--grace", "0", uid=NOBODY).returncode == 0


def test_each_way_in_asks_for_the_same_rights(server: ApiServer, daemon: Daemon) -> None:
    """Every WebSocket there is: with no token, one that does not hold, and from elsewhere."""
    words = ("sh", "-c", SIZES)
    cage, theirs = left_running(daemon, *words), left_running(daemon, *words, uid=OTHER)
    standing = begin(server, standing=True, name="rights").json()["cage"]
    made = {"attach": (cage, theirs), "exec": (standing, theirs), "events": ("", "")}
    paths = {
        "attach": "/cages/{cage}/attach",
        "exec": "/cages/{cage}/exec?argv=true&rows=5&columns=5",
        "events": "/events?cage={cage}",
    }
    rows = {row.path.rpartition("/")[2]: row for row in ENDPOINTS if row.method == "WS"}
    assert set(rows) == set(paths)
    every = server.new_token(*SCOPES)
    expired = server.new_token(*SCOPES, expires="1s")
    revoked = server.new_token(*SCOPES)
    assert daemon.ctl("token", "revoke", revoked.split("_")[1], uid=NOBODY).returncode == 0
    own_origin = f"http://127.0.0.1:{server.port}"

    async def allowed(path: str, **how: str) -> int:
        with trio.move_on_after(PATIENCE_S):
            while found := await refusal(server, path, **how):
                await trio.sleep(0.1)  # who had the terminal before has not left it yet
        return found

    async def ask(name: str, row: Endpoint) -> dict[str, int]:
        own, foreign = made[name]
        path = paths[name].format(cage=own or cage)
        wanted = {row.scope, row.besides} - {""}
        found = {
            "no token": await refusal(server, path, Authorization=""),
            "no such token": await refusal(server, path, token="akt_00000000_" + "x" * 43),
            "expired": await refusal(server, path, token=expired),
            "revoked": await refusal(server, path, token=revoked),
            "a token in the query": await refusal(
                server, f"{path}&token={every}".replace("attach&", "attach?"), Authorization=""
            ),
            "another's": await refusal(server, paths[name].format(cage=foreign or theirs)),
            "another origin": await refusal(server, path, Origin="https://evil.example"),
            "no origin at all": await refusal(server, path, Origin="null"),
            "another host": await refusal(server, path, Host="evil.example"),
            "own origin": await allowed(path, Origin=own_origin),
            "own": await allowed(path, token=every),
        }
        for lacking in wanted:
            token = server.new_token(*(scope for scope in SCOPES if scope != lacking))
            found[f"without {lacking}"] = await refusal(server, path, token=token)
        only = server.new_token(*wanted)
        found["only what is needed"] = await allowed(path, token=only)
        return found

    async def all_of_them() -> None:
        with trio.fail_after(PATIENCE_S):
            while await refusal(server, "/events", token=expired) != 401:
                await trio.sleep(0.1)
        for name, row in rows.items():
            found = await ask(name, row)
            lacks = {how: 403 for how in found if how.startswith("without")}
            assert found == {
                "no token": 401, "no such token": 401, "expired": 401, "revoked": 401,
                "a token in the query": 401, "another's": 404, "another origin": 403,
                "no origin at all": 403, "another host": 421, **lacks,
                "own origin": 0, "own": 0, "only what is needed": 0,  # controls
            }, name  # fmt: skip

    trio.run(all_of_them)
    for uid, name in ((NOBODY, cage), (OTHER, theirs)):
        assert daemon.ctl("stop", name, "--grace", "0", uid=uid).returncode == 0
    finish(server, server.ask(f"{BASE}/cages/{standing}/down?fast=true", "POST"))
