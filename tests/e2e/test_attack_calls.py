"""Single system calls of a hostile agent, each with its control: the same call outside of a
cage.
"""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import NOBODY, Daemon

# name → how the cage answers.  A leading * : an ordinary user gets it outside, so that user's control is run, too.
ANSWERS: dict[str, dict[str, str]] = {
    "spaces": {
        "*unshare_user": "EPERM", "unshare_mount": "EPERM", "unshare_net": "EPERM", "unshare_pid": "EPERM",
        "unshare_time": "EPERM", "*clone_user": "EPERM", "*clone_user_and_net": "EPERM", "*clone_user_high": "EPERM",
        "clone_mount": "EPERM", "*clone3_user": "ENOSYS", "clone3_time": "ENOSYS", "setns_own": "EPERM",
        "mount_tmpfs": "EPERM", "mount_bind": "EPERM", "mount_overlay": "EPERM", "mount_proc": "EPERM",
        "remount_proc_sys": "EPERM", "remount_usr": "EPERM", "unmount_proc": "EPERM", "new_mount_api": "EPERM",
        "clone_tree": "EPERM", "*open_tree_path": "EPERM", "move_mount": "EPERM", "fspick": "EPERM",
        "mount_setattr": "EPERM", "change_root": "EPERM", "pivot": "EPERM", "open_by_handle": "EPERM",
    },
    "others": {
        "*ptrace_attach": "EPERM", "*ptrace_seize": "EPERM", "*ptrace_traceme": "EPERM", "*vm_write": "EPERM",
        "*vm_read": "EPERM", "*pidfd_getfd": "EPERM", "*kcmp": "EPERM", "*migrate_pages": "EPERM",
    },
    "calls": {
        "io_uring": "EPERM", "bpf_map": "EPERM", "perf_event": "EPERM", "userfault": "EPERM", "*add_key": "EPERM",
        "*request_key": "EPERM", "*session_keyring": "EPERM", "*user_keyring": "EPERM", "fanotify": "EPERM",
        "read_klog": "EPERM", "host_name": "EPERM", "set_clock": "EPERM", "io_ports": "EPERM", "accounting": "EPERM",
        "swap_on": "EPERM", "load_module": "EPERM", "load_kernel": "EPERM", "quota": "EPERM", "secret_memory": "EPERM",
        "*huge_pages": "ENOMEM", "*huge_memory": "ENOMEM",
        "*no_randomisation": "EPERM", "*exec_readable": "EPERM", "*personality_high": "EPERM", "tiocsti": "EPERM",
        "tiocsti_high": "EPERM", "*tioclinux": "EPERM", "*tioclinux_high": "EPERM", "*tiocsetd": "EPERM",
        "tioccons": "EPERM", "make_char": "EPERM", "make_char_old": "EPERM", "make_block": "EPERM",
        "*make_whiteout": "EPERM",
        "become_root": "EPERM", "become_other": "EPERM", "become_other_group": "EPERM", "join_groups": "EPERM",
        "raise_capabilities": "EPERM", "raise_ambient": "EPERM", "loosen_securebits": "EPERM",
        "drop_bounding": "EPERM", "*allow_new_privileges": "EPERM", "move_break": "EPERM", "schedule_core": "EPERM",
        "real_time": "EPERM", "better_nice": "EACCES", "*own_listener": "EPERM", "*legacy_call": "SIGSYS",
        "*legacy_mount": "SIGSYS",
    },
    "sockets": {
        "*vsock": "EAFNOSUPPORT", "*vsock_high": "EAFNOSUPPORT", "packet_raw": "EPERM", "packet_dgram": "EAFNOSUPPORT",
        "packet_cloexec": "EPERM", "xdp": "EPERM", "alg": "EAFNOSUPPORT", "key": "EPERM", "can": "EPERM",
        "tipc_pair": "EAFNOSUPPORT", "raw_icmp": "EPERM", "raw_ip": "EPERM", "raw_icmp6": "EPERM",
        "sctp": "EPROTONOSUPPORT", "*udp_lite": "EPROTONOSUPPORT", "*netlink_audit": "EPROTONOSUPPORT",
        "*netlink_uevent": "EPROTONOSUPPORT", "*netlink_generic": "EPROTONOSUPPORT",
        "*netlink_netfilter": "EPROTONOSUPPORT", "*netlink_diag": "EPROTONOSUPPORT", "netlink_xfrm": "EPROTONOSUPPORT",
        "route_change": "EPERM",
    },
}  # fmt: skip

# Outside, these get past the permission check and then fail for want of a real argument.
REACHED = {
    "swap_on": {"ENOTDIR"}, "load_module": {"EBADF"}, "load_kernel": {"EINVAL"},
    "tioclinux": {"ENOTTY"}, "tioclinux_high": {"ENOTTY"},
}  # fmt: skip

# Outside, these answers mean that the kernel lacks the feature, and the control cannot be run.
LACKING = {"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EOPNOTSUPP"}
LACKING_HERE = {
    "schedule_core": {"EINVAL"},
    "move_break": {"EPERM"},
    "perf_event": {"EACCES"},
    "legacy_call": {"SIGSEGV"},
}

