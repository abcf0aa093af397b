"""What the end of a run and ``akiosctl why`` make of a log: bounded, escaped, with the setting that
helps.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from akiosctl.denials import MAX_SUBJECTS, collect, explain, long_lines, places, report, short_lines
from akiosd.policy.advice import ADMINISTRATOR, SYSTEM_FILE, YOU, Place
from akiosd.policy.merge import Layer
from akiosd.policy.schema import load
from akiosd.values.policy import DEFAULT_POLICY
from akiosd.values.records import NetDenied, NetRequest, Record, SpendWarning, Syscall, encode_entry

WIDE = Layer("system", load({"allow_widening": True}, {}))
FILES = places("/p", SYSTEM_FILE, "/h/policy.yaml")


def name(host: str, count: int = 1) -> NetDenied:
    return NetDenied(
        ts=1,
        host=host.encode(),
        rule="network.allowed_domains",
        protocol="dns",
        port=53,
        count=count,
    )


def call(called: str, path: bytes | None = None, verdict: str = "denied", **more: int) -> Syscall:
    fields = {"errno": errno.EPERM} | more
    return Syscall(ts=1, name=called, nr=1, pid=1, verdict=verdict, path=path, **fields)  # type: ignore[arg-type]


def told(*records: Record, layers: tuple[Layer, ...] = (WIDE,)) -> list[str]:
    return short_lines(explain(collect(map(encode_entry, records)), layers, FILES), "c-1")


def test_one_line_a_kind_with_how_often_and_what_allows_it() -> None:
    assert told(
        name("a.example", 2),
        call("mount", b"/dev/x"),
        name("b.example"),
        name("a.example"),
        call("bpf"),
    ) == [
        "denied 4 times: names: a.example (3), b.example (1); set network: {allowed_domains: [a.example, b.example]} "
        "in /p/akios.yaml, which you may change",
        "denied once: system calls on files: mount /dev/x (1); no setting allows it",
        "denied once: system calls: bpf (1); no setting allows it",
    ]


def test_a_model_without_a_key_is_for_an_administrator() -> None:
    (line,) = told(
        NetDenied(ts=1, host=b"api.openai.com", rule="llm.key", protocol="http", port=443)
    )
    assert line == (
        "denied once: calls to models of which no key is kept, at: api.openai.com (1); "
        "an administrator keeps the key: sudo akiosctl keys set openai"
    )


def test_what_was_let_through_is_no_denial() -> None:
    passed = NetRequest(ts=1, host="denied.example", port=443, mode="inspect")
    assert told(passed, call("openat", b"/denied", "requested")) == []


def test_what_a_program_asks_of_a_closed_descriptor_is_no_denial() -> None:
    assert told(call("setsockopt", errno=errno.EBADF), call("bind", errno=errno.ENOTSOCK)) == []
    assert len(told(call("setsockopt", errno=errno.ENOPROTOOPT))) == 1


def passed(host: str, path: str = "/v1/chat/completions", method: str = "POST") -> NetRequest:
    return NetRequest(ts=1, host=host, port=443, mode="inspect", method=method, path=path.encode())


def test_models_that_are_reached_as_sites_are_told_with_what_counts_them() -> None:
    layers = (
        Layer(
            "system", load({"network": {"allowed_domains": ["openrouter.ai", "llm.example"]}}, {})
        ),
    )
    lines = told(
        passed("openrouter.ai", "/api/v1/chat/completions"),
        passed("openrouter.ai", "/api/v1/chat/completions"),
        passed("llm.example", "/at/home/v1/messages"),
        layers=layers,
    )
    what = "calls to models as to mere sites: no budget holds them, and their key is inside"
    assert [line.partition(", which")[0] for line in lines] == [
        f"passed 2 times: {what}: openrouter.ai (2); set gateway: {{providers: {{openai: {{upstream: "
        "https://openrouter.ai/api}}} in /etc/akios/akiosd.yaml",
        f"passed once: {what}: llm.example (1); set gateway: {{providers: {{anthropic: {{upstream: "
        "https://llm.example/at/home}}} in /etc/akios/akiosd.yaml",
    ]
    assert lines[0].endswith("and call https://api.openai.com instead")


def test_the_setting_that_counts_them_is_not_told_where_the_policy_would_refuse() -> None:
    """The provider that would be called is none of the policy's."""
    layers = (
        Layer(
            "system",
            load({"network": {"allowed_domains": ["api.groq.com"], "providers": ["gemini"]}}, {}),
        ),
    )
    (line,) = told(passed("api.groq.com", "/openai/v1/chat/completions"), layers=layers)
    assert line.endswith("the policy's network.providers must then have openai")
    (line,) = told(passed("api.replicate.com", "/v1/predictions"), layers=layers)
    assert line.endswith("take its name out of the policy if it must not be called")


