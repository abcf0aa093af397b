"""The bounds of a gateway that no policy sets.  Sizes are in bytes, times in seconds."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """One value for each bound; tests make smaller ones."""

    head_bytes: int = 64 << 10
    """Longest head of a request."""
    head_fields: int = 128
    """Most header fields in a request."""
    head_seconds: float = 15
    """From the first byte of a request to the end of its head."""
    idle_seconds: float = 75
    """How long a connection may stand without a request."""
    body_seconds: float = 60
    """Between two pieces of a request's body."""
    send_seconds: float = 120
    """For the agent to take one piece of an answer."""
    body_bytes: int = 8 << 30
    """Largest request body, as sent."""
    decoded_bytes: int = 256 << 20
    """Largest request body, decoded."""
    connect_seconds: float = 15
    """To resolve and connect to an upstream, and again for its TLS handshake."""
    first_byte_seconds: float = 600
    """From a request to the head of its answer: a model may think for long."""
    read_seconds: float = 300
    """Between two pieces of an answer."""
    total_seconds: float = 6 * 3600
    """One request to an upstream from its begin to its end."""
    paid_seconds: float = 120
    """When the agent has left: how long to wait for an answer in one piece.  The provider completes
    it and bills it anyway, and only the answer says what it cost.
    """
    paid_stream_seconds: float = 15
    """The same for a streamed answer, which a provider stops when nobody reads it."""
    relay_idle_seconds: float = 3600
    """How long a connection that is passed through may stand without a byte moving."""
    connections: int = 1024
    """Of one cage, at once."""
    reply_bytes: int = 64 << 20
    """One answer of a model in one piece."""
    held_replies_bytes: int = 64 << 20
    """What such answers hold at once; small ones are not counted, and the first in line may hold
    more.
    """


DEFAULT_LIMITS = Limits()
