"""Records real agents before a stand-in model, at work and in circles, for ``agents.json``.

    python -m tests.unit.meter.traces.record_agents PREFIX... [-- WORD...]

In the PREFIXes are the programs of the agents, which npm (``@anthropic-ai/claude-code``,
``@openai/codex``, ``@google/gemini-cli``) installs; who is not there is left out.
Recorded is what is not yet, or again what has all WORDs in its name.

The model follows a script: commands to run, and words.  What the agents make of it, how
they word results, what they put between, is theirs.  Of each request is written what it has more
than the one before; long texts are cut, and the descriptions of tools left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

from tests.e2e import models
from tests.e2e.models import Json, Models, Reply, Said
from tests.unit.meter.traces.scripts import SCRIPTS, Script

WHERE = Path(__file__).with_name("agents.json")
TOOLS = {"claude": "Bash", "codex": "exec_command", "gemini": "run_shell_command"}
PATHS = ("/messages", "/responses", "enerateContent")
RESULTS = ("tool_result", "_call_output")
LEFT_OUT = frozenset({
    "cache_control", "annotations", "encrypted_content", "signature", "metadata", "client_metadata", "status",
    "usage", "created_at", "parallel_tool_calls", "tool_choice", "stop_reason", "stop_sequence", "object",
})  # fmt: skip
MOST = 24
"""Requests of one run."""
GEMINI_SETTINGS = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
LONGEST = 300
"""Characters of a text that is no result."""


class Scripted(Models):
    """Gives the next entry of its script to each request that offers the agent's own tool."""

    def __init__(self, agent: str) -> None:
        super().__init__()
        self.agent, self.script = agent, list[str]()
        self.ids = count(1)
        self.steps = list[Json]()
        self.place = 0

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        parsed = json.loads(body or b"{}")
        path = request.path.partition("?")[0]
        if not path.endswith(PATHS):
            reply = models.answer(request.command, request.path, parsed)
        else:
            said, main = self._next(parsed)
            number = next(self.ids)
            streams = parsed.get("stream") is True or "stream" in path
            reply = self._reply({**parsed, "stream": streams}, said, number)
            whole = self._reply({**parsed, "stream": False}, said, number)
            self.steps.append(
                {"body": parsed, "reply": json.loads(b"".join(whole.chunks)), "main": main}
            )
        self._send(request, reply.status, {"content-type": reply.content_type}, reply.chunks)

    def _next(self, body: Json) -> tuple[Said, bool]:
        if f'"name": "{TOOLS[self.agent]}"' not in json.dumps(body.get("tools")):
            return Said("A title", "", "{}", 40), False
        entry = self.script.pop(0) if self.script else "say: It is done."
        kind, _, words = entry.partition(": ")
        if kind == "say":
            return Said(words, "", "{}", 40), True
        if kind == "call":
            name, _, given = words.partition(" ")
            return Said("", name, given, 40), True
        given = {"command": words, "description": "run it"}
        if self.agent == "codex":
            given = {"cmd": words}
        return Said("", TOOLS[self.agent], json.dumps(given), 40), True

    def _reply(self, body: Json, said: Said, number: int) -> Reply:
        if self.agent == "gemini":
            kind = "streamGenerateContent" if body["stream"] else "generateContent"
            made = models._gemini(kind, True, said._replace(text=said.text or "I look."))
        else:
            made = (models._messages if self.agent == "claude" else models._responses)(body, said)
        fresh = [
            chunk.replace(b"abcdefgh1", b"abcd%05d" % number)
            .replace(b"msg_1", b"msg_%08d" % number)
            .replace(b"resp_1", b"resp_%08d" % number)
            for chunk in made.chunks
        ]
        return Reply(made.status, made.content_type, fresh)


