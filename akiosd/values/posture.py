"""What is enforced, layer by layer, as read back from the kernel."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["enforced", "degraded", "unavailable"]

# The layers in the order in which a posture prints them.
LAYERS: tuple[str, ...] = (
    "identity",
    "view",
    "workspace",
    "namespaces",
    "network",
    "memory",
    "pids",
    "cpu",
    "disk",
    "capabilities",
    "landlock",
    "seccomp",
    "cores",
    "stdio",
    "files",
    "ledger",
)


class LayerState(msgspec.Struct, frozen=True):
    """One layer: ``detail`` says what was read back, or why it is less than asked for."""

    layer: str
    status: Status
    detail: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.status} ({self.detail})"


class Posture(msgspec.Struct, frozen=True):
    """The state of every layer of one cage, or of a host."""

    layers: tuple[LayerState, ...] = ()

    def worst(self) -> Status:
        """The worst status of any layer."""
        states = {layer.status for layer in self.layers}
        if "unavailable" in states:
            return "unavailable"
        return "degraded" if "degraded" in states else "enforced"

    def get(self, layer: str) -> LayerState | None:
        """The state of ``layer``; None when the posture does not have it."""
        return next((state for state in self.layers if state.layer == layer), None)
