"""The REST API for everybody: a monitor's rights, cages of its own, and no way to a directory of the
host's.  What it may do, akiosd decides by the groups of the process that asks.
"""

from __future__ import annotations

import grp
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from akiosctl.api.endpoints import BASE, ENDPOINTS
from tests.e2e.api_server import ApiServer
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.image_disk import on_image
from tests.e2e.test_api_running import begin, finish, output, run
from tests.e2e.test_api_terminals import dialogue, left_running, refusal
from tests.e2e.test_api_workflows import RUNS, outputs, started, text_of, tool, wait_over

API = 65532
MONITOR = "games"  # any group that is there, and that nobody in the tests has


@pytest.fixture(scope="module")
def watched() -> Iterator[Daemon]:
    """A daemon that has monitors."""
    daemon = Daemon(system_policy="projects_may: {keep: [HOME]}\n")
    try:
        text = daemon.config.read_text()
        left, _, _ = text.partition(", monitor:")
        daemon.config.write_text(f"{left}, monitor: {MONITOR}}}\n")
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def server(watched: Daemon) -> Iterator[ApiServer]:
    groups = {"extra_groups": [grp.getgrnam(MONITOR).gr_gid]}
    with ApiServer(watched, API, ["--system"], **groups) as made:
        yield made


@pytest.fixture(scope="module")
def theirs(watched: Daemon) -> str:
    """An ended cage of an ordinary user's, with changes that wait."""
    words = "echo x > made; cat private; curl -s http://example.com; true"
    workspace = watched.workspace(uid=NOBODY)
    (workspace / "private").write_text("theirs\n")
    return str(watched.report("sh", "-c", words, uid=NOBODY, cwd=workspace)["cage"])


def test_it_reads_what_a_monitor_reads_and_acts_on_nobody_elses_cage(
    server: ApiServer, theirs: str, watched: Daemon
) -> None:
    base = f"{BASE}/cages/{theirs}"
    told = server.ask(f"{BASE}/cages?limit=500").json()["cages"]
    assert theirs in [one["cage"] for one in told]
    for path in (base, f"{base}/why", f"{base}/budget", f"{BASE}/ledger/{theirs}/entries"):
        assert server.ask(path).status == 200, path
    for method, path in (
        *(("POST", f"{base}/stop"), ("POST", f"{base}/pause"), ("POST", f"{base}/down")),
        *(("GET", f"{base}/output"), ("GET", f"{base}/logs"), ("GET", f"{base}/files?path=x")),
        ("POST", f"{base}/discard"),
    ):
        got = server.ask(path, method, If_Match="*")
        assert got.status == 403 and got.json()["rule"] == "cage.owner", (path, got.body)
    # Without the group it sees its own cages alone: it is akiosd that decides.
    with ApiServer(watched, API, ["--system"]) as plain:
        assert plain.ask(base).status == 404


def test_no_request_reaches_a_directory_of_the_hosts(server: ApiServer, watched: Daemon) -> None:
    place = watched.workspace(uid=API)
    (place / "file").write_text("of the host\n")
    shown = f"version: 1\nfilesystem: {{read: ['{place}']}}\n"
    agent = ["cat", str(place / "file")]
    sent = [{"path": "akios.yaml", "text": shown}]
    for body in ({"workspace": str(place)}, {"policy_text": shown}, {"files": sent}):
        got = begin(server, argv=agent, **body)
        assert got.status == 403 and got.json()["rule"] == "serve.system", got.body
    # Nor because its program lies there: in an installation, or alone.
    (place / "bin").mkdir()
    (place / "pyvenv.cfg").write_text("home = /usr/bin\n")
    tool = place / "bin" / "tool"
    tool.write_text(f"#!/bin/sh\ncat {place}/file\n")
    tool.chmod(0o755)
    got = begin(server, argv=[str(tool)])
    assert got.status == 409 and "neither a program of the system" in got.json()["detail"], got.body
    link = [{"path": "agent.sh", "text": f"#!{tool}\n", "executable": True}]
    ended = run(server, "./agent.sh", files=link)
    assert ended["exit_code"] and output(server, ended["cage"]).body != b"of the host\n"
    # Control: a personal server shows its user's.
    with ApiServer(watched, API) as personal:
        for given in ({"argv": agent, "policy_text": shown}, {"argv": [str(tool)]}):
            ended = run(personal, *given.pop("argv"), **given)
            assert output(personal, ended["cage"]).body == b"of the host\n"


