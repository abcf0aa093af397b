"""When an entry of a log was made."""

from __future__ import annotations

import msgspec


class _Timed(msgspec.Struct):
    ts: int = 0


def time_of(entry: bytes) -> int:
    """When a record was made (Unix time in ns); 0 where it does not say."""
    try:
        return msgspec.msgpack.decode(entry, type=_Timed).ts
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0
