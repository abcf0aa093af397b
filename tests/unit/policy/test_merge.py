"""Merging: later layers win, past the system policy they only narrow, and nothing is clamped in
silence.
"""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosctl.policy_files import PROFILES, read_named
from akiosd.errors import PolicyError
from akiosd.policy import wider as compare
from akiosd.policy.explain import explain_text
from akiosd.policy.fields import FIELDS
from akiosd.policy.merge import (
    RULES,
    Layer,
    check_authority,
    flatten,
    merge,
    merge_explained,
    narrower,
)
from akiosd.policy.readers import ListOf
from akiosd.policy.refusals import Source
from akiosd.policy.schema import SCHEMA, PartialPolicy, load, validate
from akiosd.values.policy import DEFAULT_POLICY, LEAST_MEMORY, Limits, Policy
from akiosd.values.units import GIB


def layer(name, data):
    return Layer(name, load(data, {}, name=f"{name}.yaml"))


def changed(**fields):
    """The default policy with fields replaced: ``limits__memory=1``."""
    policy = DEFAULT_POLICY
    for key, value in fields.items():
        section, field = key.split("__")
        part = msgspec.structs.replace(getattr(policy, section), **{field: value})
        policy = msgspec.structs.replace(policy, **{section: part})
    return policy


def test_no_layers_are_the_built_in_policy():
    assert merge([]) == DEFAULT_POLICY


def test_later_layers_narrow():
    policy = merge(
        [
            layer(
                "system",
                {"limits": {"memory": "8G"}, "network": {"allowed_domains": ["*.example.com"]}},
            ),
            layer("user", {"limits": {"memory": "4G"}}),
            layer("project", {"network": {"allowed_domains": ["a.example.com"]}}),
            layer("flags", {"limits": {"memory": "1G"}}),
        ]
    )
    assert policy.limits.memory == GIB
    assert policy.network.allowed_domains == ("a.example.com",)


@pytest.mark.parametrize("name", ["user", "project", "flags"])
def test_a_wider_value_is_an_error_that_names_layer_key_and_both_values(name):
    layers = [layer("system", {"limits": {"pids": 100}}), layer(name, {"limits": {"pids": 101}})]
    with pytest.raises(PolicyError) as caught:
        merge(layers)
    assert caught.value.what == (
        f"{'flags.yaml' if name == 'flags' else 'limits.pids'} 101 is above the 100 of system.yaml"
    )
    assert caught.value.where == ("the command line" if name == "flags" else f"{name}.yaml")


def test_the_project_cannot_widen_what_the_user_narrowed():
    with pytest.raises(PolicyError, match=r"above the 10 of user\.yaml"):
        merge([layer("user", {"limits": {"pids": 10}}), layer("project", {"limits": {"pids": 20}})])


def test_allow_widening_is_the_system_policys_word():
    system = layer("system", {"allow_widening": True})
    assert (
        merge([system, layer("project", {"limits": {"memory": "64G"}})]).limits.memory == 64 * GIB
    )
    for name in ("user", "project", "flags"):
        with pytest.raises(PolicyError, match="allow_widening may stand only in the system policy"):
            merge([layer(name, {"allow_widening": True})])
        with pytest.raises(PolicyError, match="allow_widening may stand only"):
            merge([system, layer(name, {"allow_widening": False})])


def test_lists_that_narrow_by_growing_add_up():
    policy = merge(
        [
            layer(
                "system", {"filesystem": {"hide": ["/a"]}, "syscalls": {"deny": ["memfd_create"]}}
            ),
            layer(
                "user",
                {
                    "filesystem": {"hide": ["/b"], "protect": ["secrets"]},
                    "syscalls": {"deny": ["shmget"]},
                },
            ),
        ]
    )
    assert policy.filesystem.hide == ("/a", "/b")
    assert policy.filesystem.protect == (*DEFAULT_POLICY.filesystem.protect, "secrets")
    assert policy.syscalls.deny == ("memfd_create", "shmget")