def plant(watched: Daemon) -> dict[str, tuple[Path, list[dict[str, Any]]]]:
    """A program in each of several places of the server's user, and files by which an environment
    in the workspace leads there.
    """
    home = Path(watched.as_user(API)["env"]["HOME"])
    found = {}
    for place in ("sdk/3.99/bin", "inst/bin", ".local/pipx/venvs/t/bin", ".bun/bin"):
        program = home / place / "python3"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\necho of the host\n")
        program.chmod(0o755)
        for name, python in ((f"home = {program.parent}", ""), ("home = /usr/bin", str(program))):
            files: list[dict[str, Any]] = [{"path": ".venv/pyvenv.cfg", "text": name + "\n"}]
            if python:
                script = {"path": ".venv/bin/python3", "text": f"#!{python}\n"}
                files.append(script | {"executable": True})
            found[f"{place} {'by its shebang' if python else 'as home'}"] = (program, files)
    (home / "inst/lib/python3.99").mkdir(parents=True, exist_ok=True)
    (home / "inst/lib/python3.99/os.py").touch()
    give_away(home)
    return found


def give_away(home: Path) -> None:
    for place in (home, *home.rglob("*")):
        os.chown(place, API, NOBODY)
        if not place.is_symlink():
            place.chmod(place.stat().st_mode & 0o700)


def test_no_environment_in_the_files_of_a_request_shows_what_is_the_servers(
    server: ApiServer, watched: Daemon
) -> None:
    """In a cage, a standing one and a step of a workflow."""
    planted = plant(watched)
    with ApiServer(watched, API) as personal:  # the control shows it: its user's own files
        for what, (program, files) in planted.items():
            for asked, shown in ((server, False), (personal, True)):
                ended = run(asked, "cat", str(program), files=files)
                seen = b"of the host" in output(asked, ended["cage"]).body
                assert seen == shown, (what, asked is server)
        program, files = planted["inst/bin as home"]
        reads = text_of(tool("a", "cat", str(program)))
        for asked, shown in ((server, False), (personal, True)):
            step = started(begin(asked, RUNS, text=reads, files=files))
            assert (wait_over(asked, step)["state"] == "success") == shown
            made = begin(asked, standing=True, name=f"venv{shown}", files=files)
            cage = made.json()["cage"]
            done = finish(asked, begin(asked, f"/cages/{cage}/exec", argv=["cat", str(program)]))
            assert ("of the host" in done["stdout"]) == shown, done
            finish(asked, asked.ask(f"{BASE}/cages/{cage}/down?fast=true&discard=true", "POST"))


def test_a_refused_command_does_not_tell_what_there_is(server: ApiServer, watched: Daemon) -> None:
    home = Path(watched.as_user(API)["env"]["HOME"])
    (home / "private").mkdir(exist_ok=True)
    (home / "private/file").write_text("of the host")
    give_away(home)
    said = set()
    for place in (home / "private", home / "private/file", home / "none"):
        got = begin(server, argv=[str(place)])
        assert got.status == 409
        said.add(got.body.replace(os.fsencode(place), b"it"))
    assert len(said) == 1
    assert begin(server, argv=["/usr/bin/true"]).status == 202  # the control
    with ApiServer(watched, API) as personal:
        told = {
            begin(personal, argv=[str(home / one)]).json()["detail"] for one in ("private", "none")
        }
        assert len(told) == 2


def test_a_standing_cage_has_no_directory_beside_the_limit_of_its_disk(
    server: ApiServer, watched: Daemon
) -> None:
    """``data/output`` is written directly: whoever has a token could fill the server's disk."""
    fill = "mkdir -p data/output; dd if=/dev/zero of=data/output/big bs=1M count=200"
    with ApiServer(watched, API) as personal:
        for asked, shown in ((server, False), (personal, True)):
            made = begin(asked, standing=True, name=f"fills{shown}", disk="64M")
            assert made.status == 202, made.body
            cage, workspace = made.json()["cage"], Path(made.json()["workspace"])
            words = {"argv": ["/bin/sh", "-c", fill]}
            done = finish(asked, begin(asked, f"/cages/{cage}/exec", **words))
            assert (done["exit_code"] == 0) == shown, done
            assert (workspace / "data/output/big").exists() == shown  # control: a personal one's
            finish(asked, asked.ask(f"{BASE}/cages/{cage}/down?fast=true&discard=true", "POST"))
            assert not workspace.exists()


def test_there_is_no_diff_and_no_commit(server: ApiServer, theirs: str) -> None:
    rows = [row for row in ENDPOINTS if row.personal]
    assert {row.path.rpartition("/")[2] for row in rows} == {"diff", "commit"}
    for row in rows:
        path = BASE + row.path.replace("{cage}", theirs)
        got = server.ask(path, row.method, If_Match="*")
        assert got.status == 403 and got.json()["rule"] == "serve.system"


