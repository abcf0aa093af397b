"""Personal data in a text: where it is, or the text without it.  akiosd is not asked."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query

from akiosctl.api.forms import MaskedText
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service
from akiosctl.verbs import protect
from akiosd.redact.patterns import PATTERNS

_KNOWN = sorted({name for pattern in PATTERNS for name in (pattern.name, pattern.category)})
Disable = Annotated[
    list[str],
    Query(
        max_length=100,
        description="A pattern or a category to leave out; may be repeated.",
        json_schema_extra={"items": {"type": "string", "enum": _KNOWN}},
    ),
]


def scan(service: Service, text: str, disable: Disable = []) -> dict[str, Any]:  # noqa: B006
    """Where personal data is, and of which type; never what it is."""
    found = protect.find_all([text], _check(disable))
    return {"findings": [protect.to_json(one, show=False) for one in found]}


def redact(service: Service, text: str, disable: Disable = []) -> MaskedText:  # noqa: B006
    """The text with personal data masked, as in `[EMAIL]`."""
    masked, count = protect.mask([text], _check(disable))
    return MaskedText(masked, count)


def _check(disable: list[str]) -> tuple[str, ...]:
    unknown = next((name for name in disable if name not in _KNOWN), None)
    if unknown is not None:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"there is no pattern or category {unknown!r}",
            "disable",
            "see their names: akiosctl protect patterns",
        )
    return tuple(disable)
