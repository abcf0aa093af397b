"""Shows a merged policy to people and programs: every value, and which layer set it, with file and
line.
"""

from __future__ import annotations

from typing import Any

from akiosd.policy.fields import BY_NAME
from akiosd.policy.merge import Merged, flatten
from akiosd.policy.refusals import Source
from akiosd.policy.show_values import format_value, printable


def explain(merged: Merged) -> dict[str, dict[str, Any]]:
    """Field → ``{"value", "layer", "file", "line"}``; ``layer`` is ``built-in`` where no layer sets
    it.
    """
    result: dict[str, dict[str, Any]] = {}
    for key, value in flatten(merged.policy).items():
        source = merged.origin.get(key, Source())
        result[key] = {
            "value": list(value) if isinstance(value, tuple) else value,
            "layer": source.layer,
            "file": source.file,
            "line": source.line,
        }
    return result


def explain_text(merged: Merged) -> list[str]:
    """One line a field, as in ``limits.memory      512 MiB    user: policy.yaml, line 3``.

    The bounds of ``projects_may`` that nobody gave are left out.
    """
    rows = explain_rows(merged)
    key_width = max(len(key) for key, _, _ in rows)
    value_width = min(max(len(value) for _, value, _ in rows), 32)
    return [f"{key:<{key_width}}  {value:<{value_width}}  {origin}" for key, value, origin in rows]


def explain_rows(merged: Merged) -> list[tuple[str, str, str]]:
    """The same as (field, value, where it came from)."""
    return [
        (
            BY_NAME[key].path,
            format_value(key, entry["value"]),
            _origin(entry["layer"], entry["file"], entry["line"]),
        )
        for key, entry in explain(merged).items()
        if key in merged.origin or not key.startswith("projects_may.")
    ]


def _origin(layer: str, file: str, line: int) -> str:
    if not line:
        return layer if file in ("", layer) else f"{layer}: {printable(file)}"
    return f"{layer}: {printable(file)}, line {line}"
