"""The keeper: what it holds outlives who gave it, and ends when nobody comes back."""

from __future__ import annotations

import errno
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from akiosd.errors import KernelError
from akiosd.kernel import keeper as module
from akiosd.kernel.cgroup import find_layout
from akiosd.kernel.fds import Fd, close_all, open_pipe
from akiosd.kernel.keeper import Keeper
from akiosd.kernel.keeper_process import forget_ended, read_ended, spawn_directly
from tests.kernel.launcher_harness import needs_root

pytestmark = needs_root

LONG = 3600


class World:
    """A path for the keeper's socket, and every keeper that was started there."""

    def __init__(self, tmp: Path) -> None:
        self.path, self.ended = tmp / "keeper.sock", tmp / "keeper-ended"
        self.pids: list[int] = []

    def spawn(self, words: list[str], listener: int, ended: int) -> int:
        self.pids.append(spawn_directly(words, listener, ended))
        return self.pids[-1]

    async def open(self, come_back_s: int = LONG) -> Keeper:
        return await Keeper.open(self.path, self.ended, come_back_s, self.spawn)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    for pid in found.pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass


def is_ended(fd: Fd) -> bool:
    """Whether the last write end of this pipe is closed."""
    return bool(select.select([fd.fileno()], [], [], 0)[0]) and os.read(fd.fileno(), 1) == b""


@pytest.mark.parametrize(
    ("program", "why"), [("/dev/null", "Permission denied"), ("/bin/false", "ended at once")]
)
async def test_one_that_cannot_run_leaves_no_socket(world: World, program: str, why: str) -> None:
    ours = module.PROGRAM
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PROGRAM", program)
        with pytest.raises(KernelError, match=why):
            await world.open()
    assert not world.path.exists() and ours == module.PROGRAM
    (await world.open()).close()  # the control
    assert world.path.exists()


async def test_what_is_kept_outlives_the_connection(world: World) -> None:
    keeper = await world.open()
    reader, writer = open_pipe()
    await keeper.keep({"c-1/pipe": [reader, writer], "c-1/state": [], "c-2/pipe": [writer]})
    close_all([reader, writer])
    keeper.close()
    again = await world.open()
    taken = await again.take_all()
    assert {name: len(fds) for name, fds in taken.items()} == {
        "c-1/pipe": 2,
        "c-1/state": 0,
        "c-2/pipe": 1,
    }
    os.write(taken["c-2/pipe"][0].fileno(), b"over")
    assert os.read(taken["c-1/pipe"][0].fileno(), 9) == b"over"
    assert world.pids == [again.pid]
    for fds in taken.values():
        close_all(fds)
    await again.leave()
    assert not world.path.exists()


async def test_names_are_replaced_and_dropped(world: World) -> None:
    keeper = await world.open()
    reader, writer = open_pipe()
    other_reader, other_writer = open_pipe()
    await keeper.keep({"c-1/a": [writer], "c-1/b": [other_writer], "c-10/a": [other_writer]})
    close_all([writer, other_writer])
    assert not is_ended(reader)
    with Fd(os.open("/dev/null", os.O_RDONLY)) as null:
        await keeper.keep({"c-1/a": [null]})
    assert is_ended(reader)
    await keeper.drop_all_of("c-1")
    await keeper.drop("c-1/never")
    assert not is_ended(other_reader)
    await keeper.drop("c-10/a")
    assert is_ended(other_reader)
    assert await keeper.take_all() == {}
    close_all([reader, other_reader])
    await keeper.leave()


async def test_all_of_a_request_is_kept_or_nothing(world: World) -> None:
    keeper = await world.open()
    assert keeper._socket is not None
    with Fd(os.open("/dev/null", os.O_RDONLY)) as null:
        slot = struct.pack("=64sI", b"c-1/a", 1)
        for bad in (struct.pack("=64sI", b"", 1), struct.pack("=64sI", b"x" * 64, 1), slot[:-1]):
            result, *_ = await keeper._exchange(3, 2, slot + bad, [null.fileno()] * 2)
            assert result == -errno.EPROTO
        result, *_ = await keeper._exchange(3, 1, slot, [null.fileno()] * 2)
        assert result == -errno.EPROTO
        assert await keeper.take_all() == {}
        held = len(os.listdir(f"/proc/{keeper.pid}/fd"))
        result, *_ = await keeper._exchange(3, 1, slot, [null.fileno()])
        assert result == 1
    assert len(os.listdir(f"/proc/{keeper.pid}/fd")) == held + 1
    with pytest.raises(ValueError):
        await keeper.keep({"x" * 64: []})
    await keeper.leave()


