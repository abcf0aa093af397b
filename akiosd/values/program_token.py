"""The word by which a client calls its request for a program, so that it is never begun twice.

It carries when it was made: beyond those that akiosd remembers, its age says whether it may be one
that was forgotten.
"""

from __future__ import annotations

import struct

_FORM = struct.Struct(">4sQ16s")
_MARK = b"akt1"


def token_of(made: int, random: bytes) -> bytes:
    """One that was ``made`` (CLOCK_MONOTONIC, ns), with sixteen bytes that nobody else has."""
    return _FORM.pack(_MARK, made, random)


def made_ns(token: bytes) -> int:
    """When it was made, 0 where it does not say."""
    if len(token) != _FORM.size or not token.startswith(_MARK):
        return 0
    made: int = _FORM.unpack(token)[1]
    return made