def test_its_cages_get_the_files_of_a_request_and_leave_nothing(server: ApiServer) -> None:
    script = {"path": "agent.py", "text": "open('out', 'w').write('made'); print(input())\n"}
    ended = run(server, "python3", "agent.py", files=[script], stdin="hello\n")
    assert (ended["exit_code"], ended["changes"]) == (0, False), output(server, ended["cage"]).body
    assert output(server, ended["cage"]).body == b"hello\n"
    made = begin(server, standing=True, name="stands", files=[script])
    assert made.status == 202, made.body
    cage = made.json()["cage"]
    words = {"argv": ["python3", "agent.py"], "stdin": "again\n"}
    assert finish(server, begin(server, f"/cages/{cage}/exec", **words))["stdout"] == "again\n"
    assert server.ask(f"{BASE}/cages/{cage}/files?path=out").body == b"made"
    finish(server, server.ask(f"{BASE}/cages/{cage}/down?fast=true", "POST"))
    state = json.loads(server.ask(f"{BASE}/cages?state=running").body)
    assert cage not in [one["cage"] for one in state["cages"]]


def test_a_terminal_is_that_of_its_own_cages(server: ApiServer, watched: Daemon) -> None:
    theirs = left_running(watched, "cat")
    stands = watched.workspace(uid=NOBODY)
    up = ("--json", "cage", "up", "theirs", "--workspace", stands)
    other = json.loads(watched.ctl(*up, uid=NOBODY, cwd=stands).stdout)["cage"]
    own = begin(server, standing=True, name="term").json()["cage"]

    async def talk() -> None:
        assert await refusal(server, f"/cages/{theirs}/attach") == 403
        assert await refusal(server, f"/cages/{other}/exec?argv=true") == 403
        async with dialogue(server, f"/cages/{own}/exec?argv=stty&argv=size") as made:  # control
            assert (await made.end())["data"]["exit_code"] == 0
            assert made.output.split() == [b"24", b"80"]

    trio.run(talk)
    finish(server, server.ask(f"{BASE}/cages/{own}/down?fast=true", "POST"))
    assert watched.ctl("stop", theirs, "--grace", "0", uid=NOBODY).returncode == 0


# ---- workflows

SECRET = "of the host's"


@pytest.fixture
def hidden(watched: Daemon) -> Path:
    """A directory that the server's user may read, and nobody who asks it may."""
    place = watched.workspace(uid=API)
    (place / "file").write_text(SECRET)
    (place / "w.yml").write_text(text_of(tool("a", "cat", "file")))
    return place


def test_no_workflow_reads_what_is_not_of_its_request(
    server: ApiServer,
    watched: Daemon,
    hidden: Path,
) -> None:
    path = str(hidden / "file")
    reads = text_of(tool("a", "cat", path))
    wide = [{"path": "akios.yaml", "text": f"version: 1\nfilesystem: {{read: ['{hidden}']}}\n"}]
    keeps = [{"path": "akios.yaml", "text": "version: 1\nenvironment: {keep: [HOME]}\n"}]
    refused: tuple[dict[str, Any], ...] = (
        {"text": reads, "workspace": str(hidden)},
        {"file": str(hidden / "w.yml")},
        {"file": "document-analysis"},
        {"text": reads, "files": wide},
        {"text": reads, "files": keeps},
    )
    for body in refused:
        got = begin(server, RUNS, **body)
        assert got.status == 403 and got.json()["rule"] == "serve.system", (body, got.body)
    # What runs, runs without it: by path, by a link, by a program that lies there, by a variable.
    (hidden / "tool").write_text(f"#!/bin/sh\ncat {path}\n")
    (hidden / "tool").chmod(0o755)
    link = {"path": "go", "text": f"#!/bin/sh\nln -s {path} x; cat x\n", "executable": True}
    for one in (tool("a", "cat", path), tool("a", str(hidden / "tool")), tool("a", "./go")):
        made = started(begin(server, RUNS, text=text_of(one), files=[link]))
        over = wait_over(server, made)
        told = server.ask(f"{BASE}{RUNS}/{made}/outputs").body.decode() + json.dumps(over)
        assert SECRET not in told and over["state"] == "failed", told
    narrowed = text_of(tool("a", "cat", path), policy={"filesystem": {"read": [str(hidden)]}})
    got = begin(server, RUNS, text=narrowed)
    assert got.status == 409, got.body
    # Control: a server of that user's reads it.
    with ApiServer(watched, API) as personal:
        for body in ({"text": reads, "files": wide}, {"file": "w.yml", "workspace": str(hidden)}):
            made = started(begin(personal, RUNS, **body))
            assert wait_over(personal, made)["state"] == "success"
            assert SECRET in outputs(personal, made)["a"]["stdout"]