CASES = [
    pytest.param(
        program,
        name.lstrip("*"),
        answer,
        uid,
        NOBODY if uid and name.startswith("*") else 0,
        id=f"{name.lstrip('*')}-{'user' if uid else 'root'}",
    )
    for program, table in ANSWERS.items()
    for name, answer in table.items()
    for uid in (0, NOBODY)
]


@pytest.mark.parametrize(("program", "name", "answer", "uid", "control_uid"), CASES)
def test_the_call_is_refused_inside_and_works_outside(
    programs: Programs, program: str, name: str, answer: str, uid: int, control_uid: int
) -> None:
    names = [key.lstrip("*") for key in ANSWERS[program]]
    assert programs.inside(program, names, uid)[name] == answer
    outside = programs.outside(program, name, control_uid)
    if outside in LACKING | LACKING_HERE.get(name, set()):
        pytest.skip(f"this kernel or machine lacks what {name} asks for: {outside} outside, too")
    assert outside in {"0"} | REACHED.get(name, set())


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_calls_that_no_kernel_has_are_not_executed(programs: Programs, uid: int) -> None:
    where = programs.workspace("calls", uid=uid)
    done = programs.run_in_cage(where / "calls", "x32_call", "beyond_table", cwd=where, uid=uid)
    assert done.stdout.split() in (
        ["x32_call", "SIGSYS", "beyond_table", "ENOSYS"],
        ["x32_call", "ENOSYS", "beyond_table", "ENOSYS"],
    )


UNSEEN = ("write_only", "execute_only", "run_unseen", "connect_unseen")


@pytest.mark.parametrize("uid", [0, NOBODY])
@pytest.mark.parametrize("name", UNSEEN)
def test_no_action_keeps_its_name_from_the_log(programs: Programs, name: str, uid: int) -> None:
    """Names in memory that only the kernel can read: a call that cannot be recorded is not made."""
    assert programs.inside("unseen", UNSEEN, uid)[name] == "EFAULT"
    # With protection keys not even the kernel reads memory that is only executed (pkeys(7)).
    has_keys = re.search(r"\bospke\b", Path("/proc/cpuinfo").read_text()) is not None
    control = "EFAULT" if name == "execute_only" and has_keys else "0"
    assert programs.outside("unseen", name, uid) == control


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_reading_routes_works(programs: Programs, uid: int) -> None:
    """Programs list interfaces by it: what is refused is refused by what it does, not by its
    family.
    """
    where = programs.workspace("sockets", uid=uid)
    assert (
        programs.run_in_cage(where / "sockets", "route_read", cwd=where, uid=uid).stdout
        == "route_read 0\n"
    )


def test_refused_calls_are_in_the_log(daemon: Daemon, programs: Programs) -> None:
    where = programs.workspace("spaces")
    report = daemon.report(
        str(where / "spaces"), "unshare_user", "mount_tmpfs", "clone_user", cwd=where
    )
    records = [
        record for record in daemon.events(report["cage"]) if record.get("verdict") == "denied"
    ]
    assert [record["name"] for record in records] == ["unshare", "mount", "clone"]
    assert report["usage"]["denials"] == 3


def test_arguments_too_long_for_a_record_are_marked(daemon: Daemon) -> None:
    """What the agent hides behind a long argument is not in the log; that something is missing,
    is.
    """
    report = daemon.report("/bin/true", "x" * 5000, "rm -rf everything")
    ran = [record for record in daemon.events(report["cage"]) if record.get("name") == "execve"]
    assert [record.get("truncated", False) for record in ran] == [True]
    report = daemon.report("/bin/true", "short")
    assert not any(record.get("truncated") for record in daemon.events(report["cage"]))


NUMBERS = """
import ctypes, os, sys
call = ctypes.CDLL(None, use_errno=True).syscall
for number in map(int, sys.argv[1:]):
    if not os.fork():
        result = call(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
        os._exit(ctypes.get_errno() if result == -1 else 255)
    status = os.wait()[1]
    print(number, -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
"""
BEYOND = [1024, 5000, 1 << 31, 1 << 31 | 5, 1 << 30, -1, -2, (1 << 31) - 1]


def test_numbers_beyond_every_table_are_refused_and_recorded(daemon: Daemon) -> None:
    """Also those that no int holds: whoever names a call in the log must not stumble over them."""
    command = ("python3", "-c", NUMBERS, *map(str, BEYOND))
    answers = [int(line.split()[1]) for line in daemon.run(*command).stdout.splitlines()]
    assert answers[:2] == [errno.ENOSYS] * 2
    # From 1 << 30 on they are calls of x32, which is a foreign architecture.
    assert set(answers[2:]) <= {errno.ENOSYS, -signal.SIGSYS}
    report = daemon.report(*command)
    named = {
        record["name"] for record in daemon.events(report["cage"]) if record["kind"] == "syscall"
    }
    assert {"#1024", "#5000"} <= named
