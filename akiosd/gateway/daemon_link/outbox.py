"""What a gateway has told akiosd and may have to tell another one.  Pure.

Everything that is told gets a number, and stays here until akiosd says that it outlives it.  A
report that has to be on disk stays until it is: whoever comes then is asked about it again.
"""

from __future__ import annotations

import msgspec

from akiosd.wire.frame import encode_frame
from akiosd.wire.gateway import FromTold, GatewayRecords

_encode = msgspec.msgpack.Encoder().encode


class Outbox:
    """Frames that were told and are not known to outlive akiosd."""

    def __init__(self) -> None:
        self._last = self._taken = 0
        self._said: dict[int, bytes] = {}
        """Frames that were not taken yet, by their numbers."""
        self._unkept: dict[int, bytes] = {}
        """Reports that have to be on disk, and are not known to be."""

    def __len__(self) -> int:
        """How many were not taken yet."""
        return self._last - self._taken

    def tell(self, message: FromTold) -> tuple[int, bytes]:
        """Give ``message`` its number; returns that, and the frame to send."""
        frame = encode_frame(_encode(msgspec.structs.replace(message, number=self._last + 1)))
        self._last += 1
        self._said[self._last] = frame
        if isinstance(message, GatewayRecords) and message.durable:
            self._unkept[self._last] = frame
        return self._last, frame

    def take(self, number: int) -> None:
        """Everything up to ``number`` outlives akiosd."""
        if self._taken < number <= self._last:
            for said in range(self._taken + 1, number + 1):
                del self._said[said]
            self._taken = number

    def keep(self, number: int) -> None:
        """Every report up to this number is on disk."""
        self.take(number)
        for kept in [one for one in self._unkept if one <= number]:
            del self._unkept[kept]

    def say_again(self) -> list[bytes]:
        """The frames that another akiosd has to be told, in their order."""
        missing = self._said | self._unkept
        return [missing[number] for number in sorted(missing)]
