"""Every hint the product can print is tried here against the policy itself: written into the file
that it names, by the person it names, it must allow what was denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import yaml

from akiosd.daemon.base.config import load_config
from akiosd.errors import PolicyError
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.net.names import PROVIDER_HOSTS, Names, named_path
from akiosd.gateway.net.remedies import (
    REMEDIES,
    UNCOUNTED,
    Asked,
    find_remedy,
    hint,
    never,
    provider_of,
)
from akiosd.policy.advice import (
    ADMINISTRATOR,
    ALLOWED_NOW,
    PROJECT_FILE,
    SYSTEM_FILE,
    YOU,
    Advice,
    Edit,
    Place,
    advise,
)
from akiosd.policy.merge import Layer, LayerName, merge
from akiosd.policy.schema import load
from akiosd.values.policy import PROVIDERS, Policy
from akiosd.wire.gateway import Setup

PLACES = (
    Place("project", "/p/akios.yaml", YOU),
    Place("user", "/h/policy.yaml", YOU),
    Place("system", SYSTEM_FILE, ADMINISTRATOR),
)
FILES: dict[str, LayerName] = {place.file: place.layer for place in PLACES}


def layer(name: LayerName, text: str) -> Layer:
    return Layer(name, load(yaml.safe_load(text), {}))


def advice_for(asked: Asked, layers: Sequence[Layer]) -> Advice | None:
    remedy = find_remedy(asked, merge(layers))
    return advise(layers, PLACES, remedy.edits, remedy.allows)


def follow(advice: Advice, layers: Sequence[Layer]) -> Policy:
    """What a person does who reads the advice: the setting stands in those files afterwards."""
    found = list(layers)
    data = yaml.safe_load(advice.setting)
    ((section, entries),) = data.items()
    ((entry, value),) = entries.items()
    for file in advice.files:
        name = FILES[file]
        before = next((one.policy.values for one in found if one.name == name), {})
        if advice.words.startswith("take "):
            value = [item for item in before[f"{section}.{entry}"] if item not in entries[entry]]
        new = {**before, **load({section: {entry: value}}, {}).values}
        order = ("system", "user", "project")
        found = [one for one in found if one.name != name] + [Layer(name, load({}, {}))]
        found[-1] = Layer(name, msgspec.structs.replace(found[-1].policy, values=new))
        found.sort(key=lambda one: order.index(one.name))
    return merge(found)


WIDE = layer("system", "allow_widening: true")
NARROW = layer("system", "network: {allowed_domains: ['*.inside.example']}")

# Of each rule one denial at least, and the layers under which it happened.
DENIALS: dict[str, tuple[Asked, list[Layer]]] = {
    "a name": (Asked("network.allowed_domains", "a.example"), [WIDE]),
    "a name within the bound": (
        Asked("network.allowed_domains", "a.inside.example", 443),
        [NARROW, layer("project", "network: {allowed_domains: [b.inside.example]}")],
    ),
    "a name outside the bound": (Asked("network.allowed_domains", "a.example", 443), [NARROW]),
    "a name that both must say": (
        Asked("network.allowed_domains", "a.example"),
        [NARROW, layer("project", "network: {allowed_domains: [b.inside.example]}")],
    ),
    "a port": (Asked("network.allowed_domains", "git.example", 2222), [WIDE]),
    "a provider that is off": (
        Asked("network.allowed_domains", "api.openai.com"),
        [WIDE, layer("user", "network: {providers: [anthropic]}")],
    ),
    "all providers off": (
        Asked("network.allowed_domains", "api.openai.com"),
        [layer("system", "network: {llm: false}")],
    ),
    "a port of the host's own": (Asked("localhost", "127.0.0.1", 5432), [WIDE]),
    "alpn": (Asked("tls.alpn", "a.example", 443), [WIDE]),
    "handshake": (Asked("tls.handshake", "a.example", 8443), [WIDE]),
    "websocket": (Asked("network.passthrough", "a.example", 443), [NARROW]),
    "files of a provider": (Asked("network.llm_paths", "api.openai.com", 443, "/v1/files/f-1"), [WIDE]),
    "writing": (
        Asked("network.get_only", "a.example", 443),
        [
            layer("system", "{allow_widening: true, network: {allowed_domains: [a.example]}}"),
            layer("project", "network: {get_only: [a.example, b.example]}"),
        ],
    ),
    "writing, the administrator's": (
        Asked("network.get_only", "a.inside.example", 443),
        [layer("system", "network: {allowed_domains: ['*.inside.example'], get_only: [a.inside.example]}")],
    ),
    "raw as http": (
        Asked("network.ports", "a.example", 8080),
        [layer("system", "network: {allowed_domains: ['a.example:8080']}")],
    ),
    "a rate": (Asked("network.requests_per_minute", "a.example", 443), [WIDE]),
    "money": (Asked("budget.usd"), [layer("system", "budget: {usd: $1500}")]),
    "money a minute": (Asked("budget.usd_per_minute"), [layer("user", "budget: {usd_per_minute: 1}")]),
    "calls": (Asked("budget.calls"), [layer("project", "budget: {calls: 3}")]),
    "tokens": (Asked("budget.tokens"), [layer("project", "budget: {tokens: 3}")]),
    "requests": (Asked("budget.requests_per_minute"), [layer("user", "budget: {requests_per_minute: 3}")]),
    "a loop": (Asked("budget.same_request"), [WIDE]),
    "a loop of tools": (Asked("budget.same_tool_calls"), [WIDE]),
    "a cycle": (Asked("budget.cycles"), [WIDE]),
    "bytes": (Asked("redact.binary", "a.example"), [layer("user", "redact: {binary: block}")]),
    "personal data": (Asked("redact.sites", "a.example"), [layer("project", "redact: {sites: block}")]),
    "personal data for a model": (Asked("redact.models"), [layer("system", "redact: {models: block}")]),
    "a call": (Asked("syscalls", call="chmod"), [layer("project", "syscalls: {deny: [chmod, link]}")]),
}  # fmt: skip


@pytest.mark.parametrize("case", DENIALS)
def test_what_is_told_really_allows_what_was_denied(case: str) -> None:
    asked, layers = DENIALS[case]
    advice = advice_for(asked, layers)
    assert advice is not None and advice.files, advice
    remedy = find_remedy(asked, merge(layers))
    assert not remedy.allows(merge(layers)), "the control: it was denied"
    assert remedy.allows(follow(advice, layers)), advice
    assert advice.who == (ADMINISTRATOR if SYSTEM_FILE in advice.files else YOU)


def test_every_rule_that_may_help_has_a_denial_here() -> None:
    tried = {asked.rule for asked, _ in DENIALS.values()}
    # Of akiosd.yaml, below; of a model's own site, in client/test_denials; and four that no policy
    # allows as they were asked.
    never = ("network.port", "network.address", "llm.key", "llm.login")
    assert tried >= set(REMEDIES) - {"upstream", UNCOUNTED, *never}
    for rule in never:
        remedy = find_remedy(Asked(rule, "192.0.2.1", 22), merge([WIDE]))
        assert remedy is not None and not remedy.edits and not remedy.allows(merge([WIDE]))
    assert tried >= {
        f"budget.{name}" for name in ("usd", "tokens", "calls", "same_request", "cycles")
    }


def test_a_file_that_would_be_refused_is_not_named() -> None:
    """The administrator bounds the names: the project's own file would be refused as widening."""
    asked, layers = DENIALS["a name outside the bound"]
    with pytest.raises(PolicyError, match=r"asks for a\.example"):
        merge([*layers, layer("project", "network: {allowed_domains: [a.example]}")])
    advice = advice_for(asked, layers)
    assert advice is not None and advice.files == (SYSTEM_FILE,)
    assert ADMINISTRATOR in advice.words
    both = advice_for(*DENIALS["a name that both must say"])
    assert both is not None and both.files == (SYSTEM_FILE, "/p/akios.yaml")