WIDER = {
    "version": None,
    "filesystem.workspace": [("cow", "rw-direct"), ("ro", "cow"), ("ro", "rw")],
    "filesystem.read": [],
    "filesystem.write": [],
    "filesystem.hide": [(("/a",), ()), (("/a",), ("/b",))],
    "filesystem.protect": [(("x",), ()), (("x", "y"), ("y",))],
    "network.llm": [(False, True)],
    "network.presets": [],
    "network.allowed_domains": [
        ((), ("a.b",)),
        (("a.b",), ("*.a.b",)),
        (("*.a.b",), ("a.b",)),
        (("*.a.b",), ("xa.b",)),
        (("a.b",), ("a.b:22",)),
        (("*.a.b",), ("x.a.b:22",)),
    ],
    "network.providers": [((), ("openai",)), (("openai",), ("openai", "ollama"))],
    "network.llm_paths": [((), ("openai:/v1/files",))],
    "network.passthrough": [((), ("a.b",))],
    "network.get_only": [(("a.b",), ()), (("*.a.b",), ("x.a.b",)), (("a.b", "c.d"), ("a.b",))],
    "network.ports": [((), (1,)), ((1,), (1, 2))],
    "network.requests_per_minute": [(1, 2), (1, 0)],
    "redact.models": [("block", "mask"), ("mask", "pseudonym"), ("pseudonym", "off")],
    "redact.sites": [("mask", "off")],
    "redact.disable": [((), ("email",))],
    "redact.allow_values": [((), ("x",))],
    "redact.binary": [("block", "pass")],
    "syscalls.trace": [("security", "none"), ("files", "security"), ("all", "files")],
    "syscalls.allow": [((), ("mbind",))],
    "syscalls.deny": [(("mbind",), ())],
    "identity.mode": [],
    "environment.keep": [
        (("LC_*",), ("*",)),
        (("LC_*",), ("LANG",)),
        (("LC_ALL",), ("LC_*",)),
        ((), ("A",)),
    ],
    "environment.set": [],
    "allow_widening": [(False, True)],
}
NARROWER = {
    "filesystem.workspace": [("rw-direct", "cow"), ("cow", "rw"), ("rw", "cow"), ("cow", "ro")],
    "filesystem.read": [((), ("/srv",))],
    "filesystem.hide": [((), ("/a",))],
    "network.allowed_domains": [
        (("*.a.b",), ("x.a.b",)),
        (("*.a.b",), ("*.x.a.b",)),
        (("a.b:22",), ("a.b:22",)),
        (("*.a.b:22",), ("x.a.b:22",)),
    ],
    "network.providers": [(("openai", "ollama"), ("ollama",)), (("openai",), ())],
    "network.get_only": [((), ("a.b",)), (("x.a.b",), ("*.a.b",))],
    "network.requests_per_minute": [(600, 60), (0, 600)],
    "syscalls.trace": [("none", "all")],
    "redact.models": [("off", "block")],
    "redact.binary": [("pass", "block")],
    "environment.keep": [(("*",), ("A", "LC_*")), (("LC_*",), ("LC_ALL", "LC_A*"))],
}
# Of a field without cases of its own, those of its comparison.
BY_COMPARISON = {
    compare.never: [],
    compare.turned_on: [(False, True)],
    compare.adds: [((), ("x",))],
    compare.removes: [(("x",), ())],
    compare.adds_domain: [((), ("a.b",))],
    compare.uncovers_domain: [(("a.b",), ())],
    compare.adds_variable: [((), ("A",))],
}


def with_default(key):
    return flatten(DEFAULT_POLICY)[key]


for row in FIELDS:
    if row.kind.wider in BY_COMPARISON:
        WIDER.setdefault(row.name, BY_COMPARISON[row.kind.wider])
