"""Every example of every help text is run as it stands, and every verb's JSON is held against its
schema.

Lines that begin with ``sudo`` are run by root, the others by an ordinary user.  What an example
speaks of is there: a project with an agent, cages, a witness; ``SPOKEN`` says what stands for what
a test cannot have.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akiosctl.help.examples import EXAMPLES
from akiosctl.help.schemas import LINES, SCHEMAS
from akiosd.ledger.note import Vkey
from tests.e2e.daemon import BIN, NOBODY, Daemon
from tests.unit.client.witness_server import Server, Witness
from tests.unit.test_man import COMMANDS

AGENT = "import os\nopen('made.txt', 'w').write('x')\nprint('hello', flush=True)\n"
WHO = "-c user.name=a -c user.email=a@example.org"
TICKING = "while :; do echo tick; sleep 0.2; done"
FILES = {
    "agent.py": AGENT,
    "Makefile": "test:\n\ttrue\n",
    "notes.txt": "write to ada@example.org\n",
    "akios.yaml": "version: 1\nlimits: {memory: 1G}\n",
    "workflow.yml": (
        "name: x\nsteps:\n- {agent: filesystem, action: read, parameters: {path: notes.txt}}\n"
    ),
    "ask.yml": (
        "name: y\nsteps:\n- {name: agree, agent: approve, action: ask, config: {timeout: 300}, "
        "parameters: {message: go on}}\n"
    ),
    "key.txt": "sk-" + "a" * 40 + "\n",
}
# Verbs that need a cage of their own, which they end, settle or destroy.
ENDED_FOR_ITSELF = ("commit", "discard", "ledger destroy", "ledger pack")
RUNNING = ("attach", "stop", "budget", "http")
# The exit status of a line, where it is not 0, and why.
STATUS = {
    "akiosctl protect scan notes.txt": 1,  # there is some
    "akiosctl events --otlp http://127.0.0.1:4318": 130,  # until Ctrl-C
    "akiosctl top": 125,  # there is no terminal to draw on; tests/e2e/test_top.py has one
    "git log -p | akiosctl protect scan --show": 1,
    "akiosctl http GET https://example.com/": 22,  # the policy does not name it
    "akiosctl http --cage last POST https://example.com/ -d hello": 22,
}
# Where the first example has no JSON, or another form than the one that is meant: further lines.
MORE_JSON = {
    "ledger verify": ("sudo akiosctl ledger verify --all",),
    "ledger export": ("akiosctl ledger export last --format json",),
    "policy explain": ("akiosctl policy explain --plan",),
    "protect scan": ("akiosctl protect scan notes.txt --show",),
    "protect preview": ("akiosctl protect preview notes.txt --model openai/gpt-4o",),
    "protect redact": ("akiosctl protect redact notes.txt",),
}
NOT_JSON = {"akiosctl ledger export last --out records.ndjson": "it writes a file"}


class Scene:
    """A daemon, a witness of its host's log, and directories as the examples expect them."""

    def __init__(self, base: Path) -> None:
        self.akios = Daemon().start()
        self.home = self.akios.base / "home"
        self.tools = self.akios.base / "tools"
        for path in (self.home, self.home / ".config/fish/completions", self.tools):
            path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["chown", "-R", str(NOBODY), self.home], check=True)
        sudo = self.tools / "sudo"
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)
        self._base = base
        self.server = Server(self.new_witness())
        self._shared: dict[str, Path] = {}
        self.asking: subprocess.Popen[str] | None = None
        self.answered = False
        """A workflow that waits for a person, and whether it was answered."""

    def new_witness(self) -> Witness:
        """One that knows the host's log by the key that signs it now."""
        state = self._base / f"witness-{len(os.listdir(self._base))}.json"
        return Witness(state, Vkey.parse(self.akios.ctl("ledger", "keys").stdout.strip()))

    def close(self) -> None:
        if self.asking is not None:
            self.asking.kill()
            self.asking.communicate()
        self.server.close()
        self.akios.close()

    def shared(self, kind: str) -> Path:
        """A directory of which many read: with an ended cage, a running one, or one that stands."""
        if kind not in self._shared:
            path = self._shared[kind] = self.fresh(kind)
            self.bash(f"git init -q; git add .; git {WHO} commit -qm a", path, NOBODY)
        return self._shared[kind]

    def fresh(self, kind: str) -> Path:
        path = self.akios.workspace(uid=NOBODY)
        for name, text in {**FILES, "witness.vkey": f"{self.server.witness.key}\n"}.items():
            (path / name).write_text(text)
            os.chown(path / name, NOBODY, NOBODY)
        words = ["run", "--json", "--", "python", "agent.py"]
        if kind == "running":
            words = ["run", "-d", "--", "sh", "-c", TICKING]
        done = self.bash("akiosctl " + " ".join(f"'{word}'" for word in words), path, NOBODY)
        assert done.returncode == 0, done.stderr
        report = done.stdout if kind == "running" else json.loads(done.stderr)["cage"]
        (path / "cage").write_text(report.strip())
        return path

    def bash(self, line: str, cwd: Path, uid: int) -> subprocess.CompletedProcess[str]:
        with self.popen(line, cwd, uid) as process:
            out, error = process.communicate(timeout=100)
        return subprocess.CompletedProcess(line, process.returncode, out, error)

    def popen(self, line: str, cwd: Path, uid: int) -> subprocess.Popen[str]:
        words = line.replace("/var/lib/akios", str(self.akios.state))
        words = words.replace("https://witness.example/", self.server.url)
        if (cwd / "cage").exists():
            words = words.replace("c-4f7k2m9q1x8d", (cwd / "cage").read_text())
        home = self.home if uid else self.akios.base
        env = {
            "PATH": f"{self.tools}:{BIN}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8",
            "AKIOS_SOCKET": str(self.akios.socket), "XDG_STATE_HOME": str(home / "state"),
        }  # fmt: skip
        options: dict[str, Any] = {"user": uid, "group": NOBODY, "extra_groups": []} if uid else {}
        return subprocess.Popen(
            ["bash", "-c", words], cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options,
        )  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("examples"))
    try:
        yield made
    finally:
        made.close()


