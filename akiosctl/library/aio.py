"""``AsyncCage``: the same in async code, under asyncio or Trio.

Threads do the work, by AnyIO (``pip install 'akios[async]'``); what is cancelled is killed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from akiosctl.library.cage import Cage
from akiosctl.library.program import Program
from akiosctl.library.values import Change, Denial, Done, Spent, Stream, failed

_Found = TypeVar("_Found")


class AsyncCage:
    """As :class:`akiosctl.Cage`, whose arguments it takes; ``cage`` is that one."""

    def __init__(self, workspace: str | os.PathLike[str] | None = None, **options: Any) -> None:
        self.cage = Cage(workspace, **options)

    async def __aenter__(self) -> AsyncCage:
        # Not abandoned: what is half made must be known to be taken down.
        await _in_thread(self.cage.up)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await _in_thread(self.cage.down)

    async def run(
        self,
        *command: str,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """As :meth:`Cage.run`; when it is cancelled the program is killed."""
        program = await _in_thread(partial(self.cage.start, *command, cwd=cwd, env=env))
        done = await killed_at_cancel(program, partial(program.collect, timeout, input))
        if check and done.exit_code:
            raise failed(done, command[0], tuple(await self.denials()))
        return done

    async def stream(
        self, *command: str, timeout: float | None = None, cwd: str = ""
    ) -> AsyncIterator[tuple[Stream, bytes]]:
        """As :meth:`Cage.stream`."""
        pieces = self.cage.stream(*command, timeout=timeout, cwd=cwd)
        try:
            while (found := await _in_thread(partial(_next, pieces))) is not None:
                yield found
        finally:
            with anyio.CancelScope(shield=True):
                await _in_thread(pieces.close)  # type: ignore[attr-defined]

    async def write(self, path: str, data: bytes) -> None:
        """As :meth:`Cage.write`."""
        await _in_thread(partial(self.cage.write, path, data))

    async def read(self, path: str) -> bytes:
        """As :meth:`Cage.read`."""
        return await _in_thread(partial(self.cage.read, path))

    async def copy_in(self, source: str, target: str) -> int:
        """As :meth:`Cage.copy_in`."""
        return await _in_thread(partial(self.cage.copy_in, source, target))

    async def copy_out(self, source: str, target: str) -> int:
        """As :meth:`Cage.copy_out`."""
        return await _in_thread(partial(self.cage.copy_out, source, target))

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

    async def denials(self) -> Sequence[Denial]:
        """As :meth:`Cage.denials`."""
        return await _in_thread(self.cage.denials)

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
        with anyio.CancelScope(shield=True):
            await _in_thread(program.kill)
        raise


def _next(pieces: Iterator[tuple[Stream, bytes]]) -> tuple[Stream, bytes] | None:
    return next(pieces, None)
