"""``from akiosctl import Cage``, as a user's program uses it, without root."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import impatient_daemon
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.models import Models, Plan
from tests.e2e.resources import wait_until
from tests.e2e.survival import kill, kill_and_start

PROGRAMS = Path(__file__).parent / "library"


def use(daemon: Daemon, program: str, *words: str) -> str:
    return run_text(daemon, (PROGRAMS / program).read_text(), *words)


def run_text(daemon: Daemon, text: str, *words: str) -> str:
    options = daemon.as_user(NOBODY)
    options["env"] = {**options["env"], "AKIOS_SOCKET": str(daemon.socket)}
    done = subprocess.run(
        [sys.executable, "-c", text, *words],
        cwd=daemon.workspace(uid=NOBODY), capture_output=True, text=True, timeout=300, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_uses_a_cage_and_leaves_nothing(daemon: Daemon) -> None:
    name, kept, cage = use(daemon, "uses_cage.py").split()
    listed = daemon.ctl("cage", "list", "--json", uid=NOBODY)
    up = {one["name"]: one["state"] for one in json.loads(listed.stdout)}
    assert name not in up and up[kept] == "down"
    daemon.ctl("cage", "down", cage, "--discard", uid=NOBODY)


LEFT = """
import time
from akiosctl import Cage
with Cage() as cage:
    cage.run("sh", "-c", "echo a > new; echo b > data/output/b", check=True)
    print(cage.name, flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_killed_leaves_its_cage_as_the_guide_says(
    daemon: Daemon, number: signal.Signals
) -> None:
    project = daemon.workspace(uid=NOBODY)
    options = daemon.as_user(NOBODY)
    options["env"] = {**options["env"], "AKIOS_SOCKET": str(daemon.socket)}
    program = subprocess.Popen(
        [sys.executable, "-c", LEFT], cwd=project, stdout=subprocess.PIPE, text=True, **options
    )
    assert program.stdout is not None
    with program.stdout:
        name = program.stdout.readline().strip()
        program.send_signal(number)
        assert program.wait(30) == -number
    assert name in daemon.ctl("cage", "list", uid=NOBODY).stdout
    down = ("cage", "down", name, "--keep-output")
    refused = daemon.ctl(*down, uid=NOBODY)
    assert refused.returncode == 125 and "nothing destroyed" in refused.stderr
    assert daemon.ctl("commit", name, uid=NOBODY, cwd=project).returncode == 0
    done = daemon.ctl(*down, uid=NOBODY)
    assert done.returncode == 0, done.stderr
    assert (project / "new").read_text() + (project / "data/output/b").read_text() == "a\nb\n"
    assert name not in daemon.ctl("cage", "list", uid=NOBODY).stdout


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_same_in_async_code(daemon: Daemon, backend: str) -> None:
    assert use(daemon, "uses_async_cage.py", backend) == "done"
    listed = daemon.ctl("cage", "list", "--json", uid=NOBODY)
    assert not [one for one in json.loads(listed.stdout) if one["state"] == "up"]


def test_the_example_of_the_readme_runs(daemon: Daemon) -> None:
    lines = (PROGRAMS.parents[2] / "README.md").read_text().split("\n")
    start = lines.index("    from akiosctl import Cage")
    example = "\n".join(line[4:] for line in lines[start : lines.index("", start)])
    assert run_text(daemon, example) == "42\n\n"


OWN_POLICY = """
from pathlib import Path
from akiosctl import Cage
Path("own.yaml").write_text("version: 1\\nnetwork: {allowed_domains: [good.example]}\\n")
with Cage(policy=Path("own.yaml")) as cage:
    cage.run("curl", "-sf", "http://evil.example/")
    print(cage.denials()[0].hint)
"""


def test_hints_are_about_the_policy_that_a_cage_was_made_with() -> None:
    own = Daemon(system_policy="projects_may: {allowed_domains: [good.example, evil.example]}\n")
    try:
        hint = run_text(own.start(), OWN_POLICY)
        assert "good.example" in hint and "own.yaml" in hint, hint
    finally:
        own.close()


def begin(own: Daemon, project: Path, program: str) -> subprocess.Popen[bytes]:
    """One of ``library`` that waits for a line, after it has said that its cage is up."""
    options = own.as_user(NOBODY)
    options["env"] = {**options["env"], "AKIOS_SOCKET": str(own.socket)}
    client: subprocess.Popen[bytes] = subprocess.Popen(
        [sys.executable, "-u", PROGRAMS / program],
        cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    return client


def test_a_program_outlives_a_restart_of_akiosd_and_its_bound_holds() -> None:
    own = Daemon()
    try:
        own.start()
        project = own.workspace(uid=NOBODY)
        (project / "akios.yaml").write_text("version: 1\nlimits: {output: 1M}\n")
        client = begin(own, project, "outlives.py")
        kill_and_start(own)
        out, _ = client.communicate(b"go on\n", timeout=90)
        assert client.returncode == 0 and out == b"done\n"
    finally:
        own.close()


def running(daemon: Daemon) -> int:
    """How many programs of the cage ``waits`` run."""
    done = daemon.ctl("cage", "status", "waits", "--json", uid=NOBODY)
    assert done.returncode == 0, done.stderr
    return sum(one["state"] == "running" for one in json.loads(done.stdout)["programs"])


def test_who_waits_for_output_comes_back_to_a_restarted_akiosd() -> None:
    """That akiosd ends what nobody comes back to is the control."""
    own = Daemon(prefix=[sys.executable, impatient_daemon.__file__])
    try:
        own.start()
        project = own.workspace(uid=NOBODY)
        client = begin(own, project, "waits.py")
        assert client.stdout is not None and client.stdin is not None
        words = ("exec", "waits", "--", "sleep", "1000")
        left = own.popen(*words, uid=NOBODY, cwd=project, stdin=subprocess.DEVNULL)
        assert wait_until(lambda: running(own) == 3)
        kill(own)
        left.kill()
        left.wait()
        client.stdin.write(b"away\n")
        client.stdin.flush()
        own.start()
        assert client.stdout.readline() == b"timeout\n"
        assert wait_until(lambda: running(own) == 1), running(own)
        done = own.ctl("exec", "waits", "--", "touch", "go", uid=NOBODY, cwd=project)
        assert done.returncode == 0, done.stderr
        out, _ = client.communicate(timeout=90)
        assert client.returncode == 0 and out == b"7 late\n"
    finally:
        own.close()


EXAMPLES = PROGRAMS.parents[2] / "docs/examples"
FRAMEWORKS: dict[str, tuple[str, Plan | None]] = {
    "smolagents": ("smolagents", None),
    "langchain": ("langchain_core", None),
    "pydantic_ai": (
        "pydantic_ai",
        (
            "run_python",
            {"code": "open('made', 'w').write('42\\n'); print('42 in the cage', end='')"},
        ),
    ),
    "openai_agents": (
        "agents",
        ("shell", {"command": "echo 42 > made; printf '42 in the cage'"}),
    ),
}
"""Name → the module it needs, and what its model asks for, where it asks one over HTTP."""


@pytest.mark.named_set("frameworks")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_example_for_a_framework_runs(daemon: Daemon, name: str) -> None:
    module, plan = FRAMEWORKS[name]
    pytest.importorskip(module, reason=f"needs {module} (pip install 'akios[frameworks]')")
    with Models() as models:
        models.plan = plan
        words = (name, str(EXAMPLES), models.url)
        assert use(daemon, "uses_frameworks.py", *words).endswith("done")
        # The model was told what the tool printed.
        if plan is not None:
            assert any(b"42 in the cage" in one.body and b"tool" in one.body
                       for one in models.received)  # fmt: skip


def test_every_example_is_run() -> None:
    files = {file.stem.removesuffix("_cage") for file in EXAMPLES.glob("*_cage.py")}
    assert files == set(FRAMEWORKS)
