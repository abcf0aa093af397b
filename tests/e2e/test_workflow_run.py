"""Whole workflows in cages of the real daemon: templates, runs that are killed, hostile answers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from akiosd.values.policy import PROVIDERS
from akiosd.workflow.journal import Intent, Journal, Result, read_journal
from tests.e2e.daemon import BIN, NOBODY, OTHER, Daemon, die_with_parent
from tests.e2e.models import Models
from tests.e2e.resources import wait_until
from tests.e2e.upstreams import Authority, Seen, Upstream, answer

HOOK = "hooks.example"
TEMPLATES = ("document-analysis", "batch-processing", "code-review")
GIT = "git -c user.name=a -c user.email=a@example.org"
MINUTE: dict[str, Any] = {"timeout": 60}


class Hook:
    """The webhook's other side: what came, and what is done when something comes."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.then: Callable[[], None] = lambda: None

    def __call__(self, seen: Seen) -> bytes:
        self.texts.append(json.loads(seen.body)["text"])
        self.then()
        return answer(200, b"ok")


@pytest.fixture(scope="module")
def hook() -> Hook:
    return Hook()


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture(scope="module")
def akios(hook: Hook, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from before_hook(hook, models, tmp_path_factory.mktemp("roots"))


@pytest.fixture
def own(hook: Hook, models: Models, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that the test may kill."""
    yield from before_hook(hook, models, tmp_path)


def before_hook(hook: Hook, models: Models, place: Path) -> Iterator[Daemon]:
    with Upstream(hook, Authority(), (HOOK,)) as up:
        assert up.authority is not None
        roots = place / "roots.pem"
        roots.write_bytes(up.authority.pem)
        providers = "".join(f"    {name}: {{upstream: '{models.url}'}}\n" for name in PROVIDERS)
        site = f"  roots: {roots}\n  hosts: {{{HOOK}: '127.0.0.1:{up.port}'}}\n"
        daemon = Daemon(f"gateway:\n{site}  providers:\n{providers}", "allow_widening: true\n")
        try:
            daemon.start()
            for name in ("openai", "anthropic"):
                assert daemon.ctl("keys", "set", name, input=f"key-of-{name}\n").returncode == 0
            yield daemon
        finally:
            daemon.close()


@pytest.fixture
def project(akios: Daemon) -> Path:
    return project_of(akios)


@pytest.fixture
def own_project(own: Daemon) -> Path:
    return project_of(own)


def project_of(akios: Daemon) -> Path:
    """A directory as ``init`` makes it, under git, with a change to review."""
    place = akios.workspace(uid=NOBODY)
    assert akios.ctl("init", ".", uid=NOBODY, cwd=place).returncode == 0
    (place / "akios.yaml").write_text(
        f"version: 1\nnetwork: {{allowed_domains: [{HOOK}]}}\nbudget: {{usd: $1.00}}\n"
    )
    lines = f"git init -q; {GIT} add .; {GIT} commit -qm a; echo x > x; {GIT} add x"
    subprocess.run(["sh", "-c", lines], cwd=place, check=True, **akios.as_user(NOBODY))
    return place


def run(akios: Daemon, place: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = akios.ctl("workflow", "run", *words, "--json", uid=NOBODY, cwd=place)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def journal_of(akios: Daemon, run: str) -> Journal:
    home = akios.base / f"home-{NOBODY}"
    data = (home / ".local/state/akios/workflows" / run / "journal").read_bytes()
    return read_journal(data, run)


def last_journal(akios: Daemon) -> Journal:
    runs = (akios.base / f"home-{NOBODY}" / ".local/state/akios/workflows").iterdir()
    return journal_of(akios, max(runs, key=lambda one: one.stat().st_mtime_ns).name)


# ---- templates -----------------------------------------------------------------------------------


def begin(akios: Daemon, place: Path, name: str) -> subprocess.Popen[str]:
    words = ["workflow", "run", name, "--json", "--cage", "work"]
    words += ["--input", "revision=HEAD"] if name == "code-review" else []
    pipe = subprocess.PIPE
    return akios.popen(
        *words, uid=NOBODY, cwd=place, stdout=pipe, stderr=pipe, text=True,
        preexec_fn=die_with_parent,
    )  # fmt: skip


def end(akios: Daemon, place: Path, name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stderr is not None
    if name == "code-review":
        while "waits for a person" not in (line := process.stderr.readline()):
            assert line, process.communicate()
        question = line.split()[-1]
        said = akios.ctl("approvals", "yes", question, uid=NOBODY, cwd=place)
        assert said.returncode == 0, said.stderr
    out, error = process.communicate(**MINUTE)
    assert process.returncode == 0, error
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.parametrize(
    "times", [1, pytest.param(2, marks=pytest.mark.named_set("workflow"))], ids=["once", "twice"]
)
def test_the_templates_run_at_the_same_time(
    akios: Daemon, models: Models, project: Path, times: int
) -> None:
    """In the project of a standing cage; each log is whole after it, and has the journals' heads."""
    assert akios.ctl("cage", "up", "work", "-q", uid=NOBODY, cwd=project).returncode == 0
    try:
        for _ in range(times):
            before = len(models.received)
            going = {name: begin(akios, project, name) for name in TEMPLATES}
            reports = {name: end(akios, project, name, one) for name, one in going.items()}
            assert len(models.received) == before + 3
            for name, report in reports.items():
                assert report["status"] == "success" and report["calls"] == 1, (name, report)
                kept = json.loads((project / report["output"] / "output.json").read_text())
                assert kept == report
                check_heads(akios, report["run"])
            done = akios.ctl("ledger", "verify", "--all")
            assert done.returncode == 0, done.stdout
        assert "heating" in (project / "data/output/report.md").read_text()
        assert "diff" in (project / "data/output/review.md").read_text()
        classes = json.loads((project / "data/output/classes.json").read_text())
        assert classes["files"] == ["document.txt"] and len(classes["classes"]) == 1
    finally:
        akios.ctl("cage", "down", "work", "--fast", "--keep-output", uid=NOBODY, cwd=project)


def check_heads(akios: Daemon, run: str) -> None:
    """The hash of each intent, and so of all before it, is in the birth record of its cage."""
    home = akios.base / f"home-{NOBODY}"
    data = (home / ".local/state/akios/workflows" / run / "journal").read_bytes()
    heads = [hashlib.sha256(line).hexdigest() for line in data.splitlines(keepends=True)]
    lines = read_journal(data, run).lines
    cages = {(one.step, one.instance): one.cage for one in lines if isinstance(one, Result)}
    found = 0
    for head, line in zip(heads, lines, strict=True):
        if isinstance(line, Intent):
            (birth,) = (
                one for one in akios.events(cages[line.step, line.instance])
                if one["kind"] == "birth"
            )  # fmt: skip
            assert [run, head] == [birth["argv"][-3], birth["argv"][-1]]
            found += 1
    assert found >= 3


# ---- runs that are killed ------------------------------------------------------------------------

STEPS = f"""\
name: kill
steps:
- {{name: read, agent: filesystem, action: read, parameters: {{path: data/input/document.txt}}}}
- name: ask
  agent: llm
  action: complete
  config: {{provider: openai, model: gpt-4o-mini, max_tokens: 100}}
  parameters: {{prompt: '{{steps.read.outputs.text}}'}}
- name: tell
  agent: webhook
  action: send
  config: {{service: slack, url: 'https://{HOOK}/x'}}
  parameters: {{text: told}}
- name: write
  agent: filesystem
  action: write
  parameters: {{path: data/output/told.txt, content: '{{steps.tell.outputs.body}}'}}
"""
ORDER = ("read", "ask", "tell", "write")
LINES = 2 + 2 * len(ORDER)
BOMB = """
import os, signal, sys
from akiosctl import journal_file
from akiosctl.cli import main
when, number = sys.argv.pop(1), int(sys.argv.pop(1))
append, write = journal_file.JournalFile.append, os.write
count = 0
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def torn(fd, data):
    write(fd, bytes(data)[: len(data) // 2])
    die()
def counted(self, line):
    global count
    count += 1
    if count == number and when == "before":
        die()
    if count == number and when == "within":
        os.write = torn
    append(self, line)
    if count == number and when == "after":
        die()
journal_file.JournalFile.append = counted
main()
"""
"""akiosctl that is killed before, within or after the writing of a line of its journal."""


def killed_at(akios: Daemon, place: Path, when: str, number: int) -> None:
    words = ["--socket", str(akios.socket), "workflow", "run", "kill.yml"]
    done = subprocess.run(
        [sys.executable, "-c", BOMB, when, str(number), *words],
        cwd=place, capture_output=True, text=True, **MINUTE, **akios.as_user(NOBODY),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, (when, number, done.stderr)


def goes_on(akios: Daemon, models: Models, hook: Hook, place: Path) -> list[str]:
    """Resume after a death; every finished step is done once.  Returns what was named unknown."""
    lines = last_journal(akios).lines
    finished = {line.step for line in lines if isinstance(line, Result)}
    begun = {line.step for line in lines if isinstance(line, Intent)} - finished
    asked, told = len(models.received), len(hook.texts)
    status, report = run(akios, place, "kill.yml", "--resume")
    harmful = sorted(begun & {"tell", "write"})
    assert report["unknown"] == harmful and (status == 1) == bool(harmful), report
    if "ask" in finished:
        assert len(models.received) == asked, "a finished call to a model was repeated"
    if "tell" in finished | begun:
        assert len(hook.texts) == told, "a webhook was repeated"
    if harmful:
        status, report = run(akios, place, "kill.yml", "--resume", "--repeat")
    assert (status, report["status"], report["unknown"]) == (0, "success", []), report
    assert (place / "data/output/told.txt").read_text() == "ok"
    return harmful


def kill_here(akios: Daemon, models: Models, hook: Hook, place: Path, when: str, at: int) -> None:
    (place / "kill.yml").write_text(STEPS)
    killed_at(akios, place, when, at)
    named = goes_on(akios, models, hook, place)
    # Lines: begun, then an intent and a result for each step, then the end.
    step = ORDER[min((at - 2) // 2, 3)] if at > 1 else "read"
    is_begun = (at % 2 == 0 and when == "after") or (at % 2 == 1 and at > 1 and when != "after")
    assert named == ([step] if is_begun and step in ("tell", "write") else [])


@pytest.mark.parametrize(("when", "at"), [("within", 5), ("after", 6), ("within", 7)])
def test_a_run_that_is_killed_goes_on(
    akios: Daemon, models: Models, hook: Hook, project: Path, when: str, at: int
) -> None:
    kill_here(akios, models, hook, project, when, at)


@pytest.mark.named_set("workflow")
@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("at", range(2, LINES))
def test_wherever_it_is_killed(
    akios: Daemon, models: Models, hook: Hook, project: Path, when: str, at: int
) -> None:
    kill_here(akios, models, hook, project, when, at)


def popen(akios: Daemon, place: Path, file: str = "kill.yml") -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return akios.popen(
        "workflow", "run", file, uid=NOBODY, cwd=place, stdout=pipe, stderr=pipe, text=True
    )


def test_a_webhook_that_arrived_is_not_sent_again(
    akios: Daemon, models: Models, hook: Hook, project: Path
) -> None:
    """It is killed by who got the message: nobody here can know that it did, and so it is said."""
    (project / "kill.yml").write_text(STEPS)
    going: list[subprocess.Popen[str]] = []

    def kill() -> None:
        going[0].kill()
        going[0].wait()

    before, hook.then = len(hook.texts), kill
    try:
        going.append(popen(akios, project))
        going[0].communicate(**MINUTE)
    finally:
        hook.then = lambda: None
    assert going[0].returncode == -signal.SIGKILL and len(hook.texts) == before + 1
    assert goes_on(akios, models, hook, project) == ["tell"]
    # Control: with --repeat it was sent once more.
    assert len(hook.texts) == before + 2


@pytest.mark.named_set("workflow")
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_moment(
    akios: Daemon, models: Models, hook: Hook, project: Path, seed: int
) -> None:
    (project / "kill.yml").write_text(STEPS)
    process = popen(akios, project)
    begun = wait_until(lambda: last_is_of(akios, project))
    try:
        process.communicate(timeout=random.Random(seed).uniform(0.0, 1.2))
        pytest.skip("it had ended")
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    assert begun
    goes_on(akios, models, hook, project)


def last_is_of(akios: Daemon, project: Path) -> bool:
    try:
        first = last_journal(akios).lines[:1]
    except FileNotFoundError:
        return False
    return bool(first) and getattr(first[0], "workspace", "") == str(project)


# ---- hostile answers -----------------------------------------------------------------------------

ANSWERED = """\
name: answered
inputs: {wanted: {}}
steps:
- name: ask
  agent: llm
  action: complete
  config: {provider: openai, model: gpt-4o-mini, max_tokens: 100}
  parameters:
    prompt: '{inputs.wanted}'
    schema:
      type: object
      properties: {path: {type: string}}
      required: [path]
"""
READS = """\
- name: use
  agent: filesystem
  action: read
  config: {paths: [data/input], read_only: true}
  parameters: {path: '{steps.ask.outputs.data.path}'}
"""
SHOWS = """\
- name: use
  agent: tool
  action: run
  config: {allow: [[cat]]}
  parameters: {argv: [cat, '{steps.ask.outputs.data.path}']}
  policy: {filesystem: {workspace: ro}, network: {llm: false}}
"""
PATHS = ("data/input/link", "{inputs.wanted}", "data/input/document.txt")
MORE = ("../secret", "data/input/../../x", "data/input_evil/x", "/etc/shadow")


@pytest.mark.parametrize(
    "path", [*PATHS, *(pytest.param(one, marks=pytest.mark.named_set("workflow")) for one in MORE)]
)
def test_an_answer_leads_nowhere_else(akios: Daemon, project: Path, path: str) -> None:
    """The model says which file is read; the document is the control."""
    (project / "data/input_evil").mkdir()
    (project / "data/input_evil/x").write_text("evil")
    (project / "data/input/link").symlink_to("/etc/passwd")
    (project / "w.yml").write_text(ANSWERED + READS)
    given = json.dumps({"path": path})
    status, report = run(akios, project, "w.yml", "--input", f"wanted={given}")
    used = report["steps"][1]
    if path == "data/input/document.txt":
        assert status == 0 and "heating" in used["outputs"]["text"]
    else:
        assert (status, used["status"], used["outputs"]) == (1, "failed", {}), used
        assert report["steps"][0]["outputs"]["data"] == {"path": path}, "it is data"


@pytest.mark.parametrize("path", ["{home}", "data/input/document.txt"], ids=["home", "control"])
def test_nor_does_a_program_that_it_names_a_file(akios: Daemon, project: Path, path: str) -> None:
    """A file of the user's that the step's cage does not show."""
    secret = akios.base / f"home-{NOBODY}" / "secret.txt"
    secret.write_text("heating plans")
    os.chown(secret, NOBODY, NOBODY)
    (project / "w.yml").write_text(ANSWERED + SHOWS)
    given = json.dumps({"path": path.replace("{home}", str(secret))})
    status, report = run(akios, project, "w.yml", "--input", f"wanted={given}")
    used = report["steps"][1]
    is_control = path != "{home}"
    assert (status == 0) == is_control, used
    assert ("heating" in used["outputs"].get("stdout", "")) == is_control


def test_a_step_has_its_own_policy_and_no_more(akios: Daemon, hook: Hook, project: Path) -> None:
    """Of two that send the same, the one whose policy takes the name away does not."""
    row = (
        "- {{name: {0}, agent: webhook, action: send, continue_on_error: true, "
        "config: {{service: slack, url: 'https://hooks.example/x'}}, parameters: {{text: {0}}}{1}}}\n"
    )
    none = ", policy: {network: {allowed_domains: []}}"
    steps = row.format("without", none) + row.format("with", "")
    (project / "w.yml").write_text(f"name: w\nsteps:\n{steps}")
    before = len(hook.texts)
    _, report = run(akios, project, "w.yml")
    assert [one["status"] for one in report["steps"]] == ["failed", "success"], report
    assert hook.texts[before:] == ["with"]


MOVES = """\
name: moves
policy: {filesystem: {workspace: rw}}
steps:
- name: replace
  agent: tool
  action: run
  config: {allow: [[sh]]}
  parameters:
    argv:
    - sh
    - -c
    - |
      for top in data notes; do
        mv $top $top.away && mkdir -p $top/input && echo changed > $top/input/document.txt
      done; true
"""


def test_the_input_is_not_changed_by_moving_away_what_leads_to_it(
    akios: Daemon, project: Path
) -> None:
    """What is committed at the end of a step is what stands at a path then; the control is a
    directory of the project that nothing is shown in.
    """
    (project / "notes/input").mkdir(parents=True)
    (project / "notes/input/document.txt").write_text("as it was")
    for path in (project / "notes", project / "notes/input", project / "notes/input/document.txt"):
        os.chown(path, NOBODY, NOBODY)
    (project / "akios.yaml").write_text("version: 1\nfilesystem: {workspace: rw}\n")
    (project / "w.yml").write_text(MOVES)
    before = (project / "data/input/document.txt").read_bytes()
    status, report = run(akios, project, "w.yml")
    assert status == 0, report
    assert (project / "notes/input/document.txt").read_text() == "changed\n", "control"
    assert (project / "data/input/document.txt").read_bytes() == before
    assert not (project / "data.away").exists()
    assert "Device or resource busy" in report["steps"][0]["outputs"]["stderr"]


# ---- money, and people ---------------------------------------------------------------------------


def test_all_steps_share_one_budget(akios: Daemon, models: Models, project: Path) -> None:
    """Two calls are allowed to all; four steps at the same time want one each."""
    rows = "".join(
        f"- {{name: s{n}, needs: [], agent: llm, action: complete, continue_on_error: true, "
        "config: {provider: openai, model: gpt-4o-mini, max_tokens: 50}, "
        f"parameters: {{prompt: 'number {n}'}}}}\n"
        for n in range(4)
    )
    (project / "w.yml").write_text(f"name: w\nsteps:\n{rows}")
    before = len(models.received)
    status, report = run(akios, project, "w.yml")
    assert (status, report["calls"], len(models.received) - before) == (0, 4, 4), "control"
    (project / "w.yml").write_text(f"name: w\npolicy: {{budget: {{calls: 2}}}}\nsteps:\n{rows}")
    before = len(models.received)
    _, report = run(akios, project, "w.yml")
    assert (report["calls"], len(models.received) - before) == (2, 2), report
    said = [one["status"] for one in report["steps"]]
    assert sorted(said) == ["failed", "failed", "success", "success"]


def test_runs_for_a_standing_cage_share_what_it_has_left(
    akios: Daemon, models: Models, project: Path
) -> None:
    """Three calls are allowed to the cage; two runs want two each."""
    rows = "".join(
        f"- {{name: s{n}, agent: llm, action: complete, continue_on_error: true, "
        "config: {provider: openai, model: gpt-4o-mini, max_tokens: 50}, "
        f"parameters: {{prompt: 'count {n}'}}}}\n"
        for n in range(2)
    )
    (project / "w.yml").write_text(f"name: w\nsteps:\n{rows}")
    (project / "three.yaml").write_text("version: 1\nbudget: {calls: 3}\n")
    made = akios.ctl("cage", "up", "three", "--policy", "three.yaml", uid=NOBODY, cwd=project)
    assert made.returncode == 0, made.stderr
    try:
        before, found = len(models.received), []
        for _ in range(2):
            words = ("workflow", "run", "w.yml", "--json", "--cage", "three")
            done = akios.ctl(*words, uid=NOBODY, cwd=project)
            found.append(json.loads(done.stdout)["calls"])
        assert (found, len(models.received) - before) == ([2, 1], 3)
    finally:
        akios.ctl("cage", "down", "three", "--discard", uid=NOBODY, cwd=project)
    _, report = run(akios, project, "w.yml")
    assert report["calls"] == 2, "the control: without the cage"


LONG = "word " * 180
"""The stand-in counts a thousand tokens, whatever it was asked: a call that may cost less than it
does would pass every budget.
"""
COST = 153
"""What it counts, in micro-USD: 1,000 tokens at 0.15 $ a million, of which 200 are cached and cost
half of that, and 30 at 0.60 $.
"""
TOGETHER = f"""
name: together
steps:
- {{name: wait, agent: webhook, action: send, config: {{service: slack, url: 'https://{HOOK}/x'}},
   parameters: {{text: ready}}}}
"""


@pytest.mark.parametrize(("bound", "usd_micro"), [("calls: 3", 0), ("usd: 0.0005", 500)])
def test_runs_that_begin_together_never_spend_more_than_the_cage_has(
    akios: Daemon, models: Models, hook: Hook, project: Path, bound: str, usd_micro: int
) -> None:
    """Two runs have read what is left before either spends; beside them the cage's own program
    asks, too.
    """
    rows = "".join(
        f"- {{name: s{n}, agent: llm, action: complete, continue_on_error: true, "
        "config: {provider: openai, model: gpt-4o-mini, max_tokens: 50}, "
        f"parameters: {{prompt: 'together {n} {bound} {LONG}'}}}}\n"
        for n in range(3)
    )
    (project / "w.yml").write_text(TOGETHER + rows)
    (project / "calls.py").write_text(CALLS.replace('"%d"', f'"%d {LONG}"'))
    sites = f"version: 1\nnetwork: {{allowed_domains: [{HOOK}]}}\n"
    (project / "few.yaml").write_text(f"{sites}budget: {{{bound}}}\n")
    (project / "akios.yaml").write_text(f"{sites}budget: {{{bound}}}\n")
    words = ("workflow", "run", "w.yml", "--json")
    here: dict[str, Any] = {"uid": NOBODY, "cwd": project}
    both = threading.Barrier(2, timeout=60)
    hook.then = lambda: both.wait() and None

    def run_twice(*more: str) -> tuple[int, int, int]:
        """Calls and money of both reports, and the calls that the stand-in answered."""
        before, pipe = len(models.received), subprocess.PIPE
        runs = [
            akios.popen(
                *(*words, *more), stdout=pipe, stderr=pipe, text=True,
                preexec_fn=die_with_parent, **here,
            )
            for _ in range(2)
        ]  # fmt: skip
        said = [json.loads(one.communicate(timeout=120)[0]) for one in runs]
        calls, usd = (sum(one[name] for one in said) for name in ("calls", "usd_micro"))
        return calls, usd, len(models.received) - before

    made = akios.ctl("cage", "up", "few", "--policy", "few.yaml", **here)
    assert made.returncode == 0, made.stderr
    try:
        calls, usd, answered = run_twice("--cage", "few")
        told = json.loads(akios.ctl("budget", "few", "--json", **here).stdout)
        before = len(models.received)
        own = akios.ctl("run", "--cage", "few", "--", "python3", "calls.py", **here)
        all_ = answered + len(models.received) - before
        after = json.loads(akios.ctl("budget", "few", "--json", **here).stdout)
        assert (told["shared_calls"], told["shared_usd_micro"]) == (calls, usd), (told, calls, usd)
        assert (calls, usd) == (answered, answered * COST) and calls > 0
        assert calls + own.stdout.split().count("200") == all_
        spent = after["usd_micro"] + after["shared_usd_micro"]
        assert spent == all_ * COST
        assert spent <= usd_micro if usd_micro else all_ == 3
        control = run_twice()
    finally:
        hook.then = lambda: None
        akios.ctl("cage", "down", "few", "--discard", **here)
    assert control == (6, 6 * COST, 6), "without the cage each has its own budget"
    assert usd_micro < 6 * COST


CALLS = """
import os, ssl, urllib.error, urllib.request
for number in range(3):
    data = b'{"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "%d"}]}'
    key = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
    url = "https://api.openai.com/v1/chat/completions"
    try:
        print(urllib.request.urlopen(urllib.request.Request(url, data % number, key)).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


def test_a_cage_cannot_pass_what_the_others_left(akios: Daemon, project: Path) -> None:
    (project / "calls.py").write_text(CALLS)
    row = (
        "- {name: ask, agent: llm, action: complete, parameters: {prompt: hello}, "
        "config: {provider: openai, model: gpt-4o-mini, max_tokens: 50}}\n"
        "- {name: calls, agent: tool, action: run, config: {allow: [[python3]]}, "
        "parameters: {argv: [python3, calls.py]}}\n"
    )
    for most, wanted in ((3, ["200", "200", "402"]), (9, ["200", "200", "200"])):
        (project / "w.yml").write_text(
            f"name: w{most}\npolicy: {{budget: {{calls: {most}}}}}\nsteps:\n{row}"
        )
        _, report = run(akios, project, "w.yml")
        assert report["steps"][1]["outputs"]["stdout"].split() == wanted, report


@pytest.mark.named_set("workflow")
def test_a_step_that_takes_too_long_has_failed(akios: Daemon, project: Path) -> None:
    """Its end was heard of, so it is not unknown; the other is the control."""
    row = "- {{name: {0}, agent: tool, action: run, timeout: {1}, continue_on_error: true, "
    row += "config: {{allow: [[sleep]]}}, parameters: {{argv: [sleep, '2']}}}}\n"
    steps = row.format("short", "1s") + row.format("long", "60s").replace("name", "needs: [], name")
    (project / "w.yml").write_text(f"name: w\nsteps:\n{steps}")
    status, report = run(akios, project, "w.yml")
    assert [one["status"] for one in report["steps"]] == ["failed", "success"], report
    assert status == 0 and "wall clock limit 1 s" in report["steps"][0]["failure"]["what"]


def test_a_person_says_no(akios: Daemon, project: Path) -> None:
    (project / "w.yml").write_text(
        "name: w\nsteps:\n- {name: agree, agent: approve, action: ask, config: {timeout: 60}, "
        "parameters: {message: so}}\n"
        "- {name: then, agent: filesystem, action: exists, parameters: {path: x}}\n"
    )
    pipe = subprocess.PIPE
    process = akios.popen(
        "workflow", "run", "w.yml", "--json", uid=NOBODY, cwd=project,
        stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "waits for a person" not in (line := process.stderr.readline()):
        assert line
    said = akios.ctl(
        "approvals", "no", line.split()[-1], "--comment", "never", uid=NOBODY, cwd=project
    )
    assert said.returncode == 0, said.stderr
    out, _ = process.communicate(**MINUTE)
    agree, then = json.loads(out)["steps"]
    assert process.returncode == 1 and "nobody said no: never" in agree["failure"]["what"]
    assert then["status"] == "not finished"


# ---- akiosd is restarted -------------------------------------------------------------------------

WAITS = """\
name: waits
steps:
- name: slow
  agent: tool
  action: run
  config: {allow: [[python3]], timeout: 60}
  parameters: {argv: [python3, slow.py]}
- {name: then, agent: webhook, action: send, parameters: {text: '{steps.slow.outputs.stdout}'},
   config: {service: slack, url: 'https://hooks.example/x'}}
"""
SLOW = """
import os, time
open("data/output/begun", "a").write("x")
while not os.path.exists("data/output/go"):
    time.sleep(0.05)
print("waited")
"""


def kill_daemon(akios: Daemon) -> None:
    assert akios.process is not None
    akios.process.kill()
    akios.process.wait()


def test_a_step_outlives_akiosd_and_the_next_waits_for_it(
    own: Daemon, hook: Hook, own_project: Path
) -> None:
    """The step goes on while akiosd is killed and started; then akiosd is away when the webhook is
    to be begun: it waits, and nobody calls it unknown.
    """
    (own_project / "w.yml").write_text(WAITS)
    (own_project / "slow.py").write_text(SLOW)
    output, before = own_project / "data/output", len(hook.texts)
    process = popen(own, own_project, "w.yml")
    try:
        assert wait_until(lambda: (output / "begun").exists())
        kill_daemon(own)
        own.start()
        assert process.stderr is not None
        while "akiosd was restarted" not in (line := process.stderr.readline()):
            assert line, process.communicate()
        (output / "go").touch()
        _, error = process.communicate(**MINUTE)
    finally:
        process.kill()
    assert process.returncode == 0, error
    assert (output / "begun").read_text() == "x" and hook.texts[before:] == ["waited\n"]


@pytest.mark.named_set("workflow")
def test_a_step_that_begins_while_akiosd_is_away_waits(own: Daemon, own_project: Path) -> None:
    (own_project / "w.yml").write_text(
        "name: w\nsteps:\n- {name: agree, agent: approve, action: ask, config: {timeout: 60}, "
        "parameters: {message: so}}\n"
        "- {name: then, agent: filesystem, action: write, "
        "parameters: {path: data/output/x, content: a}}\n"
    )
    process = popen(own, own_project, "w.yml")
    try:
        assert process.stderr is not None
        while "waits for a person" not in (line := process.stderr.readline()):
            assert line, process.communicate()
        kill_daemon(own)
        said = own.ctl("approvals", "yes", line.split()[-1], uid=NOBODY, cwd=own_project)
        assert said.returncode == 0, said.stderr
        while "waiting until it is back" not in (line := process.stderr.readline()):
            assert line, process.communicate()
        own.start()
        _, error = process.communicate(**MINUTE)
    finally:
        process.kill()
    assert process.returncode == 0, error
    assert (own_project / "data/output/x").read_text() == "a"


def ctl_at(akios: Daemon, socket: str, place: Path, *words: str) -> str:
    """What a verb prints where akiosd is not at ``socket``."""
    done = subprocess.run(
        [BIN / "akiosctl", "--socket", socket, *words],
        **akios.as_user(NOBODY) | {"cwd": place, "capture_output": True, "text": True},
    )
    return str(done.stdout)


def test_the_command_that_is_printed_goes_on_with_what_was_stopped(
    akios: Daemon, project: Path
) -> None:
    """Where nobody knows whether a step was done, the command is the one that repeats it."""
    (project / "w.yml").write_text(WAITS.partition("- {name: then")[0])
    (project / "slow.py").write_text(SLOW)
    process = akios.popen(
        *("workflow", "run", "w.yml"), uid=NOBODY, cwd=project, stderr=-1, text=True
    )
    try:
        assert wait_until((project / "data/output/begun").exists)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(**MINUTE)
    finally:
        process.kill()
    command = "akiosctl workflow run w.yml --resume --repeat"
    assert command in error and "slow again" in error and "may be done twice" in error
    listed = akios.ctl("output", "list", uid=NOBODY, cwd=project).stdout
    state = akios.ctl("workflow", "status", uid=NOBODY, cwd=project).stdout
    assert "at most" not in listed + state and "$0.00 spent" in state, (listed, state)
    for verb in (("output", "list"), ("workflow", "status")):
        told = ctl_at(akios, "/nowhere/control.sock", project, *verb)
        assert "at most $1.00" in told, "where akiosd cannot be asked"
    refused = akios.ctl("workflow", "run", "w.yml", "--resume", uid=NOBODY, cwd=project)
    told = akios.ctl("workflow", "status", uid=NOBODY, cwd=project).stdout
    for words in (refused.stderr, told):
        assert "--resume --repeat" in words and "may be done twice" in words, words
        assert "--resume\n" not in words, "which would end there again"
    assert refused.returncode == 1
    (project / "data/output/go").touch()
    done = akios.ctl(*command.split()[1:], uid=NOBODY, cwd=project)
    assert done.returncode == 0, done.stderr


def test_what_is_done_stays_done_when_the_budget_is_raised(akios: Daemon, project: Path) -> None:
    """The control: --from does it again.  What was done by another policy is told."""
    (project / "w.yml").write_text(
        "name: w\nsteps:\n- {name: add, agent: filesystem, action: append, "
        "parameters: {path: data/output/log, content: a}}\n"
        "- {name: ask, agent: llm, action: complete, config: {provider: openai, model: gpt-4o}, "
        "parameters: {prompt: hello}}\n"
    )
    policy = (project / "akios.yaml").read_text()
    (project / "akios.yaml").write_text(policy.replace("$1.00", "$0.000001"))
    status, report = run(akios, project, "w.yml")
    assert (status, report["steps"][0]["status"]) == (1, "success"), report
    assert "budget" in report["steps"][1]["failure"]["what"], report
    (project / "akios.yaml").write_text(policy)
    done = akios.ctl("workflow", "run", "w.yml", "--resume", uid=NOBODY, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "add: taken over, it is done already, by another policy than it has now" in done.stderr
    assert (project / "data/output/log").read_text() == "a"
    assert run(akios, project, "w.yml", "--from", "add")[0] == 0
    assert (project / "data/output/log").read_text() == "aa"


@pytest.mark.parametrize(("service", "times"), [("slack", 1), ("generic", 3)])
def test_a_webhook_that_may_be_sent_is_sent_again_only_with_a_key(
    akios: Daemon, hook: Hook, project: Path, service: str, times: int
) -> None:
    """It comes, and its answer comes too late; the generic one is the control."""
    (project / "w.yml").write_text(
        f"name: w\nsteps:\n- {{name: send, agent: webhook, action: send, parameters: {{text: {service}}}, "
        f"config: {{service: {service}, url: 'https://{HOOK}/x', timeout: 3}}, "
        "retry: {attempts: 3, delay: 0}}\n"
    )
    answers, before = threading.Event(), len(hook.texts)
    hook.then = lambda: answers.wait(60) and None
    try:
        status, report = run(akios, project, "w.yml")
        assert (status, len(hook.texts) - before) == (1, times), report
        assert "no answer came in time" in report["steps"][0]["failure"]["what"]
    finally:
        hook.then = lambda: None
        answers.set()
    if service == "slack":
        _, report = run(akios, project, "w.yml", "--resume")
        assert (report["unknown"], len(hook.texts) - before) == (["send"], 1), report
        status, _ = run(akios, project, "w.yml", "--resume", "--repeat")
        assert (status, len(hook.texts) - before) == (0, 2)


FORESEEN = (
    "agent: http, action: get, parameters: {{url: 'https://{0}/'}}",
    "agent: webhook, action: send, parameters: {{text: a}}, config: {{url: 'https://{0}/'}}",
    "agent: filesystem, action: write, parameters: {{path: {1}/x, content: c}}",
    "agent: filesystem, action: write, parameters: {{path: data/output/{2}/x, content: c}}",
)


@pytest.mark.parametrize("row", FORESEEN)
def test_what_validate_foresees_is_denied(akios: Daemon, project: Path, row: str) -> None:
    """The control is the same step where it is allowed."""
    values = ((HOOK, "data/output", "a"), ("other.example", "data/input", ".."))
    for good, words in zip((True, False), values, strict=True):
        (project / "w.yml").write_text(f"name: w\nsteps:\n- {{name: a, {row.format(*words)}}}\n")
        told = akios.ctl("workflow", "validate", "w.yml", uid=NOBODY, cwd=project)
        assert (told.returncode == 0) is good, told.stderr
        assert good or "line 3, column" in told.stderr
        if good and "agent: http" in row:
            continue  # the hook takes posts only
        status, report = run(akios, project, "w.yml")
        assert (status == 0) is good, report


ASK = (
    "agent: llm, action: complete, continue_on_error: true, parameters: {prompt: hello}, "
    "config: {provider: openai, model: gpt-4o-mini, max_tokens: 50}"
)


def test_what_workflows_spent_of_a_cage_outlives_akiosd(
    own: Daemon, hook: Hook, models: Models, own_project: Path
) -> None:
    """One of two calls is spent when akiosd dies; nobody has two more afterwards."""
    hooked = f"agent: webhook, action: send, parameters: {{text: a}}, config: {{service: slack, url: 'https://{HOOK}/x'}}"
    steps = "".join(f"- {{name: s{n}, {what}}}\n" for n, what in enumerate((ASK, hooked, ASK, ASK)))
    (own_project / "w.yml").write_text(f"name: w\nsteps:\n{steps}")
    (own_project / "calls.py").write_text(CALLS)
    sites = f"version: 1\nnetwork: {{allowed_domains: [{HOOK}]}}\n"
    (own_project / "two.yaml").write_text(f"{sites}budget: {{calls: 2}}\n")
    here: dict[str, Any] = {"uid": NOBODY, "cwd": own_project}
    made = own.ctl("cage", "up", "two", "--policy", "two.yaml", **here)
    assert made.returncode == 0, made.stderr
    before, pipe = len(models.received), subprocess.PIPE
    came, goes_on = threading.Event(), threading.Event()
    hook.then = lambda: came.set() or (goes_on.wait(60) and None)
    process = own.popen(
        *("workflow", "run", "w.yml", "--json", "--cage", "two"), stdout=pipe, stderr=pipe,
        preexec_fn=die_with_parent, **here,
    )  # fmt: skip
    try:
        assert came.wait(60)
        kill_daemon(own)
        own.start()
        goes_on.set()
        said, error = process.communicate(**MINUTE)
    finally:
        hook.then = lambda: None
        goes_on.set()
        process.kill()
    report = json.loads(said)
    assert [one["status"] for one in report["steps"]] == ["success"] * 3 + ["failed"], (
        report,
        error,
    )
    asked = own.ctl("run", "--cage", "two", "--", "python3", "calls.py", **here)
    assert asked.stdout.split() == ["402"] * 3, asked
    told = json.loads(own.ctl("budget", "two", "--json", **here).stdout)
    assert (told["shared_calls"], told["calls"], len(models.received) - before) == (2, 0, 2)
    assert "used by workflows for this cage" in own.ctl("budget", "two", **here).stdout


SPENDS_OF = """
import sys
from akiosctl import cli, workflow_start
made, cage = workflow_start.StepCages, sys.argv.pop()
workflow_start.StepCages = lambda *words, **_: made(*words, shares=cage)
sys.exit(cli.main())
"""


def test_only_who_made_a_cage_spends_its_budget(
    akios: Daemon, models: Models, project: Path
) -> None:
    """Another user, and root, who name the cage of this one to akiosd."""
    (project / "w.yml").write_text(f"name: w\nsteps:\n- {{name: ask, {ASK}}}\n")
    made = akios.ctl("cage", "up", "mine", "--json", uid=NOBODY, cwd=project)
    assert made.returncode == 0, made.stderr
    cage = json.loads(made.stdout)["cage"]
    tried = {}
    for uid in (NOBODY, OTHER, 0):
        place = akios.workspace(uid=uid)
        (place / "w.yml").write_text((project / "w.yml").read_text())
        before = len(models.received)
        words = ["--socket", str(akios.socket), "workflow", "run", "w.yml", "--json", cage]
        done = subprocess.run(
            [sys.executable, "-c", SPENDS_OF, *words], cwd=place, capture_output=True, text=True,
            **MINUTE, **akios.as_user(uid),
        )  # fmt: skip
        tried[uid] = (len(models.received) - before, done.stdout + done.stderr)
    told = json.loads(akios.ctl("budget", "mine", "--json", uid=NOBODY, cwd=project).stdout)
    akios.ctl("cage", "down", "mine", "--discard", uid=NOBODY, cwd=project)
    assert [tried[uid][0] for uid in (NOBODY, OTHER, 0)] == [1, 0, 0], tried
    assert all(f"you have no standing cage {cage}" in tried[uid][1] for uid in (OTHER, 0)), tried
    assert told["shared_calls"] == 1


# ---- the state of a run, and its proof -----------------------------------------------------------

THREE = """\
name: three
steps:
- {name: a, agent: filesystem, action: write, parameters: {path: data/output/a, content: one}}
- {name: b, agent: filesystem, action: read, parameters: {path: data/output/a}}
- {name: c, agent: filesystem, action: exists, parameters: {path: "{steps.b.outputs.text}"}}
"""


def state_of(akios: Daemon, place: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = akios.ctl("workflow", "status", "--json", *words, uid=NOBODY, cwd=place)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_ledger_vouches_for_a_journal_and_finds_a_change(akios: Daemon, project: Path) -> None:
    """The last result too, which no step comes after; a journal that was written anew, with a chain
    of its own that is whole, is not the one that the ledger has.
    """
    (project / "w.yml").write_text(THREE)
    _, report = run(akios, project, "w.yml")
    status, found = state_of(akios, project, "--prove")
    assert status == 0 and found["state"] == "success", found
    assert [one["state"] for one in found["steps"]] == ["done"] * 3
    proof = found["proof"]
    assert proof["proven"] == proof["lines"] - 1 == 8
    assert [one["what"] for one in proof["witnesses"]] == ["a.0.1", "b.0.1", "c.0.1", "end"]
    last = json.loads(akios.ctl("timeline", "--json", uid=NOBODY, cwd=project).stdout)["birth"]
    assert "c.0.1" in last["argv"], "the last cage of the project is that of the last step"
    place = (
        akios.base / f"home-{NOBODY}" / ".local/state/akios/workflows" / report["run"] / "journal"
    )
    place.write_bytes(forged(place.read_bytes()))
    status, found = state_of(akios, project, "--prove", report["run"])
    assert status == 1 and found["state"] == "success", "the chain alone is whole"
    assert [one["state"] for one in found["proof"]["witnesses"]] == ["proven"] * 3 + ["changed"]


def forged(journal: bytes) -> bytes:
    """The last step's outputs are others, and every line follows from the one before it."""
    lines, head = b"", "0" * 64
    for whole in journal.splitlines(keepends=True):
        line = json.loads(whole)
        wanted = line | {"before": head}
        if (line["line"], line.get("step")) == ("result", "c"):
            wanted["outputs"] = {"exists": True}
        same = whole if wanted == line else json.dumps(wanted).encode() + b"\n"
        lines, head = lines + same, hashlib.sha256(same).hexdigest()
    return lines


def test_the_state_of_a_run_is_told_while_it_goes_on_and_after_its_death(
    akios: Daemon, project: Path
) -> None:
    (project / "w.yml").write_text(WAITS)
    (project / "slow.py").write_text(SLOW)
    process = popen(akios, project, "w.yml")
    try:
        assert wait_until(lambda: (project / "data/output/begun").exists())
        _, found = state_of(akios, project)
        slow, then = found["steps"]
        assert (found["state"], slow["state"], then["state"]) == (
            "going on", "running", "not begun",
        )  # fmt: skip
        listed = json.loads(akios.ctl("ps", "--json", uid=NOBODY, cwd=project).stdout)
        assert slow["cage"] in [one["cage"] for one in listed]
    finally:
        process.kill()
        process.communicate()
    status, found = state_of(akios, project, "--prove")
    assert (status, found["state"]) == (0, "unfinished"), found
    assert [one["state"] for one in found["steps"]] == ["not heard of", "not begun"]
    (project / "data/output/go").touch()