MAY = layer("system", "projects_may: {allowed_domains: any, usd: $30}")


@pytest.mark.parametrize("own", ["presets: [python]", "presets: [python], allowed_domains: [b.c]"])
def test_what_a_project_may_widen_is_its_own_file(own: str) -> None:
    """The names of its presets are not written out."""
    layers = [MAY, layer("project", f"network: {{{own}}}")]
    asked = Asked("network.allowed_domains", "a.example")
    advice = advice_for(asked, layers)
    assert advice is not None and (advice.files, advice.who) == (("/p/akios.yaml",), YOU)
    own_names = "b.c, a.example" if "b.c" in own else "a.example"
    assert advice.setting == f"network: {{allowed_domains: [{own_names}]}}"
    setup = Setup(cage="c", policy=merge(layers), system=merge([MAY]), system_file="/srv/p.yaml")
    assert hint(setup, Names(setup.policy), asked).endswith(" in akios.yaml")
    # Beyond the bound it is the administrator's, in the file that akiosd reads.
    raw = msgspec.structs.replace(asked, port=22)
    told = hint(setup, Names(setup.policy), raw)
    assert told.endswith(" in /srv/p.yaml, which an administrator of this host may change")


@pytest.mark.parametrize(
    "asked",
    [
        *(Asked(rule, "api.openai.com", 443) for rule in ("tls.handshake", "tls.alpn", "network.passthrough")),
        Asked("network.passthrough", "a.example", 80, tls=False),
        Asked("network.allowed_domains", "10.0.0.1", 443),
        Asked("network.allowed_domains", "[::1]", 443),
        Asked("network.allowed_domains", "api.openai.com", 8443),
        Asked("network.allowed_domains", "a.example", 53_000, reserved=(("a.example", 53_000),)),
        Asked("network.allowed_domains", "a.example", 11434),
        Asked("syscalls", call="mount"),
        Asked("syscalls", call="socket"),
        Asked("llm.key", "api.openai.com"),
    ],
    ids=repr,
)  # fmt: skip
def test_where_no_setting_helps_none_is_told(asked: Asked) -> None:
    assert advice_for(asked, [WIDE]) is None
    setup = Setup(cage="c", policy=merge([WIDE]), system=merge([WIDE]))
    assert "network: {" not in hint(setup, Names(setup.policy, reserved=asked.reserved), asked)


