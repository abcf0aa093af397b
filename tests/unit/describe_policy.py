"""The keys in akios-policy(5), written from the table: ``python -m tests.unit.describe_policy``
renews them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from akiosd.policy.fields import FIELDS, Field
from akiosd.policy.merge import flatten
from akiosd.policy.readers import ListOf, OneOf
from akiosd.values.policy import DEFAULT_POLICY
from akiosd.values.units import GIB, KIB, MIB, NS_PER_S, USD
from tests.unit.describe_records import roff

PAGE = Path(__file__).resolve().parents[2] / "packaging" / "man" / "akios-policy.5"
_BEGIN = r'(\.\\" Keys of ([a-z_ ]+) begin: written by tests/unit/describe_policy.py\n)'
_PART = re.compile(_BEGIN + r'.*?(\.\\" Keys end\n)', re.DOTALL)
_TOP = "a policy"
_DEFAULTS = flatten(DEFAULT_POLICY)


def written(word: str, value: Any) -> str:
    """A value as somebody would write it into a policy; ``word`` is what the manual calls values of
    its kind.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in value.items()) or "none"
    if isinstance(value, str):
        return value
    if value == 0:
        return "no limit"
    units = {
        "SIZE": {"G": GIB, "M": MIB, "K": KIB},
        "TIME": {"h": 3600 * NS_PER_S, "m": 60 * NS_PER_S, "s": NS_PER_S},
    }
    for unit, size in units.get(word, {}).items():
        if value % size == 0:
            return f"{value // size}{unit}"
    return {"MONEY": f"${value / USD:g}", "PERCENT": f"{value}%"}.get(word, str(value))


def readme_project() -> str:
    """The project's policy that docs/developer.md shows, which README.md leads to."""
    lines = (PAGE.parents[2] / "docs" / "developer.md").read_text().splitlines()
    start = lines.index("    version: 1")
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("    "))
    return "\n".join(line.removeprefix("    ") for line in lines[start:end])


def paragraph(row: Field) -> str:
    """One tagged paragraph of man(7)."""
    reader = row.kind.reader.item if isinstance(row.kind.reader, ListOf) else row.kind.reader
    choices = ", ".join(reader.choices) if isinstance(reader, OneOf) else ""
    default = written(row.kind.word, _DEFAULTS[row.name])
    text = row.text.format(
        default=default, Default=default[:1].upper() + default[1:], choices=choices
    )
    word = f" \\fI{row.kind.word}\\fR" if row.kind.word else ""
    return f".TP\n\\fB{row.path.rpartition('.')[2]}\\fR{word}\n{roff(text)}\n"


def describe(section: str) -> str:
    """The paragraphs of a section; "" is the top level."""
    return "".join(paragraph(row) for row in FIELDS if row.path.rpartition(".")[0] == section)


def described(page: str) -> set[str]:
    """The sections whose keys are written into the page."""
    return {"" if match[2] == _TOP else match[2] for match in _PART.finditer(page)}


def renewed(page: str) -> str:
    return _PART.sub(lambda m: m[1] + describe("" if m[2] == _TOP else m[2]) + m[3], page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
