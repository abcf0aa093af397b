"""The fields of a struct, read once: msgspec evaluates the text of our annotations for them, and
nothing is evaluated while a file is read.
"""

from __future__ import annotations

from functools import cache

import msgspec
from msgspec.structs import FieldInfo


@cache
def fields_of(form: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """Field by the name that files have for it."""
    return {field.encode_name: field for field in msgspec.structs.fields(form)}
