"""Bad input gets a clear error and loses nothing: on both sockets, on the command line, in
policies.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akiosd.wire.messages import Run
from tests.e2e import resources
from tests.e2e.daemon import BIN, NOBODY, Daemon
from tests.e2e.raw_client import HELLO, frame, greeted, read_until
from tests.e2e.resources import wait_until

SOCKETS = ("control.sock", "events.sock")
FUZZ = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def talk(daemon: Daemon, name: str, data: bytes, *, greet: bool = True, wait: bool = True) -> bytes:
    """Everything the daemon says to a client that sends this and then is silent, or leaves."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(daemon.base / "run" / name))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall((frame(HELLO) if greet else b"") + data)
            client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while wait and (part := client.recv(65536)):
                said += part
        return said


def messages(data: bytes) -> list[dict[str, object]]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(msgspec.msgpack.decode(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


@pytest.fixture(scope="module")
def sockets(daemon: Daemon) -> int:
    """How many the daemon holds when nobody is connected."""
    return resources.rest(daemon)["socket:[]"]


@pytest.fixture(autouse=True)
def lives(daemon: Daemon, sockets: int) -> Iterator[None]:
    """After each test the same daemon runs a cage and holds no more connections."""
    assert daemon.process is not None
    pid = daemon.process.pid
    yield
    assert daemon.process.pid == pid and daemon.process.poll() is None
    assert daemon.run("sh", "-c", "exit 5").returncode == 5
    assert wait_until(lambda: resources.descriptors(pid)["socket:[]"] <= sockets)


@pytest.fixture(scope="module", autouse=True)
def verifies(daemon: Daemon) -> Iterator[None]:
    yield
    assert daemon.ctl("ledger", "verify").returncode == 0


# ---- the sockets ---------------------------------------------------------------------------------

NESTED = b"\x91" * 100_000 + b"\xc0"
BROKEN = {
    "no greeting": (frame({"m": "list", "id": 1}), False),
    "another protocol": (frame({**HELLO, "protocol": 99}), False),
    "a frame of nothing": (frame(b""), True),
    "a frame of 4 GiB": (struct.pack(">I", 0xFFFFFFFF) + b"x" * 100, True),
    "a frame just too long": (struct.pack(">I", (1 << 20) + 1) + b"x" * 100, True),
    "no msgpack": (frame(b"\xc1"), True),
    "an unknown message": (frame({"m": "dance", "id": 1}), True),
    "a message for clients": (frame({"m": "ended", "id": 1}), True),
    "an unknown field": (frame({"m": "list", "id": 1, "more": True}), True),
    "a wrong type": (frame({"m": "stop", "id": 1, "cage": 7}), True),
    "a list": (frame([1, 2, 3]), True),
    "deeply nested": (frame(NESTED), True),
    "deeply nested inside": (frame(b"\x82\xa1m\xa4list\xa8everyone" + NESTED), True),
}


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_frame_is_answered_and_ends_its_connection_only(
    daemon: Daemon, name: str, case: str
) -> None:
    data, greet = BROKEN[case]
    said = messages(talk(daemon, name, data, greet=greet))
    errors = [message for message in said if message["m"] == "error"]
    assert len(errors) == 1 and errors[0]["what"], said


@pytest.mark.parametrize("name", SOCKETS)
def test_a_frame_that_stops_halfway(daemon: Daemon, name: str) -> None:
    whole = frame({"m": "list", "id": 1})
    for cut in range(1, len(whole)):
        talk(daemon, name, whole[:cut], wait=False)


# Only here a few: tests/unit/wire tries the same against the state machine in great number.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 63)
    | st.binary(max_size=9)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
TAGS = (
    "run",
    "signal",
    "stop",
    "attach",
    "detach",
    "view",
    "discard",
    "ledger",
    "read_log",
    "subscribe",
    "hello",
)
FIELDS = (
    "cage",
    "signo",
    "grace_ns",
    "policy",
    "argv",
    "env",
    "cwd",
    "binds",
    "tty",
    "start",
    "kinds",
    "cursors",
)
requests = st.builds(
    lambda tag, fields: {"m": tag, "id": 1, **fields},
    st.sampled_from(TAGS),
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4),
)


@pytest.mark.parametrize("name", SOCKETS)
@FUZZ
@given(data=st.binary(max_size=300))
def test_any_bytes(daemon: Daemon, name: str, data: bytes) -> None:
    talk(daemon, name, data, greet=False)
    talk(daemon, name, frame(data))


@pytest.mark.parametrize("name", SOCKETS)
@FUZZ
@given(request=requests)
def test_any_request(daemon: Daemon, name: str, request: dict[str, object]) -> None:
    talk(daemon, name, frame(request), wait=name == "control.sock" and request["m"] != "subscribe")


GOOD = {
    "m": "run", "id": 1, "argv": [b"true"], "command": b"/usr/bin/true",
    "workspace": b"/w", "cwd": b"/w", "home": b"/h",
}  # fmt: skip
BOMB = "version: 1\na0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
BAD_RUNS = {
    "argv": ([], [b""], [b"a\0b"], "true"),
    "env": ({b"A=B": b"c"}, {b"": b"x"}, {b"A": b"b\0c"}, {b"A\0": b"b"}),
    "command": (b"", b"true", b"/usr/bin/\0true", b"/" * 5000),
    "cwd": (b"", b"w", b"/w\0", b"/" + b"x" * 5000),
    "workspace": (b"", b"w", b"/", b"/w/../..", b"/w\0", b"/proc", b"/" + b"a/" * 3000),
    "binds": (
        [{"path": b"relative", "fd": 1}],
        [{"path": b"/x", "fd": 7}],
        [{"path": b"/x", "fd": -1}],
    ),
    "user_name": ("x" * 10_000, "a:b:c", "a\nroot::0:0"),
}


@pytest.mark.parametrize("field", BAD_RUNS)
def test_a_run_that_cannot_be(daemon: Daemon, field: str) -> None:
    workspace = os.open(daemon.workspace(), os.O_PATH | os.O_DIRECTORY)
    try:
        for value in BAD_RUNS[field]:
            with greeted(daemon) as client:
                data = frame({**GOOD, field: value})
                sent = socket.send_fds(client, [data], [workspace])
                with contextlib.suppress(
                    BrokenPipeError
                ):  # it may have answered, and left, before the rest
                    client.sendall(data[sent:])
                said = read_until(client, {"error", "ended"})
            if field == "user_name":  # only a wish: another name is given
                continue
            assert said["m"] in ("error", "ended"), (field, value)
            assert said["m"] == "error" or said["exit_code"] in (125, 126, 127), said
    finally:
        os.close(workspace)


def test_descriptors_where_none_belong(daemon: Daemon) -> None:
    assert daemon.process is not None
    before = sum(resources.rest(daemon).values())
    ends = os.pipe()
    try:
        for _ in range(5):
            with greeted(daemon) as client:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    socket.send_fds(client, [frame({"m": "list", "id": 1})], [ends[0]] * 200)
                    read_until(client, {"error", "cages"})
    finally:
        for end in ends:
            os.close(end)
    pid = daemon.process.pid
    assert wait_until(lambda: sum(resources.descriptors(pid).values()) <= before + 3)


def test_a_run_without_its_descriptors(daemon: Daemon) -> None:
    with greeted(daemon) as client:
        client.sendall(frame(GOOD))
        assert read_until(client, {"error", "ended", "started"})["m"] == "error"


# ---- the command line ----------------------------------------------------------------------------


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 125) -> None:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_command_that_is_missing_or_cannot_be_executed(daemon: Daemon) -> None:
    workspace = daemon.workspace()
    (workspace / "data").write_text("text")
    refused(daemon.run("no-such-program"), "no-such-program", "not found", code=127)
    refused(daemon.run("./missing", cwd=workspace), "missing", "not found", code=127)
    refused(daemon.run("./data", cwd=workspace), "data", code=126)
    refused(daemon.run(".", cwd=workspace), code=126)
    refused(daemon.ctl("run"), "no command was given", "--")
    refused(daemon.ctl("run", "--memory"), "--memory needs a value")


