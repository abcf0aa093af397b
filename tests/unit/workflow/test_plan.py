"""The plan: order, policies that only narrow, commands that stay words, instances, digests."""

from __future__ import annotations

from typing import Any

import pytest

from akiosd.errors import AkiosError
from akiosd.policy.merge import Layer, merge_explained, narrow
from akiosd.policy.schema import load
from akiosd.workflow.check import make_plan
from akiosd.workflow.draw import drawing, mermaid
from akiosd.workflow.explain import explain_lines, explain_plan
from akiosd.workflow.inputs import read_given, settle_inputs
from akiosd.workflow.plan import Plan, instances, key_of
from akiosd.workflow.references import Done, Scope
from akiosd.workflow.schema import read_workflow

GIVEN = {
    "filesystem": {"read": ["/srv/a", "/srv/b"], "hide": ["/opt/x"]},
    "network": {"allowed_domains": ["*.example.com"]},
    "limits": {"memory": "1G"},
    "budget": {"usd": "$2"},
    # How far a project may go says nothing of a workflow.
    "projects_may": {"memory": "8G", "allowed_domains": "any"},
}
BASE = merge_explained([Layer("system", load(GIVEN, {}))])


def read(text: str) -> tuple[Plan | None, list[str]]:
    found = read_workflow(text.encode(), "w.yml")
    made = make_plan(found, BASE)
    return made, [str(error) for error in found.places.errors]


def plan(text: str) -> Plan:
    made, errors = read(text)
    assert made is not None, errors
    return made


def steps(*rows: str) -> str:
    rest = "agent: http, action: get, parameters: {url: 'https://example.com/'}"
    return "name: x\nsteps:\n" + "".join(f"- {{{row}, {rest}}}\n" for row in rows)


NARROWING: tuple[tuple[dict[str, Any], str, Any], ...] = (
    ({"limits": {"memory": "512M"}}, "limits.memory", 512 << 20),
    ({"network": {"llm": False}}, "network.llm", False),
    (
        {"network": {"allowed_domains": ["a.example.com"]}},
        "network.allowed_domains",
        ("a.example.com",),
    ),
    ({"filesystem": {"read": ["/srv/a"]}}, "filesystem.read", ("/srv/a",)),
    ({"filesystem": {"workspace": "ro"}}, "filesystem.workspace", "ro"),
    ({"filesystem": {"hide": ["/opt/y"]}}, "filesystem.hide", ("/opt/x", "/opt/y")),
    ({"budget": {"usd": "$1"}}, "budget.usd_micro", 1_000_000),
)
WIDENING: dict[str, dict[str, Any]] = {
    "limits.memory": {"limits": {"memory": "2G"}},
    "asks for evil.com": {"network": {"allowed_domains": ["evil.com"]}},
    "asks for /root": {"filesystem": {"read": ["/srv/a", "/root"]}},
    "asks for /home": {"filesystem": {"write": ["/home"]}},
    "rw-direct": {"filesystem": {"workspace": "rw-direct"}},
    "budget.usd": {"budget": {"usd": "$3"}},
    "redact.models": {"redact": {"models": "off"}},
    "environment.keep": {"environment": {"keep": ["SECRET"]}},
    "syscalls.allow": {"syscalls": {"allow": ["mbind"]}},
    "network.ports": {"network": {"ports": [22]}},
    "allow_widening may stand only": {"allow_widening": True},
    "projects_may may stand only": {"projects_may": {"memory": "9G"}},
}


@pytest.mark.parametrize(("own", "field", "value"), NARROWING, ids=[row[1] for row in NARROWING])
def test_a_step_takes_away(own: dict[str, Any], field: str, value: Any) -> None:
    made = narrow(BASE, Layer("step", load(own, {}))).policy
    section, _, name = field.partition(".")
    assert getattr(getattr(made, section), name) == value


