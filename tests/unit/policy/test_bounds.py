"""projects_may: how far a policy after the system's goes, and that nothing goes further."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosctl.policy_files import decode_flags, parse
from akiosd.errors import PolicyError
from akiosd.policy.fields import FIELDS
from akiosd.policy.merge import (
    Layer,
    LayerName,
    check_authority,
    exceeds,
    flatten,
    merge,
    merge_explained,
    refuse_excess,
)
from akiosd.policy.presets import PRESETS
from akiosd.policy.schema import load
from akiosd.policy.system import without_file
from akiosd.values.policy import DEFAULT_POLICY, LEAST_MEMORY, Policy
from tests.unit.describe_policy import PAGE, readme_project

SYSTEM = "/etc/akios/policy.yaml"
SHIPPED = PAGE.parents[1] / "policy.yaml"


def layer(name: LayerName, text: str, file: str = "") -> Layer:
    file = file or {"system": SYSTEM}.get(name, f"{name}.yaml")
    return Layer(name, parse(text.encode(), file), file)


def flags(**values: dict[str, object]) -> Layer:
    return Layer("flags", decode_flags(values))


# ---- the shipped file ----------------------------------------------------------------------------


def test_the_shipped_policy_is_the_built_in_one_and_the_right_of_projects() -> None:
    merged = merge([layer("system", SHIPPED.read_text())])
    may = merged.projects_may
    assert msgspec.structs.replace(merged, projects_may=DEFAULT_POLICY.projects_may) == (
        DEFAULT_POLICY
    )
    assert may.allowed_domains == "any" and may.usd is None and may.passthrough == ()
    for row in FIELDS:
        if row.may and isinstance(bound := getattr(may, row.may), int):
            assert row.kind.wider(flatten(merged)[row.name], bound), "a bound that bounds nothing"


def test_the_project_policy_of_the_readme_works_with_the_shipped_one_alone() -> None:
    project = layer("project", readme_project(), "akios.yaml")
    merged = merge([layer("system", SHIPPED.read_text()), project])
    assert set(project.policy.values["network.allowed_domains"]) == set(
        merged.network.allowed_domains
    )
    # Control: an administrator who grants nothing is obeyed.
    with pytest.raises(PolicyError, match=r"network.allowed_domains asks for pypi\.org"):
        merge([layer("system", "version: 1"), project])


# ---- in the words of who wrote it ----------------------------------------------------------------

TEN = "version: 1\nbudget:\n  usd: $10\nlimits: {memory: 2G}\n"
SOME = "network:\n  allowed_domains: ['*.inside.example']\n"
REFUSALS: list[tuple[list[Layer], str, str, str]] = [
    (
        [layer("system", TEN), flags(budget={"usd": "$20"})],
        f"--budget $20 is above the $10 of {SYSTEM}, line 3",
        "the command line",
        "keep to that; an administrator of this host may allow more by projects_may: {usd: $20} in "
        + SYSTEM,
    ),
    (
        [layer("system", TEN), flags(budget={"usd": "20"}, limits={"memory": "2g", "pids": 5000})],
        "--pids 5000 is above the built-in 1,024; "
        f"--budget $20 is above the $10 of {SYSTEM}, line 3",
        "the command line",
        "",
    ),
    (
        [layer("system", TEN), layer("project", "limits:\n  memory: 64g\n", "akios.yaml")],
        f"limits.memory 64g is above the 2G of {SYSTEM}, line 4",
        "akios.yaml, line 2",
        "",
    ),
    (
        [
            layer("system", TEN + "projects_may:\n  usd: $15\n"),
            layer("project", "budget: {usd: 0}", "akios.yaml"),
        ],
        f"budget.usd (no limit) is above the $15.00 that {SYSTEM}, line 6 lets projects ask for",
        "akios.yaml, line 1",
        "projects_may: {usd: any}",
    ),
    (
        [layer("user", "limits: {pids: 10}", "~/u.yaml"), flags(limits={"pids": 11})],
        "--pids 11 is above the 10 of ~/u.yaml, line 1",
        "the command line",
        "keep to that, or change ~/u.yaml, line 1, which is yours",
    ),
    (
        [layer("system", SOME), layer("project", "network: {presets: [python]}", "akios.yaml")],
        "network.allowed_domains asks for pypi.org (preset python) and files.pythonhosted.org "
        f"(preset python); {SYSTEM}, line 2 allows *.inside.example",
        "akios.yaml, line 1",
        "projects_may: {allowed_domains: [pypi.org, files.pythonhosted.org]}",
    ),
    (
        [
            layer("system", "projects_may: {allowed_domains: any}"),
            layer("project", "network: {allowed_domains: ['a.example:22']}", "akios.yaml"),
        ],
        f"network.allowed_domains asks for a.example:22; {SYSTEM}, line 1 allows any name, but "
        "none with a port",
        "akios.yaml, line 1",
        "",
    ),
    (
        [
            layer("system", "network:\n  get_only: [a.example]\n"),
            layer("project", "network: {get_only: []}", "akios.yaml"),
        ],
        f"network.get_only leaves out a.example, which {SYSTEM}, line 2 asks for",
        "akios.yaml, line 1",
        f"keep to that; an administrator of this host may change network.get_only in {SYSTEM}",
    ),
    (
        [layer("system", "network: {llm: false}"), layer("user", "network: {llm: true}", "u")],
        f"network.llm true is more than the false of {SYSTEM}, line 1",
        "u, line 1",
        "",
    ),
    (
        [flags(filesystem={"workspace": "rw-direct"})],
        "--mode rw-direct is more than the built-in cow",
        "the command line",
        f"may change filesystem.workspace in {SYSTEM}",
    ),
    (
        [
            layer("system", "projects_may:\n  loops: 60\n"),
            layer("project", "budget: {cycles: 61}", "akios.yaml"),
        ],
        f"budget.cycles 61 is above the 60 that {SYSTEM}, line 2 lets projects ask for",
        "akios.yaml, line 1",
        f"may allow more by projects_may: {{loops: 61}} in {SYSTEM}",
    ),
    (
        [layer("project", "budget: {same_request: 6}", "p")],
        "budget.same_request 6 is above the built-in 5",
        "p, line 1",
        "may allow more by projects_may: {loops: 6} in",
    ),
    (
        [layer("user", "projects_may: {memory: 4G}", "u")],
        "projects_may.memory 4G is above the built-in none",
        "u, line 1",
        f"may change projects_may.memory in {SYSTEM}",
    ),
]


@pytest.mark.parametrize(("layers", "what", "where", "next"), REFUSALS)
def test_a_refusal_is_in_the_words_of_who_asked(
    layers: list[Layer], what: str, where: str, next: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        merge(layers)
    assert (caught.value.what, caught.value.where) == (what, where)
    assert next in caught.value.next


def test_a_refusal_names_the_file_that_akiosd_reads() -> None:
    system = layer("system", TEN, "/srv/akios/system.yaml")
    with pytest.raises(PolicyError) as caught:
        merge([system, flags(limits={"pids": 5000})])
    assert caught.value.next.endswith(" in /srv/akios/system.yaml")


def test_what_the_administrator_would_have_to_change_goes_before_the_users_own_file() -> None:
    """Else the next refusal, after an edit, would be that of the system policy."""
    layers = [layer("system", TEN), layer("project", "budget: {usd: $2}", "akios.yaml")]
    with pytest.raises(PolicyError, match=r"above the \$10 of /etc/akios/policy.yaml, line 3"):
        merge([*layers, flags(budget={"usd": "$20"})])
    with pytest.raises(PolicyError, match=r"above the \$2 of akios\.yaml, line 1") as caught:
        merge([*layers, flags(budget={"usd": "$5"})])
    assert caught.value.next == "keep to that, or change akios.yaml, line 1, which is yours"


def test_without_a_system_policy_a_refusal_tells_how_to_begin_one() -> None:
    """A first file with nothing but the line of the hint would take the right to names away."""
    shipped = without_file("/srv/policy.yaml", parse(SHIPPED.read_bytes(), "x"))
    with pytest.raises(PolicyError) as caught:
        merge([shipped.layer, flags(limits={"memory": "64G"})])
    assert caught.value.what == (
        "--memory 64G is above the 8 GiB that the built-in policy lets projects ask for"
    )
    assert caught.value.next.endswith(
        "(there is none yet; begin with: akiosctl policy shipped | sudo tee /srv/policy.yaml)"
    )


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.path)
def test_no_refusal_of_akiosd_has_an_internal_name_or_number(row: Any) -> None:
    """It knows what came out, and nothing of who wrote it."""
    over = {"SIZE": 1 << 40, "TIME": 10**15, "MONEY": 10**9}.get(row.kind.word, 9_999_999)
    text = TEN.replace("{memory: 2G}", "{memory: 2G, wall_clock: 1h, cpu: 50%}")
    system = merge_explained([layer("system", text)])
    base = flatten(system.policy)[row.name]
    if isinstance(base, bool) or not isinstance(base, int) or not base or row.path == "version":
        return
    section, _, name = row.name.partition(".")
    part = msgspec.structs.replace(getattr(system.policy, section), **{name: over})
    asked = msgspec.structs.replace(system.policy, **{section: part})
    error = refuse_excess(system, SYSTEM, check_authority(system.policy, asked))
    assert error.what.startswith(f"{row.path} ") and SYSTEM in error.next
    assert not re.search(r"_micro|_ns|_percent|\d{8}", error.what), error.what


# ---- nothing goes further ------------------------------------------------------------------------

NAMES = ["a.b", "*.a.b", "x.a.b", "a.b:22", "*.a.b:22", "c.d", "pypi.org"]
PORTS = [22, 8443]
numbers = st.integers(0, 4)
sizes = numbers.map(lambda number: number * LEAST_MEMORY)
names = st.lists(st.sampled_from(NAMES), max_size=3)
ports = st.lists(st.sampled_from(PORTS), max_size=2)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


may = some(
    allowed_domains=st.one_of(st.just("any"), st.just("none"), names),
    ports=st.one_of(st.just("any"), st.just("none"), ports),
    memory=st.one_of(st.just("any"), st.just("none"), sizes),
    usd=st.one_of(st.just("any"), st.just("none"), numbers),
)
texts = some(
    network=some(allowed_domains=names, ports=ports, presets=st.just(["python"]), get_only=names),
    limits=some(memory=sizes, pids=numbers),
    budget=some(usd=numbers),
    projects_may=may,
)
LATER: tuple[LayerName, ...] = ("user", "project", "flags")


def within(value: int, *limits: int | None) -> bool:
    """Not above the highest of ``limits``; 0 is no limit, None no bound."""
    given = [limit for limit in limits if limit is not None]
    return 0 in given or (value != 0 and value <= max(given))


def holds(entry: str, pattern: str) -> bool:
    host, _, port = entry.partition(":")
    pattern_host, _, pattern_port = pattern.partition(":")
    inner = pattern_host[:2] == "*." and host.endswith(pattern_host[1:])
    return port == pattern_port and (host == pattern_host or inner)


def check_within(system: Policy, policy: Policy) -> None:
    """Written without the functions that merge: what a system policy promises its writer."""
    bound = system.projects_may
    assert within(policy.limits.memory, system.limits.memory, bound.memory)
    assert within(policy.limits.pids, system.limits.pids)
    assert within(policy.budget.usd_micro, system.budget.usd_micro, bound.usd)
    for port in policy.network.ports:
        listed = () if bound.ports == "any" else bound.ports
        assert bound.ports == "any" or port in (*system.network.ports, *listed)
    for entry in policy.network.allowed_domains:
        names = () if bound.allowed_domains == "any" else bound.allowed_domains
        free = bound.allowed_domains == "any" and ":" not in entry
        assert free or any(
            holds(entry, pattern) for pattern in (*system.network.allowed_domains, *names)
        ), entry
    for entry in system.network.get_only:
        assert any(holds(entry, pattern) for pattern in policy.network.get_only)


@settings(max_examples=400, deadline=None)
@given(texts, st.lists(st.tuples(st.sampled_from(LATER), texts), max_size=4))
def test_no_file_preset_or_option_in_any_order_passes_the_systems_bound(
    system: dict[str, Any], later: list[tuple[LayerName, dict[str, Any]]]
) -> None:
    first = Layer("system", load(system, {}))
    base = merge([first])
    layers = [first]
    for name, text in later:
        tried = [*layers, Layer(name, load(text, {}))]
        try:
            policy = merge(tried)
        except PolicyError:
            # Nobody is stopped who only repeats what holds already.
            assert text
            continue
        layers = tried
        check_within(base, policy)
        assert not check_authority(base, policy), "akiosd admits what an honest client merged"


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_akiosd_admits_nothing_beyond_the_bound_whatever_a_client_left_out(
    system: dict[str, Any], asked: dict[str, Any]
) -> None:
    """A client that leaves the system layer out, and says that everything may be widened."""
    base = merge([Layer("system", load(system, {}))])
    greedy = merge([Layer("system", load({**asked, "allow_widening": True}, {}))])
    found = check_authority(base, greedy)
    assert "allow_widening" in [excess.key for excess in found]
    quiet = msgspec.structs.replace(greedy, allow_widening=False, projects_may=base.projects_may)
    if not check_authority(base, quiet):
        check_within(base, quiet)


def test_a_bound_is_reached_and_not_passed() -> None:
    """The control of the properties: what is within the bound is given."""
    system = layer(
        "system", TEN + "projects_may: {usd: $15, allowed_domains: [c.d], memory: any, ports: [22]}"
    )
    project = layer(
        "project",
        "budget: {usd: $15}\nlimits: {memory: 0}\nnetwork: {allowed_domains: [c.d], ports: [22]}\n",
    )
    policy = merge([system, project])
    assert policy.budget.usd_micro == 15_000_000 and policy.limits.memory == 0
    assert policy.network.allowed_domains == ("c.d",) and policy.network.ports == (22,)
    for text in ("budget: {usd: $15.01}", "network: {allowed_domains: [e.f]}"):
        with pytest.raises(PolicyError):
            merge([system, layer("project", text)])


def test_a_user_may_take_the_right_away_and_not_give_it() -> None:
    system = layer("system", SHIPPED.read_text())
    mine = layer("user", "projects_may: {allowed_domains: none}\nnetwork: {allowed_domains: [a.b]}")
    wants = layer("project", "network: {allowed_domains: [c.d]}")
    assert merge([system, wants]).network.allowed_domains == ("c.d",)
    with pytest.raises(PolicyError, match=r"asks for c\.d; user\.yaml, line 2 allows a\.b"):
        merge([system, mine, wants])
    assert exceeds(merge([system]), merge([system, mine])) == []


# ---- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_its_names(name: str) -> None:
    preset = PRESETS[name]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", preset.looked_at) and preset.what
    text = f"network:\n  presets: [{name}]\n  allowed_domains: [own.example]\n"
    merged = merge_explained([layer("system", SHIPPED.read_text()), layer("project", text)])
    assert merged.policy.network.allowed_domains == ("own.example", *preset.names)
    assert merged.policy.network.presets == (name,)
    written = "network: {allowed_domains: [" + ", ".join(map(repr, preset.names)) + "]}"
    alone = merge([layer("system", f"network: {{presets: [{name}]}}")])
    assert alone.network.allowed_domains == (
        merge([layer("system", written)]).network.allowed_domains
    ), "canonical names"


def test_who_writes_names_after_a_preset_replaces_it() -> None:
    """As a list replaces a list; and what is shown as preset is what the names came from."""
    merged = merge(
        [
            layer("system", SHIPPED.read_text()),
            layer("user", "network: {presets: [python]}"),
            layer("project", "network: {allowed_domains: [a.b]}"),
        ]
    )
    assert (merged.network.presets, merged.network.allowed_domains) == ((), ("a.b",))


def test_the_shipped_policy_lets_a_project_raise_what_is_a_loop() -> None:
    shipped = without_file("/srv/policy.yaml", parse(SHIPPED.read_bytes(), "x")).layer
    raised = layer("project", "budget: {same_tool_calls: 50, cycles: 9}")
    assert merge([shipped, raised]).budget.same_tool_calls == 50
    with pytest.raises(PolicyError, match="51 is above the 50 that the built-in policy lets"):
        merge([shipped, layer("project", "budget: {same_answers: 51}")])
    with pytest.raises(PolicyError, match=r"projects_may\.loops 60 is above the built-in 50 \("):
        merge([shipped, layer("project", "projects_may: {loops: 60}")])
