"""The vendors' own SDKs, unmodified, in cages of the real daemon, before stand-in models on
loopback.

They come from the package index in their newest versions, once for a machine: a temporary directory
keeps them.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price

from tests.e2e.daemon import Daemon
from tests.e2e.models import USAGE, Models
from tests.e2e.standing import before_models

SDKS = ("openai", "anthropic", "google-genai", "mistralai", "boto3", "ollama")
SCRIPTS = Path(__file__).parent / "sdks"
TEXT = "Mail ada@example.org about card 4012888888881881"
SECRETS = (b"ada@example.org", b"4012888888881881")


@pytest.fixture(scope="session")
def python() -> Path:
    """A venv with the SDKs, made by plain pip."""
    home = (
        Path(tempfile.gettempdir())
        / f"akios-test-sdks-{sys.version_info[0]}{sys.version_info[1]}-{os.getuid()}"
    )
    home.mkdir(mode=0o755, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = home / "venv" / "bin" / "python"
        if not (home / "done").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", home / "venv"], check=True)
            done = subprocess.run(
                [python, "-m", "pip", "install", "-q", *SDKS], capture_output=True, text=True
            )
            if done.returncode:
                pytest.skip(
                    f"the package index is not reachable: {done.stderr.strip().splitlines()[-1:]}"
                )
            (home / "done").touch()
    return python


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture(scope="module")
def caged(models: Models) -> Iterator[Daemon]:
    """A daemon whose providers are the stand-ins, with a key for each."""
    with before_models(models) as daemon:
        yield daemon


def run(
    caged: Daemon, program: Path | str, script: str, policy: str = ""
) -> tuple[list[str], list[dict[str, Any]]]:
    """The lines a script printed, and its cage's records."""
    workspace = caged.workspace()
    if policy:
        (workspace / "akios.yaml").write_text(f"version: 1\n{policy}\n")
    shutil.copy(SCRIPTS / script, workspace)
    flags = ["--json", "--env", f"SAID={TEXT}", "--env", "AWS_DEFAULT_REGION=eu-west-1"]
    done = caged.run(program, script, cwd=workspace, flags=flags)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stderr.strip().splitlines()[-1])
    return done.stdout.splitlines(), caged.events(report["cage"])


CASES: dict[str, tuple[str, int, int]] = {
    # script: provider, lines that hold the text, paid calls
    "openai_calls.py": ("openai", 8, 6),
    "anthropic_calls.py": ("anthropic", 4, 3),
    "gemini_calls.py": ("gemini", 5, 6),
    "mistral_calls.py": ("mistral", 4, 5),
    "xai_calls.py": ("xai", 3, 3),
    "bedrock_calls.py": ("bedrock", 6, 6),
    "ollama_calls.py": ("ollama", 5, 6),
}


@pytest.mark.parametrize("script", CASES)
def test_an_unmodified_sdk(caged: Daemon, models: Models, python: Path, script: str) -> None:
    provider, texts, calls = CASES[script]
    models.received.clear()
    said, records = run(caged, python, script)
    check(said, records, models, provider, texts, calls)


VENDORS = {"gemini": "google", "xai": "x-ai", "bedrock": "aws"}


def due(record: dict[str, Any]) -> int:
    """What the stand-in's claim costs by the price package's own reckoning, in micro-USD, rounded
    up.
    """
    if record["provider"] == "ollama":
        return 0
    if record["tokens"]["output"]:
        claimed = Usage(
            input_tokens=USAGE["input"],
            cache_read_tokens=USAGE["cached"],
            output_tokens=USAGE["output"],
        )
    else:
        # Embeddings.  Gemini counts them only by the request: what is booked is an upper bound.
        claimed = Usage(input_tokens=record["tokens"]["input"] if record.get("estimated") else 8)
    vendor = VENDORS.get(record["provider"], record["provider"])
    return math.ceil(
        calc_price(claimed, record["model"], provider_id=vendor).total_price * 1_000_000
    )


def check(
    said: list[str],
    records: list[dict[str, Any]],
    models: Models,
    provider: str,
    texts: int,
    calls: int,
) -> None:
    assert sum(TEXT in line for line in said) == texts, said
    assert models.received
    for received in models.received:
        assert not any(secret in received.everything() for secret in SECRETS), received
        assert b"laceholder" not in received.everything()
    paid = [record for record in records if record["kind"] == "llm_call"]
    assert len(paid) == calls and all(record["outcome"] == "completed" for record in paid), paid
    assert all(record["provider"] == provider for record in paid)
    for record in paid:
        assert record["usd_micro"] == due(record), record
        assert (record["usd_micro"] > 0) == (provider != "ollama")
    found = [
        f["type"] for record in records if record["kind"] == "redaction" for f in record["findings"]
    ]
    assert {"EMAIL", "CREDIT_CARD"} <= set(found)
    assert not [record for record in records if record["kind"] == "gateway_failed"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_fetch_of_node(caged: Daemon, models: Models) -> None:
    models.received.clear()
    said, records = run(caged, str(shutil.which("node")), "fetch_calls.mjs")
    assert "refused 403 network.llm_paths false" in said
    check(said, records, models, "openai", 2, 2)
    [denied] = [record for record in records if record["kind"] == "net_denied"]
    assert denied["rule"] == "network.llm_paths"


def test_a_refusal_is_not_tried_again(caged: Daemon, models: Models, python: Path) -> None:
    """Status 429 is what SDKs try again by themselves, but for our word that it is of no use."""
    models.received.clear()
    said, records = run(caged, python, "refused_calls.py", "budget: {requests_per_minute: 1}")
    assert said[1:] == ["openai 429 false", "anthropic 429 false"], said
    told = [record["provider"] for record in records if record["kind"] == "spend_warning"]
    assert told == ["openai", "anthropic"] and len(models.received) == 1


def test_control_the_same_program_outside_sends_everything(models: Models, python: Path) -> None:
    models.received.clear()
    env = {**os.environ, "SAID": TEXT, "OLLAMA_HOST": models.url}
    done = subprocess.run(
        [python, SCRIPTS / "ollama_calls.py"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    assert all(SECRETS[0] in received.everything() for received in models.received)
