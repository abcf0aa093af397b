"""The table, the rules and the limits of a cage without namespaces."""

from __future__ import annotations

import pytest

from akiosd.policy.compile.landlock import EXECUTE, WRITE_FILE
from akiosd.policy.compile.limits import HostPools
from akiosd.policy.compile.policy_mode import (
    DomainSpec,
    Grant,
    compile_domain,
    compile_domain_rlimits,
)
from akiosd.policy.compile.seccomp import LEVELS, allowed_cubes, compile_filter
from akiosd.values import syscalls
from akiosd.values.policy import Limits, Policy, Syscalls
from akiosd.values.policy_mode import ACTED_ON, INSTEAD, MSG_FASTOPEN
from akiosd.values.syscalls import AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM


def decide(name: str, *args: int) -> str:
    """``made``, ``deferred``, ``answered`` or the errno, by the rules in their order."""
    registers = (*args, 0, 0, 0, 0, 0, 0)[:6]
    checked = INSTEAD[name]
    for form in checked.forms:
        if all(registers[test.arg] & test.mask == test.value for test in form.tests):
            if form.deferred:
                return "deferred"
            return "answered" if form.answered else str(form.errno or "made")
    return str(checked.otherwise or "made")


@pytest.mark.parametrize(
    ("name", "args", "verdict"),
    [
        ("socket", (AF_INET, SOCK_STREAM, 0), "deferred"),
        ("socket", (AF_INET, SOCK_DGRAM, 17), "deferred"),
        ("socket", (AF_INET, SOCK_STREAM, 262), "93"),  # MPTCP
        ("socket", (AF_UNIX, SOCK_STREAM, 0), "made"),
        ("socket", (AF_UNIX, SOCK_DGRAM, 0), "94"),
        ("socket", (16, 3, 0), "97"),  # netlink
        ("socketpair", (AF_UNIX, SOCK_DGRAM, 0), "94"),
        ("sendto", (3, 1, 1, 0, 0, 0), "made"),
        ("sendto", (3, 1, 1, 0, 1, 16), "1"),
        ("sendto", (3, 1, 1, MSG_FASTOPEN, 0, 0), "1"),
        ("sendmsg", (3, 1, MSG_FASTOPEN), "1"),
        ("sendmmsg", (3, 1, 1, MSG_FASTOPEN), "1"),
        ("prlimit64", (0, 7, 1, 0), "made"),
        ("prlimit64", (0, 4, 1, 0), "answered"),
        ("prlimit64", (99, 7, 0, 1), "1"),
        ("setpriority", (0, 99, 5), "1"),
        ("setpriority", (0, 0, 5), "made"),
        ("setpriority", (2, 0, 5), "1"),
        ("ioprio_set", (1, 99, 5), "1"),
        ("sched_setaffinity", (99, 8, 1), "1"),
        ("fcntl", (3, 8, 99), "1"),  # F_SETOWN
        ("prctl", (4, 0), "1"),  # PR_SET_DUMPABLE
        ("prctl", (4, 1), "made"),
        ("prctl", (0x59616D61, 1), "1"),  # PR_SET_PTRACER
        ("inotify_add_watch", (3, 1, 1), "1"),
        ("shmget", (0, 1, 1), "38"),
        *((name, (1, 2, 3, 4), "deferred") for name in (*ACTED_ON, "connect")),
    ],
)
def test_calls_that_are_decided_otherwise(name: str, args: tuple[int, ...], verdict: str) -> None:
    assert decide(name, *args) == verdict


def test_every_name_is_one_of_the_table() -> None:
    assert INSTEAD.keys() <= syscalls.known_names()


@pytest.mark.parametrize("trace", LEVELS)
def test_what_akiosd_acts_on_is_never_let_through_by_the_filter(trace: str) -> None:
    spec = compile_filter(Policy(syscalls=Syscalls(trace=trace)), instead=INSTEAD)  # type: ignore[arg-type]
    for name in (*ACTED_ON, "connect"):
        assert not [rule for rule in spec.rules if rule.name == name]
        assert list(allowed_cubes(INSTEAD[name])) == []
        assert [entry.name for entry in spec.pump_table].count(name) == 1


def test_a_grant_says_what_may_be_done() -> None:
    grants = (
        Grant("read", "a tree", False, True),
        Grant("file", "a file", False, False),
        Grant("write", "a tree", True, True),
    )
    spec = DomainSpec(
        command=b"/bin/true",
        argv=(b"true",),
        env=(),
        cwd=b"/",
        canary=b"/proof",
        grants=grants,
        rlimits=(),
        filter=b"\0" * 8,
        filter_flags=0,
        abi=7,
    )
    plan = compile_domain(spec)
    rules = {step.fd: step.u0 for step in plan.steps if step.op == "landlock_rule" and step.fd}
    assert not rules["read"] & WRITE_FILE and rules["write"] & WRITE_FILE
    assert rules["file"] & EXECUTE
    by_path = {step.a: step.u0 for step in plan.steps if step.op == "landlock_rule" and not step.fd}
    assert not any(path in (b"/", b"/var", b"/run", b"/tmp", b"/etc") for path in by_path)
    assert not any(
        access & WRITE_FILE for path, access in by_path.items() if not path.startswith(b"/dev/")
    )
    (ruleset,) = (step for step in plan.steps if step.op == "landlock")
    assert ruleset.uid == 3, "no TCP port is bound or connected to"
    assert plan.steps[-1].op == "seccomp" and plan.steps[-2].op == "landlock_enforce"


def test_memory_is_bounded_for_each_process() -> None:
    limits = compile_domain_rlimits(Limits(memory=1 << 29, pids=100), HostPools())
    found = {limit.name: limit.hard for limit in limits}
    assert found["data"] == 1 << 29 and found["nproc"] > 100 and found["core"] == 1
