import resource

from akiosd.policy.compile.limits import (
    RLIM_INFINITY,
    RLIMIT_NUMBERS,
    CgroupValue,
    compile_cgroup_v1,
    compile_cgroup_v2,
    compile_rlimits,
)
from akiosd.values.policy import Limits
from akiosd.values.units import GIB, MIB, NS_PER_S


def files(values):
    return {value.file: value.value for value in values}


def test_rlimit_numbers_are_those_of_this_system():
    for name, number in RLIMIT_NUMBERS.items():
        if hasattr(resource, f"RLIMIT_{name.upper()}"):
            assert getattr(resource, f"RLIMIT_{name.upper()}") == number


def test_every_rlimit_is_set():
    rlimits = {limit.name: (limit.soft, limit.hard) for limit in compile_rlimits(Limits(file_size=5, open_files=7))}
    assert set(rlimits) == set(RLIMIT_NUMBERS)
    assert rlimits["core"] == rlimits["rtprio"] == rlimits["nice"] == (0, 0)
    assert rlimits["fsize"] == (5, 5) and rlimits["nofile"] == (7, 7)
    assert rlimits["cpu"] == (RLIM_INFINITY, RLIM_INFINITY)


def test_cpu_time_is_rounded_up_so_that_the_cage_limit_comes_first():
    rlimits = {limit.name: limit.soft for limit in compile_rlimits(Limits(cpu_time_ns=NS_PER_S * 3 // 2))}
    assert rlimits["cpu"] == 3


def test_cgroup_v2():
    assert files(compile_cgroup_v2(Limits(memory=GIB, pids=5, cpu_percent=20))) == {
        "memory.max": str(GIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "5",
        "cpu.max": "20000 100000",
    }
    unlimited = files(compile_cgroup_v2(Limits(memory=0, pids=0, cpu_percent=0)))
    assert (unlimited["memory.max"], unlimited["pids.max"], unlimited["cpu.max"]) == ("max", "max", "max 100000")


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
