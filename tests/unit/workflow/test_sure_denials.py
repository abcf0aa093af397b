"""What a step will be refused for certain is told before a run, and nothing else is."""

from __future__ import annotations

import pytest

from akiosd.policy.merge import Layer, merge_explained
from akiosd.policy.schema import load
from akiosd.workflow.check import make_plan
from akiosd.workflow.schema import read_workflow

GIVEN = {
    "network": {
        "allowed_domains": ["site.example", "*.wide.example", "db.example:5432", "read.example"],
        "get_only": ["read.example"],
    }
}
BASE = merge_explained([Layer("system", load(GIVEN, {}))])
HTTP = "agent: http, action: {0}, parameters: {{url: '{1}'}}"
HOOK = (
    "agent: webhook, action: send, parameters: {{text: a}}, config: {{service: slack, url: '{0}'}}"
)
SQL = "agent: database, action: query, parameters: {{query: select 1}}, config: {{database: '{0}'}}"
FILE = "agent: filesystem, action: {0}, parameters: {{path: '{1}', content: c}}"
READ = "agent: filesystem, action: read, parameters: {{path: '{0}'}}, config: {{paths: {1}}}"

DENIED: dict[str, tuple[str, str]] = {
    HTTP.format("get", "https://other.example/x"): ("url", "does not allow other.example"),
    HTTP.format("get", "https://wide.example/"): ("url", "does not allow wide.example"),
    HTTP.format("get", "https://site.example:8443/"): ("url", "site.example:8443"),
    HTTP.format("get", "HTTPS://other.example".lower()): ("url", "other.example"),
    HTTP.format("get", "https://other.example/{inputs.x}"): ("url", "other.example"),
    HTTP.format("post", "https://read.example/"): ("url", "be read"),
    HOOK.format("https://hooks.example/x"): ("url", "hooks.example"),
    HOOK.format("https://read.example/x"): ("url", "be read"),
    SQL.format("postgresql://who@other.example/d"): ("database", "other.example:5432"),
    FILE.format("write", "data/input/x"): ("path", "read-only in a workflow"),
    FILE.format("append", "./data//input/{inputs.x}"): ("path", "read-only in a workflow"),
    FILE.format("write", "a/../b"): ("path", "goes up"),
    FILE.format("write", "x") + ", policy: {filesystem: {workspace: ro}}": (
        "path",
        "nothing be written",
    ),
    FILE.format("write", "x") + ", config: {read_only: true}": ("read_only", "only read"),
    READ.format("secret", "[data/input]"): ("path", "not below the step's paths"),
    READ.format("data/input_evil/a", "[data/input]"): ("path", "not below"),
    HTTP.format("get", "https://site.example/")
    + ", policy: {network: {allowed_domains: [a.wide.example]}}": ("url", "site.example"),
}
LEFT = (
    HTTP.format("get", "https://site.example/x"),
    HTTP.format("get", "https://SITE.example./x"),
    HTTP.format("get", "http://a.wide.example"),
    HTTP.format("get", "https://read.example/"),
    HTTP.format("get", "https://{inputs.x}/"),
    HTTP.format("get", "https://other.{inputs.x}/"),
    HTTP.format("get", "https://other.example{inputs.x}"),
    HTTP.format("get", "${X}/a"),
    HTTP.format("get", "https://api.openai.com/v1/models"),
    HTTP.format("get", "https://bedrock-runtime.eu-central-1.amazonaws.com/"),
    HTTP.format("get", "http://127.0.0.1:8000/"),
    HTTP.format("get", "http://localhost:11434/"),
    HTTP.format("get", "https://other.example/") + ", continue_on_error: true",
    HOOK.format("${X}"),
    SQL.format("postgresql://who@db.example/d"),
    SQL.format("a.db"),
    FILE.format("write", "data/output/x"),
    FILE.format("write", "data/inputs"),
    FILE.format("write", "data/{inputs.x}/x"),
    FILE.format("write", "a..b/c"),
    READ.format("data/input/a", "[data/input]"),
    READ.format("secret", "['{inputs.x}']"),
    READ.format("/srv/x", "[data/input]"),
    READ.format("data/input/x", "[data/input]"),
)


def mistakes(row: str, *, foresees: bool = True) -> list[str]:
    text = f"name: x\nenv: [X]\ninputs: {{x: {{type: text}}}}\nsteps:\n- {{name: a, {row}}}\n"
    found = read_workflow(text.encode(), "w.yml")
    make_plan(found, BASE, foresees=foresees)
    return [str(error) for error in found.places.errors]


@pytest.mark.parametrize("row", DENIED)
def test_what_is_denied_for_certain_has_its_place(row: str) -> None:
    """The control: a check without a place to run in says nothing of it."""
    key, words = DENIED[row]
    (told,) = mistakes(row)
    column = len("- {name: a, ") + row.index(f"{key}:") + 1
    assert words in told and f"line 5, column {column})" in told, told
    assert mistakes(row, foresees=False) == []


@pytest.mark.parametrize("row", LEFT)
def test_what_may_pass_is_no_mistake(row: str) -> None:
    assert mistakes(row) == []
