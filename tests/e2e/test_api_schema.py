"""The REST API held against its own OpenAPI document by schemathesis: no answer that it does not
tell, no server error, no wrong request taken, no right one refused.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from akiosctl.api.address import Address, find_names
from akiosctl.api.app import make_app
from akiosctl.api.connections import Connections
from akiosctl.api.guard import Limits
from akiosctl.api.service import Service
from akiosctl.api.tokens import TokenFile
from tests.e2e.daemon import Daemon
from tests.unit.api.asgi import new_token

UNLIMITED = Limits(per_second=1e6, burst=1e6, wrong_per_second=1e6, wrong_burst=1e6)


class Served:
    """The API in a thread, without the limits of a user's: schemathesis asks often."""

    def __init__(self, daemon: Daemon, tokens: Path) -> None:
        made = socket.create_server(("127.0.0.1", 0))
        made.setblocking(False)
        self.port = made.getsockname()[1]
        file = TokenFile(tokens)
        self.token, _ = new_token(file)
        names = find_names(Address("127.0.0.1", self.port), False, ())
        app = make_app(Service(str(daemon.socket), file), names, UNLIMITED)
        self._stop: trio.Event | None = None
        self._trio: trio.lowlevel.TrioToken | None = None
        begun = threading.Event()

        async def serve() -> None:
            self._stop, self._trio = trio.Event(), trio.lowlevel.current_trio_token()
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(made))
            begun.set()
            await Connections(app).serve(listener, self._stop)
            made.close()

        self._thread = threading.Thread(target=lambda: trio.run(serve), daemon=True)
        self._thread.start()
        assert begun.wait(60)

    def close(self) -> None:
        assert self._stop is not None and self._trio is not None
        self._trio.run_sync_soon(self._stop.set)
        self._thread.join(60)


@pytest.fixture(scope="module")
def served(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(daemon, tmp_path_factory.mktemp("api") / "tokens.json")
    try:
        daemon.run("true")
        yield made
    finally:
        made.close()


def schemathesis(
    served: Served, cwd: Path, *words: str, within: int = 600
) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{served.port}/openapi.json"
    command = [
        *(Path(sys.executable).parent / "schemathesis", "run", url, "--checks", "all"),
        *("-H", f"Authorization: Bearer {served.token}", "--seed", "1", "--no-color"),
        *("--exclude-path", "/api/v1/events", "--exclude-path", "/metrics"),
        *("--exclude-path-regex", "/live$", *words),
    ]
    env = {**os.environ, "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=within)


def test_the_api_is_what_its_document_says(served: Served, tmp_path: Path) -> None:
    done = schemathesis(served, tmp_path, "--phases", "fuzzing", "--max-examples", "2")
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Tested: 0" not in done.stdout and "Tested:" in done.stdout


@pytest.mark.named_set("api")
@pytest.mark.timeout(2500)
def test_so_it_is_whatever_is_asked(served: Served, tmp_path: Path) -> None:
    done = schemathesis(served, tmp_path, "--max-examples", "100", within=2400)
    assert done.returncode == 0, done.stdout[-20_000:]
