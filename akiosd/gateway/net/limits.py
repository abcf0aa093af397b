"""How much, how many, how long: the numbers of a gateway.  Sizes in bytes, times in seconds."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    head_bytes: int = 64 << 10
    head_fields: int = 128
    head_seconds: float = 15
    """From a request's first byte to the end of its head."""
    idle_seconds: float = 75
    """A connection on which nothing is asked."""
    body_seconds: float = 60
    """Between two pieces of a request's body."""
    send_seconds: float = 120
    """For the agent to take a piece of an answer."""
    body_bytes: int = 8 << 30
    decoded_bytes: int = 256 << 20
    """What a compressed request body may grow to."""
    connect_seconds: float = 15
    """Name, connection and TLS of an upstream."""
    first_byte_seconds: float = 600
    """From a request to the head of its answer: a model may think long."""
    read_seconds: float = 300
    """Between two pieces of an answer."""
    total_seconds: float = 6 * 3600
    paid_seconds: float = 120
    """For an answer in one piece to come when its agent has left: it is made and paid to the end, and says its cost."""
    paid_stream_seconds: float = 15
    """The same for a stream, which a provider stops when nobody reads it: what it still says is paid."""
    relay_idle_seconds: float = 3600
    """A connection passed through on which nothing moves."""
    connections: int = 1024
    """Of one cage, at once."""
    reply_bytes: int = 64 << 20
    """One answer of a model in one piece."""
    held_replies_bytes: int = 64 << 20
    """What such answers hold at once; small ones are not counted, and the first in line may hold more."""


DEFAULT_LIMITS = Limits()