def test_a_cage_works_with_the_least_that_is_accepted(daemon: Daemon) -> None:
    """The control of what is refused below it."""
    words, flags = ("sh", "-c", "date >f && cat f"), ("--memory", "4M", "--disk", "8M")
    done = daemon.run(*words, flags=[*flags, "--discard"])
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--memory", "lots"], "memory"),
        (["--memory", "-1"], "memory"),
        (["--memory", "100"], "100 B is too little: a cage works with 4 MiB or more"),
        (["--disk", "1K"], "1 KiB is too little: a cage works with 8 MiB or more"),
        (["--pids", "0x"], "pids"),
        (["--timeout", "soon"], "wall_clock"),
        (["--mode", "yolo"], "yolo"),
        (["--rw", "--ro"], "contradict"),
        (["--policy", "/no/such/file"], "/no/such/file"),
        (["--env", "=x"], "env"),
        (["--json=yes"], "--json"),
    ],
)
def test_wrong_flags(daemon: Daemon, flags: list[str], word: str) -> None:
    refused(daemon.run("true", flags=flags), word)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\nlimits: {memroy: 1G}\n", ("memroy", "memory", "line 2")),
        ("version: 1\nlimts: {}\n", ("limts", "limits")),
        ("version: 7\n", ("version",)),
        ("version: 1\nlimits: 7\n", ("limits",)),
        ("version: 1\nlimits: {memory: [1]}\n", ("memory",)),
        ("version: 1\n  broken: [\n", ("line",)),
        ("&a [*a, *a]\n", ()),
        (BOMB, ()),
        ("[" * 50_000, ()),
        ("!!python/object/apply:os.system ['id']\n", ()),
        ("\0\0\0", ()),
    ],
    ids=["key", "section", "version", "type", "value", "yaml", "cycle", "bomb", "nested", "object", "binary"],
)  # fmt: skip
def test_wrong_policies(daemon: Daemon, text: str, words: tuple[str, ...]) -> None:
    path = daemon.workspace() / "policy.yaml"
    path.write_text(text)
    refused(daemon.run("true", flags=["--policy", str(path)]), *words)


