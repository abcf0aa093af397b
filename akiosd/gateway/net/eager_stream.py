"""A socket's stream that gives up its turn only where the kernel makes it wait.

Trio's own yields after every read and write, and with TLS above it several times for each: one answer of a model went
ten times through the scheduler and epoll_wait(2).  Here a task still yields when nothing is to be had, what is above it
(``trio.SSLStream``) once for every operation, and where there always is something to be had, every few reads: who sends
faster than it is read would keep all others out, and no deadline would come.
"""

from __future__ import annotations

import os

import trio

_READ = 64 << 10
_READS = 4
"""So many in a row may find something without a turn for others."""


class PromptStream(trio.abc.Stream):
    """Owns ``stream``.  ``first`` are bytes that were read from it already, and are read again.

    What the other side does not take within ``send_seconds`` raises ``trio.TooSlowError``; how much it took is not
    known then.
    """

    def __init__(self, stream: trio.SocketStream, first: bytes = b"", *, send_seconds: float) -> None:
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
                # Asked for every time: a closed one has -1, and its number may be another's by now.
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
