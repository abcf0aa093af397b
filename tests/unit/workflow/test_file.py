"""Workflow files: every mistake has its place, bombs are refused within bounds, old files read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import AkiosError
from akiosd.policy.merge import Layer, Merged, merge_explained
from akiosd.policy.schema import load
from akiosd.workflow import schema
from akiosd.workflow.check import make_plan
from akiosd.workflow.plan import Plan
from akiosd.workflow.schema import MAX_BYTES, read_workflow

BASE = merge_explained(
    [Layer("system", load({"filesystem": {"read": ["/srv/a"]}, "limits": {"memory": "1G"}}, {}))]
)


def errors(text: str | bytes, base: Merged | None = BASE) -> list[AkiosError]:
    """Every mistake of a file."""
    try:
        read = read_workflow(text if isinstance(text, bytes) else text.encode(), "w.yml")
        make_plan(read, base)
    except AkiosError as error:
        return [error]
    return read.places.errors


def plan(text: str) -> Plan:
    read = read_workflow(text.encode(), "w.yml")
    made = make_plan(read, BASE)
    assert made is not None, [str(error) for error in read.places.errors]
    return made


STEP = "{name: a, agent: http, action: get, parameters: {url: 'https://example.com/'}}"
GOOD = f"name: x\nsteps:\n- {STEP}\n"

# Text → (line, column, words of what is wrong, words of what to do).
BAD: dict[str, tuple[int, int, str, str]] = {
    "nam: x\nsteps:\n- " + STEP: (1, 1, "unknown key 'nam'", "name"),
    "steps:\n- " + STEP: (1, 1, "has no name", "name:"),
    "name: x\nsteps:\n- {agent: htp, action: get}": (3, 4, "agent", "http"),
    "name: x\nsteps:\n- {agent: http, action: gte}": (3, 17, "no action 'gte'", "get"),
    "name: x\nsteps:\n- {agent: http, action: get}": (3, 3, "needs parameters.url", "url"),
    GOOD.replace("url:", "ulr:"): (3, 52, "no parameters.ulr", "url"),
    GOOD.replace("'https://example.com/'", "[1]"): (3, 52, "expected text", ""),
    GOOD.replace("'https://example.com/'", "'{inputs.x}'"): (3, 52, "inputs has no 'x'", ""),
    GOOD.replace("'https://example.com/'", "'${X}'"): (3, 52, "not declared", "env: [X]"),
    GOOD.replace("name: a", "name: a b"): (3, 4, "letters, digits", ""),
    GOOD.replace("name: a,", "name: a, if: 'a = 1',"): (3, 13, "means nothing", "=="),
    GOOD.replace("name: a,", "name: a, if: steps.b.status == 'x',"): (3, 13, "no step 'b'", ""),
    GOOD.replace("name: a,", "name: a, needs: [b],"): (3, 21, "no step 'b'", ""),
    GOOD.replace("name: a,", "name: a, needs: [a],"): (3, 13, "wait for each other", ""),
    GOOD.replace("name: a,", "name: a, timeout: soon,"): (3, 13, "no time", ""),
    GOOD.replace("name: a,", "name: a, matrix: {x: 1},"): (3, 22, "is not a list", ""),
    GOOD.replace("name: a,", "name: a, retry: {attempts: 99},"): (3, 21, "<= 20", ""),
    GOOD + f"- {STEP}": (4, 4, "two steps have the name a", ""),
    "name: x\ninputs: {n: {type: integer, default: a}}\nsteps:\n- " + STEP: (
        2,
        29,
        "whole number",
        "",
    ),
    "name: x\nname: y\nsteps:\n- " + STEP: (2, 1, "stands twice", ""),
    # What people write first, and what they are told to write instead.
    GOOD.replace("agent: http", "agent: htpp"): (3, 13, "'htpp' cannot be", "did you mean http?"),
    GOOD.replace("'https://example.com/'", "{inputs.x}"): (3, 52, "quotes", '"{inputs.x}"'),
    GOOD.replace("url:", "json: {a: [{steps.b.output}]}, url:"): (3, 63, "quotes", "quotes: "),
    GOOD.replace("name: a,", "name: a, retry: 3,"): (3, 13, "no", "attempts, backoff"),
    GOOD.replace("name: a,", "name: a, continue_on_error: yes,"): (3, 13, "true or", "yes, no"),
    GOOD.replace("'https://example.com/'", "'{steps.a.output}'"): (3, 52, "itself", "earlier"),
    GOOD.replace("'https://example.com/'", "'{inputs.q}'"): (3, 52, "no 'q'", "inputs: {NAME:"),
    GOOD.replace("'https://example.com/'", "'{matrix.q}'"): (3, 52, "no 'q'", "in this step"),
    GOOD.replace("'https://example.com/'", "'{steps.q.output}'"): (3, 52, "'q'", "below the one"),
    GOOD.replace("name: a,", "name: a, matrix: {x: {inputs.l}},"): (3, 22, "quotes", '"{inputs'),
    "name: x\nsteps: []": (2, 1, "at least 1 is needed", "add what is missing"),
    "name: x\nsteps: {a: {agent: http}}": (2, 1, "expected a list", "begin with -"),
    "name: x\nsteps:\n- {agent: llm, action: complete, config: {provider: opnai, model: m}, "
    "parameters: {prompt: a}}": (3, 43, "'opnai' cannot be", "did you mean openai?"),
    "name: x\nsteps:\n- {agent: tool, action: run, parameters: {argv: [wc]}}": (
        *(3, 3),
        "may not run wc",
        "config: {allow: [wc]}",
    ),
    "name: x\non: y": (2, 1, "unknown key 'on'", ""),
    "1: x": (1, 1, "is not text", "quotes"),
    "name: 010": (1, 7, "octal", "quotes"),
    "name: .inf": (1, 7, "finite", ""),
}


@pytest.mark.parametrize("text", BAD)
def test_a_mistake_has_its_line_column_and_remedy(text: str) -> None:
    line, column, what, next = BAD[text]
    found = errors(text)
    matching = [e for e in found if what in e.what and next in e.next]
    assert matching, [str(error) for error in found]
    assert matching[0].where == f"w.yml, line {line}, column {column}"
    assert errors(GOOD) == [], "the control"


TOOL = (
    "name: x\ninputs: {p: {default: log}}\nsteps:\n"
    "- {agent: tool, action: run, config: {allow: ALLOW}, parameters: {argv: ARGV}}\n"
)


@pytest.mark.parametrize(
    ("allow", "argv", "is_allowed"),
    [
        ("[wc]", "[wc, -l]", True),
        ("[]", "[wc, -l]", False),
        ("[[git, log]]", "[git, log, -p]", True),
        ("[[git, log]]", "[git, push]", False),
        ("[[git, log]]", "[git]", False),
        ("[[git, log]]", "[git, '{inputs.p}']", True),  # it is seen when it is filled in
        ("['{inputs.p}']", "[wc]", True),
        ("[/usr/bin/wc]", "[wc]", False),  # as the step itself compares them
    ],
)
def test_a_program_that_a_step_may_not_run_is_told_before_the_run(
    allow: str, argv: str, is_allowed: bool
) -> None:
    found = errors(TOOL.replace("ALLOW", allow).replace("ARGV", argv))
    assert any("may not run" in error.what for error in found) is not is_allowed


def test_what_stands_in_quotes_is_a_reference_and_a_table_is_a_table() -> None:
    table = GOOD.replace("url:", "json: {inputs: 1, b: {steps.b: x}, c: {name: null}}, url:")
    assert errors(table) == []
    (one,) = errors(GOOD + f"- {STEP}")
    assert "two steps have the name a" in one.what, "and nothing of a circle"


def test_every_mistake_is_told_and_not_only_the_first() -> None:
    text = "name: x\nstep: 1\nsteps:\n- {agent: lm, retri: 1}\n- {agent: http, acton: get}\n"
    assert {error.where.partition(",")[2] for error in errors(text)} >= {
        " line 2, column 1", " line 4, column 4", " line 4, column 15", " line 5, column 17",
    }  # fmt: skip


def bombs() -> dict[str, bytes]:
    levels = "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 9))
    return {
        "billion laughs": b"b0: &b0 [x]\n" + levels.encode(),
        "anchor": b"name: &a x",
        "alias": b"name: *a",
        "tag": b"name: !!python/object/apply:os.system [id]",
        "harmless tag": b"name: !!str x",
        "binary": b"name: !!binary aGk=",
        "merge key": b"<<: {name: x}\nsteps: []",
        "deep flow": b"name: " + b"[" * 5_000,
        "deep closed": b"name: " + b"[" * 40 + b"]" * 40,
        "deep block": b"".join(b" " * n + b"a:\n" for n in range(300)),
        "ten megabytes": b"name: " + b"x" * (10 << 20),
        "many nodes": b"name: [" + b"1," * 100_000 + b"]",
        "no UTF-8": b"name: \xff\xfe",
        "UTF-16": "name: x".encode("utf-16"),
        "NUL": b"name: \0",
        "surrogate": b"name: \xed\xa0\x80",
        "powers of sixty": b"name: 1" + b":1" * 100_000,
        "many digits": b"name: " + b"9" * 100_000,
        "two documents": b"name: x\n---\nname: y",
        "complex key": b"? [a, b]\n: c",
    }


# Why each is refused, where another reason would hide that a fence is gone.
WHY = {
    "billion laughs": "anchors", "anchor": "anchors", "alias": "aliases", "tag": "tags",
    "harmless tag": "tags", "binary": "tags", "deep flow": "nested too deeply",
    "deep closed": "nested too deeply", "deep block": "nested too deeply",
    "ten megabytes": "larger than", "many nodes": "too long", "no UTF-8": "not UTF-8",
    "powers of sixty": "a number has", "many digits": "a number has", "complex key": "not text",
}  # fmt: skip


@pytest.mark.parametrize("bomb", bombs())
def test_bombs_are_refused_in_words(bomb: str) -> None:
    found = errors(bombs()[bomb])
    assert found and all(e.what and e.where.startswith("w.yml") for e in found)
    assert WHY.get(bomb, "") in found[0].what


def test_the_bombs_go_off_elsewhere() -> None:
    """Control: an ordinary reader takes the first of them for what it says."""
    data = yaml.safe_load(bombs()["billion laughs"][: 12 + 60])
    assert data["b1"] == [["x"]] * 9


def test_bounds_come_before_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(schema, "load_strict", parsed)
    assert "larger than" in errors(b"x" * (MAX_BYTES + 1))[0].what
    with pytest.raises(AssertionError, match="it was parsed"):
        errors(b"x")


def test_words_that_readers_differ_on_are_text() -> None:
    made = plan(
        GOOD.replace("steps:", "inputs: {a: {type: list, default: [no, on, 12:30, 2020-01-01, 1_0,"
                     " 0x1f, 1e3, true, null]}}\nsteps:")
    )  # fmt: skip
    assert made.inputs["a"].default == [
        "no", "on", "12:30", "2020-01-01", "1_0", 31, "1e3", True, None,
    ]  # fmt: skip


_LINES = st.lists(
    st.sampled_from(
        [
            "name: x", "steps:", "- name: a", "  agent: http", "  action: get", "  if: true",
            "  needs: [a]", "  parameters:", "    url: '{inputs.x}'", "- parallel:", "  - step: 1",
            "inputs: {x: {default: 1}}", "  policy: {limits: {memory: 1K}}", "  matrix: {x: [1]}",
            "  condition: 'x' in previous_output", "env: [A]", "  on_error: retry", "- 1", "[", "&a",
        ]
    ),
    max_size=12,
).map("\n".join)  # fmt: skip


@given(_LINES.map(str.encode) | st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_plan_or_mistakes_in_words(data: bytes) -> None:
    try:
        read = read_workflow(data, "w.yml")
    except AkiosError as error:
        assert error.what
        return
    made = make_plan(read, BASE)
    assert (made is None) == bool(read.places.errors)


OLD = """\
name: document_ingestion
description: as of AKIOS 1.4
env: [TONE]
steps:
- step: 1
  agent: filesystem
  action: analyze
  config: {allowed_paths: [./data/input]}
  parameters: {path: ./data/input/a.txt}
