"""Policy text: friendly spellings in, checked fields out, refusals with file, line and the nearest
key.
"""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosctl.policy_files import parse
from akiosd.errors import PolicyError
from akiosd.policy.fields import FIELDS
from akiosd.policy.merge import RULES, Layer, flatten, merge
from akiosd.policy.schema import SCHEMA, load, validate
from akiosd.policy.yaml_lines import load_positions
from akiosd.values.policy import DEFAULT_POLICY, Policy
from akiosd.values.units import GIB, NS_PER_S
from tests.unit.describe_policy import written


def whole(text: str) -> bytes:
    """``text`` with the fields that it does not give, as the manual writes their defaults."""
    given, _ = load_positions(text.encode(), "f.yaml")
    for row in FIELDS:
        section, _, key = row.path.partition(".")
        if isinstance(given.get(section), dict) and key not in given[section]:
            default = flatten(DEFAULT_POLICY)[row.name]
            plain = written(row.kind.word, default).replace("no limit", "0")
            plain = plain or "none"
            value = json.dumps(default) if isinstance(default, tuple | dict) else plain
            text = text.replace(f"\n{section}:\n", f"\n{section}:\n  {key}: {value}\n")
    return text.encode()


FULL = whole("""\
version: 1
filesystem:
  workspace: rw
  read: [/srv/data, /srv//more/]
  write: [/var/cache/x]
  hide: [/usr/share/doc]
  protect: [Makefile, ./ci/run]
network:
  llm: false
  providers: [anthropic, ollama]
  llm_paths: ["openai:/v1/files"]
  allowed_domains: [Example.COM., "*.Bücher.example", "host.example:22"]
  passthrough: [example.com]
  get_only: ["*.Example.com"]
  ports: [8443]
  requests_per_minute: 30
limits:
  memory: 2G
  pids: 64
  cpu: 50%
  disk: 512MiB
  shm: 1M
  wall_clock: 1h
  cpu_time: 90
  output: 4K
  open_files: 100
  file_size: 1G
  events_per_second: 10
  audit_bytes: 1M
budget:
  usd: $0.50
  tokens: 1000
  calls: 10
  requests_per_minute: 5
  usd_per_minute: 0.05
  same_request: 3
  same_tool_calls: 0
  same_answers: 4
  cycles: 2
redact:
  models: mask
  sites: off
  disable: [email]
  allow_values: [me@example.com]
  binary: block
syscalls:
  trace: all
  allow: [statmount]
  deny: [memfd_create]
identity: root
environment:
  keep: [LANG, LC_*]
  set: {A: b}
projects_may:
  allowed_domains: any
  ports: [22, 22]
  passthrough: none
  memory: 4G
  pids: any
  usd: none
  disk:
allow_widening: true
""")


def test_every_key_of_the_language_is_read():
    values = parse(FULL, "f.yaml").values
    assert values["filesystem.read"] == ("/srv/data", "/srv/more")
    assert values["filesystem.protect"] == ("Makefile", "ci/run")
    assert values["network.allowed_domains"] == (
        "example.com",
        "*.xn--bcher-kva.example",
        "host.example:22",
    )
    assert values["limits.memory"] == 2 * GIB
    assert values["limits.cpu_percent"] == 50
    assert values["limits.wall_clock_ns"] == 3600 * NS_PER_S
    assert values["limits.cpu_time_ns"] == 90 * NS_PER_S
    assert values["network.providers"] == ("anthropic", "ollama")
    assert values["network.llm_paths"] == ("openai:/v1/files",)
    assert values["network.get_only"] == ("*.example.com",)
    assert values["budget.usd_micro"] == 500_000
    assert values["budget.usd_micro_per_minute"] == 50_000
    assert values["budget.same_tool_calls"] == 0
    assert values["redact.sites"] == "off"
    assert values["identity.mode"] == "root"
    may = {key: value for key, value in values.items() if key.startswith("projects_may.")}
    assert may["projects_may.allowed_domains"] == "any" and may["projects_may.ports"] == (22,)
    assert may["projects_may.passthrough"] == () and may["projects_may.memory"] == 4 * GIB
    assert may["projects_may.pids"] == 0
    assert may["projects_may.usd"] is None and may["projects_may.disk"] is None
    assert set(values) == set(flatten(DEFAULT_POLICY)) - {"version"}


def test_the_schema_names_every_field_of_the_policy_once():
    fields = [
        f"{section}.{field}" for section, keys in SCHEMA.items() for field, _ in keys.values()
    ]
    assert (
        sorted([*fields, "version", "allow_widening"])
        == sorted(flatten(DEFAULT_POLICY))
        == sorted(RULES)
    )


