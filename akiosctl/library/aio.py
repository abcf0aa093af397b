"""``AsyncCage``: the same in async code, under asyncio or Trio.

Threads do the work, by AnyIO (``pip install 'akios[async]'``); what is cancelled is killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, Unpack

import anyio
import anyio.to_thread

from akiosctl.library.cage import MOST_READ, Cage
from akiosctl.library.program import Program
from akiosctl.library.values import (
    Change,
    Denial,
    Done,
    Options,
    Path,
    ProgramTimeout,
    Spent,
    Stream,
    done_of,
    failed,
    input_bytes,
    with_denials,
)
from akiosd.errors import AkiosError

_Found = TypeVar("_Found")


class AsyncCage:
    """As :class:`akiosctl.Cage`, whose arguments it takes; ``cage`` is that one."""

    def __init__(self, workspace: Path | None = None, **options: Unpack[Options]) -> None:
        self.cage = Cage(workspace, **options)

    @property
    def id(self) -> str:
        """The id of its cage, "" while that is not up."""
        return self.cage.id

    @property
    def name(self) -> str:
        """The name of its cage, "" before that is up."""
        return self.cage.name

    @property
    def workspace(self) -> str:
        """The project, "" before its cage is up."""
        return self.cage.workspace

    async def __aenter__(self) -> AsyncCage:
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """As :meth:`Cage.up`."""
        # Not abandoned: what is half made must be known to be taken down.
        await _in_thread(self.cage.up)

    async def down(self) -> None:
        """As :meth:`Cage.down`; also when it is cancelled."""
        with anyio.CancelScope(shield=True):
            await _in_thread(self.cage.down)

    async def run(
        self,
        *command: Path,
        input: bytes | str | None = None,
        timeout: float | None = None,
        check: bool = False,
        cwd: Path = "",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """As :meth:`Cage.run`; when it is cancelled the program is killed."""
        data = input_bytes(input)
        program = await _in_thread(partial(self.cage.start, *command, cwd=cwd, env=env))
        try:
            done = await killed_at_cancel(program, partial(program.collect, timeout, data))
        except ProgramTimeout as slow:
            raise with_denials(slow, tuple(await self.denials(program))) from None
        if check and done.exit_code:
            raise failed(done, program.command, tuple(await self.denials(program)))
        return done

    async def stream(
        self,
        *command: Path,
        input: bytes | str | None = None,
        timeout: float | None = None,
        cwd: Path = "",
        env: Mapping[str, str] | None = None,
    ) -> AsyncIterator[tuple[Stream, bytes]]:
        """As :meth:`Cage.stream`; when it is cancelled the program is killed."""
        data = input_bytes(input)
        program = await _in_thread(partial(self.cage.start, *command, cwd=cwd, env=env))
        program.give(data)
        pieces = program.pieces(timeout)
        ended = False
        try:
            try:
                while found := await killed_at_cancel(program, partial(next, pieces, None)):
                    yield found
                done, ended = done_of(await killed_at_cancel(program, program.finish)), True
            except ProgramTimeout as slow:
                ended = True
                raise with_denials(slow, tuple(await self.denials(program))) from None
        finally:
            if not ended:
                with anyio.CancelScope(shield=True):
                    await _in_thread(program.kill)
        if done.exit_code:
            raise failed(done, program.command, tuple(await self.denials(program)))

    async def write(self, path: Path, data: bytes | str) -> None:
        """As :meth:`Cage.write`."""
        await _in_thread(partial(self.cage.write, path, data))

    async def read(self, path: Path, most: int = MOST_READ) -> bytes:
        """As :meth:`Cage.read`."""
        return await _in_thread(partial(self.cage.read, path, most))

    async def copy_in(self, source: Path, target: Path) -> int:
        """As :meth:`Cage.copy_in`."""
        return await _in_thread(partial(self.cage.copy_in, source, target))

    async def copy_out(self, source: Path, target: Path, most: str = "10G") -> int:
        """As :meth:`Cage.copy_out`."""
        return await _in_thread(partial(self.cage.copy_out, source, target, most))

    async def diff(self) -> Sequence[Change]:
        """As :meth:`Cage.diff`."""
        return await _in_thread(self.cage.diff)

    async def commit(self, *, skip_refused: bool = False, force: bool = False) -> int:
        """As :meth:`Cage.commit`."""
        return await _in_thread(partial(self.cage.commit, skip_refused=skip_refused, force=force))

    async def discard(self) -> None:
        """As :meth:`Cage.discard`."""
        await _in_thread(self.cage.discard)

    async def why_down(self) -> str:
        """As :meth:`Cage.why_down`."""
        return await _in_thread(self.cage.why_down)

    async def budget(self) -> Spent:
        """As :meth:`Cage.budget`."""
        return await _in_thread(self.cage.budget)

    async def denials(self, program: Program | None = None) -> Sequence[Denial]:
        """As :meth:`Cage.denials`."""
        return await _in_thread(partial(self.cage.denials, program))

    async def events(self) -> Sequence[dict[str, Any]]:
        """What was recorded of it so far, as :meth:`Cage.events`."""
        return await _in_thread(lambda: list(self.cage.events()))


async def _in_thread(work: Callable[[], _Found]) -> _Found:
    return await anyio.to_thread.run_sync(work)


async def killed_at_cancel(
    program: Program, work: Callable[[], _Found], threads: anyio.CapacityLimiter | None = None
) -> _Found:
    """What ``work``, which waits for the program, returns; when it is cancelled, the program is
    killed.
    """
    try:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=threads)
    except anyio.get_cancelled_exc_class():
        # Where akiosd does not answer, this is cancelled all the same.
        with anyio.CancelScope(shield=True), suppress(AkiosError):
            await _in_thread(program.kill)
        raise
