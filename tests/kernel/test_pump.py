"""What a record says: contents read from the target, the numbers decided on, the answer the target
saw.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import pytest
from akiosd.errors import KernelError
from akiosd.kernel._shim import ffi
from akiosd.kernel.pump import Pump, encode_entries
from akiosd.policy.compile.seccomp import LEVELS, compile_filter, encode_pump_table
from akiosd.values import records
from akiosd.values.policy import Policy
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel import raw_records as module
from tests.kernel.pump_harness import (
    CHMOD,
    CONNECT,
    EXEC,
    OPEN,
    RENAME,
    SYSINFO,
    encode_entry,
    encode_rule,
    encode_table,
    needs_root,
    run_target,
)
from tests.kernel.pump_target import resolve
from tests.kernel.raw_records import SyscallEvent, parse_records, to_record

LOOPBACK = struct.pack(
    "=H2s4s8x", socket.AF_INET, (9).to_bytes(2, "big"), socket.inet_aton("127.0.0.1")
)


@needs_root
async def test_paths_are_what_the_target_pointed_at(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch(0o644)
    events, output = await run_target("strings", place)
    assert output == [
        "ok",
        "ENOENT",
        *["EFAULT"] * 3,
        "ENOENT",
        *["ENAMETOOLONG"] * 3,
        "ENOENT",
        "ENOENT",
    ]
    assert place.stat().st_mode & 0o777 == 0o600
    has, fault = module.HAS_PATH, module.FAULT_PATH
    chmods = [(event.path, event.flags) for event in events if event.kind == CHMOD]
    assert chmods == [
        (os.fsencode(place), has),
        (b"/edge", has),
        (None, fault),
        (None, fault),
        (None, fault),
        (b"", has | module.HAS_DIR),
        (b"/" + b"x" * 300, has),
        (b"/" + b"y" * 4094, has),
        (b"/" + b"z" * 4095, has | module.CUT_PATH),
        (b"/over-edge", has),
    ]
    assert [event.directory for event in events if event.path == b""] == [os.fsencode(Path.cwd())]
    [rename] = [event for event in events if event.kind == RENAME]
    assert (rename.path, rename.path2, rename.flags) == (
        b"/from\n\xff",
        b"/to",
        has | module.HAS_PATH2,
    )
    # What cannot be recorded is not made: the kernel can read memory that the pump cannot.
    refused = [event.err for event in events if event.flags & fault and event.args[1]]
    assert refused == [errno.EFAULT] * 2 and sum(event.err != 0 for event in events) == 2
    assert all(event.count == 1 and event.args[0] & 0xFFFFFFFF == 0xFFFFFF9C for event in events)
    assert len({event.pid for event in events}) == 1
    assert [event.time_ns for event in events] == sorted(event.time_ns for event in events)


@needs_root
async def test_argv_is_bounded_in_number_and_bytes() -> None:
    events, output = await run_target("argv", kind=EXEC)
    assert output == [*["ENOENT"] * 3, "EFAULT", *["ENOENT"] * 3, "EFAULT", "EFAULT"]
    assert all(event.path == b"/no/such/program" for event in events)
    # An empty argv and none are the same to the kernel and here: they fold if they come in one
    # drain.
    events = [event for event in events for _ in range(event.count)]
    fault, cut, has = module.FAULT_ARGV, module.CUT_ARGV, module.HAS_PATH | module.HAS_ARGV
    assert [(event.argv, event.flags) for event in events] == [
        ((b"one", b"", b"three \xff"), has),
        ((), has),
        ((), has),
        (None, module.HAS_PATH | fault),
        (tuple(b"%d" % n for n in range(64)), has | cut),
        ((b"a" * 3000, b"b" * 1094), has | cut),
        ((b"only",), has),
        ((b"only",), has | fault),
        ((b"only",), has | fault),
    ]


@needs_root
async def test_socket_addresses() -> None:
    events, output = await run_target("sockaddr", kind=CONNECT)
    assert output == ["EBADF", "EBADF", "EFAULT", "EFAULT", "EBADF", "EBADF"]
    has, fault, cut = module.HAS_SOCKADDR, module.FAULT_SOCKADDR, module.CUT_SOCKADDR
    assert [(event.sockaddr, event.flags) for event in events] == [
        (LOOPBACK, has),
        (b"", has),
        (LOOPBACK, has | fault),
        (None, fault),
        (b"x" * 128, has | cut),
        (LOOPBACK, has),
    ]


@needs_root
async def test_verdicts_are_the_rules_first_match_then_the_default() -> None:
    nr = resolve("openat")
    # Write-only is denied before append is looked at, reading and writing goes on, append alone
    # would be EROFS.
    rules = encode_rule(nr, 2, os.O_ACCMODE, os.O_WRONLY, errno.EACCES)
    rules += encode_rule(nr, 2, os.O_ACCMODE, os.O_RDWR, 0)
    rules += encode_rule(nr, 2, os.O_APPEND, os.O_APPEND, errno.EROFS)
    changes = {
        "openat": encode_entry(OPEN, rules=(0, 3), err=errno.EPERM, path_arg=1),
        "sysinfo": encode_entry(SYSINFO, err=errno.EPERM),
    }
    events, output = await run_target("numbers", table=encode_table(changes, rules))
    assert output == ["EPERM", "ENOSYS", "EPERM", "EACCES", "ok"]
    opens = [event.err for event in events if event.path == b"/dev/null"]
    assert opens == [errno.EPERM, errno.EACCES, 0]
    [sysinfo] = [event for event in events if event.kind == SYSINFO]
    [times] = [event for event in events if event.nr == resolve("times")]
    assert (sysinfo.err, sysinfo.flags) == (errno.EPERM, 0)
    assert (times.err, times.flags, times.kind) == (errno.ENOSYS, module.UNKNOWN, 0)


@needs_root
async def test_denials_are_counted_and_folded_by_content() -> None:
    """The path stands at the same bytes but at new addresses; the count is right whatever was
    folded.
    """
    changes = {"fchmodat": encode_entry(CHMOD, err=errno.EACCES, path_arg=1)}
    events, output = await run_target(
        "repeat", "/etc/shadow", 3000, table=encode_table(changes), kind=CHMOD
    )
    assert output == ["EACCES 3000"]
    assert sum(event.count for event in events) == 3000
    assert len(events) < 3000
    assert {(event.path, event.err) for event in events} == {(b"/etc/shadow", errno.EACCES)}


@pytest.mark.parametrize("level", LEVELS)
def test_the_compiled_tables_are_accepted(level: str) -> None:
    spec = compile_filter(Policy(syscalls=type(Policy().syscalls)(trace=level)))  # type: ignore[arg-type]
    idle = os.eventfd(0)
    with Pump(idle, encode_pump_table(spec, resolve)) as pump:
        assert not pump.counters().ended


@pytest.mark.parametrize(
    "table",
    [
        b"",
        encode_table()[:-1],
        encode_table(rules=b"\0" * 31),
        encode_table({"openat": encode_entry(OPEN, path_arg=6)}),
        encode_table({"openat": encode_entry(OPEN, err=-1)}),
        encode_table({"openat": encode_entry(OPEN, err=4096)}),
        encode_table({"openat": encode_entry(OPEN, rules=(0, 1))}),
        encode_table({"openat": encode_entry(OPEN, rules=(0, 1))}, encode_rule(0, 2, 1, 1, 13)),
        encode_table(
            {"openat": encode_entry(OPEN, rules=(0, 1))},
            encode_rule(resolve("openat"), 6, 1, 1, 13),
        ),
        encode_table(
            {"openat": encode_entry(OPEN, rules=(0, 1), path_arg=1)},
            encode_rule(resolve("openat"), 1, 1, 1, 13),
        ),
    ],
    ids=[
        "empty",
        "short",
        "half",
        "arg",
        "err-low",
        "err-high",
        "no-rule",
        "other-nr",
        "rule-arg",
        "rule-on-pointer",
    ],
)
def test_a_wrong_table_is_refused_and_the_listener_stays_the_callers(table: bytes) -> None:
    fd = os.eventfd(0)
    with pytest.raises(KernelError) as caught:
        Pump(fd, table)
    assert caught.value.errno == errno.EINVAL
    os.close(fd)


@pytest.mark.parametrize("size", [0, 4096, 65537, 3 << 16, 1 << 29])
def test_a_ring_size_out_of_range_is_refused(size: int) -> None:
    fd = os.eventfd(0)
    with pytest.raises(KernelError):
        Pump(fd, encode_table(), ring_size=size)
    os.close(fd)


CONTENTS = st.binary(max_size=300)
WORDS = st.lists(st.binary(max_size=20).map(lambda word: word.replace(b"\0", b"")), max_size=5)
NUMBERS = st.integers(0, 2**64 - 1)
HEAD = struct.Struct("=IIQIIiIHHHHHHHBx6Q")
PRESENT = (1, 2, 4, 8, module.HAS_DIR, module.HAS_DIR2)


def make_event(
    *, path: bytes | None = None, sockaddr: bytes | None = None
) -> tuple[SyscallEvent, bytes]:
    flags = (path is not None) | 8 * (sockaddr is not None)
    body = (path or b"") + (sockaddr or b"")
    lengths = len(path or b""), 0, 0, len(sockaddr or b""), 0, 0
    padded = body + bytes(-len(body) % 8)
    raw = HEAD.pack(96 + len(padded), flags, 7, 1, 42, 0, 1, 0, *lengths, 0, *[0] * 6) + padded
    return SyscallEvent(
        7, 1, 42, 0, 0, flags, (0,) * 6, path, None, None, sockaddr, None, None, 1
    ), raw


@st.composite
def events_and_bytes(draw: st.DrawFn) -> tuple[SyscallEvent, bytes]:
    present = sum(draw(st.sets(st.sampled_from(PRESENT))))
    path, path2, sockaddr, *directories = (
        draw(CONTENTS) if present & bit else None for bit in PRESENT if bit != 4
    )
    argv = tuple(draw(WORDS)) if present & 4 else None
    words = b"".join(word + b"\0" for word in argv or ())
    parts = [part or b"" for part in (path, path2, words, sockaddr, *directories)]
    args = draw(st.tuples(*[NUMBERS] * 6))
    time_ns, pid, nr, kind = (
        draw(NUMBERS),
        draw(st.integers(0, 2**31)),
        draw(st.integers(0, 1023) | st.sampled_from([1024, 2**32 - 1])),
        draw(st.integers(0, 9)),
    )
    err, count = draw(st.integers(0, 4095)), draw(st.integers(1, 2**32 - 1))
    flags = present | draw(
        st.sampled_from([0, module.GONE, module.UNKNOWN, module.CUT_PATH, module.CUT_SOCKADDR])
    )
    body = b"".join(parts)
    body += bytes(-len(body) % 8)
    head = HEAD.pack(
        96 + len(body), flags, time_ns, pid, nr, err, count, kind, *map(len, parts), 0, *args
    )
    contents = (path, path2, argv, sockaddr, directories[0], directories[1])
    return SyscallEvent(time_ns, pid, nr, kind, err, flags, args, *contents, count), head + body


@given(st.lists(events_and_bytes(), max_size=6))
def test_records_are_parsed_back(pairs: list[tuple[SyscallEvent, bytes]]) -> None:
    assert parse_records(memoryview(b"".join(raw for _, raw in pairs))) == [
        event for event, _ in pairs
    ]


def encode_natively(raw: bytes, capacity: int = 1 << 16) -> list[bytes]:
    aligned = ffi.new("uint64_t[]", len(raw) // 8 + 1)
    ffi.memmove(aligned, raw, len(raw))
    return encode_entries(
        ffi.cast("uint8_t *", aligned), len(raw), ffi.new("uint8_t[]", capacity), capacity
    ).entries()


@given(st.lists(events_and_bytes(), max_size=6))
def test_entries_are_those_of_the_records(pairs: list[tuple[SyscallEvent, bytes]]) -> None:
    assert encode_natively(b"".join(raw for _, raw in pairs)) == [
        records.encode_entry(to_record(event)) for event, _ in pairs
    ]


def test_a_unix_address_ends_at_its_path() -> None:
    for address in (
        b"\1\0/run/x\0behind",
        b"\1\0\0abstract\0name",
        b"\1\0",
        b"\1",
        b"\2\0\1\0\0",
        b"\1\0/run/x",
    ):
        event, raw = make_event(sockaddr=address)
        assert encode_natively(raw) == [records.encode_entry(to_record(event))]


@pytest.mark.parametrize("cut", [8, 88, 96])
def test_what_is_no_record_is_refused(cut: int) -> None:
    _, raw = make_event(path=b"/tmp/x")
    with pytest.raises(KernelError, match="damaged"):
        encode_natively(raw[:cut])
    with pytest.raises(KernelError, match="damaged"):
        encode_natively(raw[:34] + b"\xff\xff" + raw[36:])
    with pytest.raises(KernelError, match="damaged"):
        encode_natively(raw, capacity=256)
