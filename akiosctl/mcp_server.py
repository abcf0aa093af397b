"""A server of the Model Context Protocol: tools that work in one standing cage of the user's.

    a client's call ─▶ mcp (the library) ─▶ a tool here ─▶ library/cage.py ─▶ akiosd

The cage is made with the first call, by the policy that holds for its directory; what it changed
waits until ``commit`` is called, and goes with it at the end of the conversation.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from akiosctl.library.cage import Cage
from akiosctl.library.kept import Kept
from akiosctl.library.values import CageError, ProgramTimeout
from akiosd import __version__
from akiosd.errors import AkiosError

_Found = TypeVar("_Found")
_MOST_TEXT = 64 << 10
_MOST_FILE = 1 << 20
_TIMEOUT_S = 600
_ABOUT = (
    "Programs run in a security cage: they see a copy of the project, reach only the names that its"
    " policy allows, and change nothing outside. What they changed waits: see it with diff, and"
    " write it to the project with commit."
)
Words = Annotated[list[str], Field(description="The program and its arguments.", min_length=1)]
Place = Annotated[str, Field(description="A path in the cage; a relative one is in the project.")]


class Session:
    """The cage of one conversation; ``options`` as of :class:`Cage`."""

    def __init__(self, workspace: str | None, options: dict[str, Any]) -> None:
        self._workspace, self._options = workspace, options
        self._lock = threading.Lock()
        self._cage: Cage | None = None

    def open(self) -> Cage:
        """The cage, up or ended at a limit; it is made where there is none."""
        with self._lock:
            if self._cage is None:
                cage = Cage(self._workspace, **self._options)
                cage.up()
                self._cage = cage
            return self._cage

    def use(self) -> Cage:
        """A cage that is up.  Raises ``CageError`` where changes of one that ended wait."""
        cage = self.open()
        why = cage.why_down()
        if not why:
            return cage
        if cage.diff():
            next = "commit or discard them; the call after that gets a new cage"
            raise CageError(f"the cage ended ({why}), and its changes wait", cage.name, next)
        self.close()
        return self.open()

    def commit(self) -> int:
        """Write what it changed to the project; the next call gets a new cage."""
        cage = self.open()
        count = cage.commit()
        self.close()
        return count

    def close(self) -> None:
        """Kill everything in it, and destroy what was not committed."""
        with self._lock:
            cage, self._cage = self._cage, None
        if cage is not None:
            cage.down()


def make_server(session: Session) -> MCPServer[Any]:
    """The server with its tools; it takes the cage down at its end."""

    @asynccontextmanager
    async def lifespan(server: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(session.close)

    server = MCPServer(
        "akios", version=__version__, instructions=_ABOUT, lifespan=lifespan, log_level="WARNING"
    )
    _add_tools(server, session)
    return server


def _add_tools(server: MCPServer[Any], session: Session) -> None:
    @server.tool()
    async def run(
        command: Words,
        input: Annotated[str, Field(description="Its standard input.")] = "",
        cwd: Annotated[str, Field(description="Where it starts, below the project.")] = "",
        timeout: Annotated[float, Field(gt=0, le=3600, description="Seconds.")] = _TIMEOUT_S,
    ) -> dict[str, Any]:
        """Run a program in the cage; returns how it ended, what it printed, and what was denied."""
        return await _in_thread(lambda: _run(session.use(), command, input, cwd, timeout))

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def read(path: Place) -> str:
        """Read a text file in the cage."""
        data = await _in_thread(lambda: session.use().read(path, _MOST_FILE))
        return data.decode("utf-8", "backslashreplace")

    @server.tool()
    async def write(path: Place, text: str) -> str:
        """Write a text file in the cage; the project outside is unchanged until commit."""
        await _in_thread(lambda: session.use().write(path, text.encode()))
        return f"{len(text.encode())} bytes written to {path}"

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def diff() -> list[dict[str, str]]:
        """What was changed in the project, and what of it a commit would refuse."""
        found = await _in_thread(lambda: session.open().diff())
        return [{"path": c.path, "kind": c.kind, "refused": c.refused} for c in found]

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    async def commit() -> str:
        """Write what was changed to the project: all of it or nothing.  Ends what runs."""
        count = await _in_thread(session.commit)
        return f"{count} change{'' if count == 1 else 's'} written to the project"

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    async def discard() -> str:
        """Destroy what was changed, and end what runs; the next call gets a new cage."""
        await _in_thread(session.close)
        return "the project is as it was"


def _run(cage: Cage, command: list[str], input: str, cwd: str, timeout: float) -> dict[str, Any]:
    out, err = Kept(_MOST_TEXT), Kept(_MOST_TEXT)
    program = cage.start(*command, cwd=cwd)
    program.give(input.encode())
    try:
        for name, data in program.pieces(timeout):
            (out if name == "stdout" else err).take(data)
        ended = program.finish()
    except ProgramTimeout as slow:
        ended = {"exit_code": slow.done.exit_code, "reason": slow.what}
    code = int(ended.get("exit_code", 0))
    denied = cage.denials() if code else []
    return {
        "exit_code": code,
        "reason": str(ended.get("reason", "")),
        "stdout": out.text(),
        "stderr": err.text(),
        "denied": [
            {"what": one.what, "subjects": list(one.subjects), "hint": one.hint} for one in denied
        ],
    }


async def _in_thread(work: Callable[[], _Found]) -> _Found:
    try:
        return await anyio.to_thread.run_sync(work)
    except AkiosError as error:
        raise ToolError(str(error)) from None