def test_positions_are_those_of_the_keys():
    where = parse(FULL, "f.yaml").where
    assert where["limits.memory"] == ("f.yaml", FULL[: FULL.index(b"memory")].count(b"\n") + 1)
    assert where["allow_widening"] == ("f.yaml", FULL.count(b"\n"))


@pytest.mark.parametrize(
    ("text", "what", "where", "next"),
    [
        (b"limits:\n  memry: 2G", "unknown key 'limits.memry'", "line 2", "memory"),
        (b"\nnetwrk: {}", "unknown key 'netwrk'", "line 2", "network"),
        (b"limits:\n  memory: lots", "is not a size", "line 2", "512M"),
        (b"limits:\n  memory: -1", "is not a size", "line 2", ""),
        (b"limits:\n  memory: true", "is not a number", "line 2", ""),
        (b"limits:\n  memory: 99999999T", "out of range", "line 2", ""),
        (b"limits:\n  memory: '" + b"9" * 400 + b"'", "out of range", "line 2", ""),
        (b"limits:\n  cpu: '" + b"9" * 5000 + b"'", "out of range", "line 2", ""),
        (b"limits:\n  pids: " + b"9" * 5000, "a number has 5,000 characters", "f.yaml", ""),
        (b"limits:\n  wall_clock: soon", "is not a duration", "line 2", ""),
        (b"limits:\n  wall_clock: .inf", "is not a duration", "line 2", ""),
        (b"limits:\n  pids: 1.5", "is not a whole number", "line 2", ""),
        (b"limits:\n  cpu: half", "is not a share", "line 2", "50%"),
        (b"limits: 5", "is not a table", "line 1", ""),
        (b"budget:\n  usd: cheap", "is not an amount", "line 2", "$0.50"),
        (b"budget:\n  usd: -1", "is not an amount", "line 2", ""),
        (b"budget:\n  usd_per_minute: -1", "is not an amount", "line 2", ""),
        (b"budget:\n  cycles: -1", "is not a whole number", "line 2", ""),
        (b"redact:\n  binary: mask", "is not one of pass, block", "line 2", ""),
        (b"budget:\n  usd: .nan", "is not an amount", "line 2", ""),
        (b"budget:\n  usd: 0.0000001", "is not an amount", "line 2", ""),
        (b"budget:\n  usd: 1e999999", "is not an amount", "line 2", ""),
        (b"filesystem:\n  read:\n  - /a\n  - b/c", "not an absolute path", "line 4", ""),
        (b"filesystem:\n  read: [/a/../etc]", "not an absolute path", "line 2", ""),
        (b"filesystem:\n  read: [/]", "would be everything", "line 2", ""),
        (b'filesystem:\n  hide: ["/a\\0b"]', "NUL", "line 2", ""),
        (b"filesystem:\n  protect: [/etc]", "relative", "line 2", ""),
        (b"filesystem:\n  workspace: rwx", "is not one of", "line 2", "rw"),
        (b"filesystem:\n  read: /a", "is not a list", "line 2", ""),
        (b"network:\n  allowed_domains: [10.0.0.1]", "is an address", "line 2", ""),
        (b"network:\n  allowed_domains: ['::1']", "is not a domain", "line 2", ""),
        (b"network:\n  allowed_domains: ['*.com']", "top-level", "line 2", ""),
        (b"network:\n  allowed_domains: ['a..b']", "is not a domain", "line 2", ""),
        (b"network:\n  allowed_domains: ['a.b:0']", "is not a port", "line 2", ""),
        (b"network:\n  allowed_domains: ['http://a.b/']", "is not a", "line 2", ""),
        (b"network:\n  ports: [70000]", "is not a port", "line 2", ""),
        (b"network:\n  llm: maybe", "true or false", "line 2", ""),
        (
            b"network:\n  providers: [opnai]",
            "is not one of openai",
            "line 2",
            "did you mean openai?",
        ),
        (
            b"network:\n  llm_paths: [/v1/files]",
            "does not name a path of a provider's API",
            "line 2",
            "openai:/v1/files",
        ),
        (
            b"network:\n  llm_paths: ['cohere:/v1/files']",
            "does not name a path of a provider's API",
            "line 2",
            "",
        ),
        (b"network:\n  llm_paths: ['openai:v1/files']", "is not a path", "line 2", ""),
        (b"network:\n  llm_paths: ['openai:/v1/../x']", "is not a path", "line 2", ""),
        (b"network:\n  llm_paths: ['openai:/v1/x?y']", "is not a path", "line 2", ""),
        (b"network:\n  get_only: [10.0.0.1]", "is an address", "line 2", ""),
        (b"network:\n  requests_per_minute: many", "is not a whole number", "line 2", ""),
        (b"syscalls:\n  allow: [mount]", "mount cannot be allowed", "line 2", ""),
        (b"syscalls:\n  deny: [exceve]", "not a known system call", "line 2", "execve"),
        (b"syscalls:\n  deny: [execve]", "no program can start", "line 2", ""),
        (b"environment:\n  set: {1A: x}", "not the name of a variable", "line 2", ""),
        (b"environment:\n  set: {A: 1}", "is not text", "line 2", ""),
        (b"version: 2", "version 2", "line 1", "version: 1"),
        (b"- a", "is not a table", "line 1", ""),
        (b"1: 2", "the key 1", "line 1", ""),
        (b"limits:\n  pids: 1\n  pids: 2", "stands twice", "line 3", ""),
        (b"a: &x [1]\nb: *x", "aliases", "line 2", "write out"),
        (b"limits: [", "not valid YAML", "line 1", ""),
        (b"!!python/object:os.system {}", "not valid YAML", "line 1", ""),
        (b"\xff\xfe", "UTF-8", "f.yaml", ""),
        (b"[" * 5000, "", "f.yaml", ""),
    ],
)
def test_bad_policies_are_refused_with_their_place(text, what, where, next):
    with pytest.raises(PolicyError) as caught:
        parse(text, "f.yaml")
    assert what in caught.value.what
    assert "f.yaml" in caught.value.where and where in caught.value.where
    assert next in caught.value.next