async def test_strange_packets_change_nothing(world: World) -> None:
    keeper = await world.open()
    assert keeper._socket is not None
    reader, writer = open_pipe()
    await keeper.keep({"c-1/a": [writer]})
    strange = random.Random(7)
    for _ in range(1000):
        head = struct.pack("=II", strange.choice((0, 3, 3, 8, 1 << 31)), strange.randrange(1 << 32))
        packet = head[: strange.randrange(9)] + strange.randbytes(strange.randrange(200))
        if packet:
            await keeper._socket.send(packet)
            answer = await keeper._socket.recv(100)
            assert struct.unpack("=iI64s", answer)[0] == -errno.EPROTO
    taken = await keeper.take_all()
    assert list(taken) == ["c-1/a"] and os.write(taken["c-1/a"][0].fileno(), b"x") == 1
    close_all([reader, writer, *taken["c-1/a"]])
    await keeper.leave()


async def test_only_root_and_only_one_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await world.open()
    monkeypatch.setattr(module, "_BUSY_PAUSES_S", (0.0,))
    with pytest.raises(KernelError) as refused:
        await world.open()
    assert refused.value.errno == errno.EBUSY and world.pids == [keeper.pid]
    keeper.close()
    assert world.path.stat().st_mode & 0o777 == 0o600
    world.path.chmod(0o666)  # only so that it is the keeper that refuses
    assert ask_as(65534, world.path) == -errno.EPERM
    assert ask_as(0, world.path) == 1
    again = await world.open()
    await again.leave()