def test_a_directory_that_cannot_be_read(daemon: Daemon) -> None:
    workspace = daemon.workspace(uid=NOBODY)
    locked = workspace / "locked"
    locked.mkdir(mode=0o700)
    for arguments in (
        ["--workspace", locked],
        ["--workspace", workspace / "gone"],
        ["--workspace", "/proc"],
    ):
        refused(daemon.ctl("run", *arguments, "--", "true", uid=NOBODY, cwd=workspace))


def test_a_working_directory_that_is_gone(daemon: Daemon) -> None:
    gone = daemon.workspace() / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}"; exec "$0" "$@"'
    command = ["sh", "-c", script, str(BIN / "akiosctl"), "--socket", str(daemon.socket)]
    done = subprocess.run(
        [*command, "run", "--", "true"], capture_output=True, text=True, cwd=gone, timeout=60
    )
    refused(done)


def test_a_million_bytes_of_arguments(daemon: Daemon) -> None:
    """One argument of 128 KiB is the kernel's limit (MAX_ARG_STRLEN); a million in many is within
    it.
    """
    word = "x" * 100_000
    done = daemon.run("sh", "-c", "printf %s $# ", "sh", *[word] * 9)
    assert (done.stdout, done.returncode) == ("9", 0), done.stderr
    # More than a frame holds is told as such, or runs: never a hang, never a traceback.
    more = daemon.run("sh", "-c", "printf %s $# ", "sh", *[word] * 12)
    assert "Traceback" not in more.stderr
    assert (more.stdout, more.returncode) == ("12", 0) or (more.returncode == 125 and more.stderr)


