"""Owns pumps that are killed: a stand-in for keeper and daemon at once, which forks one owner after
the other, each of which goes on with what the one before left.

    python pump_owner.py LISTENER RING WAKE KICK LOG TABLE KILLS

The descriptors stay with this process.  An owner writes entries into the file LOG as the daemon
does into its own: gathered, then written in frames, so that a kill also loses what was appended and
not yet on disk.  The first KILLS owners are killed at a random place; the next runs until the pump
has ended.  Prints how many were killed, and how many of them after a call was received and before
its decision was journalled.
"""

from __future__ import annotations

import mmap
import os
import random
import select
import signal
import struct
import sys
import time
from pathlib import Path

from akiosd.kernel._shim import lib
from akiosd.kernel.fds import Fd
from akiosd.kernel.pump import MOST_ROWS, Pump, Ring
from akiosd.ledger.bundle import Batch, decode_bundle

_FRAME = struct.Struct("=II")
_MOST_S = 0.006
# The ids of the notification and of the journal in the ring's memory: native/include/ring.h
_NOTIF, _JOURNAL = 256, 768


def read_log(path: str) -> list[bytes]:
    """The entries of whole frames; a torn last frame is cut off, as at the daemon's start."""
    data = Path(path).read_bytes() if os.path.exists(path) else b""
    entries, at = list[bytes](), 0
    while at + _FRAME.size <= len(data):
        count, size = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + size
        if end > len(data):
            break
        entries += decode_bundle(data[at + _FRAME.size : end], count)
        at = end
    if data:
        os.truncate(path, at)
    return entries


class Owner:
    def __init__(self, arguments: list[str]) -> None:
        listener, *ring = map(int, arguments[:4])
        self.path = arguments[4]
        self.on_disk = self.size = len(read_log(self.path))
        self.waiting: list[Batch] = []
        made = Ring(left=[Fd(os.dup(fd)) for fd in ring])
        self.pump = Pump(os.dup(listener), Path(arguments[5]).read_bytes(), 0, made)
        self.wake = ring[1]

    def append(self, batch: Batch) -> None:
        self.pump.note(self.size)
        self.size += len(batch)
        self.waiting.append(batch)

    def flush(self) -> None:
        joined = Batch.join(self.waiting)
        self.waiting.clear()
        with open(self.path, "ab", buffering=0) as file:
            file.write(_FRAME.pack(len(joined), len(joined.data)) + joined.data)
        self.pump.settle(self.size)

    def run(self) -> None:
        chance = random.Random(os.getpid())
        for batch in self.pump.resume(self.size):
            self.append(batch)
        while True:
            ended = self.pump.counters().ended
            batch = self.pump._drain() if self.pump.rows < MOST_ROWS else Batch()
            if batch:
                self.append(batch)
            elif ended and not self.waiting:
                return
            if self.waiting and (not batch or chance.random() < 0.2):
                self.flush()
            elif not batch and lib.akios_ring_sleep(self.pump._ring, lib.AKIOS_ASLEEP):
                select.select([self.wake], [], [], 0.05)
                lib.akios_ring_wake(self.pump._ring)


def fork_owner(arguments: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            Owner(arguments).run()
            code = 0
        finally:
            os._exit(code)
    return pid


def wait_moment(memory: mmap.mmap, chance: random.Random) -> None:
    """Any moment; or, every second time, one at which a call was received and not journalled."""
    time.sleep(chance.random() * _MOST_S)
    end = time.monotonic() + _MOST_S * chance.randrange(2)
    while time.monotonic() < end:
        if is_halfway(memory):
            return


def is_halfway(memory: mmap.mmap) -> bool:
    received = memory[_NOTIF : _NOTIF + 8]
    return received != bytes(8) and received != memory[_JOURNAL : _JOURNAL + 8]


def main(arguments: list[str]) -> None:
    chance, killed, halfway = random.Random(len(arguments[4])), 0, 0
    memory = mmap.mmap(int(arguments[1]), 4096, prot=mmap.PROT_READ)
    for _ in range(int(arguments[6])):
        pid = fork_owner(arguments)
        wait_moment(memory, chance)
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        killed += 1
        halfway += is_halfway(memory)
    last = fork_owner(arguments)
    assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0
    print(killed, halfway)


if __name__ == "__main__":
    main(sys.argv[1:])
