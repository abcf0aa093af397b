"""Shows a merged policy to people and programs: every value, and which layer set it, with file and
line.
"""

from __future__ import annotations

from typing import Any

from akiosd.policy.fields import BY_NAME
from akiosd.policy.merge import Merged, flatten
from akiosd.values.text import show


def explain(merged: Merged) -> dict[str, dict[str, Any]]:
    """Field → ``{"value", "layer", "file", "line"}``; ``layer`` is ``built-in`` where no layer sets
    it.
    """
    result: dict[str, dict[str, Any]] = {}
    for key, value in flatten(merged.policy).items():
        layer, (file, line) = merged.origin.get(key, ("built-in", ("", 0)))
        result[key] = {
            "value": list(value) if isinstance(value, tuple) else value,
            "layer": layer,
            "file": file,
            "line": line,
        }
    return result


def explain_text(merged: Merged) -> list[str]:
    """One line a field, as in ``limits.memory      512 MiB    user: policy.yaml, line 3``."""
    rows = [
        (
            key,
            format_value(key, entry["value"]),
            _origin(entry["layer"], entry["file"], entry["line"]),
        )
        for key, entry in explain(merged).items()
    ]
    key_width = max(len(key) for key, _, _ in rows)
    value_width = min(max(len(value) for _, value, _ in rows), 32)
    return [f"{key:<{key_width}}  {value:<{value_width}}  {origin}" for key, value, origin in rows]


def format_value(key: str, value: Any) -> str:
    """A field's value in its unit; text of the policy's author is escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_printable(text)}" for name, text in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_printable(str(item)) for item in value) or "none"
    if isinstance(value, int):
        return BY_NAME[key].kind.show(value)
    return _printable(str(value))


def _origin(layer: str, file: str, line: int) -> str:
    if not line:
        return layer if file in ("", layer) else f"{layer}: {_printable(file)}"
    return f"{layer}: {_printable(file)}, line {line}"


def _printable(text: str) -> str:
    return show(text, lambda character: ascii(character)[1:-1])
