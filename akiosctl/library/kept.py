"""The beginning and the end of an output, in bounded memory."""

from __future__ import annotations


class Kept:
    """Keeps at most ``most`` bytes: the first half of that, and the last.  ``left_out``: how many
    were not kept, from the middle.
    """

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._head, self._tail = bytearray(), bytearray()
        self.left_out = 0

    def take(self, data: bytes) -> None:
        """One more piece."""
        room = max(self._half - len(self._head), 0)
        self._head += data[:room]
        self._tail += data[room:]
        if (more := len(self._tail) - self._half) > 0:
            del self._tail[:more]
            self.left_out += more

    def join(self) -> bytes:
        """What is kept."""
        return bytes(self._head + self._tail)

    def text(self) -> str:
        """As text that says where something is left out; what is no UTF-8 is escaped."""
        head = self._head.decode("utf-8", "backslashreplace")
        tail = self._tail.decode("utf-8", "backslashreplace")
        gap = f"\n[{self.left_out:,} bytes are left out here]\n" if self.left_out else ""
        return head + gap + tail
