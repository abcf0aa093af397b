"""A cage that calls, is denied, or prints without end: others start and are recorded as before; it
ends at its limit.

Times are compared within one run of the tests, as medians, and generously: what is excluded is
waiting *behind* the greedy cage, which would cost hundreds of times more.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from akiosctl.client import Client
from akiosd.wire.messages import Records, Subscribe

from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until
from tests.e2e.swarm import run_once

RUNS = 15
FACTOR, FLOOR_S = 12, 0.15
COUNT = "import os\nn = 0\nwhile True:\n  n += 1\n  try: {call}\n  except OSError: pass"
GREEDY = {
    "traced calls": COUNT.format(call="os.unlink('/tmp/none')"),
    "different traced calls": COUNT.format(call="os.unlink('/tmp/%d' % n)"),
    "denied calls": COUNT.format(call="os.mknod('/tmp/%d' % n, 0o20600, 1)"),
    "starting processes": "import os\nwhile True: os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "output": "import os\nwhile True: os.write(1, b'y\\n' * 32768)",
    "a full processor": "while True: pass",
    "DNS queries": """
import os, socket
query = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6denied\\4test\\0\\0\\1\\0\\1"
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True: sock.sendto(query, ("127.0.0.1", 53))
""",
    "different DNS queries": """
import os, socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
  name = os.urandom(8).hex().encode()
  sock.sendto(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x10" + name + b"\\4test\\0\\0\\1\\0\\1", ("127.0.0.1", 53))
""",
}


@contextmanager
def greedy(daemon: Daemon, program: str) -> Iterator[subprocess.Popen[bytes]]:
    client = daemon.popen(
        "run",
        "--workspace",
        daemon.workspace(),
        "--",
        "python3",
        "-c",
        f"print('up', flush=True)\n{program}",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=daemon.base,
    )
    with client:
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        drain = subprocess.Popen(["cat"], stdin=client.stdout, stdout=subprocess.DEVNULL)
        try:
            yield client
        finally:
            client.kill()
            drain.wait()


def start_times(daemon: Daemon, workspace: Path) -> list[float]:
    """Seconds from request to end of a short run, each."""
    found = []
    for _ in range(RUNS):
        begin = time.monotonic()
        assert run_once(daemon.socket, workspace, ["/bin/true"]).exit_code == 0
        found.append(time.monotonic() - begin)
    return found


def record_times(daemon: Daemon, workspace: Path) -> list[float]:
    """Seconds from request until a subscriber holds the end record of the run, each."""
    found = []
    with Client(str(daemon.base / "run" / "events.sock")) as client:
        client.send(Subscribe(kinds=("cage_end",)))
        run_once(
            daemon.socket, workspace, ["/bin/true"]
        )  # its record says that the subscription stands
        expected = 1
        for number in range(RUNS + 1):
            begin = time.monotonic()
            if number:
                run_once(daemon.socket, workspace, ["/bin/true"])
            while expected:
                message = client.receive().message
                assert isinstance(message, Records), message
                expected -= len(message.entries)
            expected = 1
            if number:
                found.append(time.monotonic() - begin)
    return found


@pytest.fixture(scope="module")
def idle(daemon: Daemon) -> tuple[float, float]:
    """(start, record) of a short run while nothing else runs: medians in seconds."""
    workspace = daemon.workspace()
    start_times(daemon, workspace)
    return statistics.median(start_times(daemon, workspace)), statistics.median(
        record_times(daemon, workspace)
    )


def test_what_runs_in_cages_has_not_the_daemons_precedence(daemon: Daemon) -> None:
    assert daemon.process is not None
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    if os.getpriority(os.PRIO_PROCESS, daemon.process.pid) == ours:
        pytest.skip("akiosd may not raise its priority here: CAP_SYS_NICE")
    done = daemon.run("python3", "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))")
    assert int(done.stdout) == ours
    with greedy(daemon, GREEDY["traced calls"]):
        tasks = list(Path(f"/proc/{daemon.process.pid}/task").iterdir())
        pumps = [int(task.name) for task in tasks if (task / "comm").read_text() == "akios-pump\n"]
        assert pumps and {os.getpriority(os.PRIO_PROCESS, pump) for pump in pumps} == {ours}


@pytest.mark.parametrize("kind", GREEDY)
def test_others_start_and_are_recorded(
    daemon: Daemon, idle: tuple[float, float], kind: str
) -> None:
    workspace = daemon.workspace()
    with greedy(daemon, GREEDY[kind]) as client:
        busy = (
            statistics.median(start_times(daemon, workspace)),
            statistics.median(record_times(daemon, workspace)),
        )
        assert client.poll() is None, "the greedy cage ended while the others were measured"
    report = " · ".join(
        f"{1000 * now:.1f} ms, idle {1000 * then:.1f}" for now, then in zip(busy, idle, strict=True)
    )
    print(f"{kind}: start and record {report}")
    for now, then in zip(busy, idle, strict=True):
        assert now <= max(FACTOR * then, FLOOR_S), report
    assert wait_until(lambda: not resources.caged_processes_of(daemon))


@pytest.mark.parametrize("kind", ["different traced calls", "denied calls", "starting processes"])
def test_it_ends_at_its_audit_limit(daemon: Daemon, kind: str) -> None:
    policy = daemon.workspace() / "policy.yaml"
    policy.write_text("version: 1\nlimits: {audit_bytes: 256K}\n")
    report = daemon.report("python3", "-c", GREEDY[kind], flags=["--policy", str(policy)])
    assert (report["kind"], report["exit_code"]) == ("audit_limit", 137), report
    assert report["reason"].startswith("killed: audit limit 256 KiB of records reached, ")
    records = daemon.events(report["cage"])
    assert records[-1]["kind"] == "end"
    assert records[-1]["reason"] == report["reason"]
    size = sum(len(json.dumps(record)) for record in records)
    assert 128 << 10 < size < 4 << 20, "it ends near its limit"
    assert daemon.ctl("ledger", "verify", report["cage"]).returncode == 0


def test_no_denial_is_lost_in_a_flood(daemon: Daemon) -> None:
    program = """
import os
for n in range(3000):
    try:
        os.mknod("/tmp/%d" % n, 0o20600, 1)
    except OSError:
        pass
"""
    report = daemon.report("python3", "-c", program)
    assert report["kind"] == "exited" and report["usage"]["denials"] >= 3000
    denied = [
        record for record in daemon.events(report["cage"]) if record.get("verdict") == "denied"
    ]
    assert sum(record.get("count", 1) for record in denied) >= 3000