def test_other_sites_are_not_told() -> None:
    """The control: what is fetched, and what is posted elsewhere."""
    assert (
        told(
            passed("docs.example", method="GET"),
            passed("api.github.com", "/graphql"),
            NetRequest(ts=1, host="api.openai.com", port=443, mode="llm", method="POST"),
        )
        == []
    )


def test_a_refusal_of_the_budget_says_its_words_and_the_setting() -> None:
    words = "the budget of $1.00 is spent"
    layers = (Layer("system", load({"budget": {"usd": 1}}, {})),)
    record = SpendWarning(ts=1, provider="openai", model="gpt-5", rule="budget.usd", words=words)
    assert told(record, record, layers=layers) == [
        f"denied 2 times: {words}: gpt-5 (2); set budget: {{usd: $2.00}} in {SYSTEM_FILE}, which "
        f"{YOU if os.geteuid() == 0 else ADMINISTRATOR} may change"
    ]


def refused(needs: int, model: str = "gpt-5") -> SpendWarning:
    rule = "budget.usd"
    return SpendWarning(ts=1, provider="openai", model=model, rule=rule, words="no", needs=needs)


@pytest.mark.parametrize(
    ("bound", "needs", "number"),
    [
        ("1.00", (60,), "$0.00006"),  # twice as much would be refused again
        ("1.00", (60, 900), "$0.0009"),  # the largest of what was refused
        ("0.0001", (60,), "$0.00006"),
        ("1.00", (12,), "$0.00002"),  # twice as much is enough
        ("0.000015", (12,), "$0.000015"),  # the bound is, where less is enough
    ],
)
def test_the_budget_that_is_told_allows_what_was_refused(
    bound: str, needs: tuple[int, ...], number: str
) -> None:
    system = load({"budget": {"usd": "0.00001"}, "projects_may": {"usd": bound}}, {})
    records = [refused(most, f"m{most}") for most in needs]
    [line] = told(*records, layers=(Layer("system", system),))
    assert f"; set budget: {{usd: {number}}} in /p/akios.yaml, which you may change" in line


def test_a_budget_above_the_bound_is_for_the_administrators_file() -> None:
    system = load({"budget": {"usd": "0.00001"}, "projects_may": {"usd": "0.00005"}}, {})
    [line] = told(refused(60), layers=(Layer("system", system),))
    assert f"set budget: {{usd: $0.00006}} in {SYSTEM_FILE}" in line


def test_an_option_that_was_given_is_what_is_told() -> None:
    """It stands over all files: no line of one would have helped."""
    option = Place("flags", "--budget", YOU, "budget.usd")
    layers = (WIDE, Layer("flags", load({"budget": {"usd": "0.00001"}}, {})))
    groups = collect([encode_entry(refused(60))])
    [line] = short_lines(explain(groups, layers, [option, *FILES]), "c-1")
    assert line.endswith("; give --budget 0.00006")
    # Another key is not the option's.
    [line] = short_lines(
        explain(collect([encode_entry(name("a.example"))]), layers, [option, *FILES]), "c-1"
    )
    assert "in /p/akios.yaml" in line
    system = Layer("system", load({"budget": {"usd": "0.00002"}}, {}))
    [line] = short_lines(explain(groups, [system, layers[1]], [option, *FILES]), "c-1")
    assert f"set budget: {{usd: $0.00006}} in {SYSTEM_FILE}" in line
    assert line.endswith("may change, and give --budget 0.00006")


