"""What the launcher's tests share: a small plan that works without any descriptor, and a blocking
driver.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path

import msgspec
import pytest

from akiosd.kernel.launcher import CAGE_FLAGS
from akiosd.kernel.pidfd import WALL
from akiosd.kernel.programs import spawn_helper
from akiosd.policy.compile.mounts import _SECUREBITS
from akiosd.values import plan as form
from akiosd.values.plan import F_STAGE, FD_FIRST_FREE, Plan, StatusMessage, Step, decode_status

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

_EXECUTE_AND_FILES = (1 << 13) - 1

# Every kind of step that needs no descriptor of the daemon's, in the order of a real plan.
GOOD_STEPS = (
    Step(
        op="fsmount", what="root", a=b"tmpfs", b=b"size\x0065536\0", c=b"/root", u0=6, flags=F_STAGE
    ),
    Step(op="root", what="build there", a=b"/root"),
    Step(op="canary", what="keep a file", a=b"/proof"),
    Step(op="setsid", what="a session"),
    Step(op="hostname", what="a name", a=b"c-test"),
    Step(op="mkdir", what="/dev", b=b"dev", u0=0o755),
    Step(op="mkdir", what="/proc", b=b"proc", u0=0o755),
    Step(op="symlink", what="/link", b=b"link", c=b"dev"),
    Step(op="mkfile", what="/file", b=b"file", u0=0o100644, uid=1000, gid=1000),
    Step(op="mknod", what="/dev/null", a=b"dev", b=b"null", u0=0o020666, u1=1 << 8 | 3),
    Step(op="fsmount", what="/proc", a=b"proc", b=b"hidepid\x00ptraceable\0", c=b"proc", u0=14),
    Step(op="bind", what="a mask", a=b"dev/null", c=b"proc/keys", u0=1, flags=form.F_EXIST_OK),
    Step(op="setattr", what="read-only", u0=1),
    Step(op="pivot", what="the new root"),
    Step(op="umask", what="umask", u0=0o022),
    Step(op="rlimit", what="files", u0=7, u1=64, u2=64),
    Step(op="keyring", what="a keyring"),
    Step(op="close_range", what="descriptors", u0=FD_FIRST_FREE),
    Step(op="bounding", what="bounding set"),
    Step(op="securebits", what="securebits", u0=_SECUREBITS),
    Step(op="ids", what="ids", uid=65534, gid=65534),
    Step(op="capset", what="capabilities"),
    Step(op="lockdown", what="no_new_privs"),
    Step(op="landlock", what="ruleset", u0=_EXECUTE_AND_FILES, u1=0, u2=8),
    Step(op="landlock_rule", what="/", a=b"/", u0=1 << 3),
    Step(op="landlock_enforce", what="enforce"),
)


def plan_of(*steps: Step, command: bytes = b"") -> Plan:
    return Plan(steps=steps, command=command, argv=(b"x", b""), env=(b"A=1",), cwd=b"/")


def children() -> set[int]:
    """Our own, whatever thread started them."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


class Outcome(msgspec.Struct, frozen=True):
    """``answer`` is the launcher's errno; ``code`` the child's exit code, negative for a signal."""

    answer: int
    messages: tuple[StatusMessage, ...] = ()
    code: int = 0


class Blocking:
    """The launcher driven without an event loop, for thousands of plans.  Any bytes may be sent."""

    def __init__(self, program: Path) -> None:
        self.socket, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
        )
        self.socket.settimeout(20)
        self.pid = spawn_helper([str(program)], {}, theirs.fileno())
        theirs.close()
        assert form.REPLY.unpack(self.socket.recv(form.REPLY.size))[1] == 0

    def run(self, plan: bytes, *, size: int | None = None) -> Outcome:
        ours, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
        )
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            os.write(memory, plan)
            fds = [memory, theirs.fileno(), theirs.fileno()]
            length = len(plan) if size is None else size
            request = form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, len(fds), length, CAGE_FLAGS)
            socket.send_fds(self.socket, [request], fds)
            reply, received, _, _ = socket.recv_fds(
                self.socket, form.REPLY.size, 1, socket.MSG_CMSG_CLOEXEC
            )
            theirs.close()
            pid, err = form.REPLY.unpack(reply)
            if err:
                assert (pid, received) == (-1, [])
                return Outcome(err)
            return self._collect(ours, received[0])
        finally:
            os.close(memory)
            theirs.close()
            ours.close()

    def _collect(self, ours: socket.socket, process: int) -> Outcome:
        ours.settimeout(20)
        messages = []
        try:
            while data := ours.recv(64):
                messages.append(decode_status(data))
                if messages[-1].kind in ("ready", "failed", "parked"):
                    break
            ours.close()
            if not select.select([process], [], [], 20)[0]:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                pytest.fail("the child hangs")
            result = os.waitid(os.P_PIDFD, process, os.WEXITED | WALL)
        finally:
            os.close(process)
        assert result is not None
        code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        return Outcome(0, tuple(messages), code)

    def close(self) -> int:
        """Its exit code."""
        self.socket.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
