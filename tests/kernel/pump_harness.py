"""What the pump's tests share: targets under a real filter, and tables written by hand."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from tests.kernel.pump_target import LIBC, resolve
from tests.kernel.raw_records import RawPump, SyscallEvent

TARGET = Path(__file__).with_name("pump_target.py")


def needs_root(test: Callable[..., object]) -> Callable[..., object]:
    skip = pytest.mark.skipif(
        os.geteuid() != 0, reason="reading another process's memory needs root"
    )
    marked: Callable[..., object] = pytest.mark.root(skip(test))
    return marked


def has_userfaultfd() -> bool:
    fd = LIBC.syscall(resolve("userfaultfd"), os.O_CLOEXEC)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


CHMOD, EXEC, RENAME, CONNECT, OPEN, SYSINFO = 1, 2, 3, 4, 5, 6
RULE_CONTINUE = 1
NO_ARG = 255


def encode_entry(
    kind: int, *, rules: tuple[int, int] = (0, 0), err: int = 0, known: int = 1, **args: int
) -> bytes:
    """struct akios_pump_entry; ``rules`` = first, count; ``args`` by the names of the header."""
    names = (
        "path_arg",
        "path2_arg",
        "dirfd_arg",
        "dirfd2_arg",
        "sockaddr_arg",
        "sockaddr_len_arg",
        "argv_arg",
    )
    places = [args.pop(name, NO_ARG) for name in names]
    assert not args
    return struct.pack("=HHHB7B2xi", kind, *rules, known, *places, err)


def encode_rule(nr: int, arg: int, mask: int, value: int, err: int) -> bytes:
    """struct akios_pump_rule."""
    return struct.pack("=IIQQiI", nr, arg, mask, value, err, 0 if err else RULE_CONTINUE)


def encode_table(changes: dict[str, bytes] | None = None, rules: bytes = b"") -> bytes:
    """A table that knows the calls of pump_target.NOTIFIED but ``times``, and lets them
    continue.
    """
    entries = [encode_entry(0, known=0)] * 1024
    known = {
        "fchmodat": encode_entry(CHMOD, path_arg=1),
        "execve": encode_entry(EXEC, path_arg=0, argv_arg=1),
        "renameat2": encode_entry(RENAME, path_arg=1, path2_arg=3),
        "unlinkat": encode_entry(0, path_arg=1),
        "connect": encode_entry(CONNECT, sockaddr_arg=1, sockaddr_len_arg=2),
        "openat": encode_entry(OPEN, path_arg=1),
        "sysinfo": encode_entry(SYSINFO),
    }
    for name, entry in (known | (changes or {})).items():
        entries[resolve(name)] = entry
    return b"".join(entries) + rules


class Target:
    """A process under its own filter that waits for ``go``; ``listener`` is the test's until a pump
    takes it.
    """

    def __init__(self, *action: object) -> None:
        self.connection, theirs = socket.socketpair()
        command = [sys.executable, str(TARGET), str(theirs.fileno()), *map(str, action)]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
        )
        theirs.close()
        self.pid = self.process.pid
        self.listener = self.take_fd()
        # Before Linux 6.11 a filter lives until its last task is reaped, and the pump with it.
        self.reaper = threading.Thread(target=self.process.wait)
        self.reaper.start()

    def take_fd(self) -> int:
        _, fds, _, _ = socket.recv_fds(self.connection, 1, 1)
        assert fds, "the target died before it handed over a descriptor"
        return fds[0]

    def go(self) -> None:
        self.connection.send(b"G")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.reaper.join()

    async def wait_output(self) -> list[str]:
        output, _ = await trio.to_thread.run_sync(self.process.communicate)
        return output.splitlines()


@contextmanager
def open_target(*action: object) -> Iterator[Target]:
    target = Target(*action)
    try:
        yield target
    finally:
        target.kill()
        target.connection.close()
        if target.process.stdout is not None:
            target.process.stdout.close()


async def collect(pump: RawPump, kind: int | None = None) -> list[SyscallEvent]:
    """Every event until the pump ends."""
    events: list[SyscallEvent] = []
    async for batch in pump.batches():
        assert 0 < len(batch) <= 256
        events += batch
    return events if kind is None else [event for event in events if event.kind == kind]


async def run_target(
    *action: object, table: bytes | None = None, kind: int | None = None
) -> tuple[list[SyscallEvent], list[str]]:
    """The events and the output of a whole run with a reader."""
    with open_target(*action) as target, RawPump(target.listener, table or encode_table()) as pump:
        target.go()
        return await collect(pump, kind), await target.wait_output()


async def wait_until(condition: Callable[[], object]) -> None:
    """For the counters, which nothing announces."""
    while not condition():
        await trio.sleep(0.001)
