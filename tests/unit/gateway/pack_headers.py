"""Headers of Amazon's event stream, as a model's server writes them."""

from __future__ import annotations

import struct


def pack_headers(headers: dict[str, str]) -> bytes:
    """String headers only."""
    out = b""
    for name, value in headers.items():
        out += (
            bytes([len(name)])
            + name.encode()
            + b"\x07"
            + struct.pack(">H", len(value.encode()))
            + value.encode()
        )
    return out