for numeric in [key for key in RULES if key.startswith(("limits.", "budget."))]:
    WIDER[numeric] = [(1, 2), (1, 0)]
    NARROWER[numeric] = [(2, 1), (0, 1), (0, 0), (1, 1)]


for row in FIELDS:
    if row.path.startswith("projects_may."):
        some = ("x",) if isinstance(row.kind.reader, ListOf) else 1
        WIDER[row.name] = [
            (with_default(row.name), some),
            (some, "any" if some != 1 else 0),
            (some, ("y", "x") if some != 1 else 2),
        ]


def test_every_field_has_a_rule_and_a_case():
    assert set(RULES) == set(flatten(DEFAULT_POLICY)) == set(WIDER)


def with_value(key, value):
    section, _, field = key.partition(".")
    if not field:
        return msgspec.structs.replace(DEFAULT_POLICY, **{section: value})
    part = msgspec.structs.replace(getattr(DEFAULT_POLICY, section), **{field: value})
    return msgspec.structs.replace(DEFAULT_POLICY, **{section: part})


@pytest.mark.parametrize("key", [key for key, cases in WIDER.items() if cases])
def test_wider_values_are_found(key):
    for base, over in WIDER[key]:
        found = narrower(with_value(key, base), with_value(key, over))
        assert [(widening.key, widening.base, widening.over) for widening in found] == [
            (key, base, over)
        ]


@pytest.mark.parametrize("key", list(NARROWER))
def test_narrower_values_may_stand(key):
    for base, over in NARROWER[key]:
        assert narrower(with_value(key, base), with_value(key, over)) == []


def test_akiosd_checks_a_merged_policy_against_the_system_policy():
    greedy = changed(limits__memory=64 * GIB, network__llm=True, syscalls__trace="none")
    assert [widening.key for widening in check_authority(DEFAULT_POLICY, greedy)] == [
        "limits.memory",
        "syscalls.trace",
    ]
    assert check_authority(Policy(allow_widening=True), greedy) == []
    assert check_authority(DEFAULT_POLICY, Policy(allow_widening=True)) != []


partial = st.fixed_dictionaries(
    {},
    optional={
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "memory": st.integers(0, 3).map(lambda number: number * LEAST_MEMORY),
                **{key: st.integers(0, 3) for key in ("pids", "wall_clock", "open_files")},
            },
        ),
        "network": st.fixed_dictionaries(
            {},
            optional={
                "llm": st.booleans(),
                "allowed_domains": st.lists(
                    st.sampled_from(["a.b", "*.a.b", "x.a.b", "a.b:22"]), max_size=2
                ),
            },
        ),
        "syscalls": st.fixed_dictionaries(
            {},
            optional={
                "trace": st.sampled_from(["none", "security", "files", "all"]),
                "deny": st.lists(st.sampled_from(["shmget", "mbind"]), max_size=2),
            },
        ),
        "filesystem": st.fixed_dictionaries(
            {},
            optional={
                "workspace": st.sampled_from(["ro", "cow", "rw", "rw-direct"]),
                "hide": st.just(["/a"]),
            },
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(partial, partial, partial)
def test_whatever_merges_is_within_the_system_policy_and_survives_the_wire(system, user, flags):
    base = merge([layer("system", system)])
    try:
        merged = merge([layer("system", system), layer("user", user), layer("flags", flags)])
    except PolicyError as error:
        assert re.search(" is above | is more than | asks for | leaves out ", error.what)
    else:
        assert narrower(base, merged) == []
        validate(merged)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(merged), type=Policy) == merged


@settings(max_examples=200, deadline=None)
@given(partial, partial, partial)
def test_narrowing_is_transitive(first, second, third):
    a, b, c = (merge([layer("system", data)]) for data in (first, second, third))
    if not narrower(a, b) and not narrower(b, c):
        assert narrower(a, c) == []
    assert narrower(a, a) == []


def test_the_default_profile_is_the_built_in_policy():
    assert merge([Layer("profile", read_named("default"))]) == DEFAULT_POLICY


