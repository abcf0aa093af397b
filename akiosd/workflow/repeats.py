"""Which steps may be done twice without harm, so that one that may be done already is done again.

All others change something: they are done again only where somebody says so (``--repeat``), or
where who is told knows the step by its idempotency key.  So it is after a failure that leaves open
whether they were done, whatever ``retry`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from akiosd.workflow.steps.kinds import OLD_ACTIONS, OLD_KINDS

HARMLESS: dict[str, tuple[str, ...]] = {
    "llm": ("complete", "chat"),
    "http": ("get", "head"),
    "filesystem": ("read", "list", "stat", "exists"),
    "database": ("query", "count"),
    "mcp": ("list",),
    "approve": ("ask",),
}
"""Agent → the actions of it that only read (RFC 9110, 9.2.1: safe methods), or that ask."""
NO_MODEL = ("approve", "database", "filesystem", "webhook")
"""Agents that ask no model: their cages have no way to one."""


def is_harmless(agent: str, action: str, config: Mapping[str, Any]) -> bool:
    """Whether doing it once more changes nothing."""
    agent = OLD_KINDS.get(agent, agent)
    action = OLD_ACTIONS.get((agent, action), action)
    if agent == "webhook":
        # Of these services only a generic one may know idempotency keys (steps/webhook.py).
        return (config.get("service") or config.get("platform") or "generic") == "generic"
    if config.get("allow_write"):
        return False
    return action in HARMLESS.get(agent, ())


_IDEMPOTENT = {"http": ("put", "delete"), "filesystem": ("write",), "tool": ("run",)}
"""What may be done twice where the file asks for it: RFC 9110, 9.2.2, a file that is written as a
whole, and a program, of which its author knows.
"""


def may_retry(
    agent: str, action: str, config: Mapping[str, Any], parameters: Mapping[str, Any]
) -> bool:
    """Whether ``retry`` does it again after a failure that leaves open whether it was done."""
    agent = OLD_KINDS.get(agent, agent)
    action = OLD_ACTIONS.get((agent, action), action)
    headers = parameters.get("headers") if agent == "http" else None
    names = [str(name).lower() for name in headers] if isinstance(headers, Mapping) else []
    if "idempotency-key" in names or action in _IDEMPOTENT.get(agent, ()):
        return True
    return is_harmless(agent, action, config)
