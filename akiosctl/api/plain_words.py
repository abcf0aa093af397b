"""What is wrong with a request, in plain words: the field that is meant, and what is expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from akiosctl.api.positions import PATTERN as EVENT_ID
from akiosd.errors import AkiosError

_PLACE = "give the whole path of a directory of a project of this server's user"
_NO_NUL = "text without a NUL"
_CAGE = "the id of a cage, such as c-0a1b2c3d4e5f"
_RUN = "the id of a run of a workflow, such as w-0a1b2c3d4e"
_EVENT = "the id of an event, as the stream gave it"
_BASE64 = "base64 (RFC 4648, section 4)"
_PAGE = "the `next` of the page before, as it was given"
PATTERNS = {
    "^[^\\x00]*$": _NO_NUL,
    "^[^\\x00]+$": f"{_NO_NUL}, not empty",
    "^[^=\\x00]+$": (
        "the name of a variable: text that is not empty and holds neither an equals sign nor a NUL"
    ),
    "^(/[^\\x00]*)?$": "a whole path, beginning with /",
    "^[A-Za-z0-9+/=]*$": _BASE64,
    "^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$": (
        "1 to 64 characters, each a letter (a-z, A-Z), a digit, or one of . _ -; the first a letter"
        " or digit"
    ),
    "^c-[0-9a-z]{12}$": _CAGE,
    "^(c-[0-9a-z]{12})?$": _PAGE,
    "^(c-[0-9a-z]{12}|host)$": f"{_CAGE}, or host",
    "^w-[0-9a-f]{10}$": _RUN,
    "^(w-[0-9a-f]{10})?$": _RUN,
    f"^({EVENT_ID})?$": _EVENT,
    "^([0-9]{1,15})?$": "the number that the previous answer gave for this field",
    "^[0-9a-f]{16}$": "the id of a job, as in the answer to the request that began the job",
    "^[A-Za-z0-9_.-]{1,200}$": "the id of a question, as GET /api/v1/approvals gives it",
    r'^(\*|"[0-9a-f]{32}")$': "the ETag of the diff, with its quotation marks, or *",
    "^[!-~]*$": "printable characters of ASCII, without spaces",
    "^[A-Za-z0-9._+-]{1,64}$": "the name of a kind of terminal, such as xterm-256color",
}
"""Every pattern of a field or a parameter → what it is to be."""
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_TAKEN = re.compile(r"Expected `([^`]+)`(?:, got `(\w+)`| matching regex '(.*)'| (.*))")


def explain_decoding(words: str, form: Any) -> tuple[str, str]:
    """What msgspec says of a body of ``form``: what is wrong, and the field, "" for all of it."""
    what, _, place = words.partition(" - at ")
    field = re.sub(r"^\$\.?|\[\.\.\.\]", "", place.replace("`key` in ", "").strip("`"))
    if what.startswith("Invalid enum value "):
        value = what.removeprefix("Invalid enum value ")
        return f"expected here: {_choices(form, field)}, and this is {value}", field
    found = _TAKEN.fullmatch(what)
    if found is None:
        return what.replace("Object", "the object"), field
    kind = " or ".join(_KINDS.get(one, one) for one in found[1].split(" | "))
    if found[2]:
        return f"expected here: {kind}, and this is {_KINDS.get(found[2], found[2])}", field
    if found[3] is not None:
        kind = PATTERNS.get(found[3].replace("\\\\", "\\"), kind)
        return f"expected here: {kind}", field
    bound = found[4].replace("of length <=", "of a length of at most")
    bound = bound.replace("of length >=", "of a length of at least")
    return f"expected here: {kind} {bound}", field


def _choices(form: Any, field: str) -> str:
    """The values of a field that is one of several words."""
    about = msgspec.inspect.type_info(form)
    fields = about.fields if isinstance(about, msgspec.inspect.StructType) else ()
    values = next((getattr(one.type, "values", ()) for one in fields if one.name == field), ())
    return " or ".join(f"{word!r}" for word in values if word)


def explain_parameter(error: Mapping[str, Any]) -> str:
    """What FastAPI says of a parameter."""
    pattern = error.get("ctx", {}).get("pattern")
    if pattern is not None:
        return (
            f"expected here: {PATTERNS[pattern]}"
            if pattern in PATTERNS
            else "it does not have the form that is expected here"
        )
    return "it is missing from the request" if error["type"] == "missing" else str(error["msg"])


def in_fields(error: AkiosError, fields: Iterable[str]) -> AkiosError:
    """The same of a request, which has fields where a command line has options."""
    named = {f"--{field.replace('_', '-')}": field for field in fields}
    if "--from-step" in named:
        named["--from"] = "from_step"
    error.where = named.get(error.where, error.where)
    if error.where == "workspace":
        error.next = re.sub(r"^run from .*|^change to .*", _PLACE, error.next)
    if "akiosctl" not in error.next:
        error.next = re.sub(
            "--[a-z-]+", lambda one: f"`{named[one[0]]}`" if one[0] in named else one[0], error.next
        )
    return error
