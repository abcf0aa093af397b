"""What is enforced, layer by layer, as read back from the kernel."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["enforced", "degraded", "unavailable"]
CoreTaker = Literal["file", "program", "socket"]
"""What a host gives core dumps to (core(5))."""


class LayerState(msgspec.Struct, frozen=True):
    """One layer: ``detail`` says what was read back, or why it is less than asked for."""

    layer: str
    status: Status
    detail: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.status} ({self.detail})"
