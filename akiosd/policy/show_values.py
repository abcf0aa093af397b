"""Values of a policy in their units, for people."""

from __future__ import annotations

from typing import Any

from akiosd.policy.fields import BY_NAME
from akiosd.values.text import show


def format_value(key: str, value: Any) -> str:
    """A field's value in its unit; text of the policy's author is escaped."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{name}={printable(text)}" for name, text in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(printable(str(item)) for item in value) or "none"
    if isinstance(value, int):
        return BY_NAME[key].kind.show(value)
    return printable(str(value))


def printable(text: str) -> str:
    return show(text, lambda character: ascii(character)[1:-1])