def place_for(scene: Scene, verb: str, line: str) -> Path:
    if verb in ENDED_FOR_ITSELF:
        return scene.fresh("ended")
    if verb in ("attach", "stop"):
        return scene.fresh("running")
    if is_of_standing(verb):
        return scene.shared("standing")  # elsewhere it would be the last cage
    if verb.split()[0] in ("workflow", "output", "approvals", "mcp"):
        return scene.shared("workflows")  # their cages, too
    running = verb in RUNNING and ("--cage" in line or verb != "http")
    return scene.shared("running" if running else "ended")


def prepare(scene: Scene, verb: str, place: Path) -> None:
    """What an earlier line of the same person would have left."""
    if is_of_standing(verb):
        stand(scene, verb, place)
    if verb.startswith("output"):
        assert scene.bash("akiosctl workflow run workflow.yml", place, NOBODY).returncode == 0
    if verb.startswith("approvals "):
        ask(scene, place, verb in ("approvals yes", "approvals no"))
    if verb in ("keys rm", "keys list"):
        scene.bash("akiosctl keys set openai < key.txt", place, 0)
    if verb == "token revoke":
        file = "$XDG_STATE_HOME/akios/api-tokens.json"
        line = f"""akiosctl token create --scope read && sed -i '0,/"id"/s/"id": "[^"]*"/"id": "4f7k2m9q"/' {file}"""
        assert scene.bash(line, place, NOBODY).returncode == 0
    if verb == "ledger destroy":
        scene.bash("akiosctl discard last", place, NOBODY)
    if verb == "ledger witness":
        scene.server.witness = scene.new_witness()
    if verb in ("ledger pack", "timeline"):
        line = "akiosctl ledger export last --format archive --out x.tar && tar -xf x.tar"
        done = scene.bash(line, place, NOBODY)
        assert done.returncode == 0 and (place / "audit").is_dir(), (done, os.listdir(place))
    if verb == "ledger verify-proof":
        done = scene.bash("akiosctl ledger prove 0 last --out proof", place, NOBODY)
        keys = scene.bash("akiosctl ledger keys last > host.vkey", place, NOBODY)
        assert done.returncode == keys.returncode == 0, done.stderr + keys.stderr


def ask(scene: Scene, place: Path, is_answered: bool) -> None:
    """A workflow waits for an answer, and its question is called as in the examples."""
    if scene.asking is not None and not scene.answered:
        scene.answered = is_answered
        return
    if scene.asking is not None:
        scene.asking.communicate(timeout=60)
    scene.answered = is_answered
    waiting = scene.home / "state" / "akios" / "approvals"
    (waiting / "w-4f7k2m9q1x.agree").unlink(missing_ok=True)
    scene.asking = scene.popen("akiosctl workflow run ask.yml", place, NOBODY)
    assert scene.asking.stderr is not None
    while "waits for a person" not in (line := scene.asking.stderr.readline()):
        assert line, "it ended"
    (question,) = waiting.glob("*.agree")
    question.rename(waiting / "w-4f7k2m9q1x.agree")


def is_of_standing(verb: str) -> bool:
    return verb.split()[0] in ("cage", "exec", "cp")


def stand(scene: Scene, verb: str, place: Path) -> None:
    """The cage ``work`` is up, and no other; none is where one is to be made."""
    known = json.loads(scene.bash("akiosctl cage list --json", place, NOBODY).stdout)
    names = [cage["name"] for cage in known]
    lines = [f"akiosctl cage down --fast --discard {name}" for name in names]
    if verb != "cage up":
        lines.append("akiosctl cage up work")
    if verb == "cp":
        lines.append("akiosctl cp notes.txt work:/tmp/")
    for line in lines:
        done = scene.bash(line, place, NOBODY)
        assert done.returncode == 0, done.stderr


HELLO_OF_MCP = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "example", "version": "1"},
    },
}