def test_an_empty_file_is_an_empty_layer():
    assert parse(b"", "f").values == {} == parse(b"# nothing\nlimits:\n", "f").values


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
policy_like = st.dictionaries(
    st.sampled_from([*SCHEMA, "version", "allow_widening"]),
    json_like
    | st.sampled_from(sorted({key for keys in SCHEMA.values() for key in keys})).flatmap(
        lambda key: st.fixed_dictionaries({key: json_like})
    ),
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(policy_like)
def test_any_plain_data_is_a_valid_layer_or_a_policy_error(data):
    try:
        layer = load(data, {})
    except PolicyError as error:
        assert error.what
    else:
        validate(merge([Layer("system", layer)]))


def test_a_policy_from_a_message_is_checked_too():
    validate(DEFAULT_POLICY)
    for section, changes in (
        ("limits", {"memory": -1}),
        ("filesystem", {"read": ("etc",)}),
        ("filesystem", {"hide": ("/a/",)}),
        ("network", {"allowed_domains": ("EXAMPLE.com",)}),
        ("network", {"providers": ("cohere",)}),
        ("network", {"llm_paths": ("/v1/files",)}),
        ("network", {"requests_per_minute": -1}),
        ("budget", {"usd_micro_per_minute": -1}),
        ("syscalls", {"allow": ("mount",)}),
        ("syscalls", {"deny": ("execve",)}),
        ("environment", {"set": {"A": "x\0"}}),
    ):
        part = msgspec.structs.replace(getattr(DEFAULT_POLICY, section), **changes)
        bad = msgspec.structs.replace(DEFAULT_POLICY, **{section: part})
        with pytest.raises(PolicyError, match=section):
            validate(bad)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(bad), type=Policy) == bad


@pytest.mark.parametrize(("key", "least"), [("memory", 4 << 20), ("disk", 8 << 20)])
def test_a_limit_with_which_no_cage_works_is_refused(key: str, least: int) -> None:
    """Where it is read, and where it comes as a number; the least itself and no limit are not."""
    for small in (1, "100", "10K", "100K", least - 1):
        with pytest.raises(PolicyError, match="is too little: a cage works with") as told:
            load({"limits": {key: small}}, {("limits", key): ("akios.yaml", 3)})
        assert "akios.yaml, line 3" in told.value.where
        assert f"write {least >> 20}M or more, 0 for no limit" in told.value.next
    for enough in (0, least, "64M"):
        assert load({"limits": {key: enough}}, {}).values[f"limits.{key}"] in (0, least, 64 << 20)
    limits = msgspec.structs.replace(DEFAULT_POLICY.limits, **{key: least - 1})
    with pytest.raises(PolicyError, match=f"limits.{key}"):
        validate(msgspec.structs.replace(DEFAULT_POLICY, limits=limits))
    # A bound below it forbids; a system policy that has one is no mistake.
    assert load({"projects_may": {key: 1}}, {}).values[f"projects_may.{key}"] == 1
