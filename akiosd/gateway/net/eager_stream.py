"""A socket stream for Trio that yields to other tasks only where the kernel makes it wait.

Trio's own stream yields after every read and write, and TLS on top of it does several of each: one
answer of a model went ten times through the scheduler and epoll_wait(2). This stream yields when
there is nothing to read or no room to write, and after every fourth read that found something at
once: a sender that is faster than its reader would otherwise keep all other tasks from running, and
no deadline would be noticed. ``trio.SSLStream`` above it still yields once for each operation.
"""

from __future__ import annotations

import os

import trio

_READ = 64 << 10
_READS = 4
"""After so many reads in a row that found data at once, other tasks get a turn."""


class PromptStream(trio.abc.Stream):
    """Owns ``stream``.

    ``first`` are bytes that were already read from it and are returned first. :meth:`send_all`
    raises ``trio.TooSlowError`` when the other side does not take the data within ``send_seconds``;
    how much it took is then unknown.
    """

    def __init__(
        self, stream: trio.SocketStream, first: bytes = b"", *, send_seconds: float
    ) -> None:
        self._stream, self._first, self._send_seconds = stream, first, send_seconds
        self.socket = stream.socket
        self._reads = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._reads += 1
        if self._reads > _READS:
            self._reads = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        count = _READ if max_bytes is None else max_bytes
        if self._first:
            taken, self._first = self._first[:count], self._first[count:]
            return taken
        while True:
            try:
                # fileno() is asked every time: a closed socket has -1, and its old number may be
                # another file's.
                return os.read(self.socket.fileno(), count)
            except BlockingIOError:
                self._reads = 0
                await trio.lowlevel.wait_readable(self.socket)
            except OSError as error:
                raise _broken(self.socket, error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            sent = os.write(self.socket.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _broken(self.socket, error) from error
        if sent < len(data):
            with trio.fail_after(self._send_seconds):
                await self._stream.send_all(memoryview(data)[sent:])

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _broken(socket: trio.socket.SocketType, error: OSError) -> Exception:
    if socket.fileno() < 0:
        return trio.ClosedResourceError("this stream was closed")
    return trio.BrokenResourceError(f"socket connection broken: {error}")
