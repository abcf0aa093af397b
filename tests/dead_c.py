"""Finds what the native sources define and nobody names: functions, macros, constants, fields of
structures.

A name is a name, wherever it stands: a field is told apart from a function by the ``.`` or ``->``
in front of it only.  The compiler finds the rest (unused static functions and variables are errors,
native/build_shim.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
_MACRO = re.compile(r"^#[ \t]*(define|ifndef|ifdef|undef)[ \t]+(\w+)([^\n]*)", re.MULTILINE)
# A declaration or a definition: the one begins in the first column, and so does the other.
_FUNCTION = re.compile(r"^(?!#)[A-Za-z_][\w \*]*?\b(\w+)\((?=[^;{]*[;{])", re.MULTILINE)
_ENUM = re.compile(r"\benum(?:\s+\w+)?\s*\{([^}]*)\}")
_STRUCT = re.compile(r"\bstruct\s+\w+\s*\{([^}]*)\}")
_FIELD = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?\s*(?:,|$)")


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """(kind, name) of everything that ``text``, without comments, declares or defines."""
    for directive, name, value in _MACRO.findall(text):
        # One without a value guards its header.
        yield ("macro" if directive == "define" and value.strip() else "test"), name
    for name in _FUNCTION.findall(text):
        yield "function", name
    for body in _ENUM.findall(text):
        for part in filter(str.strip, body.split(",")):
            yield "constant", part.split("=")[0].strip()
    for body in _STRUCT.findall(text):
        for declaration in body.split(";"):
            for name in _FIELD.findall(declaration.strip()):
                yield "field", name


def dead_native(sources: Iterable[str], python: str) -> list[str]:
    """Texts of the C sources and headers, and of the Python that calls them → ``kind name`` of
    what nobody names.
    """
    texts = [_COMMENT.sub(" ", text) for text in sources]
    whole = "\n".join(texts)
    found = [item for text in texts for item in definitions(text)]
    left = Counter(_WORD.findall(whole))
    left.subtract(name for kind, name in found if kind != "field")
    read = set(re.findall(r"(?:->|\.)\s*(\w+)", whole + python))
    called = set(re.findall(r"\.(\w+)", python))
    return sorted(
        {
            f"{kind} {name}"
            for kind, name in found
            if kind != "test"
            and (name not in read if kind == "field" else left[name] <= 0 and name not in called)
        }
    )