def run(agent: str, program: str, script: Script) -> list[Json]:
    """The requests and replies of one run, or of several that go on from each other."""
    with Scripted(agent) as server, tempfile.TemporaryDirectory() as place:
        home, work = Path(place, "home"), Path(place, "work")
        home.mkdir()
        work.mkdir()
        for name, text in script.files.items():
            (work / name).write_text(text)
        (home / ".gemini").mkdir()
        (home / ".gemini/settings.json").write_text(json.dumps(GEMINI_SETTINGS))
        server.script = list(script.entries)
        env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "ANTHROPIC_BASE_URL": server.url,
            "ANTHROPIC_API_KEY": "sk-ant-placeholder",
            "OPENAI_API_KEY": "sk-placeholder",
            "GEMINI_API_KEY": "AIza-placeholder",
            "GOOGLE_GEMINI_BASE_URL": server.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        for number, asked in enumerate(script.asked):
            words = _words(agent, program, server.url, asked, script.goes_on and number > 0)
            done = subprocess.run(
                words, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=240
            )
            if done.returncode:
                print(agent, script.name, done.stdout[-300:], done.stderr[-300:], file=sys.stderr)
        text = json.dumps(server.steps).replace(str(work), "/workspace").replace(place, "/home")
        return list(json.loads(text))


def _words(agent: str, program: str, url: str, asked: str, goes_on: bool) -> list[str]:
    if agent == "claude":
        more = ["--continue"] if goes_on else []
        return [program, "-p", asked, *more, "--allowedTools", "Bash", "--model",
                "claude-sonnet-4-5"]  # fmt: skip
    if agent == "gemini":
        return [program, "--yolo", "--skip-trust", "-m", "gemini-2.5-flash", "-p", asked]
    asked_at = f'base_url="{url}/v1",env_key="OPENAI_API_KEY",wire_api="responses"'
    model = f'{{name="stand-in",{asked_at}}}'
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", "gpt-5.4",
             "-c", f"model_providers.s={model}", "-c", 'model_provider="s"']  # fmt: skip
    resumed = ["resume", "--last"] if goes_on else []
    return [program, "exec", *flags, *resumed, asked]


# ---- what is written -----------------------------------------------------------------------------


def cut(value: Any, name: str = "") -> Any:
    """``value`` with long texts cut so that equal ones stay equal and others do not."""
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:40]} … {hashlib.sha256(value.encode()).hexdigest()[:12]}"
    if isinstance(value, list):
        if name == "tools":
            return [{k: tool[k] for k in ("type", "name") if k in tool} for tool in value[:2]]
        return [cut(item) for item in value]
    if isinstance(value, dict):
        result = str(value.get("type")).endswith(RESULTS)
        kept = {key: item for key, item in value.items() if key not in LEFT_OUT}
        return kept if result else {key: cut(item, key) for key, item in kept.items()}
    return value


def pack(steps: list[Json], script: Script) -> list[Json]:
    """Of each request what it has more than the one before; the times round of a loop."""
    packed, head, items, mains = list[Json](), Json(), list[Any](), 0
    for step in steps[:MOST]:
        body = cut(step["body"])
        name = next(name for name in ("messages", "contents", "input") if name in body)
        said = body.pop(name)
        pairs = enumerate(zip(items, said, strict=False))
        same = next((n for n, (old, new) in pairs if old != new), min(len(items), len(said)))
        mains += step["main"]
        turn = (mains - 1 - script.before) // script.length + 1 if step["main"] else 0
        packed.append({
            **({} if body == head else {"head": body}), "same": same, "new": said[same:],
            "reply": cut(step["reply"]), **({"round": turn} if script.loops and turn > 0 else {}),
        })  # fmt: skip
        head, items = body, said
    return packed


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    places, _, words = " ".join(sys.argv[1:]).partition(" -- ")
    path = ":".join(f"{place}/bin" for place in places.split())
    known = json.loads(WHERE.read_text()) if WHERE.exists() else {}
    for script in SCRIPTS:
        for agent in script.agents:
            name, program = f"{script.name} ({agent})", shutil.which(agent, path=path)
            again = words and all(word in name for word in words.split())
            if program is None or not (again or name not in known):
                continue
            steps = run(agent, program, script)
            known[name] = {"agent": agent, "loops": script.loops, "steps": pack(steps, script)}
            print(name, len(steps), flush=True)
            lines = (f"{json.dumps(n)}: {dumped(t)}" for n, t in known.items())
            WHERE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
