"""Steps that call a tool of an MCP server over stdio.

Source: modelcontextprotocol.io/specification/2025-06-18, "Lifecycle", "Tools" and "Transports".
The server is a child in the step's cage.  What a client of this kind needs is four messages, so it
is written here: the library brings a web server and a dozen packages along.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import time
from typing import Any

from akiosd import __version__
from akiosd.errors import AkiosError
from akiosd.workflow.steps import child
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds

_VERSION = "2025-06-18"
_PIECE = 64 << 10
_MOST_SAID = 500
_NO_METHOD = -32601
_MAX_TOOLS = 1_000


class Config(Form):
    """``command`` starts the server.  ``tools`` names those that the step may call; none: all.

    ``timeout`` in seconds (or as in ``5m``), of the start and the call together; ``max_bytes`` of
    what the server writes.
    """

    command: list[str]
    tools: list[str] = []
    env: dict[str, str] = {}
    timeout: Time = 120
    max_bytes: int = 10 << 20


class CallTool(Form):
    tool: str
    arguments: dict[str, Any] = {}


class Nothing(Form):
    pass


class Server:
    """A running server, and the messages to and from it: JSON-RPC 2.0, one a line.

    Use as a context manager: it is ended with its whole process group.
    """

    def __init__(self, work: Work, config: Config) -> None:
        self._work, self._most = work, config.max_bytes
        self._deadline = time.monotonic() + seconds(config.timeout)
        self._seconds = seconds(config.timeout)
        self._next_id = 0
        self._held, self._errors = bytearray(), bytearray()
        self._process = child.start(config.command, config.env)
        self._waiting = selectors.DefaultSelector()
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        os.set_blocking(process.stdin.fileno(), False)
        for pipe in (process.stdout, process.stderr):
            self._waiting.register(pipe, selectors.EVENT_READ)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.close()
        child.end(self._process)

    def begin(self) -> None:
        """The handshake.  Raises :class:`AkiosError`."""
        me = {"name": "akios", "version": __version__}
        found = self.ask(
            "initialize", {"protocolVersion": _VERSION, "capabilities": {}, "clientInfo": me}
        )
        if not isinstance(found.get("protocolVersion"), str):
            raise self._broken("its answer to initialize has no protocolVersion")
        self._send({"method": "notifications/initialized"})

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request; what the server asks meanwhile is answered.  Raises
        :class:`AkiosError`.
        """
        self._next_id += 1
        self._send({"id": self._next_id, "method": method, "params": params})
        while True:
            message = self._receive()
            if isinstance(message.get("method"), str):
                self._answer(message)
            elif message.get("id") == self._next_id:
                break
        error, result = message.get("error"), message.get("result")
        if isinstance(error, dict):
            words = str(error.get("message") or error)[:_MOST_SAID]
            raise AkiosError(
                f"the MCP server answers: {words}", f"mcp: {method}", "correct the tool's arguments"
            )
        if not isinstance(result, dict):
            raise self._broken(f"its answer to {method} has no result")
        return result

    def _answer(self, message: dict[str, Any]) -> None:
        """A server may ask whether we are there; it gets nothing else of us: no files, no model, no
        person.
        """
        if "id" not in message:
            return
        if message["method"] == "ping":
            self._send({"id": message["id"], "result": {}})
        else:
            error = {"code": _NO_METHOD, "message": "not offered by this client"}
            self._send({"id": message["id"], "error": error})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        assert self._process.stdin
        fd, view = self._process.stdin.fileno(), memoryview(data)
        while view:
            _, ready, _ = select.select([], [fd], [], self._left())
            try:
                view = view[os.write(fd, view[:_PIECE]) :] if ready else view
            except BrokenPipeError:
                raise self._broken("it ended") from None
        self._work.sent += len(data)

    def _receive(self) -> dict[str, Any]:
        """The next message; a line that is none is what some servers print at their start."""
        while True:
            while b"\n" not in self._held:
                self._read()
            line = self._held[: self._held.index(b"\n")]
            del self._held[: len(line) + 1]
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict):
                return message

    def _read(self) -> None:
        assert self._process.stdout
        for key, _ in self._waiting.select(self._left()):
            piece = os.read(key.fd, _PIECE)
            if key.fileobj is self._process.stdout:
                if not piece:
                    raise self._broken("it ended")
                self._held += piece
                self._work.received += len(piece)
                if self._work.received > self._most:
                    raise self._broken(f"it wrote more than {self._most} bytes")
            elif piece:
                self._errors = (self._errors + piece)[-_MOST_SAID:]
            else:
                self._waiting.unregister(key.fileobj)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._broken(f"no answer came within {self._seconds:g} s")
        return left

    def _broken(self, why: str) -> AkiosError:
        words = self._errors.decode("utf-8", "replace").strip()
        return AkiosError(
            f"the MCP server cannot be used: {why}{f'; it says: {words}' if words else ''}",
            "mcp: config.command",
            "run its command by hand, in a cage: akiosctl run -- COMMAND",
        )


def call(work: Work, config: Config, wanted: CallTool) -> None:
    """Call one tool: its ``content``, the ``text`` in it, and ``data`` where it is structured."""
    if config.tools and wanted.tool not in config.tools:
        raise AkiosError(
            f"this step may not call {wanted.tool!r}; allowed: {', '.join(config.tools)}",
            "mcp: config.tools",
            "add it there, if the workflow is to call it",
        )
    with Server(work, config) as server:
        server.begin()
        params = {"name": wanted.tool, "arguments": wanted.arguments}
        work.may_be_done = True
        result = server.ask("tools/call", params)
    work.may_be_done = False
    content = result.get("content")
    blocks = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    texts = [one["text"] for one in blocks if isinstance(one.get("text"), str)]
    work.outputs |= {"content": blocks, "text": "\n".join(texts)}
    if "structuredContent" in result:
        work.outputs["data"] = result["structuredContent"]
    if result.get("isError"):
        words = work.outputs["text"][:_MOST_SAID]
        raise AkiosError(f"{wanted.tool} failed: {words}", "mcp", "see outputs.content")


def list_tools(work: Work, config: Config, wanted: Nothing) -> None:
    """The tools of a server, with their descriptions and schemas."""
    tools: list[Any] = []
    with Server(work, config) as server:
        server.begin()
        params: dict[str, Any] = {}
        while True:
            page = server.ask("tools/list", params)
            found = page.get("tools")
            tools += found if isinstance(found, list) else []
            if not page.get("nextCursor") or len(tools) > _MAX_TOOLS:
                break
            params = {"cursor": page["nextCursor"]}
    if len(tools) > _MAX_TOOLS:
        raise AkiosError(
            f"the server has more than {_MAX_TOOLS} tools", "mcp", "use a server with fewer tools"
        )
    work.outputs["tools"] = tools


ACTIONS: Actions = {
    "call": Action(Config, CallTool, call),
    "list": Action(Config, Nothing, list_tools),
}