- step: 2
  agent: llm
  action: generate
  config: {provider: openai, model: gpt-4o, api_key: '${OPENAI_API_KEY}'}
  parameters: {prompt: "{previous_output} {step_1_output[size]} ${TONE:-dry}"}
  condition: "step_1_output['size'] > 0"
  on_error: retry
- step: 3
  agent: tool_executor
  action: execute
  config: {allowed_commands: [wc]}
  parameters: {command: [wc, -c, ./data/input/a.txt]}
  condition: "'x' in previous_output and step_1_output['size'] > 3"
  on_error: skip
"""


def test_a_file_of_akios_1_4_is_read() -> None:
    made = plan(OLD)
    first, second, third = made.steps
    assert [step.name for step in made.steps] == ["step_1", "step_2", "step_3"]
    assert (first.agent, first.action) == ("filesystem", "stat")
    assert (second.action, second.attempts.most) == ("complete", 2)
    assert "api_key" not in second.config and second.condition == "step_1_output['size'] > 0"
    assert (third.agent, third.action, third.continue_on_error) == ("tool", "run", True)
    notes = " ".join(read_workflow(OLD.encode(), "w.yml").notes)
    assert all(word in notes for word in ("condition", "on_error", "tool_executor", "api_key"))


def test_an_old_file_may_not_read_what_it_does_not_declare() -> None:
    assert "${TONE} is not declared" in errors(OLD.replace("env: [TONE]\n", ""))[0].what
