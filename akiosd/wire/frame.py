"""Frames of a unix stream socket, sans-IO: ``uint32`` length, big endian, then that many bytes of
msgpack.

File descriptors ride on the first byte of a frame.  The kernel ends a ``recvmsg(2)`` with the
buffer that carried descriptors (unix(7): ancillary data is a barrier), so the descriptors of one
read belong to the last frame that *starts* in the bytes of that read.  A read with descriptors in
which no frame starts is a protocol error.  A sender gives a frame with descriptors a ``sendmsg(2)``
of its own.

Nothing here imports msgspec: the run path of the client uses this module and must start fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from akiosd.errors import ProtocolError

MAX_FRAME = 1 << 20
MAX_FDS = 64
_LENGTH = Struct(">I")
HEADER_SIZE = _LENGTH.size


class Frame:
    """One complete frame: its payload and the descriptors that came with it, owned by whoever holds
    it.
    """

    __slots__ = ("fds", "payload")

    def __init__(self, payload: bytes, fds: list[int]) -> None:
        self.payload = payload
        self.fds = fds


def encode_frame(payload: bytes) -> bytes:
    """``payload`` with its length in front; :class:`ProtocolError` above ``MAX_FRAME`` or when
    empty.
    """
    if not 0 < len(payload) <= MAX_FRAME:
        raise ProtocolError(
            f"a message of {len(payload)} bytes is too long: it may have at most {MAX_FRAME} bytes",
            next="pass less: shorten the command line or the environment",
        )
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Bytes and descriptors in, whole frames out.

    Every descriptor given to :meth:`receive` is at any time in exactly one place: in a
    :class:`Frame` that was returned, or here.  After a :class:`ProtocolError`, and at the end of
    the connection, :meth:`close` hands back all that are here, and the caller closes them.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fds: list[int] = []
        self._unclaimed: list[int] = []
        self._broken = False

    def receive(
        self, data: bytes, fds: Iterable[int] = (), *, truncated: bool = False
    ) -> list[Frame]:
        """Take what one ``recvmsg(2)`` returned; ``truncated`` is its MSG_CTRUNC.  Returns the
        frames now whole.
        """
        arrived = list(fds)
        if self._broken or truncated or len(arrived) > MAX_FDS:
            self._unclaimed += arrived
            self._break()
            if truncated:
                raise ProtocolError(
                    "the kernel dropped file descriptors of a message (MSG_CTRUNC)",
                    next="raise the limit of open files: ulimit -n",
                )
            raise ProtocolError(f"more than {MAX_FDS} file descriptors in one message")
        old = len(self._buffer)
        self._buffer += data
        frames: list[Frame] = []
        try:
            self._split(frames, old, arrived)
        except ProtocolError:
            for frame in frames:
                self._unclaimed += frame.fds
            self._unclaimed += arrived
            self._break()
            raise
        return frames

    def _split(self, frames: list[Frame], old: int, arrived: list[int]) -> None:
        start = 0
        newest: list[int] | None = (
            None  # the descriptors of the last frame that starts in this read
        )
        while start < len(self._buffer):
            if start >= old:
                newest = self._fds
            if len(self._buffer) - start < HEADER_SIZE:
                break
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if not 0 < length <= MAX_FRAME:
                raise ProtocolError(f"a message has {length} bytes; allowed are 1 to {MAX_FRAME}")
            end = start + HEADER_SIZE + length
            if end > len(self._buffer):
                break
            frames.append(Frame(bytes(self._buffer[start + HEADER_SIZE : end]), self._fds))
            self._fds = []
            start = end
        if arrived:
            if newest is None:
                raise ProtocolError("file descriptors in the middle of a message")
            newest += arrived
            arrived.clear()
        del self._buffer[:start]

    def receive_eof(self) -> None:
        """The peer closed its side; :class:`ProtocolError` when that was in the middle
        of a frame.
        """
        pending = len(self._buffer)
        self._break()
        if pending:
            raise ProtocolError(
                f"the connection ended inside a message ({pending} bytes of it had arrived)",
                next="see whether the other side ended; akiosd: journalctl -u akiosd",
            )

    def close(self) -> list[int]:
        """End reading for good.  Returns the descriptors that reached no frame: the caller's now,
        to be closed.
        """
        self._break()
        fds, self._unclaimed = self._unclaimed, []
        return fds

    def _break(self) -> None:
        self._broken = True
        self._unclaimed += self._fds
        self._fds = []
        self._buffer.clear()
