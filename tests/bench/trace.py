"""What tracing costs: rows 3 and 4 of the table of numbers, every figure from the same run.

    python -m tests.bench.trace [CALLS]

Prints one line for each way to see a system call (nanoseconds, the best round of all), then the
ratios with their marks. Needs root, a C compiler and, for the last ratio, strace.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import trio
from akiosd.kernel.pump import Pump
from akiosd.kernel.seccomp import Compiled, compiled
from akiosd.values.policy import Policy

SOURCE = Path(__file__).with_suffix(".c")
TURNS = 3


def build(directory: Path) -> Path:
    program = directory / "trace"
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, SOURCE], check=True)
    return program


def run(*command: object) -> float:
    """The one number that the program prints."""
    result = subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(result.stdout)


async def run_pump(
    program: Path, calls: int, filter_file: Path, table: bytes, sync_wake_up: bool
) -> float:
    """The target under the shipped filter, the pump with the shipped table, a Trio task as the
    reader.
    """
    ours, theirs = socket.socketpair()
    command = [str(program), "target", str(theirs.fileno()), str(calls), str(filter_file)]
    process = subprocess.Popen(
        command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
    )
    theirs.close()
    with ours, process:
        number = int.from_bytes(ours.recv(4), sys.byteorder)
        pidfd = os.pidfd_open(process.pid)
        listener = take_fd(pidfd, number)
        os.close(pidfd)
        with Pump(listener, table, sync_wake_up=sync_wake_up) as pump:
            # Before Linux 6.11 a filter lives until its last task is reaped, and the pump with it.
            threading.Thread(target=process.wait).start()
            ours.send(b"G")
            async for _ in pump.entries():
                pass
            seen = pump.counters().records
        output, _ = process.communicate()
    assert seen >= calls, f"{calls} calls, {seen} records"
    return float(output)


def take_fd(pidfd: int, number: int) -> int:
    """pidfd_getfd(2), which Python has no name for."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(438, pidfd, number, 0))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return fd


def measure(program: Path, calls: int, filter_file: Path, policy: Compiled) -> dict[str, float]:
    """Turns are interleaved, so that a slow minute of the machine falls on all of them."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(TURNS):
        note("plain call", run(program, "plain", calls))
        for sync in (0, 1):
            suffix = ", sync wake-up" if sync else ""
            note("bare loop" + suffix, run(program, "loop", calls, sync))
            pump = trio.run(run_pump, program, calls, filter_file, policy.pump_table, bool(sync))
            note("pump" + suffix, pump)
        if shutil.which("strace"):
            strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=fchmodat", "-o", "/dev/null"]
            note("strace --seccomp-bpf", run(*strace, program, "plain", max(calls // 20, 200)))
        note("getppid, no filter", run(program, "allowed", calls * 10))
        note("getppid, smallest filter", run(program, "allowed", calls * 10, "-"))
        note("getppid, shipped filter", run(program, "allowed", calls * 10, filter_file))
    return {name: min(values) for name, values in found.items()}


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    policy = compiled(Policy().syscalls)
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        filter_file = Path(directory, "filter")
        filter_file.write_bytes(policy.bpf)
        found = measure(program, calls, filter_file, policy)
    for name, value in found.items():
        print(f"{name:28} {value:10.1f} ns")
    plain, shipped = found["getppid, no filter"], found["getppid, shipped filter"]
    ratios = {
        "pump / bare loop": (found["pump"] / found["bare loop"], 1.3),
        "the same, sync wake-up": (
            found["pump, sync wake-up"] / found["bare loop, sync wake-up"],
            1.3,
        ),
        "allowed, ns over no filter": (shipped - plain, 10.0),
        # What any filter costs on this machine is the kernel's; this is what ours adds to it.
        "allowed, ns over smallest": (shipped - found["getppid, smallest filter"], 10.0),
    }
    if "strace --seccomp-bpf" in found:
        ratios["pump / strace"] = (
            found["pump, sync wake-up"] / found["strace --seccomp-bpf"],
            1 / 15,
        )
    for name, (value, limit) in ratios.items():
        print(
            f"{name:28} {value:10.3f}    reach {limit:.3f}  {'ok' if value <= limit else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
