"""Which protections a policy leaves out, and that it is said loudly."""

from __future__ import annotations

import pytest

from akiosd.cage.unprotected import describe, left_out
from akiosd.values.policy import Budget, Policy, Redact, Syscalls

NOTHING = Budget(usd_micro=0)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (Policy(), ()),
        (Policy(redact=Redact(models="off", sites="off")), ("pii",)),
        (Policy(redact=Redact(models="off")), ()),  # sites are redacted still
        (Policy(syscalls=Syscalls(trace="none")), ("audit",)),
        (Policy(budget=NOTHING), ("budget",)),
        (Policy(budget=Budget(usd_micro=0, tokens=5)), ()),
        (Policy(syscalls=Syscalls(trace="none"), budget=NOTHING), ("audit", "budget")),
    ],
)
def test_what_is_left_out_is_told(policy: Policy, wanted: tuple[str, ...]) -> None:
    assert left_out(policy) == wanted
    assert describe(wanted).startswith("UNPROTECTED") == bool(wanted)
