"""Which protections a policy leaves out altogether, as somebody does who compares runs with and
without them.
"""

from __future__ import annotations

from akiosd.values.policy import Budget, Policy

WORDS = {
    "pii": "personal data leaves it as it is",
    "audit": "system calls are not recorded",
    "budget": "models may cost any amount",
}


UNPROTECTED = "UNPROTECTED"


def left_out(policy: Policy) -> tuple[str, ...]:
    """Keys of :data:`WORDS`; nothing where something of each holds."""
    budget, none = policy.budget, Budget(usd_micro=0)
    amounts = ("usd_micro", "tokens", "calls", "usd_micro_per_minute")
    found = {
        "pii": policy.redact.models == policy.redact.sites == "off",
        "audit": policy.syscalls.trace == "none",
        "budget": all(getattr(budget, name) == getattr(none, name) for name in amounts),
    }
    return tuple(name for name, is_left_out in found.items() if is_left_out)


def describe(left: tuple[str, ...]) -> str:
    """One loud line, "" for nothing."""
    if not left:
        return ""
    return f"{UNPROTECTED}, for comparison only: {'; '.join(WORDS[name] for name in left)}"
