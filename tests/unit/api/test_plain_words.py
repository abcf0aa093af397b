"""What is wrong with a request is told with its field, and what is expected there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akiosctl.api.endpoints import ENDPOINTS
from akiosctl.api.forms import NewAnswer, NewCage, NewProgram, NewResumption, NewWorkflowRun
from akiosctl.api.handlers.running import conflicts
from akiosctl.api.plain_words import PATTERNS, explain_decoding
from akiosctl.api.problems import Refusal
from akiosctl.locate import locate_workspace
from akiosd.errors import AkiosError, PolicyError
from tests.unit.api.asgi import ask, bearer, make_guard, new_token

CAGE = "c-000000000000"
_FOREIGN = re.compile(r"regex|pattern|`str`|`int`|--[a-z]|akiosctl run|\bpydantic")


@pytest.mark.parametrize(("form", "body", "field", "words"), [
    (NewCage, {"workspace": "proj"}, "workspace", "a whole path, beginning with /"),
    (NewCage, {"name": "ü x"}, "name", "1 to 64 characters"),
    (NewCage, {"argv": [1]}, "argv[0]", "text, and this is a whole number"),
    (NewCage, {"argv": ["a\0"]}, "argv[0]", "text without a NUL"),
    (NewCage, {"env": {"a=": "x"}}, "env", "the name of a variable"),
    (NewCage, {"env": {"a": 1}}, "env", "text, and this is a whole number"),
    (NewCage, {"mode": "x"}, "mode", "'cow' or 'ro' or 'rw', and this is 'x'"),
    (NewCage, {"memory": "a" * 65}, "memory", "text of a length of at most 64"),
    (NewCage, {"files": [{"path": ""}]}, "files[0].path", "not empty"),
    (NewProgram, {"argv": []}, "argv", "a list of a length of at least 1"),
    (NewProgram, {}, "", "missing required field `argv`"),
    (NewProgram, {"argv": ["a"], "timeout_seconds": 0}, "timeout_seconds", "a number > 0.0"),
    (NewAnswer, {"yes": "y"}, "yes", "true or false, and this is text"),
    (NewAnswer, [], "", "an object, and this is a list"),
    (NewResumption, {"x": 1}, "", "the object contains unknown field `x`"),
    (NewWorkflowRun, {"workspace": "proj"}, "workspace", "a whole path"),
])  # fmt: skip
def test_a_body_that_is_wrong(form: Any, body: Any, field: str, words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.json.decode(json.dumps(body).encode(), type=form)
    told, where = explain_decoding(str(wrong.value), form)
    assert where == field and words in told and not _FOREIGN.search(told), told


def patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from patterns(one)


async def test_every_pattern_has_words(tmp_path: Path) -> None:
    app, _, _ = make_guard(tmp_path)
    document = (await ask(app, "/openapi.json")).json()
    takes = [row.takes for row in ENDPOINTS if not isinstance(row.takes, str)]
    _, parts = msgspec.json.schema_components(takes)
    found = {*patterns(document["paths"]), *patterns(document["x-websockets"]), *patterns(parts)}
    assert len(found) > 12 and found <= set(PATTERNS), found - set(PATTERNS)


@pytest.mark.parametrize(("path", "method", "headers", "words"), [
    ("/api/v1/events", "GET", (("last-event-id", "garbage"),), "the id of an event"),
    (f"/api/v1/cages/{CAGE}/commit", "POST", (), "it is missing from the request"),
    (f"/api/v1/cages/{CAGE}/commit", "POST", (("if-match", "x"),), "the ETag of the diff"),
    (f"/api/v1/jobs/{'0' * 16}?wait=26", "GET", (), "less than or equal to 25"),
    ("/api/v1/cages?state=gone", "GET", (), "'all', 'running', 'ended' or 'waiting'"),
    ("/api/v1/events?run=x", "GET", (), "such as w-0a1b2c3d4e"),
])  # fmt: skip
async def test_a_parameter_that_is_wrong(
    tmp_path: Path, path: str, method: str, headers: Any, words: str
) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token, _ = new_token(tokens, "read", "events", "changes", "output")
    answer = await ask(app, path, method, (*bearer(token), *headers))
    found = answer.json()
    assert answer.status == 422 and words in found["detail"], found
    assert not _FOREIGN.search(found["detail"] + found["next"]), found
    assert found["where"].split(".")[-1] in found["next"], "what the parameter is for"


def test_what_a_run_refuses_is_told_of_the_field(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused, conflicts(NewCage):
        raise PolicyError("'lots' is no size", "--allow-degraded", "leave out --allow-degraded")
    said = refused.value
    assert (said.where, said.next) == ("allow_degraded", "leave out `allow_degraded`")
    with pytest.raises(AkiosError) as other, conflicts(NewCage):
        raise AkiosError("x", "--budget", "akiosctl budget --budget 1")
    assert (other.value.where, other.value.next) == ("budget", "akiosctl budget --budget 1")
    for place in ("/nope", "/etc", "/"):
        with pytest.raises(AkiosError) as told, conflicts(NewCage):
            locate_workspace("/", place, str(tmp_path))
        assert told.value.where == "workspace" and "whole path" in told.value.next
