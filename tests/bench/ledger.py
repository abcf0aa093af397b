"""What the ledger costs: throughput, latency of a record that must be durable, short cages,
verification.

    TMPDIR=/on/a/real/disk python -m tests.bench.ledger [ENTRIES]

Every figure is from the same run, on the file system of the temporary directory; ratios with their
marks at the end.  pymerkle (the extra ``bench``) is measured beside it where it is installed.  An
ext4 without a journal does not give out inodes again that were removed within minutes and looks for
others, up to a millisecond a file: measure on one that has a journal.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from akiosctl.record_forms import Form
from akiosd.daemon.ledger.append import Ledger
from akiosd.kernel.hashing import NATIVE
from akiosd.kernel.write_files import write_files
from akiosd.ledger.bundle import Batch, decode_bundle, encode_bundle
from akiosd.ledger.host_word import CageWord
from akiosd.ledger.merkle import root_of
from akiosd.store.archive_log import Places, drop_directory, make_archive
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.log_dir import directory
from akiosd.store.wipe import How
from akiosd.values.ids import HOST_LOG, CageId, LogId, make_cage_id
from akiosd.values.records import End, Syscall, encode_entry
from msgspec.structs import replace

SLICE = 256  # records the pump's reader takes in one turn, as one batch


def make_entries(count: int) -> list[bytes]:
    return [
        encode_entry(
            Syscall(ts=n, name="openat", nr=257, pid=7, verdict="requested", path=b"/a/%d" % n)
        )
        for n in range(count)
    ]


def rate(count: int, start: float) -> float:
    return count / (time.perf_counter() - start)


def hashing_alone(entries: list[bytes]) -> float:
    """The best of three: the first pays for memory."""
    rates = []
    data = encode_bundle(entries)
    for _ in range(3):
        start = time.perf_counter()
        root_of(NATIVE.bundle(data, len(entries)), NATIVE)
        rates.append(rate(len(entries), start))
    return max(rates)


def files_alone(log: Path, folder: Path) -> float:
    """Seconds to create the files of a finished log again, as plainly as can be: what the file
    system asks for.
    """
    contents = [
        (path.relative_to(log), path.read_bytes())
        for path in sorted(log.rglob("*"))
        if path.is_file()
    ]
    for name, _ in contents:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    root = os.open(folder, os.O_RDONLY)
    start = time.perf_counter()
    for name, data in contents:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=root)
        os.write(fd, data)
        os.close(fd)
    taken = time.perf_counter() - start
    os.close(root)
    return taken


def pymerkle(entries: list[bytes]) -> float | None:
    try:
        from pymerkle import SqliteTree  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        tree = SqliteTree(f"{folder}/tree.db")
        start = time.perf_counter()
        tree.append_entries(entries, chunksize=1000)
        tree.get_root()
        return rate(len(entries), start)


def make_calls(count: int, paths: int) -> list[bytes]:
    """As a cage traces them that starts one program again and again: processes differ, ``paths``
    come back.
    """
    call = Syscall(ts=0, name="openat", nr=257, pid=7, verdict="requested", directory=b"/work")
    return [
        encode_entry(
            replace(
                call,
                ts=n * 5_000 + (1 << 60),
                pid=7 if paths == 1 else n // paths,
                path=b"/usr/lib/part%d.py" % (n % paths),
            )
        )
        for n in range(count)
    ]


def show(bundles: list[bytes], as_json: bool) -> float:
    """Lines of ``ledger show`` a second; taking bundles apart is part of it, writing lines out is
    not.
    """
    form, start = Form(as_json), time.perf_counter()
    for number, bundle in enumerate(bundles):
        "\n".join(form.lines("c", SLICE * number, decode_bundle(bundle, SLICE)))
    return rate(SLICE * len(bundles), start)


def print_show(verify: float, count: int) -> None:
    """What is printed beside what ``verify`` reads, records that differ in time alone, as traced,
    and all unlike.
    """
    for name, paths in (("alike but for their time", 1), ("as traced", 300), ("all unlike", count)):
        made = make_calls(count, paths)
        bundles = [
            encode_bundle(made[first : first + SLICE])
            for first in range(0, count - SLICE + 1, SLICE)
        ]
        for as_json in (False, True):
            lines = show(bundles, as_json)
            words = f"show{' --json' if as_json else ''}, records {name}"
            print(f"{words:44} {lines:10,.0f} /s   {lines / verify:.2f} of verify   (to reach 1)")


def new_cage() -> CageId:
    return make_cage_id(os.urandom(8))


def batches_of(entries: list[bytes]) -> list[Batch]:
    """The entries as ``Pump.entries`` gives them."""
    return [Batch.of(entries[first : first + SLICE]) for first in range(0, len(entries), SLICE)]


async def append_all(ledger: Ledger, log: LogId, batches: list[Batch]) -> None:
    for batch in batches:
        await ledger.wait_room()
        ledger.append_many(log, batch)
        await trio.lowlevel.checkpoint()


async def to_the_checkpoint(ledger: Ledger, entries: list[bytes]) -> tuple[float, float, LogId]:
    log, batches = ledger.open_log(new_cage()), batches_of(entries)
    start = time.perf_counter()
    await append_all(ledger, log, batches)
    await ledger.wait_durable(log, len(entries))
    durable = rate(len(entries), start)
    await ledger.publish(log)
    published = rate(len(entries), start)
    ledger.close_log(log)
    return durable, published, log


async def gate_latencies(
    ledger: Ledger, count: int = 300, pause: float = 0.003
) -> tuple[float, float]:
    """p50 and p99, in milliseconds, of append and wait until durable."""
    log = ledger.open_log(new_cage())
    record, taken = encode_entry(End(ts=1, exit_code=0)), []
    for _ in range(count):
        await trio.sleep(pause)
        start = time.perf_counter()
        await ledger.commit(log, record)
        taken.append(time.perf_counter() - start)
    ledger.close_log(log)
    taken.sort()
    return taken[count // 2] * 1000, taken[count * 99 // 100] * 1000


async def under_flood(
    ledger: Ledger, entries: list[bytes], per_second: int = 300_000
) -> tuple[float, float]:
    flood, batches = ledger.open_log(new_cage()), batches_of(entries)[:-1]

    async def pour() -> None:
        begin, sent = trio.current_time(), 0
        while True:
            due = int((trio.current_time() - begin) * per_second)
            while sent < due:
                await ledger.wait_room()
                ledger.append_many(flood, batches[sent // SLICE % len(batches)])
                sent += SLICE
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.002)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour)
        result = await gate_latencies(ledger)
        nursery.cancel_scope.cancel()
    ledger.close_log(flood)
    return result


async def short_cage(ledger: Ledger) -> LogId:
    """It opens its log, waits for its birth and its end, ten records between."""
    log = ledger.open_log(new_cage())
    await ledger.commit(log, b"\x81\xa1a\x01")
    ledger.append_many(log, [b"\x81\xa1a\x02"] * 10)
    await ledger.commit(log, encode_entry(End(ts=1, exit_code=0)))
    ledger.close_log(log)
    return log


async def short_cages(ledger: Ledger, count: int = 300) -> float:
    """Cages a second, a hundred at once."""
    start = time.perf_counter()
    gate = trio.CapacityLimiter(100)

    async def one() -> None:
        async with gate:
            await short_cage(ledger)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return rate(count, start)


async def paced_cages(ledger: Ledger, state: Path, per_second: int = 100, seconds: int = 4) -> None:
    """A hundred short cages every second: how long one takes, and what each leaves and costs once
    all is published.
    """
    taken: list[float] = []
    logs: list[LogId] = []

    async def one() -> None:
        start = time.perf_counter()
        logs.append(await short_cage(ledger))
        taken.append((time.perf_counter() - start) * 1000)

    await ledger.publish(HOST_LOG)
    syncs, cpu, begin = dict(SYNCS), time.process_time(), trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(per_second * seconds):
            await trio.sleep_until(begin + number / per_second)
            nursery.start_soon(one)
    wall = trio.current_time() - begin
    while set(logs) & set(ledger.logs()):  # published as they are, about once a second
        await trio.sleep(0.1)
    count, cpu = len(logs), time.process_time() - cpu
    made = sum(SYNCS.values()) - sum(syncs.values())
    each = ", ".join(f"{SYNCS[name] - syncs[name]} {name}" for name in SYNCS)
    files = inodes = blocks = 0
    for log in logs:
        for path in (state / "cages" / log, *(state / "cages" / log).rglob("*")):
            inodes, files, blocks = (
                inodes + 1,
                files + path.is_file(),
                blocks + path.lstat().st_blocks,
            )
    taken.sort()
    print(
        f"{per_second} short cages a second           {count / wall:10,.0f} /s   p50 {taken[count // 2]:.2f} ms   "
        f"p99 {taken[count * 99 // 100]:.2f} ms   {cpu / count * 1000:.2f} ms of CPU each"
    )
    print(
        f"each leaves                     {files / count:.1f} files   {inodes / count:.1f} inodes   "
        f"{blocks / 2 / count:.0f} KiB   {made / count:.2f} syncs ({each})"
    )
    reports = {log: fsck(state / directory(log), hasher=NATIVE) for log in logs[:50]}
    start, packed = time.perf_counter(), logs[:50]
    for log in packed:
        make_archive(
            Places.of(state, log), NATIVE, CageWord(size=reports[log].size, root=reports[log].root)
        )
        drop_directory(Places.of(state, log), How())
    spent = (time.perf_counter() - start) / len(packed) * 1000
    inodes = sum(
        1 for log in packed for _ in (state / "cages" / log, *(state / "cages" / log).rglob("*"))
    )
    print(
        f"packed                          {inodes / len(packed):.1f} inodes   {spent:.1f} ms each, wiping included"
    )


SYNCS = {"fsync": 0, "fdatasync": 0, "syncfs": 0}


def count_syncs() -> None:
    """Every sync of this process from now on, by its name."""
    fsync, fdatasync, syncfs = os.fsync, os.fdatasync, Directory._syncfs

    def counted(name: str, real: Callable[[Any], None]) -> Callable[[Any], None]:
        def sync(what: Any) -> None:
            SYNCS[name] += 1
            real(what)

        return sync

    os.fsync, os.fdatasync = counted("fsync", fsync), counted("fdatasync", fdatasync)  # type: ignore[assignment]
    Directory._syncfs = counted("syncfs", syncfs)  # type: ignore[method-assign]


async def with_ledger(state: Path, work: Callable[[Ledger], Awaitable[None]]) -> None:
    ledger = Ledger.open(state, time.time_ns, os.urandom, hasher=NATIVE, write_files=write_files)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await trio.sleep(0.3)  # the first segments and the reserve are made
        await work(ledger)
        await ledger.aclose()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    entries = make_entries(count)
    count_syncs()
    numbers: dict[str, float] = {}

    async def work(ledger: Ledger) -> None:
        numbers["durable"], numbers["published"], log = await to_the_checkpoint(ledger, entries)
        logs.append(log)
        idle = await gate_latencies(ledger)
        flood = await under_flood(ledger, entries)
        print(f"gating record, idle             p50 {idle[0]:6.2f} ms   p99 {idle[1]:6.2f} ms")
        print(f"gating record, 300 k/s beside   p50 {flood[0]:6.2f} ms   p99 {flood[1]:6.2f} ms")
        print(f"short cages, 100 at once        {await short_cages(ledger):10,.0f} /s")
        await paced_cages(ledger, state)

    logs: list[LogId] = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        numbers["hash"] = hashing_alone(entries)
        other = pymerkle(entries[:50_000])
        trio.run(with_ledger, state, work)
        start = time.perf_counter()
        report = fsck(state / directory(logs[0]), hasher=NATIVE)
        numbers["verify"] = rate(report.size, start)
        (state / "again").mkdir()
        files = files_alone(state / directory(logs[0]), state / "again")
        numbers["floor"] = count / (count / numbers["hash"] + files)
        print(f"verify                          {numbers['verify']:10,.0f} /s   {report.verdict}")
    print_show(numbers["verify"], min(count, 100_000))
    print(f"hashing alone                   {numbers['hash']:10,.0f} /s")
    print(f"ring to durable                 {numbers['durable']:10,.0f} /s")
    print(f"ring to checkpoint              {numbers['published']:10,.0f} /s")
    print(
        f"pymerkle, bulk SQLite           {other:10,.0f} /s"
        if other
        else "pymerkle is not installed"
    )
    print(
        f"ring to checkpoint / hashing alone   {numbers['published'] / numbers['hash']:.2f}   (to reach 0.3)"
    )
    print(f"hashing, and creating the files {numbers['floor']:10,.0f} /s")
    print(f"ring to checkpoint / that            {numbers['published'] / numbers['floor']:.2f}")
    print(
        f"verify / hashing alone               {numbers['verify'] / numbers['hash']:.2f}   (to reach 0.3)"
    )
    if other:
        print(
            f"ring to checkpoint / pymerkle        {numbers['published'] / other:.2f}   (to reach 2)"
        )


if __name__ == "__main__":
    main()
