"""The table of providers: complete, without contradictions, and the one place that names them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

import akiosctl
import akiosd
from akiosd.gateway.llm import providers
from akiosd.gateway.llm.llm import patience_seconds
from akiosd.gateway.llm.providers.base import Provider
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.net.names import WEB_PORTS
from akiosd.meter.prices import quote
from akiosd.values.policy import PROVIDERS
from akiosd.values.providers import FACTS, ErrorShape, facts_of, with_regions
from akiosd.workflow.steps.models import dialects

PROGRAMS = Path("akiosctl/known_agents.py")
CLASSES = Path(next(iter(providers.__path__)))
DIALECT_TABLE = Path("akiosd/workflow/steps/models/dialects.py")
TABLE = Path("akiosd/values/providers.py")


def named(source: str) -> set[str]:
    """The providers whose name is a whole string of this module; in a longer one it is an example
    for people.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            found |= {text} & set(FACTS)
    return found


def test_no_other_module_names_a_provider() -> None:
    roots = [Path(next(iter(package.__path__))) for package in (akiosd, akiosctl)]
    sources = {
        path.relative_to(root.parent): path.read_text()
        for root in roots
        for path in root.rglob("*.py")
        if not path.is_relative_to(CLASSES)
    }
    assert named(sources.pop(TABLE)) == set(FACTS), "the control"
    assert (
        named(sources.pop(DIALECT_TABLE))
        == set(FACTS)
        == set(dialects.DIALECTS)
        == {*get_args(dialects.Provider)}
    )
    del sources[PROGRAMS]  # a command has the name of its vendor's models
    assert {str(path): names for path, text in sources.items() if (names := named(text))} == {}
    assert named('if provider == "bedrock":\n    pass') == {"bedrock"}, "the control"


def test_every_row_has_its_class_and_every_class_its_row() -> None:
    assert tuple(BY_NAME) == PROVIDERS == tuple(FACTS)
    for name, provider in BY_NAME.items():
        assert provider.facts is FACTS[name] and type(provider).__module__.endswith(f".{name}")
    holders = {path.stem for path in CLASSES.glob("*.py") if "\nPROVIDER = " in path.read_text()}
    assert holders == set(FACTS)
    kinds = {kind.__module__.rpartition(".")[2] for kind in Provider.__subclasses__()}
    assert kinds == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_row_does_not_contradict_itself(name: str) -> None:
    facts = FACTS[name]
    assert bool(facts.hosts) != bool(facts.local_port), "on the internet, or on this machine"
    assert (
        (facts.regions is not None)
        == any("*" in host for host in facts.hosts)
        == (name in with_regions())
    )
    assert 0 <= facts.key.optional < len(facts.key.prompts)
    assert (len(facts.key.prompts) == 1) == (facts.key == facts_of("nobody").key)
    assert facts.needs_key == bool(facts.placeholders), (
        "programs look for the key that the gateway puts on"
    )
    for header in (facts.key_header, *facts.client_headers, *facts.login_headers):
        assert header == header.lower() and header.isascii()
    assert facts.error.header == "" or (facts.error.names and facts.error.other)
    assert set(facts.models.resold.values()) <= set(FACTS) - {name}


def test_rows_do_not_contradict_each_other() -> None:
    for facts_taken in (
        [host for facts in FACTS.values() for host in facts.hosts],
        [facts.local_port for facts in FACTS.values() if facts.local_port] + [53, *WEB_PORTS],
        [
            variable
            for facts in FACTS.values()
            for variable in (*facts.placeholders, *facts.other_variables)
        ],
    ):
        assert len(facts_taken) == len(set(facts_taken))


def test_of_a_name_that_is_no_providers_nothing_is_known() -> None:
    assert facts_of("nobody").hosts == () and facts_of("nobody").error == ErrorShape()
    assert quote("nobody", "gpt-4o", now_ns=0) is None
    assert quote("openai", "gpt-4o", now_ns=1_795_000_000_000_000_000) is not None, "the control"


def test_a_call_waits_at_most_half_of_what_its_client_does() -> None:
    assert {name: patience_seconds(FACTS[name], []) for name in ("openai", "bedrock")} == {
        "openai": 240,
        "bedrock": 30,
    }
    assert patience_seconds(FACTS["openai"], [(b"x-stainless-timeout", b"10")]) == 5
    assert patience_seconds(FACTS["bedrock"], [(b"x-stainless-timeout", b"600")]) == 30


def test_the_paths_of_a_provider_begin_as_its_row_says() -> None:
    """And so do those of the hosts that speak its interface, after what stands before them there."""
    for name, provider in BY_NAME.items():
        begins = FACTS[name].begins
        first = {pattern.pattern.split("/")[1] for _, pattern, _ in provider.routes}
        known = {begin for begin in begins if any(re.fullmatch(one, begin) for one in first)}
        assert known == set(begins), (name, first)
        others = [one for one in first if not any(re.fullmatch(one, begin) for begin in begins)]
        assert not [one for one in others if re.match(r"v\d", one)], (name, others)
        for base in FACTS[name].spoken_at.values():
            assert base.rpartition("/")[2] not in begins, (name, base)
