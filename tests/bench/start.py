"""What a cage costs: rows 1, 2 and 5 of the table of numbers, every figure from the same run, and
how fast much output comes through.

    python -m tests.bench.start [RUNS]

Medians in ms, with pauses of 25 ms between runs (back-to-back runs hide RCU waits), peers taken in
turns.  Needs root and, for the first ratio, bubblewrap.
"""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from akiosctl.client import Client
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import Ended, Run, Started
from tests.e2e.daemon import BIN, REPO, Daemon

PAUSE_S = 0.025
BWRAP = (
    "bwrap --unshare-all --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 "
    "--ro-bind /etc /etc --proc /proc --dev /dev --tmpfs /tmp /bin/true"
)


def time_ms(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1e3


def start_cage(client: Client, workspace: Path) -> None:
    """Request → exit code of /bin/true, over a connection that stands."""
    fd = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    run = Run(
        argv=(b"/bin/true",),
        command=b"/bin/true",
        cwd=bytes(workspace),
        workspace=bytes(workspace),
        home=b"/root",
        user_name="agent",
    )
    try:
        client.send(run, [fd])
        while True:
            received = client.receive()
            close_fds(received.fds)
            if isinstance(received.message, Ended):
                assert received.message.exit_code == 0, received.message
                return
            assert isinstance(received.message, Started)
    finally:
        os.close(fd)


def quiet(command: str) -> Callable[[], object]:
    return lambda: subprocess.run(
        command.split(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def measure(cases: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Medians; one of each in turn, so that drift meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for action in cases.values():
        action()
    for _ in range(runs):
        for name, action in cases.items():
            time.sleep(PAUSE_S)
            found[name].append(time_ms(action))
    return {name: statistics.median(times) for name, times in found.items()}


INSIDE = """
import os, statistics, subprocess, time
def best(action, count, turns=25):
    times = []
    for _ in range(turns):
        begin = time.perf_counter_ns()
        for _ in range(count): action()
        times.append((time.perf_counter_ns() - begin) / count)
    return min(times)
open("file", "w").close()
def open_close(): os.close(os.open("/usr/bin/env", os.O_RDONLY))
print(best(lambda: os.access("/usr/bin/env", os.R_OK), 20000), best(open_close, 20000),
      best(lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0), 100))
"""


def work_inside(daemon: Daemon) -> None:
    python = "/usr/bin/python3"
    outside = [
        float(n)
        for n in subprocess.run(
            [python, "-c", INSIDE], capture_output=True, text=True, cwd=daemon.workspace()
        ).stdout.split()
    ]
    done = daemon.run(python, "-c", INSIDE)
    inside = [float(number) for number in done.stdout.split()]
    for name, bare, caged, mark in zip(
        ("faccessat", "open+close", "fork+exec"), outside, inside, (1.06, 1.6, 1.05), strict=True
    ):
        print(
            f"{name:34} outside {bare:10.0f} ns  inside {caged:10.0f} ns  {caged / bare:5.2f}×  (reach ≤ {mark}×)"
        )


OUTPUT_MB = 512
WRITE = ["head", "-c", f"{OUTPUT_MB}M", "/dev/zero"]


def output(daemon: Daemon, turns: int = 5) -> None:
    """How fast much output comes through, into a pipe that is read: medians."""
    workspace = daemon.workspace()
    run = [str(BIN / "akiosctl"), "--socket", str(daemon.socket), "run", "--discard"]
    cases = {
        "bare": WRITE,
        "akiosctl run": [*run, "--", *WRITE],
        "akiosctl run --no-logs": [*run, "--no-logs", "--", *WRITE],
    }
    if shutil.which("bwrap"):
        cases["bwrap"] = [*BWRAP.split()[:-1], *WRITE]
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(turns):
        for name, command in cases.items():
            found[name].append(time_ms(lambda command=command: read_all(command, workspace)))  # type: ignore[misc]
    for name, times in found.items():
        print(
            f"{OUTPUT_MB} MB of output, {name:22} {OUTPUT_MB / statistics.median(times):8.2f} GB/s"
        )


def read_all(command: list[str], place: Path) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=place, bufsize=0) as process:
        assert process.stdout is not None
        total = 0
        while data := process.stdout.read(1 << 16):
            total += len(data)
    assert (process.returncode, total) == (0, OUTPUT_MB << 20), (command, total)


def main() -> None:
    # As installed: what is measured is not the compiler.
    for package in ("akiosctl", "akiosd"):
        compileall.compile_dir(str(REPO / package), quiet=1)
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    daemon = Daemon().start()
    try:
        workspace = daemon.workspace()
        client = Client(str(daemon.socket))
        cases: dict[str, Callable[[], object]] = {"cage": lambda: start_cage(client, workspace)}
        if shutil.which("bwrap"):
            cases["bwrap"] = quiet(BWRAP)
        cases["python"] = quiet(f"{BIN}/python -c pass")
        cases["akiosctl"] = lambda: daemon.ctl(
            "run", "--workspace", workspace, "--", "/bin/true", cwd=workspace
        )
        found = measure(cases, runs)
        for name, value in found.items():
            print(f"{name:34} {value:8.2f} ms")
        if "bwrap" in found:
            print(
                f"{'cage / bwrap --unshare-all':34} {found['cage'] / found['bwrap']:8.2f}×  (reach ≤ 1.0×)"
            )
        print(
            f"{'akiosctl run over python -c pass':34} {found['akiosctl'] - found['python']:+8.1f} ms  (reach ≤ +35 ms)"
        )
        work_inside(daemon)
        output(daemon)
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
