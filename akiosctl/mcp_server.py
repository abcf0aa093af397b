"""A server of the Model Context Protocol: tools that work in one standing cage of the user's.

    a client's call ─▶ mcp (the library) ─▶ a tool here ─▶ library/cage.py ─▶ akiosd

The cage is made with the first call, by the policy that holds for its directory; what it changed
waits until ``commit`` is called, and goes with it at the end of the conversation.  Over standard
input and output there is one conversation; over HTTP each client has its own: ``mcp_http.py``.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field, ValidationError

from akiosctl.library.aio import killed_at_cancel
from akiosctl.library.cage import Cage
from akiosctl.library.kept import Kept
from akiosctl.library.program import Program
from akiosctl.library.values import CageError, EndedError, ProgramTimeout, done_of
from akiosd import __version__
from akiosd.errors import AkiosError

_Found = TypeVar("_Found")
MOST_THREADS = 160
"""Calls at work at once, of all conversations."""
_MOST_TEXT = 64 << 10
_MOST_FILE = 1 << 20
_TIMEOUT_S = 600
_SETTLE = "commit or discard the changes; your next call then gets a new cage"
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
        self._is_over = False

    def open(self) -> Cage:
        """The cage, up or ended at a limit; it is made where there is none."""
        with self._lock:
            if self._is_over:
                raise CageError("this conversation is over", "akiosctl mcp", "begin a new one")
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
            raise CageError(
                f"the cage ended ({why}), and has uncommitted changes", cage.name, _SETTLE
            )
        self.close()
        return self.open()

    def commit(self) -> int:
        """Write what it changed to the project; the next call gets a new cage."""
        cage = self.open()
        count = cage.commit()
        self.close()
        return count

    def close(self) -> bool:
        """Kill everything in it, and destroy what was not committed; whether there was one."""
        with self._lock:
            cage, self._cage = self._cage, None
        if cage is not None:
            cage.down()
        return cage is not None

    def end(self) -> bool:
        """As :meth:`close`, and no call gets a cage any more."""
        with self._lock:
            self._is_over = True
        return self.close()


Find = Callable[[Context[Any, Any], str], AbstractContextManager[Session]]
"""Whose cage a call uses, while it does, by its context and the tool's name.  Raises
``AkiosError`` where it may not.
"""


def serve_stdio(session: Session) -> None:
    """One conversation over standard input and output; its cage goes down at the end."""

    @asynccontextmanager
    async def lifespan(server: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(session.end)

    make_server(lambda ctx, tool: nullcontext(session), lifespan=lifespan).run("stdio")


def make_server(find: Find, **more: Any) -> MCPServer[Any]:
    """The server with its tools; ``more`` as for the library's."""
    server: MCPServer[Any] = _Server(
        "akios", version=__version__, instructions=_ABOUT, log_level="WARNING", **more
    )
    _add_tools(server, find, anyio.CapacityLimiter(MOST_THREADS))
    return server


class _Server(MCPServer[Any]):
    """Says in plain words which argument of a call is wrong: a model reads it, and asks again."""

    async def call_tool(self, name: str, arguments: dict[str, Any], *more: Any) -> Any:
        try:
            return await super().call_tool(name, arguments, *more)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(_tell_arguments(name, error.__cause__)) from None
            raise


def _tell_arguments(tool: str, wrong: ValidationError) -> str:
    found = []
    for one in wrong.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in one["loc"])
        words = "is missing" if one["type"] == "missing" else one["msg"]
        found.append(f"{field}: {words[:1].lower()}{words[1:]}")
    return f"wrong arguments of {tool}: {'; '.join(found)}; next: see the schema of its input"


def _add_tools(server: MCPServer[Any], find: Find, threads: anyio.CapacityLimiter) -> None:
    async def do(work: Callable[[], _Found]) -> _Found:
        return await anyio.to_thread.run_sync(work, limiter=threads)

    @server.tool()
    async def run(
        ctx: Context[Any, Any],
        command: Words,
        input: Annotated[str, Field(description="Its standard input.")] = "",
        cwd: Annotated[str, Field(description="Where it starts, below the project.")] = "",
        timeout: Annotated[float, Field(gt=0, le=3600, description="Seconds.")] = _TIMEOUT_S,
    ) -> dict[str, Any]:
        """Run a program in the cage; returns how it ended, what it printed, and what was denied."""
        with _told(), find(ctx, "run") as session:
            cage = await do(session.use)
            program = await do(lambda: cage.start(*command, cwd=cwd))
            work = partial(_collect, program, input, timeout)
            done = await killed_at_cancel(program, work, threads)
            return {**done, "denied": await do(lambda: _denied(cage, program, done))}

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def read(ctx: Context[Any, Any], path: Place) -> str:
        """Read a text file in the cage."""
        with _told(), find(ctx, "read") as session:
            data = await do(lambda: session.use().read(path, _MOST_FILE))
        return data.decode("utf-8", "backslashreplace")

    @server.tool()
    async def write(ctx: Context[Any, Any], path: Place, text: str) -> str:
        """Write a text file in the cage; missing directories are made.  The project outside is
        unchanged until commit.
        """
        with _told(), find(ctx, "write") as session:
            await do(lambda: session.use().write(path, text.encode()))
        return f"{len(text.encode())} bytes written to {path}"

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def diff(ctx: Context[Any, Any]) -> list[dict[str, str]]:
        """What was changed in the project, and what of it a commit would refuse."""
        with _told(), find(ctx, "diff") as session:
            found = await do(lambda: session.open().diff())
        return [{"path": c.path, "kind": c.kind, "refused": c.refused} for c in found]

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    async def commit(ctx: Context[Any, Any]) -> str:
        """Write what was changed to the project: all of it or nothing.  Ends what runs."""
        with _told(), find(ctx, "commit") as session:
            count = await do(session.commit)
        return f"{count} change{'' if count == 1 else 's'} written to the project"

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    async def discard(ctx: Context[Any, Any]) -> str:
        """Destroy what was changed, and end what runs; the next call gets a new cage."""
        with _told(), find(ctx, "discard") as session:
            await do(session.close)
        return "the project is as it was"


def _collect(program: Program, input: str, timeout: float) -> dict[str, Any]:
    out, err = Kept(_MOST_TEXT), Kept(_MOST_TEXT)
    program.give(input.encode())
    try:
        for name, data in program.pieces(timeout):
            (out if name == "stdout" else err).take(data)
        done = done_of(program.finish())
    except ProgramTimeout as slow:
        done = slow.done
    return {
        "exit_code": done.exit_code,
        "reason": done.reason,
        "stdout": out.text(),
        "stderr": err.text(),
    }


def _denied(cage: Cage, program: Program, done: dict[str, Any]) -> list[dict[str, Any]]:
    found = cage.denials(program) if done["exit_code"] else []
    return [{"what": one.what, "subjects": list(one.subjects), "hint": one.hint} for one in found]


@contextmanager
def _told() -> Iterator[None]:
    """What went wrong is for the client to read."""
    try:
        yield
    except AkiosError as error:
        if isinstance(error, EndedError):
            error.next = _SETTLE  # it ended between the look at it and the call
        raise ToolError(str(error)) from None
