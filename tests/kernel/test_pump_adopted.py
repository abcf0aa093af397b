"""A pump that is killed and gone on with: every call is recorded once, in order, and gets the
answer that the table gives it.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from akiosd.errors import KernelError
from akiosd.kernel.fds import Fd
from akiosd.kernel.pump import Pump, Ring
from akiosd.values.records import Syscall, decode_entry
from tests.kernel.pump_harness import (
    CHMOD,
    encode_entry,
    encode_rule,
    encode_table,
    needs_root,
    open_target,
)
from tests.kernel.pump_owner import read_log
from tests.kernel.pump_target import resolve

OWNER = Path(__file__).with_name("pump_owner.py")
ROOT = OWNER.parents[2]
EACCES = 13
# A mode with its last bit set is denied.
TABLE = encode_table(
    {"fchmodat": encode_entry(CHMOD, rules=(0, 1), path_arg=1)},
    encode_rule(resolve("fchmodat"), 2, 1, 1, EACCES),
)


class Outcome(NamedTuple):
    """How many owners were killed, how many of them with a call received and nothing journalled;
    what the log says, and the target.
    """

    killed: int
    halfway: int
    records: list[Syscall]
    told: str


def run_killed(tmp_path: Path, times: int, kills: int) -> Outcome:
    log, table = tmp_path / "log", tmp_path / "table"
    table.write_bytes(TABLE)
    ring = Ring()
    fds = [*ring.descriptors()]
    with open_target("numbered", times) as target:
        words = [str(target.listener), *map(str, fds), str(log), str(table), str(kills)]
        owner = subprocess.Popen(
            [sys.executable, str(OWNER), *words],
            pass_fds=[target.listener, *fds],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(target.listener)
        target.go()
        try:
            said, _ = owner.communicate(timeout=90 + kills / 20)
        finally:
            owner.kill()
            ring.close()
        assert owner.returncode == 0
        assert target.process.stdout is not None
        told = target.process.stdout.read()
    entries = [decode_entry(entry) for entry in read_log(str(log))]
    killed, halfway = map(int, said.split())
    calls = [entry for entry in entries if isinstance(entry, Syscall)]
    return Outcome(killed, halfway, calls, told)


def check(records: list[Syscall], times: int) -> None:
    """Each thread's calls, in its order, as often as it made them, with their answers."""
    for thread in (b"0", b"1"):
        calls = []
        for record in records:
            assert record.path is not None
            _, _, name, number = record.path.split(b"/")
            if name == thread:
                calls.append((int(number), record.errno, record.count))
        seen = [
            (number, err, sum(count for *_, count in several))
            for (number, err), several in groupby(calls, key=lambda call: call[:2])
        ]
        assert seen == [
            (number, 0 if number % 5 else EACCES, 1 + number % 3) for number in range(times)
        ]


@needs_root
def test_killed_pumps_lose_double_and_falsify_nothing(tmp_path: Path) -> None:
    found = run_killed(tmp_path, 6000, 120)
    assert found.told == "wrong 0 0\n"
    check(found.records, 6000)
    assert found.killed >= 20 and found.halfway > 0


@needs_root
@pytest.mark.named_set("killed_pumps")
@pytest.mark.timeout(1200)
def test_thousands_of_killed_pumps_lose_double_and_falsify_nothing(tmp_path: Path) -> None:
    total = halfway = 0
    for turn in range(20):
        directory = tmp_path / str(turn)
        directory.mkdir()
        found = run_killed(directory, 12_000, 400)
        total, halfway = total + found.killed, halfway + found.halfway
        assert found.told == "wrong 0 0\n"
        check(found.records, 12_000)
    print(f"{total} killed pumps, {halfway} of them between receiving and journalling")
    assert total >= 2000


# Where the header has them: magic, version, size; head; tail.  native/include/ring.h
_MAGIC, _VERSION, _SIZE, _HEAD, _TAIL = 0, 8, 12, 64, 128


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (_MAGIC, "Q", 1),
        (_VERSION, "I", 2),
        (_SIZE, "I", 1 << 17),
        (_HEAD, "Q", 1 << 40),
        (_HEAD, "Q", 12),
        (_HEAD, "Q", 4096),
        (_TAIL, "Q", 8),
    ],
)
def test_a_damaged_ring_is_refused(offset: int, form: str, value: int) -> None:
    ring = Ring()
    memory, wake, kick = ring.descriptors()
    Ring(left=[Fd(os.dup(fd)) for fd in (memory, wake, kick)]).close()
    before = set(os.listdir("/proc/self/fd"))
    os.pwrite(memory, struct.pack(f"={form}", value), offset)
    with pytest.raises(KernelError):
        Ring(left=[Fd(os.dup(fd)) for fd in (memory, wake, kick)])
    assert set(os.listdir("/proc/self/fd")) == before
    os.ftruncate(memory, 4096)
    with pytest.raises(KernelError):
        Ring(left=[Fd(os.dup(fd)) for fd in (memory, wake, kick)])
    ring.close()


@needs_root
async def test_rows_that_were_on_disk_are_not_given_out_again() -> None:
    """All of a batch, a part of it, none of it: what is missing is given out, with its borders."""
    for on_disk in (0, 3, 10):
        ring = Ring()
        copies = [Fd(os.dup(fd)) for fd in ring.descriptors()]
        with open_target("sequence", 10) as target:
            pump = Pump(target.listener, encode_table(), 0, ring)
            target.go()
            given = []
            async for batch in pump.entries():
                pump.note(100 + len(given))
                given += batch.entries()
            pump.close()
        assert len(given) == 10
        with Pump(os.eventfd(0), encode_table(), 0, Ring(left=copies)) as again:
            missing = []
            for batch in again.resume(100 + on_disk):
                again.note(200 + len(missing))
                missing += batch.entries()
            assert missing == given[on_disk:]
            again.settle(200 + len(missing))
            assert again.rows == 0