def test_what_is_known_of_no_option_says_that_there_was_one() -> None:
    """As akiosctl why: the policy of now allows it, so the run had less by an option."""
    [line] = told(refused(60))
    option = "leave out --budget, or give --budget 0.00006 or more"
    assert line.endswith(f"; the policy as it is now allows it: {option}")


@pytest.mark.parametrize("key", ["same_request", "same_tool_calls", "same_answers", "cycles"])
@pytest.mark.parametrize(
    ("own", "bound", "number", "in_project"),
    [
        (0, None, 0, False),  # nobody lets projects raise it; twice as many
        (6, None, 12, False),
        (6, 20, 12, True),
        (15, 20, 20, True),
        (0, 3, 0, False),
        (6, "any", 12, True),
    ],
)
def test_a_loop_says_how_far_and_where_its_number_may_be_raised(
    key: str, own: int, bound: object, number: int, in_project: bool
) -> None:
    rule = f"budget.{key}"
    given: dict[str, object] = {"budget": {key: own}} if own else {}
    if bound is not None:
        given["projects_may"] = {"loops": bound}
    layers = (Layer("system", load(given, {})),) if given else ()
    record = SpendWarning(ts=1, provider="openai", model="gpt-5", rule=rule, words="the same again")
    number = number or 2 * getattr(DEFAULT_POLICY.budget, key)
    [line] = told(record, layers=layers)
    file = "/p/akios.yaml, which you" if in_project else f"{SYSTEM_FILE}, which"
    assert f"the same again: gpt-5 (1); set budget: {{{key}: {number}}} in {file}" in line


def test_names_of_which_one_cannot_be_allowed_are_told_apart() -> None:
    lines = told(name("a.example"), name("10.0.0.1"), name("x..y"))
    assert (
        "a.example (1); set network" in lines[0] and "10.0.0.1 (1); addresses cannot be" in lines[1]
    )
    assert lines[2].endswith("x..y (1); no setting allows it")


def test_what_an_agent_chose_cannot_drive_a_terminal_or_fill_it() -> None:
    evil = "\x1b[31m\r\n\u202ename" + "x" * 10_000
    many = [name(f"n{number}.example") for number in range(MAX_SUBJECTS + 100)]
    lines = told(call("mount", evil.encode()), name(evil), *many)
    assert all(line.isprintable() and len(line) < 1500 for line in lines) and len(lines) <= 7
    assert lines[-1] == "akiosctl why c-1 tells all of it"
    found = explain(collect(map(encode_entry, many)), [WIDE], FILES)
    assert sum(one.count for one in found) == len(many)
    assert sum(len(one.subjects) for one in found) == MAX_SUBJECTS
    assert all(line.isprintable() for line in long_lines(found))
    assert all(subject["name"].isprintable() for subject in report(found)[0]["subjects"])


def test_damaged_and_unknown_entries_are_passed_over() -> None:
    assert collect([b"", b"denied", b"\x81\xa4kind\xa6denied", encode_entry(name("a.example"))])[
        0
    ].counts == {"a.example": 1}


@pytest.mark.parametrize("explicit", [None, "mine.yaml", "strict"])
def test_the_file_is_that_of_the_run(explicit: str | None, tmp_path: Path) -> None:
    files = [place.file for place in places("/p", SYSTEM_FILE, "/h/policy.yaml", explicit)]
    assert files[-2:] == ["/h/policy.yaml", SYSTEM_FILE]
    assert (
        files[:-2] == {None: ["/p/akios.yaml"], "mine.yaml": ["mine.yaml"], "strict": []}[explicit]
    )
