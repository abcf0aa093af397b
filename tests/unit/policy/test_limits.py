import resource

import pytest
from akiosd.policy.compile.limits import (
    RLIM_INFINITY,
    RLIMIT_NUMBERS,
    CgroupValue,
    HostPools,
    compile_base_pids,
    compile_bounds,
    compile_cgroup_v1,
    compile_cgroup_v2,
    compile_rlimits,
)
from akiosd.values.policy import Limits
from akiosd.values.units import GIB, MIB, NS_PER_S

POOLS = HostPools()


def files(values):
    return {value.file: value.value for value in values}


def test_rlimit_numbers_are_those_of_this_system():
    for name, number in RLIMIT_NUMBERS.items():
        if hasattr(resource, f"RLIMIT_{name.upper()}"):
            assert getattr(resource, f"RLIMIT_{name.upper()}") == number


def test_every_rlimit_is_set():
    compiled = compile_rlimits(Limits(file_size=5, open_files=7), POOLS)
    rlimits = {limit.name: (limit.soft, limit.hard) for limit in compiled}
    assert set(rlimits) == set(RLIMIT_NUMBERS)
    assert rlimits["rtprio"] == rlimits["nice"] == (0, 0)
    assert rlimits["core"] == (1, 1), "a limit of 0 starts the host's core handler"
    assert rlimits["fsize"] == (5, 5) and rlimits["nofile"] == (7, 7)
    assert rlimits["cpu"] == (RLIM_INFINITY, RLIM_INFINITY)


def test_cpu_time_is_rounded_up_so_that_the_cage_limit_comes_first():
    rlimits = {
        limit.name: limit.soft
        for limit in compile_rlimits(Limits(cpu_time_ns=NS_PER_S * 3 // 2), POOLS)
    }
    assert rlimits["cpu"] == 3


def open_files(file_max: int, **limits: int) -> int:
    rlimits = compile_rlimits(Limits(**limits), HostPools(file_max=file_max))
    return next(limit.hard for limit in rlimits if limit.name == "nofile")


def test_all_processes_of_a_cage_open_a_quarter_of_what_the_host_can():
    assert open_files(1 << 62) == 4096
    assert open_files(10_000_000, pids=1000) == 2500
    assert open_files(10_000_000, pids=0) == 4096, (
        "without a limit of processes there is nothing to divide by"
    )
    assert open_files(100_000) == 1024, "no program works with less"
    assert open_files(100_000, open_files=64) == 64


@pytest.mark.parametrize(
    ("memory", "pids"), [(2 * GIB, 1024), (64 * MIB, 1024), (64 * MIB, 8), (64 * GIB, 16), (GIB, 0)]
)
def test_all_processes_together_lock_no_more_than_the_memory_limit(memory, pids):
    limits = {
        one.name: one.hard for one in compile_rlimits(Limits(memory=memory, pids=pids), POOLS)
    }
    assert 64 << 10 <= limits["memlock"] <= 64 * MIB
    assert not pids or limits["memlock"] * pids <= memory


def test_bounds_grow_with_the_memory_limit_and_the_hosts_pools():
    small, usual = compile_bounds(Limits(memory=64 * MIB), POOLS), compile_bounds(Limits(), POOLS)
    assert (small.sockets, usual.sockets, compile_bounds(Limits(memory=0), POOLS).sockets) == (
        256,
        2048,
        2048,
    )
    assert (small.netlink_sockets, usual.netlink_sockets) == (64, 512)
    for pool in (1 << 22, 264 * MIB, 528_482_304, 1 << 40):
        filters = compile_bounds(Limits(), HostPools(bpf_jit_limit=pool)).filters
        assert 64 <= filters <= 1024 and (filters == 64 or filters * 57 * 1024 <= pool // 8)
    assert all(bound > 0 for bound in (small.locks, small.ofd_locks))


def test_all_cages_leave_half_of_the_process_numbers():
    assert compile_base_pids(HostPools(pid_max=32_768)) == "16384"


def test_cgroup_v2():
    assert files(compile_cgroup_v2(Limits(memory=GIB, pids=5, cpu_percent=20))) == {
        "memory.max": str(GIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "5",
        "cpu.max": "20000 100000",
    }
    unlimited = files(compile_cgroup_v2(Limits(memory=0, pids=0, cpu_percent=0)))
    assert (unlimited["memory.max"], unlimited["pids.max"], unlimited["cpu.max"]) == (
        "max",
        "max",
        "max 100000",
    )


def test_cgroup_v1_writes_memory_before_memory_and_swap():
    values = compile_cgroup_v1(Limits(memory=GIB, pids=5, cpu_percent=150))
    assert files(values) == {
        "pids.max": "5",
        "memory.limit_in_bytes": str(GIB),
        "memory.memsw.limit_in_bytes": str(GIB),
        "memory.kmem.tcp.limit_in_bytes": str(GIB // 4),
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
    }
    order = [value.file for value in values]
    assert order.index("memory.limit_in_bytes") < order.index("memory.memsw.limit_in_bytes")


def test_what_counts_as_read_back():
    memory = CgroupValue("memory", "memory.max", str(512 * MIB + 5))
    assert memory.is_read_back(f"{512 * MIB}\n")
    assert not memory.is_read_back("max\n")
    assert not memory.is_read_back(f"{512 * MIB + 4096}\n")
    assert not memory.is_read_back(f"{256 * MIB}\n")
    assert CgroupValue("cpu", "cpu.max", "max 100000").is_read_back("max 100000\n")
    assert not CgroupValue("pids", "pids.max", "5").is_read_back("")