def test_no_variable_of_the_servers_comes_into_a_workflow(
    server: ApiServer,
    watched: Daemon,
) -> None:
    text = text_of(tool("a", "echo", "${HOME:-none}"), env=["HOME"])
    made = started(begin(server, RUNS, text=text))
    assert wait_over(server, made)["state"] == "success"
    assert outputs(server, made)["a"]["stdout"].strip() == "none"
    with ApiServer(watched, API) as personal:  # control: there is one
        made = started(begin(personal, RUNS, text=text))
        assert wait_over(personal, made)["state"] == "success"
        assert outputs(personal, made)["a"]["stdout"].strip() == str(watched.base / f"home-{API}")


def test_a_workflow_of_uploaded_files_runs_and_leaves_no_directory(
    server: ApiServer,
    watched: Daemon,
) -> None:
    files = [{"path": "in/words", "text": "uploaded\n"}]
    write = tool("write", "python3", "-c", "open('made', 'w').write(open('in/words').read())")
    write["policy"] = {"filesystem": {"workspace": "rw"}}
    text = text_of(tool("a", "cat", "in/words"), inputs={"n": {"type": "number"}})
    made = started(begin(server, RUNS, text=text, files=files, inputs={"n": 0.5}))
    over = wait_over(server, made)
    assert over["state"] == "success" and outputs(server, made)["a"]["stdout"] == "uploaded\n"
    place = Path(over["workspace"])
    assert wait_over(server, started(begin(server, RUNS, text=text_of(tool("a", "true")))))
    assert not place.exists()
    got = begin(server, f"{RUNS}/{made}/resume", from_step="a")
    assert got.status == 409 and "gone" in got.json()["detail"]


FILL = "dd if=/dev/zero of={} bs=1M count={} 2>&1; ls -l data/output"
RW = {"filesystem": {"workspace": "rw"}}


def size_below(place: Path) -> int:
    """Bytes on the server's disk."""
    files = [one for one in place.rglob("*") if one.is_file()] if place.exists() else []
    return sum(one.stat().st_blocks * 512 for one in files)