PAID = (
    "/v1/chat/completions", "/v1beta/openai/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages",
    "/v1/batches", "/v1/messages/batches",
    "/v1beta/models/veo:predictLongRunning", "/v1/images/edits", "/v1/embeddings",
    "/v1/fine_tuning/jobs", "/v1/models", "/v1/realtime/sessions", "/v1/audio/speech", "/v1/rerank", "/files", "/",
)  # fmt: skip


@pytest.mark.parametrize(
    "provider", [name for name in PROVIDERS if name not in ("bedrock", "ollama")]
)
@pytest.mark.parametrize("path", PAID)
def test_no_path_that_costs_money_is_made_free_of_the_budget(provider: str, path: str) -> None:
    host = PROVIDER_HOSTS[provider][0]
    assert provider_of(host) == provider
    advice = advice_for(Asked("network.llm_paths", host, 443, path), [WIDE])
    if advice is None:
        return
    assert advice.setting.endswith("/files]}"), "only what is free"
    policy = follow(advice, [WIDE])
    for other in PAID[:-2]:
        assert not named_path(policy.network.llm_paths, provider, other)
    assert provider in BY_NAME


def test_the_hint_of_a_gateway_names_the_file_that_may_say_it() -> None:
    asked = Asked("network.allowed_domains", "a.example")
    for system, file in ((merge([WIDE]), PROJECT_FILE), (Policy(), SYSTEM_FILE)):
        setup = Setup(cage="c", policy=system, system=system)
        line = hint(setup, Names(setup.policy), asked)
        assert line.startswith("network: {allowed_domains: [a.example]} in ") and file in line
        assert (ADMINISTRATOR in line) == (file == SYSTEM_FILE)


def test_the_line_for_akiosd_itself_is_one_that_it_reads(tmp_path: Path) -> None:
    remedy = find_remedy(Asked("upstream", "a.example"), Policy())
    line, _, where = remedy.instead.partition(" in ")
    assert remedy.allows is never and where.startswith("/etc/akios/akiosd.yaml")
    assert yaml.safe_load(line) == {"gateway": {"hosts": {"a.example": "ADDRESS"}}}
    file = tmp_path / "akiosd.yaml"
    file.write_text(line.replace("ADDRESS", "10.0.0.7"))
    assert load_config(file)[0].gateway.hosts == {"a.example": "10.0.0.7"}


def test_what_was_changed_meanwhile_is_said() -> None:
    layers = [layer("system", "network: {allowed_domains: [a.example]}")]
    edit = Edit("network.allowed_domains", "add", ("a.example",))
    assert advise(layers, PLACES, (edit,), lambda policy: True) is ALLOWED_NOW
