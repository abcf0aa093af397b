"""A program's terminal, or its pipes, over a WebSocket: bytes both ways, until it ends or its
client leaves.

Binary messages are bytes, of input one way and of output the other; text messages are JSON.

| from | message | what it means |
|---|---|---|
| client | ``{"resize": [rows, columns]}`` | the terminal has this size |
| client | ``{"end": true}`` | no more input comes (of pipes) |
| client | ``{"leave": true}`` | as closing the WebSocket |
| server | ``{"event": "started", "data": {"cage", "tty"}}`` | the first |
| server | ``away``, ``back`` | akiosd is restarted; what runs goes on |
| server | ``{"event": "end", "data": {"exit_code", "kind", "reason"}}`` | it ended; the last |
| server | ``{"event": "left", "data": {"what"}}`` | this server left it; the last |

Nothing grows without a bound: what is not read is not read from the program either, and who takes
nothing for ``STALL_SECONDS`` is left, so that the program and its other readers go on.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from akiosctl.begin_program import begin_program
from akiosctl.client import GoneError, PlainClient
from akiosctl.come_back import Absence
from akiosctl.output_copy import OutputCopy
from akiosctl.started import take_started
from akiosctl.stdio import write_all
from akiosctl.terminal import write_size
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

STALL_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_LAST_SECONDS = 2.0
_PIECE = 1 << 14
_MOST_INPUT = 64
"""Messages of input that wait for a program that does not read; each has at most 64 KiB."""


class Size(msgspec.Struct, frozen=True):
    rows: int
    columns: int


class Terminal:
    """Of a program that was started, or taken over, by a request ``name`` with ``fields``.  Made in
    a thread, for it asks akiosd; then :meth:`serve`.  ``leaves``: it goes on without its client.
    """

    def __init__(self, path: str, name: str, fields: dict[str, object], leaves: bool) -> None:
        self._path, self._leaves = path, leaves
        if name == "program":
            self._client, self._number, started, self._fds = begin_program(path, lambda _: fields)
        else:
            self._client = PlainClient(path)
            try:
                self._number = self._client.request(name, fields)
                started, self._fds = take_started(self._client, self._number)
            except BaseException:
                self._client.close()
                raise
        self.cage, self.tty = str(started["cage"]), bool(started.get("tty"))
        self._whom: dict[str, object] = {"cage": self.cage}
        if started.get("program"):
            self._whom["program"] = int(started["program"])
        self._come_back_s = int(started.get("come_back_s", 0))
        self._left: float = int(started.get("output", 0)) or math.inf
        self._is_beyond = False
        kept = bool(started.get("kept")) and self._fds
        self._copy = OutputCopy(self._fds.pop()) if kept else None
        outputs = 1 if self.tty or started.get("one_output") else 2
        self._stdin = self._fds.pop(0) if len(self._fds) > outputs else -1
        self._ended: dict[str, Any] | None = None
        self._was_left = ""
        self._lock, self._over = trio.Lock(), trio.Event()

    async def serve(self, socket: WebSocket, size: Size, is_valid: Callable[[], bool]) -> None:
        """Until the end.  ``is_valid`` says whether the client's token holds still.  The socket is
        counted (:class:`akiosctl.api.streams.Open`).
        """
        await socket.accept()
        self._socket, self._is_valid = socket, is_valid
        try:
            await self._talk(size)
        finally:
            with trio.CancelScope(shield=True):
                await self._close()

    async def _talk(self, size: Size) -> None:
        if self.tty:
            write_size(self._fds[0], size.rows, size.columns)
        give, given = trio.open_memory_channel[bytes | None](_MOST_INPUT)
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                await self._say("started", {"cage": self.cage, "tty": self.tty})
                nursery.start_soon(self._hear_client, give)
                nursery.start_soon(self._feed, given)
                nursery.start_soon(self._watch_token)
                nursery.start_soon(self._hear_daemon)
                async with trio.open_nursery() as outputs:
                    for fd in self._fds:
                        outputs.start_soon(self._show, fd)
                await self._over.wait()
                nursery.cancel_scope.cancel()
        except* (WebSocketDisconnect, RuntimeError, trio.BrokenResourceError):
            pass  # the client is gone
        except* AkiosError as errors:
            first = errors.exceptions[0]
            self._was_left = self._was_left or str(first)

    def _leave(self, what: str) -> None:
        self._was_left = what
        self._scope.cancel()

    # ---- to the client

    async def _say(self, event: str, data: object) -> None:
        text = msgspec.json.encode({"event": event, "data": data}).decode()
        async with self._lock:
            await self._socket.send_text(text)

    async def _show(self, fd: int) -> None:
        """All that comes from ``fd``; of a terminal what is there when it has ended."""
        while True:
            if not await self._wait(fd):
                return
            try:
                data = os.read(fd, _PIECE)
            except OSError:  # EIO: nobody has the other side of the terminal any more
                return
            if not data:
                return
            if len(data) > self._left:
                data = data[: int(self._left)] if await self._is_ended_for_output() else data
            self._left -= len(data)
            if not data:
                return
            if self._copy is not None:
                self._copy.take(data)
            with trio.move_on_after(STALL_SECONDS) as limit:
                async with self._lock:
                    await self._socket.send_bytes(data)
            if limit.cancelled_caught:
                self._leave(f"the client took nothing for {STALL_SECONDS:.0f} s")

    async def _wait(self, fd: int) -> bool:
        """Whether there is something to read: a terminal has no end of its own."""
        if not self.tty:
            await trio.lowlevel.wait_readable(fd)
            return True
        ready = False

        async def readable(scope: trio.CancelScope) -> None:
            nonlocal ready
            await trio.lowlevel.wait_readable(fd)
            ready = True
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(readable, nursery.cancel_scope)
            await self._over.wait()
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        return ready

    async def _is_ended_for_output(self) -> bool:
        """The policy's bound on output is held where the output is read; nothing is read beyond it
        while akiosd is away.  False where it ended by itself before: then it is told whole.
        """
        self._is_beyond = True
        self._ask_end_for_output()
        await self._over.wait()
        if self._ended is None or self._ended.get("kind") == "output":
            return True
        self._left = math.inf
        return False

    def _ask_end_for_output(self) -> None:
        with contextlib.suppress(AkiosError):  # while akiosd is away; it is asked when it is back
            self._client.request("stop", {**self._whom, "cause": "output"})

    async def _watch_token(self) -> None:
        while True:
            await trio.sleep(_LOOK_SECONDS)
            if not self._is_valid():
                self._leave("the token expired or was revoked")

    # ---- from the client

    async def _hear_client(self, give: trio.MemorySendChannel[bytes | None]) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._leave("the client left")
                return
            data = message.get("bytes")
            try:
                if data:
                    give.send_nowait(data)
                elif message.get("text"):
                    self._obey(message["text"], give)
            except trio.WouldBlock:
                self._leave("more input came than the program reads")

    def _obey(self, text: str, give: trio.MemorySendChannel[bytes | None]) -> None:
        """What is none of the messages that there are has no effect."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        size = said.get("resize")
        if self.tty and isinstance(size, list) and len(size) == 2 and all(map(_is_size, size)):
            write_size(self._fds[0], size[0], size[1])
        if said.get("end") is True:
            give.send_nowait(None)
        if said.get("leave") is True:
            self._leave("the client left")

    async def _feed(self, given: trio.MemoryReceiveChannel[bytes | None]) -> None:
        """A program that does not read holds a thread, and nobody else."""
        own = trio.CapacityLimiter(1)
        async for data in given:
            target = self._fds[0] if self.tty else self._stdin
            if target < 0:
                continue
            if data is None:
                if not self.tty:
                    os.close(target)
                    self._stdin = -1
                continue
            # Its own descriptor: this one may be closed while the program still does not read.
            copy = os.dup(target)
            await trio.to_thread.run_sync(
                partial(_write, copy, data), abandon_on_cancel=True, limiter=own
            )

    # ---- akiosd

    async def _hear_daemon(self) -> None:
        """Its word on the end; over a restart of it, if the program goes on so long."""
        while self._ended is None:
            try:
                if not self._client.ready:
                    await trio.lowlevel.wait_readable(self._client.fileno())
                    self._client.feed()
                while self._client.ready and self._ended is None:
                    self._take(*self._client.receive())
            except GoneError as gone:
                await self._come_back(gone)
        self._over.set()

    def _take(self, message: dict[str, Any], fds: list[int]) -> None:
        answered = message.get("id", 0)
        if message["m"] == "started" and fds and self._copy is not None:
            self._copy.go_on(fds.pop())
        close_fds(fds)
        if answered not in (0, self._number):
            return
        if message["m"] == "error":
            words = (str(message.get(name, "")) for name in ("what", "where", "next"))
            raise AkiosError(*words)
        if message["m"] == "ended":
            self._ended = message

    async def _come_back(self, gone: GoneError) -> None:
        self._client.close()
        if not self._come_back_s:
            raise gone
        await self._say("away", {"what": gone.what})
        absence = Absence(self._path, self._whom, gone, self._come_back_s)
        with trio.move_on_after(self._come_back_s) as limit:
            while not await self._is_back(absence):
                await trio.sleep(_RETRY_SECONDS)
        if limit.cancelled_caught:
            raise gone
        if self._is_beyond:
            self._ask_end_for_output()
        await self._say("back", {})

    async def _is_back(self, absence: Absence) -> bool:
        """Whether akiosd says something: one that is being killed still takes connections, and
        systemd does in the place of one that is not there yet.
        """
        back = await trio.to_thread.run_sync(absence.look)
        if back is None:
            return False
        self._client, self._number = back
        try:
            await trio.lowlevel.wait_readable(self._client.fileno())
            self._client.feed()
        except GoneError:
            self._client.close()
            return False
        return True

    # ---- the end

    async def _close(self) -> None:
        """Say how it ended, and let go: of what was taken over it is left running, a program that
        was started here ends.
        """
        with trio.move_on_after(_LAST_SECONDS):
            if self._ended is None:
                await trio.to_thread.run_sync(self._let_go)
        if self._copy is not None:
            await trio.to_thread.run_sync(self._copy.finish)
        close_fds([*self._fds, *([self._stdin] if self._stdin >= 0 else [])])
        self._client.close()
        with contextlib.suppress(Exception), trio.move_on_after(_LAST_SECONDS):
            if self._ended is not None:
                names = ("exit_code", "kind", "reason")
                defaults = {"exit_code": 0, "kind": "exited", "reason": ""}
                data = {name: self._ended.get(name, defaults[name]) for name in names}
                await self._say("end", data)
            else:
                await self._say("left", {"what": self._was_left})
            await self._socket.close()

    def _let_go(self) -> None:
        """By a connection of its own where the program is to end: this one may be broken."""
        with contextlib.suppress(AkiosError):
            if self._leaves:
                self._client.request("detach", {"cage": self.cage})
                self._client.receive()
                return
            client = PlainClient(self._path)
            try:
                client.request("stop", {**self._whom, "grace_ns": 0})
                close_fds(client.receive()[1])
            finally:
                client.close()


def _write(fd: int, data: bytes) -> None:
    try:
        write_all(fd, data)
    except OSError:
        pass  # it reads no more; its end tells
    finally:
        os.close(fd)


def _is_size(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number <= 1000