def flow(server: ApiServer, *steps: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    """Its id, and the run when it is over."""
    made = started(begin(server, RUNS, text=text_of(*steps), **more))
    return made, wait_over(server, made)


def why(over: dict[str, Any], number: int) -> str:
    return str(over["steps"][number]["instances"][0]["why"])


@pytest.mark.parametrize("workspace", ["cow", "rw"])
def test_what_a_step_writes_to_its_output_is_within_the_limit_of_its_disk(
    server: ApiServer, watched: Daemon, workspace: str
) -> None:
    limits = {"limits": {"disk": "16M"}, "filesystem": {"workspace": workspace}}
    fill = tool("fill", "sh", "-c", FILL.format("data/output/big", 200), policy=limits)
    made, over = flow(server, fill)
    assert "No space left" in outputs(server, made)["fill"]["stdout"]
    assert size_below(Path(over["workspace"])) <= 16 << 20
    with ApiServer(watched, API) as personal:  # control: its user's own data/output is no disk's
        made, over = flow(personal, fill)
        assert over["state"] == "success"
        assert (Path(over["workspace"]) / "data/output/big").stat().st_size == 200 << 20


def test_what_a_step_wrote_to_its_output_reaches_later_steps(server: ApiServer) -> None:
    """Also what one left that failed, and what takes another's place; and nothing beside it."""
    write = "echo one >data/output/one; mkdir data/output/sub; echo two >data/output/sub/two"
    beside = f"{write}; echo no >beside; echo no >data/beside; ln -s one data/output/link"
    fails = (
        "echo again >data/output/one; rm data/output/sub/two; echo left >data/output/left; false"
    )
    read = "cd data/output && cat one link left; ls sub; ls ../../beside ../beside; true"
    last = tool("last", "sh", "-c", read, needs=["fails"])
    made, over = flow(
        server,
        tool("write", "sh", "-c", beside),
        tool("read", "sh", "-c", "cat data/output/one data/output/sub/two", needs="write"),
        tool("fails", "sh", "-c", fails, needs="read", continue_on_error=True),
        last,
    )
    said = outputs(server, made)
    assert said["read"]["stdout"] == "one\ntwo\n", over
    assert said["last"]["stdout"] == "again\nagain\nleft\n", said
    assert "beside" in said["last"]["stderr"]
    # What no commit writes is refused, and said for who has no diff.
    hook = tool("hook", "sh", "-c", "echo true >.envrc", policy=RW)
    _, over = flow(server, hook)
    told = over["steps"][0]["instances"][0]
    assert "refused" in told["why"] and told["next"].startswith("have the step leave"), told
    # It replaced data/output by a way out: nothing is written there, nor shown to the next one.
    out = "rm -rf data; ln -s /tmp data; mkdir -p /tmp/output; echo out >/tmp/output/out"
    made, over = flow(
        server,
        tool("out", "sh", "-c", out),
        tool("then", "sh", "-c", "ls -A data/output; echo in >data/output/in", needs="out"),
        tool("last", "cat", "data/output/in", needs="then"),
    )
    assert over["state"] == "success", over
    assert outputs(server, made)["then"]["stdout"] == ""
    assert not Path("/tmp/output/out").exists()


def test_what_the_steps_of_a_run_write_is_bounded_together(server: ApiServer) -> None:
    """Each has its disk, and all of it would be the server's."""
    policy = RW | {"limits": {"disk": "64M"}}
    fills = [
        tool(f"s{i}", "sh", "-c", FILL.format(f"f{i}", 50), policy=policy, continue_on_error=True)
        for i in range(4)
    ]
    _, over = flow(server, *fills)
    place = Path(over["workspace"])
    assert 50 << 20 <= size_below(place) <= 64 << 20
    for number in range(1, 4):
        assert "the largest disk limit of its steps is 64 MiB" in why(over, number), over
    # Where it writes the same anew, it has as much as before; and a larger disk is room for more.
    same = [
        tool(f"s{i}", "sh", "-c", FILL.format("f", 40), policy=policy, needs=[f"s{i - 1}"][:i])
        for i in range(3)
    ]
    _, over = flow(server, *same)
    assert over["state"] == "success", over
    wide = RW | {"limits": {"disk": "256M"}}
    _, over = flow(server, *[dict(one, policy=wide) for one in fills])
    assert over["state"] == "success" and size_below(Path(over["workspace"])) >= 200 << 20


@pytest.mark.parametrize("keep", [1 << 30, 0])
def test_what_would_leave_the_servers_disk_without_room_is_not_written(
    tmp_path: Path, keep: int
) -> None:
    """A twentieth of a small disk stays free; the control: an akiosd that keeps nothing free."""
    daemon = Daemon(f"quotas: {{keep_free_bytes: {keep}}}\n")
    home = Path(daemon.as_user(API)["env"]["HOME"])
    with on_image(daemon, tmp_path / "image", home, 128 << 20, "-m", "0"):
        os.chown(home, API, NOBODY)
        with ApiServer(daemon, API, ["--system"]) as server:
            numbers = os.statvfs(home)
            with (home / "filler").open("wb") as filler:
                os.posix_fallocate(
                    filler.fileno(), 0, numbers.f_bavail * numbers.f_frsize - (20 << 20)
                )
            dd = "dd if=/dev/zero of={} bs=1M count=16"
            _, over = flow(
                server,
                tool("wide", "sh", "-c", dd.format("f"), policy=RW, continue_on_error=True),
                tool("small", "sh", "-c", "echo small >data/output/small", needs="wide"),
            )
            place = Path(over["workspace"])
            assert (place / "data/output/small").read_text() == "small\n", over
            assert (place / "f").exists() == (not keep), over
            if keep:
                assert "must stay free there: nothing of what it wrote was kept" in why(over, 0)
                assert not list(place.glob(".akios-*"))


def test_no_cage_writes_directly_also_where_the_system_policy_lets_users_do_so() -> None:
    daemon = Daemon(system_policy="filesystem: {workspace: rw-direct}\n")
    try:
        daemon.start()
        direct, cow = (
            f"version: 1\nfilesystem: {{workspace: {one}}}\n" for one in ("rw-direct", "cow")
        )
        text = text_of(tool("a", "true"))
        with ApiServer(daemon, API, ["--system"]) as server, ApiServer(daemon, API) as personal:
            # The controls: another policy, and a server for its user.
            for asked, policy, is_refused in (
                (server, direct, True),
                (server, cow, False),
                (personal, direct, False),
            ):
                files = [{"path": "akios.yaml", "text": policy}]
                for got in (
                    begin(asked, argv=["true"], policy_text=policy),
                    begin(asked, argv=["true"], files=files),
                    begin(asked, RUNS, text=text, files=files),
                ):
                    rule = got.json().get("rule", "")
                    assert (rule == "serve.system") == is_refused, (policy, got.body)
                    assert asked is personal or got.status == (403 if is_refused else 202)
    finally:
        daemon.close()
