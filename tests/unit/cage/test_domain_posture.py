"""What is said to hold in a cage without namespaces."""

from __future__ import annotations

import msgspec
import pytest

from akiosd.cage.domain_posture import Evidence, check, never_held

STATUS = (
    "".join(f"{name}:\t{'0' * 16}\n" for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    + "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
)
GOOD = Evidence(
    status=STATUS,
    proved=True,
    abi=7,
    pump_running=True,
    workspace_mode="ro",
    stores=0,
)


def statuses(evidence: Evidence) -> dict[str, str]:
    return {layer.layer: layer.status for layer in check(evidence)}


def test_what_is_never_held_is_said_whatever_the_host() -> None:
    found = statuses(GOOD)
    missing = {layer.layer for layer in never_held()}
    assert {name for name, status in found.items() if status == "degraded"} == missing
    assert "unavailable" not in found.values()


@pytest.mark.parametrize(
    ("change", "layer", "status"),
    [
        ({"proved": False}, "landlock", "unavailable"),
        ({"proved": False}, "network", "unavailable"),
        ({"pump_running": False}, "seccomp", "unavailable"),
        ({"pump_running": False}, "network", "unavailable"),
        ({"status": STATUS.replace("Seccomp:\t2", "Seccomp:\t0")}, "seccomp", "unavailable"),
        (
            {"status": STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")},
            "capabilities",
            "unavailable",
        ),
        ({"status": STATUS.replace("CapEff:\t0", "CapEff:\t1")}, "capabilities", "unavailable"),
        ({"workspace_mode": "rw-direct"}, "workspace", "degraded"),
        ({"stores": 2}, "trust", "degraded"),
    ],
)
def test_what_does_not_hold_is_said(change: dict[str, object], layer: str, status: str) -> None:
    assert statuses(msgspec.structs.replace(GOOD, **change))[layer] == status
