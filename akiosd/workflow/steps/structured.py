"""Structured output: an answer that a JSON schema describes.

The schema may come from anywhere, so it is compiled by a library whose patterns take linear time,
and nothing that it refers to is fetched.
"""

from __future__ import annotations

import json
from typing import Any

from akiosd.errors import AkiosError
from akiosd.workflow.steps.documents import missing

_MOST_SAID = 3
_MAX_SCHEMA = 256 << 10


def check_schema(schema: dict[str, Any]) -> Any:
    """The validator of a schema.  Raises :class:`AkiosError` when it is none, before anything is
    sent.
    """
    try:
        import jsonschema_rs
    except ImportError:
        raise missing("jsonschema-rs", "structured output") from None
    if len(json.dumps(schema)) > _MAX_SCHEMA:
        raise AkiosError(
            f"the schema has more than {_MAX_SCHEMA} bytes", "schema", "give a smaller one"
        )
    try:
        return jsonschema_rs.validator_for(
            schema, pattern_options=jsonschema_rs.RegexOptions(), retriever=_fetch_nothing
        )
    except (ValueError, TypeError) as error:
        raise AkiosError(
            f"this schema cannot be used: {str(error).partition(chr(10))[0][:300]}",
            "schema",
            "write JSON Schema; it may refer only to parts of itself",
        ) from None


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"{uri[:200]} is not fetched")


def read_structured(text: str, validator: Any) -> Any:
    """The value in a model's answer.  Raises :class:`AkiosError` with what does not fit where."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AkiosError(
            f"the model's answer is not JSON: {error}",
            "llm",
            "see outputs.text; try again, or say in the prompt what is wanted",
        ) from None
    faults = []
    for fault in validator.iter_errors(value):
        place = "".join(f"[{part!r}]" for part in fault.instance_path)
        faults.append(f"{place or 'the answer'}: {fault.message[:200]}")
        if len(faults) == _MOST_SAID:
            break
    if faults:
        raise AkiosError(
            f"the model's answer is not as the schema wants it: {'; '.join(faults)}",
            "llm",
            "see outputs.text; try again, or say in the prompt what is wanted",
        )
    return value
