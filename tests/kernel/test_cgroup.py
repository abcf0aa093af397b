"""Leaves on this host's own hierarchies: made, read back, killed, removed.  Only below a base of
the test's own.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from akiosd.errors import KernelError
from akiosd.kernel.cgroup import CageCgroup, CgroupHost, find_layout, read, read_field
from akiosd.policy.compile.limits import CgroupValue, compile_cgroup_v1, compile_cgroup_v2
from akiosd.values.policy import Limits
from akiosd.values.units import MIB

needs_cgroups = pytest.mark.skipif(os.geteuid() != 0, reason="making cgroups needs root")
LIMITS = Limits(memory=64 * MIB, pids=17, cpu_percent=50)
MOUNTS = Path("/proc/self/mountinfo").read_text()


@pytest.fixture
async def host() -> AsyncIterator[CgroupHost]:
    found = CgroupHost(find_layout(MOUNTS), f"akios-test-{os.getpid()}")
    bases = (found.v2, *found.v1.values())
    found.set_up("4096")
    try:
        yield found
    finally:
        with trio.CancelScope(shield=True):
            for name in found.leaves():
                await found.leaf(name).destroy()
            await found.tear_down()
    assert not [path for path in bases if path.exists()]


def make(host: CgroupHost, limits: Limits = LIMITS) -> tuple[CageCgroup, dict[str, str]]:
    leaf = made(host)
    return leaf, leaf.limit(compile_cgroup_v2(limits), compile_cgroup_v1(limits))


def made(host: CgroupHost) -> CageCgroup:
    leaf = host.leaf("c-test")
    leaf.make()
    return leaf


def place(leaf: CageCgroup, pid: int) -> None:
    for path in (leaf.v2, *leaf.v1.values()):
        (path / "cgroup.procs").write_text(str(pid))


def is_populated(leaf: CageCgroup) -> bool:
    return read_field(leaf.v2 / "cgroup.events", "populated") == 1


async def wait_empty(leaf: CageCgroup) -> None:
    """cgroup.events announces a change by POLLPRI; a look is enough where it is already empty."""
    with trio.fail_after(20):
        while is_populated(leaf):
            await trio.sleep(0.002)


@needs_cgroups
async def test_every_limit_is_read_back(host: CgroupHost) -> None:
    leaf, found = make(host)
    assert set(found) == {"memory", "pids", "cpu"}
    assert (
        str(64 * MIB) in found["memory"]
        and "pids.max=17" in found["pids"]
        and "50000" in found["cpu"]
    )
    events = leaf.events()
    assert (events.limit, events.pids_limit, events.oom_kills, events.pids_denied) == (
        64 * MIB,
        17,
        0,
        0,
    )


@needs_cgroups
async def test_a_leaf_is_kernel_made_and_gone_after_destroy(host: CgroupHost) -> None:
    leaf, _ = make(host)
    paths = (leaf.v2, *leaf.v1.values())
    assert all((path / "cgroup.procs").exists() for path in paths) and host.leaves() == ["c-test"]
    await leaf.destroy()
    assert not any(path.exists() for path in paths)
    await leaf.destroy()


@needs_cgroups
async def test_the_same_leaf_is_not_made_twice(host: CgroupHost) -> None:
    make(host)
    with pytest.raises(FileExistsError):
        make(host)


@needs_cgroups
async def test_kill_ends_everything_in_it_and_nothing_else(host: CgroupHost) -> None:
    leaf, _ = make(host)
    inside = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    outside = subprocess.Popen(["sleep", "1000"])
    try:
        for process in inside:
            place(leaf, process.pid)
        assert is_populated(leaf)
        leaf.kill()
        assert [process.wait(20) for process in inside] == [-9] * 3
        await wait_empty(leaf)
        assert outside.poll() is None
    finally:
        for process in (*inside, outside):
            process.kill()
            process.wait()


@needs_cgroups
async def test_freeze_stops_and_thaws(host: CgroupHost) -> None:
    leaf, _ = make(host)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        place(leaf, process.pid)
        for frozen in (True, False):
            leaf.freeze(frozen)
            with trio.fail_after(20):
                while f"frozen {int(frozen)}" not in read(leaf.v2 / "cgroup.events"):
                    await trio.sleep(0.002)
        leaf.freeze(True)
        leaf.kill()
        assert process.wait(20) == -9, "a frozen cage can be killed"
        await wait_empty(leaf)
    finally:
        process.kill()
        process.wait()


@needs_cgroups
async def test_destroy_kills_what_is_left(host: CgroupHost) -> None:
    leaf, _ = make(host)
    process = subprocess.Popen(["sleep", "1000"])
    place(leaf, process.pid)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, process.wait)
        await leaf.destroy()
    assert process.returncode == -9 and not leaf.v2.exists()


@needs_cgroups
async def test_a_value_the_kernel_refuses_is_told(host: CgroupHost) -> None:
    wrong = CgroupValue("pids", "pids.max", "-5")
    with pytest.raises(KernelError) as caught:
        made(host).limit([wrong], [wrong])
    assert caught.value.errno in (errno.EINVAL, errno.ERANGE) and "pids.max" in caught.value.where


@needs_cgroups
async def test_a_value_that_reads_back_differently_is_told(host: CgroupHost) -> None:
    """The kernel takes a number in other words; only what stands in the file counts."""
    odd = CgroupValue("pids", "pids.max", "0x10")
    with pytest.raises(KernelError, match=r"reads '16' after '0x10'|cannot write"):
        made(host).limit([odd], [odd])


@needs_cgroups
async def test_a_file_the_kernel_lacks_is_an_error_unless_it_is_optional(host: CgroupHost) -> None:
    absent = CgroupValue("pids", "pids.no_such_file", "1")
    leaf = made(host)
    with pytest.raises(KernelError):
        leaf.limit([absent], [absent])
    optional = msgspec.structs.replace(absent, optional=True)
    assert "absent" in leaf.limit([optional], [optional])["pids"]


@needs_cgroups
async def test_a_controller_the_host_lacks_is_named(host: CgroupHost) -> None:
    host.controllers = frozenset()
    with pytest.raises(KernelError, match="no cgroup controller"):
        make(host)


HYBRID = """\
30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
"""


def test_the_layout_is_read_from_the_mount_table() -> None:
    layout = find_layout(HYBRID)
    assert layout.v2 == "/sys/fs/cgroup/unified"
    assert layout.v1 == {"memory": "/sys/fs/cgroup/memory", "cpu": "/sys/fs/cgroup/cpu,cpuacct"}
    unified = find_layout("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n")
    assert (unified.v2, unified.v1) == ("/sys/fs/cgroup", {})


def test_a_directory_that_only_looks_like_a_hierarchy_is_none() -> None:
    with pytest.raises(KernelError, match="no cgroup v2"):
        find_layout("30 20 0:26 / /sys/fs/cgroup ro - tmpfs cgroup2 rw\n")


@needs_cgroups
async def test_what_is_in_use_is_of_this_moment_and_without_the_cache_of_files(
    host: CgroupHost, tmp_path: Path
) -> None:
    leaf, _ = make(host)
    program = (
        "import os, sys; sys.stdin.readline(); held = bytearray(b'x' * (8 << 20));"
        f"fd = os.open({str(tmp_path / 'big')!r}, os.O_CREAT | os.O_RDWR);"
        "os.write(fd, b'y' * (24 << 20)); os.fsync(fd); print('wrote', flush=True);"
        "sys.stdin.readline()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child: subprocess.Popen[bytes] = subprocess.Popen([sys.executable, "-c", program], **pipes)  # type: ignore[call-overload]
    assert child.stdin is not None and child.stdout is not None
    try:
        place(leaf, child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"wrote\n"
        used, pids = leaf.in_use()
        assert 8 * MIB <= used < 24 * MIB and pids == 1
        assert leaf.events().peak >= 24 * MIB, "control: the cache is counted elsewhere"
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    assert leaf.in_use()[1] == 0
