"""The agent against its own cage: init, the exit status, descriptors, privileges that should be
gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosd.kernel.probe import landlock_abi
from akiosd.values.plan import STATUS, decode_status

from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import NOBODY, Daemon

SIGNALS = ("kill_init", "tgkill_init", "queue_init", "pidfd_signal_init")

# What each attempt on pid 1 meets; anything else than these is a success or a surprise.
AGAINST_INIT = {
    **dict.fromkeys(("ptrace_init", "vm_read_init", "vm_write_init", "getfd_init"), "EPERM"),
    **dict.fromkeys(("limit_init", "read_limit_init"), "EPERM"),
    **dict.fromkeys(("idle_init", "idle_init_by_attr", "pin_init", "nice_init", "slow_disk_init"), "EPERM"),
    **dict.fromkeys(("nice_all", "slow_disk_all"), "EPERM"),
    **dict.fromkeys(
        (
            "init_root", "init_cwd", "init_mem", "init_maps", "init_environ", "init_fd", "init_fds", "init_exe",
            "init_ns", "init_status", "init_task_mem", "init_oom",
        ),
        "ENOENT",
    ),
    **dict.fromkeys(SIGNALS, "EPERM"),
}  # fmt: skip


@pytest.mark.parametrize("uid", [0, NOBODY])
@pytest.mark.parametrize("name", list(AGAINST_INIT))
def test_init_is_out_of_reach(programs: Programs, name: str, uid: int) -> None:
    inside = programs.inside("others", list(AGAINST_INIT), uid)[name]
    # Before Landlock ABI 6 the signal is sent, and pid 1 ignores what it has no handler for.
    ignored = {"0"} if name in SIGNALS and landlock_abi() < 6 else set()
    assert inside in {AGAINST_INIT[name]} | ignored
    # The control as root: pid 1 is a shell of the same kind, in a pid namespace of its own.
    assert programs.outside("others", name) in ("0", "EFAULT")


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_the_agent_has_stdio_and_nothing_else(daemon: Daemon, uid: int) -> None:
    """Descriptors of the caller and the status socket of init stay outside."""
    script = "import os; print([fd for fd in range(256) if os.path.exists(f'/proc/self/fd/{fd}')])"
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        inside = daemon.run("python3", "-c", script, uid=uid, pass_fds=[secret])
        outside = subprocess.run(
            [sys.executable, "-c", script], pass_fds=[secret], capture_output=True, text=True
        )
    finally:
        os.close(secret)
    assert inside.stdout == "[0, 1, 2]\n", inside.stderr
    assert str(secret) in outside.stdout


FORGE = f"""
import os, struct
for fd in range(3, 64):
    try:
        os.write(fd, struct.pack("<IiIIQQQ", {STATUS["exited"]}, 0, 0, 0, 0, 0, 0))
        print("wrote", fd)
    except OSError:
        pass
os._exit(42)
"""


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_the_exit_status_cannot_be_forged(daemon: Daemon, uid: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        control = subprocess.run(
            [sys.executable, "-c", FORGE],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
        )
        assert control.stdout == f"wrote {theirs.fileno()}\n"
        assert decode_status(ours.recv(4096)).kind == "exited"
    done = daemon.run("python3", "-c", FORGE, uid=uid)
    assert (done.stdout, done.returncode) == ("", 42), done.stderr


EMPTY = {
    "CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
    "CapBnd": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "Groups": "",
}  # fmt: skip

# PR_GET_SECUREBITS, PR_GET_DUMPABLE
READ_PRIVILEGES = """
import ctypes, resource
print(open("/proc/self/status").read(), end="")
print(f"Securebits: {ctypes.CDLL(None).prctl(27):#x}")
print("Core:", *resource.getrlimit(resource.RLIMIT_CORE))
print("Rtprio:", *resource.getrlimit(resource.RLIMIT_RTPRIO))
"""


@pytest.fixture(scope="module")
def widening() -> Iterator[Daemon]:
    """A host whose admin lets policies ask for more, such as a root that is none."""
    private = Daemon(system_policy="allow_widening: true\n")
    try:
        yield private.start()
    finally:
        private.close()


def privileges(text: str) -> dict[str, str]:
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
    }


@pytest.mark.parametrize("uid", [0, NOBODY])
@pytest.mark.parametrize("mode", ["agent", "caller", "root"])
def test_no_privilege_is_left(widening: Daemon, mode: str, uid: int) -> None:
    policy = widening.base / f"identity-{mode}.yaml"
    policy.write_text(f"version: 1\nidentity: {mode}\n")
    policy.chmod(0o644)
    done = widening.run("python3", "-c", READ_PRIVILEGES, flags=["--policy", str(policy)], uid=uid)
    inside = privileges(done.stdout)
    assert {key: inside.get(key) for key in EMPTY} == EMPTY, done.stderr
    assert (inside["Securebits"], inside["Core"], inside["Rtprio"]) == ("0xef", "1 1", "0 0")
    expected = {"agent": "1000", "caller": str(uid or 1000), "root": "0"}[mode]
    assert set(inside["Uid"].split()) == {expected}
    outside = privileges(
        subprocess.run(
            [sys.executable, "-c", READ_PRIVILEGES], capture_output=True, text=True
        ).stdout
    )
    assert (
        outside["CapEff"] != EMPTY["CapEff"]
        and outside["Seccomp"] == "0"
        and outside["Securebits"] == "0x0"
    )


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_the_agent_never_runs_as_a_host_user(widening: Daemon, uid: int) -> None:
    """Not as host root above all: whoever is, may write core_pattern.  Read from outside, of a
    running agent.
    """
    policy = widening.base / "as-root.yaml"
    policy.write_text("version: 1\nidentity: root\n")
    policy.chmod(0o644)
    where = widening.workspace(uid=uid)
    with widening.popen(
        "run",
        "--policy",
        policy,
        "--workspace",
        where,
        "--",
        "sh",
        "-c",
        "echo up; read line",
        uid=uid,
        cwd=where,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None and client.stdout is not None
        assert client.stdout.readline() == "up\n"
        [cage] = [
            c
            for c in json.loads(widening.ctl("ps", "--json", uid=uid).stdout)
            if c["state"] == "running"
        ]
        uids = {
            word
            for line in Path(f"/proc/{cage['pid']}/status").read_text().splitlines()
            if line.startswith(("Uid:", "Gid:"))
            for word in line.split()[1:]
        }
        client.stdin.write("go\n")
        client.stdin.close()
        assert client.wait(30) == 0
    assert len(uids) == 1 and int(uids.pop()) >= 1 << 30


def test_signals_of_the_agent_do_not_end_the_cage(daemon: Daemon) -> None:
    """Everything it may send to everybody it may reach: only the agent's own processes die."""
    script = "import os\nfor n in range(1, 65):\n  try: os.kill(1, n)\n  except OSError: pass\nprint('alive')"
    done = daemon.run(
        "python3", "-c", script + "\ntry: os.kill(-1, 9)\nexcept OSError: pass\nprint('and still')"
    )
    assert (done.stdout, done.returncode) == ("alive\nand still\n", 0)
    control = subprocess.Popen(["sleep", "1000"])
    os.kill(control.pid, signal.SIGTERM)
    assert control.wait() == -signal.SIGTERM