@pytest.mark.parametrize("words", WIDENING)
@pytest.mark.parametrize("place", ["workflow", "step"])
def test_neither_a_workflow_nor_a_step_gives(words: str, place: str) -> None:
    text = steps(f"name: a, policy: {WIDENING[words]}")
    if place == "workflow":
        text = steps("name: a").replace("steps:", f"policy: {WIDENING[words]}\nsteps:", 1)
    made, errors = read(text)
    assert made is None and len(errors) == 1 and words in errors[0], errors
    assert f"w.yml, line {2 if place == 'workflow' else 3}" in errors[0]


def test_what_the_workflow_took_away_its_steps_do_not_get_back() -> None:
    text = steps("name: a, policy: {limits: {memory: 800M}}").replace(
        "steps:", "policy: {limits: {memory: 512M}}\nsteps:", 1
    )
    assert "limits.memory" in read(text)[1][0]
    made = plan(text.replace("800M", "100M"))
    assert made.policy and made.policy.limits.memory == 512 << 20
    assert made.steps[0].policy and made.steps[0].policy.limits.memory == 100 << 20


def test_the_order_is_that_of_the_file_unless_it_is_said() -> None:
    text = steps(
        "name: a", "name: b", "name: c, needs: [a]", "name: d, needs: []", "name: e, needs: [b, c]"
    )
    made = plan(text)
    assert made.order == (("a", "d"), ("b", "c"), ("e",))
    assert {step.name: step.previous for step in made.steps} == {
        "a": "", "b": "a", "c": "a", "d": "", "e": "",
    }  # fmt: skip
    group = text + "- name: g\n  parallel:\n" + "".join(
        "  " + line + "\n" for line in steps("name: h", "name: i").splitlines()[2:]
    )  # fmt: skip
    made = plan(group + steps("name: j").splitlines()[2] + "\n")
    assert made.order[-2:] == (("h", "i"), ("j",)) and made.steps[-1].needs == ("h", "i")


COMMANDS = {
    "'jq . | sh'": "is one text",
    "jq": "is one text",
    "[]": "a list of words",
    "['{inputs.p}']": "the program is filled in later",
    "[sh, -c, 'echo {inputs.p}']": "text of a program",
    "[/bin/bash, -lc, '{inputs.p}']": "text of a program",
    "[env, A=1, dash, -c, '{inputs.p}']": "text of a program",
    "[python3.11, -c, 'print({inputs.p})']": "text of a program",
    "[perl, '-e{inputs.p}']": "text of a program",
    "[node, --eval, '{inputs.p}']": "text of a program",
    "[awk, '{inputs.p}']": "text of a program",
}


@pytest.mark.parametrize("argv", COMMANDS)
def test_no_value_becomes_a_program(argv: str) -> None:
    text = f"""name: x
inputs: {{p: {{default: a}}}}
steps:
- {{agent: tool, action: run, config: {{allow: [sh, head]}}, parameters: {{argv: {argv}}}}}
"""
    made, errors = read(text)
    assert made is None and any(COMMANDS[argv] in error for error in errors), errors
    for good in ("[sh, -c, 'wc -c \"$1\"', sh, '{inputs.p}']", "[head, -c, '{inputs.p}']"):
        assert plan(text.replace(argv, good)), "the control"


def test_an_mcp_server_is_started_by_words_too() -> None:
    text = "name: x\nsteps:\n- {agent: mcp, action: call, config: {command: npx a}, parameters: {tool: a}}"
    assert any("is one text" in error for error in read(text)[1])


CONFIG = (
    "name: x\nsteps:\n- {name: a, agent: http, action: get, parameters: {url: 'https://a/'}}\n- "
)


def test_settings_are_not_of_what_a_step_brought() -> None:
    row = "{agent: tool, action: run, config: {allow: ['{previous_output}']}, parameters: {argv: [jq]}}"
    assert "settings are known before the run" in read(CONFIG + row)[1][0]
    assert plan(CONFIG + row.replace("{previous_output}", "jq")), "the control"


