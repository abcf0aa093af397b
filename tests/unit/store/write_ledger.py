"""A small daemon for fault injection: ``python -m tests.unit.store.write_ledger DIR`` writes a
ledger in DIR.

It prints ``go`` once it is running and then each index of its cage's log as that becomes durable,
publishing now and then; it ends by itself, exit code 0, or as the ledger's failure makes it, exit
code 3.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import trio

from akiosd.daemon.ledger import commit, publish
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import LedgerError
from akiosd.store.fsck import fsck
from akiosd.store.log_dir import directory
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import Started, encode_entry

CAGE = CageId("c-000000000001")


async def write(state: Path) -> None:
    ledger = Ledger.open(state, time.time_ns, os.urandom, segment_bytes=64 << 10)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        log = LogId(CAGE) if ledger.interrupted else ledger.open_log(CAGE)
        os.write(1, b"go\n")
        for turn in range(12):
            first = ledger.append_many(
                log, [encode_entry(Started(ts=turn, pid=n)) for n in range(40)]
            )
            await ledger.wait_durable(log, first + 39)
            os.write(1, f"{first + 39}\n".encode())
            if turn % 3 == 2:
                await ledger.publish(log)
        await ledger.aclose()


async def fill(state: Path) -> None:
    """Fill the file system, append until there is no room, make room, go on: prints what happened,
    in order.
    """
    ledger = Ledger.open(state, time.time_ns, os.urandom, segment_bytes=256 << 10)
    full, room = trio.Event(), trio.Event()
    ledger.state.on_full, ledger.state.on_room = full.set, room.set
    filler = state / "filler"
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        log = ledger.open_log(CAGE)
        await ledger.commit(log, encode_entry(Started(ts=1, pid=1)))
        await ledger.publish(log)
        await trio.to_thread.run_sync(fill_up, filler)
        last = ledger.append_many(log, [os.urandom(2000) for _ in range(1000)]) + 999
        await full.wait()
        print("full", flush=True)
        filler.unlink()
        await ledger.wait_durable(log, last)
        print("durable", last, flush=True)
        await room.wait()
        print("room", flush=True)
        await ledger.aclose()


def fill_up(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(os.urandom(size)):
                    pass
            except OSError:
                continue


def main() -> int:
    commit.RESERVE_BYTES = 256 << 10
    commit.RETRY_S = publish.RETRY_S = 0.05
    state = Path(sys.argv[1])
    try:
        trio.run(fill if "--fill" in sys.argv else write, state)
    except BaseExceptionGroup as group:
        if group.split((LedgerError, OSError))[1] is not None:
            raise
        print(group.exceptions, file=sys.stderr)
        return 3
    except (LedgerError, OSError) as error:
        print(error, file=sys.stderr)
        return 3
    if "--fill" in sys.argv:
        print(
            *(fsck(state / directory(LogId(log))).verdict for log in (CAGE, HOST_LOG)),
            fsck(state / directory(LogId(CAGE))).size,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