def run_line(scene: Scene, verb: str, line: str) -> subprocess.CompletedProcess[str]:
    place = place_for(scene, verb, line)
    # The group's own example has all of its verbs.
    verb = "cage up" if line == "akiosctl cage up work" else verb
    prepare(scene, verb, place)
    uid = 0 if line.startswith("sudo ") else NOBODY
    if verb == "serve" and "--listen" not in line:
        line += " --listen 127.0.0.1:0"  # another may have the port of everybody
    line = line.replace("127.0.0.1:8471", "127.0.0.1:0")
    serves = verb == "serve" or (verb == "mcp" and "--listen" in line)
    if verb == "mcp" and not serves:  # a client that says who it is, and leaves
        line = f"printf '%s\\n' {shlex.quote(json.dumps(HELLO_OF_MCP))} | {line}"
    if serves or verb == "attach" or "--follow" in line or "--otlp" in line:
        return leave(scene, verb, line, place, uid)
    done = scene.bash(line, place, uid)
    if uid == 0:  # what sudo's output went to belongs to who typed it
        scene.bash(f"chown -R {NOBODY}:{NOBODY} .", place, 0)
    return done


def leave(
    scene: Scene, verb: str, line: str, place: Path, uid: int
) -> subprocess.CompletedProcess[str]:
    """A line that goes on until somebody ends it, once it has shown something."""
    with scene.popen(line, place, uid) as process:
        assert process.stdout is not None
        # One that ran before it followed was not told of.
        while "--follow" in line and not select.select([process.stdout], [], [], 0)[0]:
            scene.fresh("ended")
        first = process.stdout.readline()
        assert first, process.stderr and process.stderr.read()
        if verb == "attach":
            scene.bash("akiosctl stop --kill last", place, uid)
        else:
            os.killpg(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=100)
    return subprocess.CompletedProcess(line, process.returncode, first + out, error)


ALL = [
    (verb or line.split()[1], line)
    for line, verb in {line: verb for verb, rows in EXAMPLES.items() for line, _ in rows}.items()
]


@pytest.mark.parametrize(("verb", "line"), ALL, ids=[line for _, line in ALL])
def test_an_example_works(verb: str, line: str, scene: Scene) -> None:
    done = run_line(scene, verb, line)
    wanted = (130, -signal.SIGINT) if "--follow" in line else (STATUS.get(line, 0),)
    if verb == "attach":
        wanted = (137,)  # it was killed, for that is the agent's status
    assert done.returncode in wanted, (done.stdout, done.stderr)


def json_lines() -> Iterator[tuple[str, str]]:
    for verb in (*COMMANDS, "run"):
        lines = (EXAMPLES[verb][0][0], *MORE_JSON.get(verb, ()))
        yield from ((verb, line) for line in lines if line not in NOT_JSON)


JSON = list(json_lines())


@pytest.mark.parametrize(("verb", "line"), JSON, ids=[f"{line} --json" for _, line in JSON])
def test_what_a_verb_prints_as_json_is_of_its_schema(verb: str, line: str, scene: Scene) -> None:
    bare = line.partition(" > ")[0].removeprefix("source <(").removesuffix(")")
    done = run_line(scene, verb, bare.replace("akiosctl ", "akiosctl --json "))
    text = done.stderr if verb in ("run", "attach", "exec") else done.stdout
    if verb in ("run", "attach", "exec"):
        text = text.strip().rpartition("\n")[2]
    documents = text.splitlines() if verb in LINES else [text]
    assert documents, done.stderr
    for document in documents:
        assert fits(SCHEMAS[verb], json.loads(document)) == [], document


def fits(forms: tuple[Any, ...], found: object) -> list[str]:
    """Why it is of none of the forms; nothing when it is of one."""
    complaints = []
    for form in forms:
        try:
            msgspec.convert(found, form)
            return []
        except msgspec.ValidationError as error:
            complaints.append(str(error))
    return complaints


def test_so_is_what_an_ended_cage_spent(scene: Scene) -> None:
    done = scene.bash("akiosctl --json budget last", scene.shared("ended"), NOBODY)
    assert fits(SCHEMAS["budget"], json.loads(done.stdout)) == [], done.stdout


def test_an_error_as_json_is_of_its_schema(scene: Scene) -> None:
    done = scene.bash("akiosctl --json logs c-nothing", scene.shared("ended"), NOBODY)
    assert done.returncode == 125 and fits(SCHEMAS[""], json.loads(done.stderr)) == []


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field too many": lambda found: found.update(more=1),
    "one too few": lambda found: found.pop("size"),
    "another type": lambda found: found.update(size="1"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_schema_finds_what_differs(how: str, scene: Scene) -> None:
    """Control: the comparison above can fail."""
    done = scene.bash("akiosctl ledger stats last --json", scene.shared("ended"), NOBODY)
    found = json.loads(done.stdout)
    assert fits(SCHEMAS["ledger stats"], found) == []
    BREAKS[how](found)
    assert fits(SCHEMAS["ledger stats"], found) != []