def ask_as(uid: int, path: Path) -> int:
    """The keeper's first answer to a process of this user that says hello."""
    code = (
        "import os, socket, struct, sys\n"
        "path = f'/proc/self/fd/{os.open(sys.argv[2], os.O_PATH)}'\n"
        "os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(path)\n"
        "try: s.send(struct.pack('=II', 1, 3600))\n"
        "except BrokenPipeError: pass\n"
        "try: answer = s.recv(100)\n"
        "except ConnectionResetError: answer = s.recv(100)\n"  # told once, before what it said
        "print(struct.unpack('=iI64s', answer)[0])\n"
    )
    words = [sys.executable, "-I", "-c", code, str(uid), str(path)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@contextmanager
def group_with_sleeper() -> Iterator[tuple[Fd, subprocess.Popen[bytes]]]:
    """A v2 control group of our own, and a process in it that ends with us."""
    root = Path(find_layout(Path("/proc/self/mountinfo").read_text()).v2)
    for left in root.glob("akios-test-keeper-*"):  # of a run that was killed
        if not Path("/proc", left.name.split("-")[3]).exists():
            left.rmdir()
    path = root / f"akios-test-keeper-{os.getpid()}-{random.randrange(1 << 32)}"
    path.mkdir()
    sleeper = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    try:
        (path / "cgroup.procs").write_text(str(sleeper.pid))
        with Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as directory:
            yield directory, sleeper
    finally:
        sleeper.kill()
        sleeper.communicate()
        path.rmdir()


async def test_groups_are_killed_when_nobody_comes_back(world: World) -> None:
    reader, writer = open_pipe()
    with group_with_sleeper() as (leaf, ours), group_with_sleeper() as (other, control):
        keeper = await world.open(come_back_s=1)
        await keeper.keep({"c-1/leaf": [leaf], "c-1/workspace": [other], "c-1/pipe": [writer]})
        writer.close()
        keeper.close()
        assert await trio.to_thread.run_sync(ours.wait) == -signal.SIGKILL
        await trio.lowlevel.wait_readable(reader.fileno())
        assert is_ended(reader)
        assert control.poll() is None, "a directory under another name was killed"
    assert list(read_ended(world.ended)) == ["c-1/leaf"]
    forget_ended(world.ended)
    assert read_ended(world.ended) == {}
    reader.close()


async def test_one_that_nobody_goes_on_with_ends_what_it_knows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of another version, which can still be told to."""
    with group_with_sleeper() as (leaf, ours), group_with_sleeper() as (other, control):
        keeper = await world.open()
        await keeper.keep({"c-1/leaf": [leaf], "c-1/workspace": [other]})
        keeper.close()
        monkeypatch.setattr(module, "_VERSION", 2)
        with pytest.raises(KernelError, match="it speaks version 1 of its protocol, we 2"):
            await world.open()
        assert ours.poll() is None, "the control: it was not ended by that"
        await Keeper.end(world.path, world.ended)
        assert await trio.to_thread.run_sync(ours.wait) == -signal.SIGKILL
        assert control.poll() is None, "a directory under another name was killed"
    assert not world.path.exists() and len(world.pids) == 1
    await Keeper.end(world.path, world.ended)  # there is none


async def test_it_knows_since_when_nobody_serves(world: World) -> None:
    """One that came meanwhile and did not get to serving does not count."""
    keeper = await world.open()
    assert keeper.alone_since_ns == 0
    times = [time.time_ns()]
    for _ in range(2):
        keeper.close()
        keeper = await world.open()
        times.append(time.time_ns())
        assert times[0] <= keeper.alone_since_ns <= times[1]
    await keeper.here()
    keeper.close()
    keeper = await world.open()
    assert times[-1] <= keeper.alone_since_ns <= time.time_ns()
    await keeper.leave()


async def test_one_that_cannot_be_ended_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_PAUSES_S", (0.0,))
    keeper = await world.open()
    with pytest.raises(KernelError, match="cannot be ended") as refused:
        await Keeper.end(world.path, world.ended)
    assert refused.value.errno == errno.EBUSY
    await keeper.leave()


@pytest.mark.parametrize("says_here", [False, True])
async def test_time_away_adds_up_until_akiosd_serves_again(world: World, says_here: bool) -> None:
    """One that is started again and again, and each time dies before it serves, does not stop the
    clock.
    """
    keeper = await world.open(come_back_s=1)
    process = os.pidfd_open(keeper.pid)
    with trio.move_on_after(60) as bound, Fd(process):
        for _ in range(8):
            keeper.close()
            with trio.move_on_after(0.3):
                await trio.lowlevel.wait_readable(process)
                break
            keeper = await world.open(come_back_s=1)
            if says_here:
                await keeper.here()
    assert not bound.cancelled_caught
    assert len(world.pids) == 1, "the next start would have found it gone"
    is_gone = keeper.pid == 0
    assert is_gone is not says_here
    await keeper.leave()


async def test_a_lost_keeper_is_replaced_with_all_that_it_held(world: World) -> None:
    keeper = await world.open()
    reader, writer = open_pipe()
    await keeper.keep({"c-1/a": [writer], "c-1/b": [writer, reader]})
    writer.close()
    told: list[KernelError | None] = []
    renewed = trio.Event()

    def on_lost(error: KernelError | None) -> None:
        told.append(error)
        renewed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.watch, on_lost)
        os.kill(keeper.pid, signal.SIGKILL)
        await renewed.wait()
        nursery.cancel_scope.cancel()
    os.kill(keeper.pid, signal.SIGKILL)  # the next request finds it gone
    await keeper.drop("c-1/a")
    assert told == [None] and len(world.pids) == 3
    keeper.close()
    again = await world.open()
    taken = await again.take_all()
    assert {name: len(fds) for name, fds in taken.items()} == {"c-1/b": 2}
    assert os.write(taken["c-1/b"][0].fileno(), b"x") == 1
    for fds in (*taken.values(), [reader]):
        close_all(fds)
    await again.leave()


async def test_the_keeper_has_given_up_what_it_does_not_need(world: World) -> None:
    keeper = await world.open()
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{keeper.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert {
        name: status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")
    } == dict.fromkeys(("CapEff", "CapPrm", "CapInh", "CapAmb"), "0" * 16)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    if int(Path("/proc/self/status").read_text().split("CapBnd:\t")[1].split()[0], 16) >> 8 & 1:
        assert status["CapBnd"] == "0" * 16
    control = subprocess.Popen(
        [sys.executable, "-c", f"{WITHOUT_CAPABILITIES}print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert control.stdout is not None and control.stdout.readline() == b"\n"
        assert can_look_into(control.pid)
        assert not can_look_into(keeper.pid), "a process without capabilities sees its descriptors"
    finally:
        control.kill()
        control.wait()
    await keeper.leave()


WITHOUT_CAPABILITIES = """import ctypes, os, struct, sys
assert ctypes.CDLL(None).capset(struct.pack("=II", 0x20080522, 0), bytes(24)) == 0
"""


def can_look_into(pid: int) -> bool:
    """Whether root without capabilities sees what the process has open (ptrace(2), PTRACE_MODE)."""
    code = f"{WITHOUT_CAPABILITIES}os.readlink(f'/proc/{{sys.argv[1]}}/fd/0')"
    words = [sys.executable, "-c", code, str(pid)]
    return subprocess.run(words, capture_output=True).returncode == 0
