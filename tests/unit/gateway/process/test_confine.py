"""What a gateway's filter allows, and when its status says that it is held."""

from __future__ import annotations

import errno
import socket

import pytest
from akiosd.errors import KernelError
from akiosd.gateway.process.confine import RLIMITS, check_status, confine, filter_spec
from akiosd.kernel.seccomp import compile_bpf
from tests.unit.policy.decide import matches

UID = 1_900_000_123
STATUS = "\n".join(
    [
        "Name:\tgw-c-1",
        f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}",
        f"Gid:\t{UID}\t{UID}\t{UID}\t{UID}",
        "Groups:\t ",
        *(f"{name}:\t{'0' * 16}" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Seccomp_filters:\t1",
    ]
)


def test_a_status_that_holds() -> None:
    assert check_status(STATUS, UID)[0] == f"uid {UID}, no groups"


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        (f"Uid:\t{UID}\t{UID}", f"Uid:\t{UID}\t0"), (f"Gid:\t{UID}", "Gid:\t0"), ("Groups:\t ", "Groups:\t27 "),
        ("CapEff:\t0", "CapEff:\t8"), ("CapPrm:\t0", "CapPrm:\t1"), ("CapBnd:\t0", "CapBnd:\tf"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0"), ("Seccomp:\t2", "Seccomp:\t0"), ("Seccomp:\t2\n", ""),
    ],
)  # fmt: skip
def test_a_status_that_does_not(line: str, instead: str) -> None:
    assert line in STATUS
    with pytest.raises(KernelError, match="reads back"):
        check_status(STATUS.replace(line, instead, 1), UID)


@pytest.mark.parametrize("uid", [0, 999])
def test_a_gateway_never_has_the_uid_of_the_host(uid: int) -> None:
    with pytest.raises(KernelError, match="not run as uid"):
        confine(uid, 1, None)  # type: ignore[arg-type]


def allows(name: str, *args: int) -> bool:
    registers = (*args, *([0] * (6 - len(args))))
    return any(
        rule.action == "allow" and rule.name == name and matches(rule.tests, registers)
        for rule in filter_spec().rules
    )


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("socket", (socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)),
        ("socket", (socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)),
        ("openat", (0, 0, 0o2000000)), ("mmap", (0, 4096, 3)), ("mprotect", (0, 4096, 1)), ("clone", (0x3D0F00,)),
        ("prlimit64", (0, 7, 0)), ("ioctl", (3, 0x5421)), ("accept4", ()), ("connect", ()), ("getrandom", ()),
    ],
)  # fmt: skip
def test_what_it_needs(name: str, args: tuple[int, ...]) -> None:
    assert allows(name, *args)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("socket", (socket.AF_UNIX, socket.SOCK_STREAM)), ("socket", (socket.AF_PACKET, socket.SOCK_RAW)),
        ("socket", (socket.AF_INET, socket.SOCK_RAW)), ("socket", (socket.AF_NETLINK, socket.SOCK_RAW)),
        ("socket", (socket.AF_VSOCK, socket.SOCK_STREAM)),
        ("openat", (0, 0, 0o1)), ("openat", (0, 0, 0o2)), ("openat", (0, 0, 0o100)), ("openat", (0, 0, 0o20200002)),
        ("mmap", (0, 4096, 7)), ("mprotect", (0, 4096, 5)), ("clone", (0x11,)), ("clone", (0x10000000,)),
        ("prlimit64", (0, 7, 4096)), ("ioctl", (0, 0x5412)),
        *((name, ()) for name in (
            "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "unshare", "setns", "mount",
            "bind", "listen", "fork", "vfork", "clone3", "kill", "tkill", "tgkill", "setuid", "setresuid", "capset",
            "seccomp", "prctl", "bpf", "io_uring_setup", "keyctl", "add_key", "userfaultfd", "perf_event_open",
            "pidfd_getfd", "pidfd_open", "openat2", "memfd_secret", "unlink", "unlinkat", "rename", "chmod", "mkdir",
            "shmget", "mq_open", "modify_ldt", "pwrite64",
        )),
    ],
)  # fmt: skip
def test_what_it_never_may(name: str, args: tuple[int, ...]) -> None:
    assert not allows(name, *args)


def test_it_compiles_and_everything_else_is_refused() -> None:
    spec = filter_spec()
    assert spec.default_errno == errno.EPERM and not spec.listener
    assert 0 < len(compile_bpf(spec)) < 8 * 4096


def test_no_core_and_few_processes() -> None:
    import resource

    assert dict(RLIMITS)[resource.RLIMIT_CORE] == 1
    assert dict(RLIMITS)[resource.RLIMIT_NPROC] < 64
