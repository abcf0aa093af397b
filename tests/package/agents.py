"""Agents of user dev at work under the installed service: one that opens files, one that reads a
model's stream, a person in an editor, and many that wait.
"""

from __future__ import annotations

import grp
import json
import pwd
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.terminal import Terminal
from tests.package.machine import cage, sh

AKIOSCTL = Path("/usr/bin/akiosctl")
PATIENCE_S = 300
SPOKEN, TIMES = "tell me once more what you know of the sea ", 24
"""What the model says back in pieces of three letters, a second apart: some five minutes."""
OPENS = """
import ctypes, os, select, sys
libc = ctypes.CDLL(None, use_errno=True)
print("up", flush=True)
opened = tried = allowed = 0
while not select.select([0], [], [], 0.02)[0]:
    opened += 1
    try:
        os.open(f"gone-{opened}", os.O_RDONLY)
    except FileNotFoundError:
        pass
    if opened % 25 == 0:
        tried += 1
        allowed += libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0
print(opened, tried, allowed)
sys.exit(4)
"""
STREAMS = f"""
import http.client, json, sys
def call(text, stream):
    body = {{"model": "stand-in", "messages": [{{"role": "user", "content": text}}], "max_tokens": 30}}
    connection = http.client.HTTPSConnection("api.openai.com", timeout={PATIENCE_S})
    headers = {{"authorization": "Bearer none", "content-type": "application/json"}}
    connection.request("POST", "/v1/chat/completions", json.dumps(body | {{"stream": stream}}), headers)
    return connection.getresponse()
asked = {SPOKEN!r} * {TIMES}
answer = call(asked, True)
lines = [answer.readline()]
print("up", flush=True)
lines += answer.read().splitlines()
events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {{")]
said = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
print(said == "You said: " + asked, flush=True)
sys.stdin.readline()
print(call("another one", False).status, flush=True)
sys.exit(5)
"""
WAITS = "trap 'exit 6' TERM; sleep 36000 & wait"


class Installed:
    """The service, as :class:`tests.e2e.terminal.Terminal` wants it."""

    socket = Path("/run/akios/control.sock")

    def as_user(self, uid: int) -> dict[str, Any]:
        """For Popen: dev, as after logging in."""
        entry = pwd.getpwuid(uid)
        env = {"HOME": entry.pw_dir, "USER": entry.pw_name, "PATH": "/usr/bin:/bin"}
        who = {"user": uid, "group": entry.pw_gid, "extra_groups": [grp.getgrnam("akios").gr_gid]}
        return {**who, "cwd": f"{entry.pw_dir}/work", "env": env}


def dev() -> int:
    return pwd.getpwnam("dev").pw_uid


def workspace(name: str, policy: str = "") -> Path:
    """A new directory of dev's."""
    where = Path(f"/home/dev/work/{name}")
    where.mkdir()
    (where / "akios.yaml").write_text(f"version: 1\n{policy}")
    sh("chown", "-R", "dev", str(where))
    return where


class Agent:
    """A program in a cage that has said ``up``, and is told to end by a line."""

    def __init__(self, name: str, program: str, policy: str = "") -> None:
        words = ("run", "--json", "--name", name, "--workspace", workspace(name, policy), "--")
        self.client: subprocess.Popen[str] = subprocess.Popen(
            [AKIOSCTL, *words, "python3", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **Installed().as_user(dev()),
        )
        assert self.read() == "up", self.client.communicate()
        self.cage = str(cage(name)["cage"])

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.client.poll() is None:
            self.client.kill()
            self.client.communicate()

    def read(self) -> str:
        assert self.client.stdout is not None
        return self.client.stdout.readline().strip()

    def end(self, code: int) -> str:
        """Tell it to: what it said last.  Its exit code is that of the client and of the report."""
        out, words = self.client.communicate("\n", timeout=PATIENCE_S)
        assert self.client.returncode == code, words
        report = json.loads(words.splitlines()[-1])
        assert (report["kind"], report["exit_code"]) == ("exited", code), words
        assert f"{self.cage} goes on" in words
        return out.strip()


class Editor(Terminal):
    """nano in a cage of dev's, at a terminal; the cage ends with 3 after it."""

    program = AKIOSCTL
    patience_s = PATIENCE_S

    def __init__(self, name: str) -> None:
        self.where = workspace(name)
        words = ("run", "--tty", "--name", name, "--workspace", str(self.where), "--")
        script = "nano --ignorercfiles notes; exit 3"
        super().__init__(Installed(), *words, "bash", "-c", script, uid=dev())
        self.expect("New File")
        self.type("first\r")
        self.expect("first")
        self.cage = str(cage(name)["cage"])

    def end(self) -> str:
        """Save and leave: what is in the file once it is committed."""
        self.type("second\x0f\r")
        self.expect("Wrote 2 lines")
        self.type("\x18")
        assert self.wait() == 3, self.seen
        sh("akiosctl", "commit", self.cage, user="dev")
        return (self.where / "notes").read_text()


def records(cage: str) -> list[dict[str, Any]]:
    """All that the cage's log holds."""
    said = sh("akiosctl", "events", "--json", "--cage", cage, user="dev").stdout
    return [json.loads(line) for line in said.splitlines()]
