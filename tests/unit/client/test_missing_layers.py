"""What a run says about layers that do not hold."""

from __future__ import annotations

import msgspec

from akiosctl.started import NEVER_HELD, missing_layers
from akiosd.cage.domain_posture import NOT, never_held
from akiosd.values.posture import LayerState


def test_what_a_mode_never_holds_is_one_line_beside_the_rest() -> None:
    assert f"{NOT}: " == NEVER_HELD
    states = (
        LayerState("landlock", "enforced", "fine"),
        LayerState("cores", "degraded", "a socket"),
        *never_held(),
    )
    first, second = missing_layers([msgspec.to_builtins(state) for state in states])
    assert first == "cores: degraded (a socket)"
    assert second.startswith("policy mode, not held: identity, view, namespaces, memory")