def test_requests_about_cages_that_are_not(daemon: Daemon) -> None:
    for verb in ("attach", "stop", "diff", "commit", "discard"):
        for name in ("c-000000000000", "../../etc", "", "c-\n", "last-one"):
            refused(daemon.ctl(verb, name))
    for name in ("c-000000000000", "../../etc/passwd"):
        refused(daemon.ctl("ledger", "show", name))


def test_names_with_every_byte(daemon: Daemon) -> None:
    """What a name may hold, an argument and a variable may: every byte but NUL, and it comes out as
    it went in.
    """
    odd = bytes(range(1, 256)).replace(b"/", b"")[:200]
    done = daemon.run(b"printf", b"%s", odd, text=False)  # type: ignore[arg-type]
    assert done.stdout == odd, done.stderr
    workspace = daemon.workspace()
    (Path(os.fsdecode(os.fsencode(workspace) + b"/" + odd[:100]))).mkdir()
    inside = daemon.ctl(
        "run", "--", "pwd", cwd=os.fsencode(workspace) + b"/" + odd[:100], text=False
    )
    assert inside.stdout.rstrip(b"\n").endswith(odd[:100]) or inside.returncode == 125, (
        inside.stderr
    )


def test_the_struct_of_a_run_and_these_tests_agree() -> None:
    assert set(BAD_RUNS) <= set(Run.__struct_fields__)
    assert json.dumps(sorted(GOOD.keys() - {"m"} - set(Run.__struct_fields__))) == "[]"


@pytest.mark.parametrize(
    ("option", "mode"), [("--runtime-dir", 0o1777), ("--state-dir", 0o1777), ("--state-dir", 0o755)]
)
def test_a_directory_of_others_is_refused_and_stays_as_it_is(
    tmp_path: Path, option: str, mode: int
) -> None:
    """As /tmp, or a directory full of somebody's files, was.  The control: the same start in
    directories of its own.
    """
    for name in ("given", "given/cages/pictures", "given/etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "given/cages/pictures/one.jpg").touch()
    (tmp_path / "given/etc/passwd").touch()
    (tmp_path / "given").chmod(mode)
    before = sorted((str(path), path.lstat().st_mode) for path in (tmp_path / "given").rglob("*"))
    options = {
        "--state-dir": tmp_path / "state",
        "--runtime-dir": tmp_path / "run",
        option: tmp_path / "given",
    }
    words = [word for pair in options.items() for word in pair]
    done = subprocess.run(
        [BIN / "akiosd", *words], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert (
        done.returncode == 1
        and f"where: {tmp_path / 'given'}" in done.stderr
        and option in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert (tmp_path / "given").stat().st_mode & 0o7777 == mode
    assert (
        sorted((str(path), path.lstat().st_mode) for path in (tmp_path / "given").rglob("*"))
        == before
    )


KNOCKING = """
import socket, sys
answers = 0
for number in range(300):
    with socket.socket(socket.AF_UNIX) as knock:
        knock.connect(sys.argv[1])
        answers += b"may not use akiosd" in knock.recv(1 << 12)
print(answers)
"""


def test_who_is_refused_three_hundred_times_fills_no_log(daemon: Daemon) -> None:
    before = daemon.log.read_text().count("peer refused")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", KNOCKING, daemon.socket],
        user=12345,
        group=12345,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    assert done.stdout.strip() == "300", "the control: each knock was refused with words"
    lines = [line for line in daemon.log.read_text().splitlines() if "peer refused" in line][
        before:
    ]
    assert 0 < len(lines) < 20 and "counted, not written" in lines[-1]
