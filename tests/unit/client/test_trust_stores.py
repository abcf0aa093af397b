"""Which trust stores the client finds, and which it leaves alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from akiosctl.run_policy import RunPolicy, choose_environment
from akiosctl.trust_stores import find_trust_stores
from akiosd.errors import AkiosError, DeniedError
from akiosd.values.agent_environment import environment, hidden_variables
from akiosd.values.providers import FACTS
from akiosd.values.trust import MAX_STORES, STORES, VARIABLES
from akiosd.wire.check import check_request
from akiosd.wire.messages import Bind, Run

SITE = "lib/python3.12/site-packages"


def put(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return str(path.resolve())


def of_the_test(found: list[str], tmp_path: Path) -> set[str]:
    return {path for path in found if path.startswith(str(tmp_path.resolve()))}


def test_stores_of_an_environment_and_an_installation(tmp_path: Path) -> None:
    tree, workspace = tmp_path / "python", tmp_path / "ws"
    wanted = {
        put(tree / SITE / "certifi/cacert.pem"),
        put(tree / SITE / "pip/_vendor/certifi/cacert.pem"),
        put(tree / SITE / "botocore/cacert.pem"),
        put(tree / SITE / "httpx/cacert.pem"),
        put(tree / "ssl/cacert.pem"),
        put(tree / SITE / "grpc/_cython/_credentials/roots.pem"),
        put(tree / "lib/security/cacerts"),
        put(workspace / ".venv" / SITE / "certifi/cacert.pem"),
        put(workspace / "mine" / SITE / "certifi/cacert.pem"),
        put(workspace / "venv" / SITE / "pipenv/patched/pip/_vendor/certifi/cacert.pem"),
    }
    for passed in ("certifi/other.pem", "certifi.dist-info/cacert.pem", "a/b/c/cacert.pem"):
        put(tree / SITE / passed)
    put(workspace / "elsewhere" / SITE / "certifi/cacert.pem")
    found = find_trust_stores(
        [str(tree)], str(workspace), [str(workspace / "mine"), str(tmp_path / "not-inside")]
    )
    assert of_the_test(found, tmp_path) == wanted
    assert not of_the_test(find_trust_stores([], str(tmp_path / "nothing")), tmp_path)


def test_links_are_resolved_and_never_lead_out(tmp_path: Path) -> None:
    workspace, secret = tmp_path / "ws", tmp_path / "secret"
    put(secret / "cacert.pem")
    packages = workspace / ".venv" / SITE
    (packages / "certifi").mkdir(parents=True)
    (packages / "certifi/cacert.pem").symlink_to(secret / "cacert.pem")
    (packages / "pip").symlink_to(secret)
    assert not of_the_test(find_trust_stores([], str(workspace)), tmp_path)
    assert of_the_test(find_trust_stores([str(secret)], str(workspace)), tmp_path) == {
        str(secret / "cacert.pem")
    }
    real = put(workspace / "cache/certifi/cacert.pem")
    (packages / "boto").symlink_to(workspace / "cache/certifi")
    assert of_the_test(find_trust_stores([], str(workspace)), tmp_path) == {real}, (
        "under its real name"
    )
    os.mkfifo(workspace / "cache/certifi/fifo")
    (packages / "certifi/cacert.pem").unlink()
    os.mkfifo(packages / "certifi/cacert.pem")
    assert of_the_test(find_trust_stores([], str(workspace)), tmp_path) == {real}


def test_there_are_never_too_many(tmp_path: Path) -> None:
    for number in range(MAX_STORES + 10):
        put(tmp_path / ".venv" / SITE / f"p{number}/cacert.pem")
    assert len(find_trust_stores([], str(tmp_path))) == MAX_STORES


def run_with(*stores: bytes) -> Run:
    return Run(
        argv=(b"true",),
        command=b"/bin/true",
        workspace=b"/home/u/ws",
        stores=stores,
        binds=(Bind(path=b"/home/u/.pyenv/versions/3", fd=1),),
    )


def test_akiosd_takes_stores_in_the_callers_trees_only() -> None:
    good = (
        b"/home/u/ws/.venv/lib/python3.12/site-packages/certifi/cacert.pem",
        b"/usr/lib/cacert.pem",
        b"/home/u/.pyenv/versions/3/lib/security/cacerts",
    )
    check_request(run_with(*good), 2)
    for bad in (
        b"/etc/passwd",
        b"/etc/cacert.pem",
        b"/home/u/cacert.pem",
        b"/home/u/ws",
        b"/home/u/ws/passwd",
        b"cacert.pem",
        b"/home/u/ws/../../../etc/cacert.pem",
        b"/home/u/wsx/cacert.pem",
        b"/home/u/ws//cacert.pem",
        b"/proc/cacert.pem",
        b"/home/u/ws/cacert.pem\0",
        b"/home/u/ws/\xff",
    ):
        with pytest.raises(DeniedError):
            check_request(run_with(bad), 2)
    with pytest.raises(DeniedError, match="at most"):
        check_request(run_with(*good[:1] * (MAX_STORES + 1)), 2)


# ---- the environment -----------------------------------------------------------------------------


def test_placeholders_are_those_of_the_providers() -> None:
    found = environment(("openai", "bedrock"), {"bedrock": "eu-west-1"})
    assert {name: found[name] for name in VARIABLES} == VARIABLES
    assert set(found) - set(VARIABLES) == {
        "OPENAI_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    }
    assert found["OPENAI_API_KEY"].startswith("sk-") and found["AWS_REGION"] == "eu-west-1"
    assert environment(()) == VARIABLES
    for provider, facts in FACTS.items():
        assert set(facts.placeholders) <= hidden_variables((provider,))
        assert all("placeholder" in value.lower() for value in facts.placeholders.values())
    lengths = {
        "AWS_ACCESS_KEY_ID": 20,
        "AWS_SECRET_ACCESS_KEY": 40,
        "GEMINI_API_KEY": 39,
        "MISTRAL_API_KEY": 32,
    }
    everything = environment(tuple(FACTS))
    assert {name: len(everything[name]) for name in lengths} == lengths, "as the vendors' own"
    assert set(STORES.values()) <= {
        path.rpartition("/")[2] for path in ("/ca-bundle.pem", "/cacerts")
    }


def test_a_key_is_not_passed_on_by_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        "policy": b"",
        "workspace_mode": "cow",
        "data": "project",
        "keep": ["PLAIN"],
        "set": {"OPENAI_API_KEY": "own"},
        "read": [],
    }
    policy = RunPolicy({**parts, "write": [], "news": ""}, is_new=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-real")
    monkeypatch.setenv("PLAIN", "x")
    chosen = choose_environment(policy, ["A=b"], ["PLAIN"])
    assert chosen == {b"PLAIN": b"x", b"OPENAI_API_KEY": b"own", b"A": b"b"}
    for given, kept in (
        ([], ["ANTHROPIC_API_KEY"]),
        (["ANTHROPIC_API_KEY=x"], []),
        ([], ["AWS_SESSION_TOKEN"]),
    ):
        with pytest.raises(AkiosError, match="keys do not enter a cage") as caught:
            choose_environment(policy, given, kept)
        assert "akiosctl keys set" in caught.value.next and "sk-ant-real" not in str(caught.value)
    with pytest.raises(AkiosError, match="is set by AKIOS"):
        choose_environment(policy, ["SSL_CERT_FILE=/x"], [])
