"""What the manual says that each action brings is what it brings, of all actions."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akiosd.values.policy import PROVIDERS
from akiosd.workflow.steps.kinds import KINDS
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models
from tests.e2e.steps import Json, Steps, many
from tests.e2e.test_step_models import SCHEMA, TOOL
from tests.e2e.test_steps import HOOK, NAME, SERVER, echo, make_pdf
from tests.e2e.upstreams import Authority, Seen, Upstream, answer
from tests.unit.workflow_meanings import BRINGS

ACTIONS = [(kind, action) for kind, made in KINDS.items() for action in made()]
LONG = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12},
}  # fmt: skip


def names_of(words: str) -> tuple[set[str], set[str]]:
    """(always there, perhaps there), as a sentence of ``BRINGS`` has them."""
    plain = re.sub(r"\([^()]*\)", "", words)
    always, _, perhaps = plain.partition(";")
    given = [[part.split() for part in re.split("[,;]", one)] for one in (always, perhaps)]
    found = [{words[words[0] == "or"] for words in one if words} for one in given]
    return found[0], found[1]


def site_answer(seen: Seen) -> bytes:
    if seen.target == "/bytes":
        return answer(200, b"\x00\xff", [("Content-Type", "application/octet-stream")])
    if seen.method == "HEAD":
        return answer(200, b"", [("Content-Type", "application/json")])
    return echo(seen)


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture(scope="module")
def do(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    with Upstream(site_answer, Authority(), (NAME, HOOK)) as up:
        assert up.authority is not None
        roots = tmp_path_factory.mktemp("roots") / "roots.pem"
        roots.write_bytes(up.authority.pem)
        hosts = ", ".join(f"{name}: '127.0.0.1:{up.port}'" for name in (NAME, HOOK))
        providers = "".join(f"    {name}: {{upstream: '{models.url}'}}\n" for name in PROVIDERS)
        site = f"  roots: {roots}\n  hosts: {{{hosts}}}\n"
        daemon = Daemon(f"gateway:\n{site}  providers:\n{providers}", "allow_widening: true\n")
        try:
            daemon.start()
            assert daemon.ctl("keys", "set", "openai", input="key-of-openai\n").returncode == 0
            where = daemon.workspace()
            prepare(where)
            with many(daemon, where) as steps:
                yield steps
        finally:
            daemon.close()


def prepare(where: Path) -> None:
    (where / "akios.yaml").write_text(
        f"version: 1\nnetwork: {{allowed_domains: [{NAME}, {HOOK}]}}\n"
    )
    (where / "a.txt").write_text("text")
    (where / "a.bin").write_bytes(b"\xff\x00")
    (where / "a.pdf").write_bytes(make_pdf(b"BT /F 12 Tf 20 100 Td (Hello) Tj ET"))
    (where / "server.py").write_text(SERVER)
    with sqlite3.connect(where / "a.db") as made:
        made.execute("create table t (a)")
        made.execute("insert into t values (1), (2)")


def perform_all(do: Steps, models: Models, kind: str, action: str) -> list[Json]:
    """What the action brings, each in one of its ways, so that all that it may bring comes."""

    def ask(parameters: Json, config: Json | None = None) -> Json:
        found: Json = do(kind, action, parameters, config)["outputs"]
        return found

    if kind == "llm":
        config = {"provider": "openai", "model": "gpt-4o", "max_tokens": 50}
        key = "prompt" if action == "complete" else "messages"

        def ask_model(words: str, **more: Any) -> Json:
            given = words if key == "prompt" else [{"role": "user", "content": words}]
            return ask({key: given, **more}, config)

        found = [ask_model("hello"), ask_model("hello", tools=[TOOL])]
        found.append(ask_model(json.dumps({"path": "a", "text": "b"}), schema=SCHEMA))
        models.failures.append((200, {}, json.dumps(LONG).encode()))
        return [*found, ask_model("long")]
    if kind == "http":
        found = [ask({"url": f"https://{NAME}/{path}"}) for path in ("", "inside", "bytes")]
        cut = {"max_bytes": 10, "truncate": True}
        return [*found, ask({"url": f"https://{NAME}/large"}, cut)]
    if kind == "filesystem" and action == "read":
        found = [ask({"path": path}) for path in ("a.txt", "a.pdf")]
        return [*found, ask({"path": "a.bin", "format": "base64"})]
    if kind == "filesystem":
        path = {"list": ".", "stat": "a.txt", "exists": "a.txt"}.get(action, f"made-{action}")
        return [ask({"path": path} | ({} if path[:4] != "made" else {"content": "x"}))]
    if kind == "tool":
        config = {"allow": [["echo"], ["yes"]], "max_output": 1000, "truncate": True}
        return [ask({"argv": [program, "a"]}, config) for program in ("echo", "yes")]
    if kind == "database":
        config = {"database": "a.db", "allow_write": action == "execute"}
        if action == "count":
            return [ask({"table": "t"}, config)]
        query = "select a from t" if action == "query" else "update t set a = a returning a"
        cut = config | {"max_rows": 1, "truncate": True}
        return [ask({"query": query}, config), ask({"query": query}, cut)]
    if kind == "mcp":
        config = {"command": ["python3", "server.py"], "timeout": 20}
        return [
            ask({"tool": "look", "arguments": {"path": "/"}} if action == "call" else {}, config)
        ]
    if kind == "webhook":
        return [ask({"text": "x"}, {"url": f"https://{HOOK}/x"})]
    return [ask({"message": "well?"})]


@pytest.mark.parametrize(("kind", "action"), ACTIONS)
def test_an_action_brings_what_the_manual_says(
    do: Steps, models: Models, kind: str, action: str
) -> None:
    always, perhaps = names_of(BRINGS[kind, action])
    found = perform_all(do, models, kind, action)
    seen = set[str]().union(*found)
    if (kind, action) == ("http", "head"):
        perhaps = perhaps & seen  # its answers have no body
    assert seen == always | perhaps
    assert all(always <= set(one) for one in found), found
    if "rows" in always:
        assert all(isinstance(row, dict) for one in found for row in one["rows"])


def test_every_action_has_its_words() -> None:
    assert set(BRINGS) == set(ACTIONS)