def test_only_what_is_done_before_can_be_named() -> None:
    text = steps("name: a", "name: b, if: steps.c.status == 'success'", "name: c")
    assert "step c is not done before this one" in read(text)[1][0]
    assert plan(steps("name: a", "name: b, if: steps.a.status == 'success'")), "the control"
    two = steps(
        "name: a", "name: b, needs: []", "name: c, needs: [a, b], if: previous_output == ''"
    )
    assert "not clear which step" in read(two)[1][0]


def test_instances_of_a_matrix_are_known_lists() -> None:
    made = plan(steps("name: a", "name: b, matrix: {x: [1, 2], y: '{steps.a.outputs.names}'}"))
    scope = Scope(steps={"a": Done("success", {"names": ["{inputs.z}", "q"]})})
    assert instances(made.steps[1], scope) == [
        {"x": 1, "y": "{inputs.z}"}, {"x": 1, "y": "q"}, {"x": 2, "y": "{inputs.z}"}, {"x": 2, "y": "q"},
    ]  # fmt: skip
    assert instances(made.steps[0], scope) == [{}]
    many = Scope(steps={"a": Done("success", {"names": list(range(200))})})
    with pytest.raises(AkiosError, match="more than 256"):
        instances(made.steps[1], many)
    with pytest.raises(AkiosError, match="not a list"):
        instances(made.steps[1], Scope(steps={"a": Done("success", {"names": "abc"})}))


def test_a_step_that_changed_has_another_digest() -> None:
    first = plan(steps("name: a", "name: b"))
    again = plan("# a remark\n" + steps("name: a", "name: b"))
    other = plan(steps("name: a", "name: b, policy: {limits: {memory: 64M}}"))
    assert first.digest == again.digest != other.digest
    assert first.steps[0].digest == other.steps[0].digest
    assert first.steps[1].digest != other.steps[1].digest
    step = first.steps[0]
    keys = {key_of(step, *rest) for rest in ((1, "r"), (2, "r"), (1, "s"))}
    assert len(keys) == 3
    assert key_of(first.steps[1], 1, "r") == key_of(other.steps[1], 1, "r"), "of no policy"


def test_attempts_wait_as_they_say() -> None:
    made = plan(steps("name: a, retry: {attempts: 4, backoff: exponential, delay: 2s}"))
    assert [ns // 10**9 for ns in made.steps[0].attempts.delays_ns()] == [2, 4, 8]


def test_inputs_are_of_their_type() -> None:
    text = steps("name: a").replace(
        "steps:", "inputs: {n: {type: integer}, t: {choices: [x, y], default: x}}\nsteps:", 1
    )
    declared = plan(text).inputs
    assert settle_inputs(read_given({"n": "3"}, declared), declared) == {"n": 3, "t": "x"}
    for words, what in (
        ({}, "n is not given"), ({"n": "x"}, "whole number"), ({"n": "true"}, "whole number"),
        ({"n": "3", "t": "z"}, "one of x, y"), ({"m": "3"}, "no input 'm'"),
    ):  # fmt: skip
        with pytest.raises(AkiosError, match=what):
            settle_inputs(read_given(words, declared), declared)


def test_the_drawings_hold_hostile_names() -> None:
    made = plan(steps("name: a", "name: b, if: 'steps.a.output == \"]--> x; click <script>\"'"))
    lines = mermaid(made)
    assert lines[0] == "flowchart TD" and "<script" not in "".join(lines)
    assert any("s1 -->" in line and line.endswith("s2") for line in lines)
    drawn = drawing(made, 40)
    assert all(len(line) <= 40 for line in drawn) and any("▼" in line for line in drawn)


def test_each_step_is_explained_with_policy_and_money() -> None:
    made = plan(steps("name: a", "name: b, policy: {network: {llm: false}}"))
    text = "\n".join(explain_lines(made))
    assert "all steps together at most $2.00" in text and "policy: network.llm: false" in text
    told = explain_plan(made)["steps"]
    assert [(step["own_cage"], step["usd_micro"]) for step in told] == [
        (False, 2_000_000), (True, 2_000_000),
    ]  # fmt: skip