def test_the_strict_profile_narrows_the_default_and_the_permissive_one_needs_leave():
    strict = Layer("project", read_named("strict"))
    assert merge([strict]).limits.memory < Limits().memory
    permissive = read_named("permissive-dev")
    with pytest.raises(PolicyError):
        merge([Layer("project", permissive)])
    assert merge([Layer("system", permissive)]).limits.memory == 8 * GIB
    for name in PROFILES:
        validate(merge([Layer("profile", read_named(name))]))


def test_the_origin_of_each_value_is_known():
    merged = merge_explained(
        [
            Layer("system", PartialPolicy({"limits.pids": 9}, {"limits.pids": ("s.yaml", 4)})),
            Layer("user", PartialPolicy({"limits.pids": 8}, {"limits.pids": ("u.yaml", 2)})),
        ]
    )
    assert merged.origin == {"limits.pids": Source("user", "u.yaml", 2)}


def test_the_budget_is_explained_in_words():
    merged = merge_explained(
        [
            layer(
                "system",
                {"budget": {"usd": "2.50", "usd_per_minute": "0.05", "calls": 1000, "cycles": 0}},
            ),
            layer("flags", {"budget": {"usd": "0.5"}}),
        ]
    )
    lines = [re.split(r"  +", line) for line in explain_text(merged) if line.startswith("budget.")]
    assert lines == [
        ["budget.usd", "$0.50", "flags: flags.yaml"],
        ["budget.tokens", "no limit", "built-in"],
        ["budget.calls", "1,000", "system: system.yaml"],
        ["budget.requests_per_minute", "no limit", "built-in"],
        ["budget.usd_per_minute", "$0.05", "system: system.yaml"],
        ["budget.same_request", "5 times in a row", "built-in"],
        ["budget.same_tool_calls", "8 times in a row", "built-in"],
        ["budget.same_answers", "5 times in a row", "built-in"],
        ["budget.cycles", "no limit", "system: system.yaml"],
    ]


@pytest.mark.parametrize("key", list(SCHEMA["budget"]))
def test_a_budget_is_only_narrowed(key):
    system = layer("system", {"budget": {key: 4}})
    for wider in (5, 0):
        with pytest.raises(PolicyError, match=" is above the "):
            merge([system, layer("flags", {"budget": {key: wider}})])
    merge([system, layer("flags", {"budget": {key: 3}})])


LOOPS = ("same_request", "same_tool_calls", "same_answers", "cycles")


@pytest.mark.parametrize("name", LOOPS)
def test_a_project_raises_what_is_a_loop_up_to_the_bound(name):
    own = getattr(DEFAULT_POLICY.budget, name)

    def raised(number, *before):
        return getattr(merge([*before, layer("project", {"budget": {name: number}})]).budget, name)

    bounded = layer("system", {"projects_may": {"loops": 70}})
    free = layer("system", {"budget": {name: 4}, "projects_may": {"loops": "any"}})
    assert raised(70, bounded) == 70 and raised(own) == own
    assert raised(10_000, free) == 10_000 and raised(0, free) == 0
    # A number of the system's above the bound stands; without a bound nobody raises any.
    high = layer("system", {"budget": {name: 80}, "projects_may": {"loops": 70}})
    assert raised(80, high) == 80
    for wider, before in ((own + 1, []), (0, []), (71, [bounded]), (0, [bounded]), (81, [high])):
        with pytest.raises(PolicyError, match=f"{name}.* is above the .*projects_may: {{loops: "):
            raised(wider, *before)
    asked = msgspec.structs.replace(DEFAULT_POLICY.budget, **{name: own + 1})
    asked = msgspec.structs.replace(DEFAULT_POLICY, budget=asked)
    [wider] = check_authority(DEFAULT_POLICY, asked)
    assert (wider.key, wider.base, wider.over) == (f"budget.{name}", own, own + 1)
    assert check_authority(merge([bounded]), asked) == []
