"""``python -m tests.unit.store.erase_on_image STATE [--erase]``: a ledger and two discards on a
file system of its own.

Without ``--erase`` it stops before anything is destroyed.  Every kind of content holds a marker of
its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio

from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.wipe_changes import wipe_changes
from akiosd.daemon.ledger import commit
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.errors import LedgerError
from akiosd.kernel.disk import Images
from akiosd.kernel.write_files import write_files
from akiosd.store.erasure_intent import DIRECTORY as DESTROYING
from akiosd.store.wipe import How
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import CageDestroyed, DaemonStop, Started, decode_entry, encode_entry
from akiosd.wire.messages import CageInfo

CAGES = [CageId("c-00000000000a"), CageId("c-00000000000b")]
WIPED, PLAIN = "c-00000000000c", "c-00000000000d"
RECORDS = 470
DISK = 8 << 20


def record(word: str, number: int) -> bytes:
    return encode_entry(DaemonStop(ts=1, reason=f"MARK-{word}-{number:04d}"))


async def write(ledger: Ledger) -> None:
    """Logs that grow in small steps, so that partial bundles are outgrown again and again."""
    logs = [ledger.open_log(cage) for cage in CAGES]
    for first in range(0, RECORDS, 47):
        for log, word in [*zip(logs, ("first", "second"), strict=True), (HOST_LOG, "host")]:
            ledger.append_many(log, [record(word, first + number) for number in range(47)])
            await ledger.publish(log)
    for log in logs:
        ledger.close_log(log)
        await ledger.publish(log)
    ledger.append_many(HOST_LOG, [encode_entry(Started(ts=1, pid=1))] * 600)
    await ledger.publish(HOST_LOG)


def change(cages: Path, disks: Images, name: str, word: str) -> pending_changes.KeptCage:
    """A cage that ended with changes: a file, one that it had removed again, output, a command
    line.
    """
    directory = cages / name
    directory.mkdir(parents=True)
    slot = disks.create(directory, DISK)
    for file in ("stays", "removed"):
        fd = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=slot.mount.fileno())
        os.write(fd, f"MARK-{word}-{file}".encode() * 100)
        os.fsync(fd)
        os.close(fd)
    os.unlink("removed", dir_fd=slot.mount.fileno())
    slot.release()
    (directory / "output.log").write_bytes(f"MARK-{word}-output".encode() * 100)
    argv = (f"MARK-{word}-argv".encode(),)
    info = CageInfo(
        cage=name, uid=0, user="root", state="ended", argv=argv, workspace=b"/w", started_ns=1
    )
    kept = pending_changes.KeptCage(
        info=info,
        owner=(0, 0),
        inside=(0, 0),
        host_id=1,
        host_gid=1,
        disk_size=DISK,
        workspace_id=(1, 1),
        protect=(),
    )
    pending_changes.begin(directory, kept)
    os.sync()
    pending_changes.save(directory, kept)
    os.sync()
    return kept


async def refuse_mounted(ledger: Ledger, keeper: LogKeeper, state: Path) -> None:
    """Something is mounted below the cage: nothing is written and nothing wiped."""
    below = state / "cages" / CAGES[0] / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", below], check=True)
    before = ledger.size(HOST_LOG)
    try:
        await keeper._erase(LogId(CAGES[0]), How())
    except LedgerError as error:
        print("refused:", error.what, flush=True)
    subprocess.run(["umount", below], check=True)
    below.rmdir()
    found = [
        decode_entry(entry)
        for _, entry in await ledger.read(HOST_LOG, before, ledger.size(HOST_LOG))
    ]
    print("tombstones:", sum(isinstance(one, CageDestroyed) for one in found), flush=True)
    print(
        "begun:",
        os.listdir(state / DESTROYING) if (state / DESTROYING).exists() else [],
        flush=True,
    )


async def erase(keeper: LogKeeper, state: Path) -> None:
    now = time.time_ns()
    print("pruned below:", await keeper.prune_host_below(10**6, now) >= RECORDS, flush=True)
    left = [
        path
        for path in state.glob("ledger/**/*")
        if path.is_file() and b"MARK-host" in path.read_bytes()
    ]
    print("left of that:", left, flush=True)
    print("packed:", len(await keeper.pack_old(0, How())), flush=True)
    gone, failed = await keeper.destroy_old(None, 0, How())
    print("destroyed:", len(gone), failed, flush=True)


async def main(state: Path, erases: bool) -> None:
    commit.RESERVE_BYTES = 64 << 10
    ledger = Ledger.open(
        state, time.time_ns, os.urandom, write_files=write_files, segment_bytes=128 << 10
    )
    cages = state / "cages"
    (state / "disk").mkdir()
    disks = Images(state / "disk")
    host: Any = SimpleNamespace(ledger=ledger, cages_dir=cages, state_dir=state, disks=disks)
    keeper = LogKeeper(host, lambda cage: "")
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await write(ledger)
        wiped, plain = change(cages, disks, WIPED, "wiped"), change(cages, disks, PLAIN, "plain")
        if erases:
            print(
                "not overwritten:",
                repr(wipe_changes(cages / WIPED, disks, DISK, How())),
                flush=True,
            )
            pending_changes.forget(cages / WIPED, disks, wiped, "discarded")
            pending_changes.forget(cages / PLAIN, disks, plain, "discarded")
            for name in (WIPED, PLAIN):
                pending_changes.drop(cages / name)
            await refuse_mounted(ledger, keeper, state)
            await erase(keeper, state)
        await ledger.aclose()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), "--erase" in sys.argv)
