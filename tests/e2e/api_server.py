"""``akiosctl serve`` as a process of a user's, and somebody who asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from akiosctl.api.tokens import SCOPES
from tests.e2e.daemon import NOBODY, Daemon

ALL = tuple(SCOPES)


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ApiServer:
    """To be used in ``with``.  ``port`` is what it chose."""

    VERB = "serve"

    def __init__(
        self,
        daemon: Daemon,
        uid: int = NOBODY,
        flags: Sequence[str] = (),
        port: int = 0,
        **more: Any,
    ) -> None:
        """``more`` as for ``Popen``."""
        self.daemon, self.uid = daemon, uid
        words = ("--json", self.VERB, "--listen", f"127.0.0.1:{port}", *flags)
        self.process = daemon.popen(*words, uid=uid, stdout=-1, stderr=-1, **more)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate(timeout=30)[1].decode())
        self.url = json.loads(line)["url"]
        self.port = urlsplit(self.url).port
        self._token = ""

    @property
    def token(self) -> str:
        """One that may do everything."""
        self._token = self._token or self.new_token(*ALL)
        return self._token

    def new_token(self, *scopes: str, expires: str = "1h") -> str:
        words = [word for scope in scopes for word in ("--scope", scope)]
        done = self.daemon.ctl("token", "create", *words, "--expires", expires, uid=self.uid)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def ask(
        self, path: str, method: str = "GET", token: str | None = None, body: bytes | None = None,
        **headers: str,
    ) -> Answer:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("Authorization", f"Bearer {self.token if token is None else token}")
        with contextlib.closing(connection):
            connection.request(method, path, body, given)
            got = connection.getresponse()
            found = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, found, got.read())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()


class Follower:
    """Follows events, or the stream at another ``path``, in a thread; to be used in ``with``."""

    def __init__(self, server: ApiServer, query: str = "", path: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given["Authorization"] = f"Bearer {server.token}"
        path = path or f"/events?{query}"
        self._connection.request("GET", f"/api/v1{path}", headers=given)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            for raw in self._answer:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name in ("id", "event", "data"):
                    event[name] = json.loads(value) if name == "data" else value
                elif not name and event:
                    self._events.put(event)
                    event = {}
        self._events.put({"event": "closed"})

    def next(self, kind: str = "") -> dict[str, Any]:
        """The next event, or the next of a kind."""
        while True:
            event = self._events.get(timeout=90)
            if not kind or event.get("event") == kind:
                return event

    def until_end(self, cage: str) -> Iterator[dict[str, Any]]:
        """The records of a cage up to its end."""
        while True:
            event = self.next("record")
            if event["data"]["log"] == cage:
                yield event
                if event["data"]["kind"] == "end":
                    return

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        # shutdown(2) wakes the thread; close would wait for it.
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(2)
        self._answer.close()
        self._connection.close()
        self._thread.join(30)
