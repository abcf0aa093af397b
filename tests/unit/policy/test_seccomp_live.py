"""The filter in the kernel, with a listener answered from the very table that the pump gets.

Each test forks a child that confines itself; no privilege is needed.  Controls run in a child
without the filter.
"""

import ctypes
import errno
import faulthandler
import fcntl
import mmap
import os
import queue
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import threading

import msgspec
import pytest

from akiosd.kernel.seccomp import Compiled, compiled, name_of, resolve
from akiosd.policy.compile.seccomp import RULE_AND, RULE_ANSWER, RULE_COUNT
from akiosd.values import syscalls as table
from akiosd.values.policy import Syscalls

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or resolve("arch_prctl") != 158, reason="needs Linux on x86-64"
    ),
]

SECCOMP_SET_MODE_FILTER, NEW_LISTENER = 1, 8
NOTIF_RECV, NOTIF_SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
libc = ctypes.CDLL(None, use_errno=True)


def raw(name_or_number, *args):
    """A system call with full 64-bit registers → 0, or the errno."""
    number = name_or_number if isinstance(name_or_number, int) else resolve(name_or_number)
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(arg) for arg in args))
    return ctypes.get_errno() if result == -1 else 0


def load(bpf, flags):
    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    program = Program(len(bpf) // 8, bpf)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    return libc.syscall(
        ctypes.c_long(317), ctypes.c_uint(SECCOMP_SET_MODE_FILTER), flags, ctypes.byref(program)
    )


class Supervisor:
    """Answers notifications as the pump does and remembers them."""

    def __init__(self, listener, pump_table):
        self.listener, self.table = listener, pump_table
        self.seen = []

    def verdict(self, nr, args):
        """→ (errno, whether the call is made); nothing is ever too many."""
        _kind, first, count, known, *_, default = struct.unpack_from(
            "<HHHBBBBBBBBxxi", self.table, nr * 20
        )
        holds = True
        for row in range(first, first + count if known else first):
            _, arg, mask, value, err, flags = struct.unpack_from(
                "<IIQQiI", self.table, 1024 * 20 + row * 32
            )
            holds = holds and args[arg] & mask == value
            if not flags & RULE_AND:
                if holds:
                    err = 0 if flags & RULE_COUNT else err
                    return err, err == 0 and not flags & RULE_ANSWER
                holds = True
        return default, default == 0

    def answer_one(self):
        buffer = bytearray(80)
        try:
            fcntl.ioctl(self.listener, NOTIF_RECV, buffer)
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.EINTR)
            return
        ident, _pid, _flags, nr, _arch, _ip, *args = struct.unpack("<QIIiIQ6Q", buffer)
        err, made = self.verdict(nr, args)
        self.seen.append((nr, tuple(args), err))
        reply = struct.pack("<QqiI", ident, 0, -err, CONTINUE if made else 0)
        try:
            fcntl.ioctl(self.listener, NOTIF_SEND, reply)
        except OSError as error:
            assert error.errno == errno.ENOENT


def confine(built, channel):
    """Loads the filter and hands the listener over: from a thread that the filter does not hold.

    ``sendmsg`` of the confined thread could itself be notified, before anybody has the listener.
    """
    loaded = queue.SimpleQueue()
    sender = threading.Thread(target=lambda: socket.send_fds(channel, [b"x"], [loaded.get()]))
    sender.start()
    listener = load(built.bpf, NEW_LISTENER)
    loaded.put(listener)
    sender.join()
    os.close(listener)


def die_quietly_with_the_parent():
    """No orphan when the test is killed, no core and no traceback when a call crashes the child."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    assert libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0


def start_caged(body, built: Compiled):
    """Forks a child that confines itself and runs ``body`` → (pid, the channel that brings
    listener and result).
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            die_quietly_with_the_parent()
            confine(built, theirs)
            os.write(theirs.fileno(), msgspec.msgpack.encode(body()))
        finally:
            os._exit(0)
    theirs.close()
    return pid, ours


def finish_caged(pid, channel):
    """→ (the body's result, wait status)."""
    with channel:
        data = b"".join(iter(lambda: channel.recv(65536), b""))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return msgspec.msgpack.decode(data, strict=False) if data else None, status


def run_caged(body, built: Compiled):
    """``body`` in a confined child → (its result, wait status, notifications)."""
    pid, channel = start_caged(body, built)
    pidfd = os.pidfd_open(pid)
    _, (listener,), _, _ = socket.recv_fds(channel, 1, 1)
    supervisor = Supervisor(listener, built.pump_table)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    try:
        while True:
            ready = dict(poll.poll())
            if ready.get(listener, 0) & select.POLLIN:
                supervisor.answer_one()
            elif ready.get(pidfd, 0):
                break
    finally:
        os.close(listener)
        os.close(pidfd)
    return *finish_caged(pid, channel), supervisor.seen


def run_free(body):
    """The control: the same body in a child without a filter."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            die_quietly_with_the_parent()
            os.write(write, msgspec.msgpack.encode(body()))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    return msgspec.msgpack.decode(data) if data else None, os.waitstatus_to_exitcode(
        os.waitpid(pid, 0)[1]
    )


@pytest.fixture(params=["none", "security", "all"])
def built(request):
    return compiled(Syscalls(trace=request.param))


def test_ordinary_work_goes_on(built, tmp_path):
    def body():
        path = tmp_path / "file"
        path.write_text("text")
        path.chmod(0o600)
        path.rename(tmp_path / "other")
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/true", ["true"])
        status = os.waitpid(pid, 0)[1]
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            with socket.create_connection(server.getsockname()):
                pass
        os.mkfifo(tmp_path / "fifo")
        return [status, (tmp_path / "other").read_text()]

    result, status, _ = run_caged(body, built)
    assert (result, status) == ([0, "text"], 0)


DENIALS = {
    "TIOCSTI": (("ioctl", 0, 0x5412, 0), errno.EPERM),
    "TIOCSTI with high bits": (("ioctl", 0, 0xDEADBEEF00005412, 0), errno.EPERM),
    "TIOCLINUX with high bits": (("ioctl", 0, 0x10000541C, 0), errno.EPERM),
    "TIOCSETD": (("ioctl", 0, 0x5423, 0), errno.EPERM),
    "clone with a namespace": (("clone", 0x10000000 | 17, 0, 0, 0, 0), errno.EPERM),
    "clone with a namespace and high bits": (("clone", 0x110000011, 0, 0, 0, 0), errno.EPERM),
    "clone3": (("clone3", 0, 0), errno.ENOSYS),
    "unshare": (("unshare", 0x10000000), errno.EPERM),
    "setns": (("setns", 0, 0), errno.EPERM),
    "limits of init": (("prlimit64", 1, 0, 8, 0), errno.EPERM),
    "limits of init with high bits": (("prlimit64", 1 << 32 | 1, 0, 8, 0), errno.EPERM),
    "keys of a connection": (("setsockopt", -1 & (1 << 64) - 1, 6, 14, 0, 0), errno.ENOPROTOOPT),
    "a filter on a socket, with high bits": (
        ("setsockopt", 0, 1 << 32 | 1, 26, 0, 0),
        errno.ENOPROTOOPT,
    ),
    "descriptors shared with another process": (("clone", 0x400 | 17, 0, 0, 0, 0), errno.EINVAL),
    "tipc pair": (("socketpair", 30, 1, 0, 0), errno.EAFNOSUPPORT),
    "packet socket": (("socket", 17, 3, 0), errno.EPERM),
    "vsock": (("socket", 40, 1, 0), errno.EAFNOSUPPORT),
    "vsock with high bits": (("socket", 1 << 32 | 40, 1, 0), errno.EAFNOSUPPORT),
    "alg socket": (("socket", 38, 5, 0), errno.EAFNOSUPPORT),
    "raw socket": (("socket", 2, 3, 1), errno.EPERM),
    "sctp": (("socket", 2, 1, 132), errno.EPROTONOSUPPORT),
    "netfilter netlink": (("socket", 16, 3, 12), errno.EPROTONOSUPPORT),
    "audit netlink datagram": (("socket", 16, 2, 9), errno.EPROTONOSUPPORT),
    "ptrace": (("ptrace", 0, 0, 0, 0), errno.EPERM),
    "process_vm_writev": (("process_vm_writev", 1, 0, 0, 0, 0, 0), errno.EPERM),
    "pidfd_getfd": (("pidfd_getfd", 0, 0, 0), errno.EPERM),
    "io_uring": (("io_uring_setup", 8, 0), errno.EPERM),
    "bpf": (("bpf", 0, 0, 0), errno.EPERM),
    "keyctl": (("keyctl", 0, 0, 0, 0, 0), errno.EPERM),
    "userfaultfd": (("userfaultfd", 1), errno.EPERM),
    "old mount": (("mount", 0, 0, 0, 0, 0), errno.EPERM),
    "new mount": (("fsopen", 0, 0), errno.EPERM),
    "open_tree_attr": (("open_tree_attr", 0, 0, 0, 0, 0), errno.EPERM),
    "open_by_handle_at": (("open_by_handle_at", 0, 0, 0), errno.EPERM),
    "memfd_secret": (("memfd_secret", 0), errno.EPERM),
    "personality": (("personality", 0x0400000), errno.EPERM),
    "block device": (("mknodat", 0, 0, 0o060600, 0), errno.EPERM),
    "character device": (("mknod", 0, 0o020600, 0), errno.EPERM),
    "core scheduling": (("prctl", 62, 1, 0, 0, 0), errno.EPERM),
    "second listener": (("seccomp", 1, 8, 0), errno.EPERM),
    "a number nobody knows": ((1000,), errno.ENOSYS),
}
# What the kernel itself says without the filter; only where that is sure on every host.
CONTROLS = {
    "TIOCSTI": {errno.ENOTTY, errno.EBADF, errno.EFAULT, errno.EIO},
    "TIOCSTI with high bits": {errno.ENOTTY, errno.EBADF, errno.EFAULT, errno.EIO},
    "clone3": {errno.EINVAL},
    "personality": {0},
    "second listener": {errno.EFAULT},
    "sctp": {0, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT},
    "io_uring": {errno.EFAULT, errno.EPERM},
}


def test_dangerous_calls_are_denied_and_seen(built):
    result, status, seen = run_caged(
        lambda: {name: raw(*call) for name, (call, _) in DENIALS.items()}, built
    )
    assert status == 0
    assert result == {name: want for name, (_, want) in DENIALS.items()}
    noticed = {(nr, args[: len(call) - 1]) for nr, args, _ in seen for call in [(0, *args)]}
    for name, (call, _) in DENIALS.items():
        nr = call[0] if isinstance(call[0], int) else resolve(call[0])
        if name != "clone3":
            assert any(
                number == nr and args[: len(call) - 1] == call[1:] for number, args in noticed
            ), name


def test_the_same_calls_outside_are_answered_by_the_kernel():
    result, status = run_free(lambda: {name: raw(*DENIALS[name][0]) for name in CONTROLS})
    assert status == 0
    for name, possible in CONTROLS.items():
        assert result[name] in possible, name


def test_allowed_forms_are_not_denied(built):
    calls = {
        "asking for the personality": ("personality", 0xFFFFFFFF),
        "personality 0": ("personality", 0),
        "unix": ("socket", 1, 1, 0),
        "tcp": ("socket", 2, 1, 6),
        "tcp, close-on-exec and non-blocking, with garbage above": (
            "socket",
            7 << 32 | 2,
            1 | 0o2004000,
            0,
        ),
        "udp6": ("socket", 10, 2, 0),
        "route netlink": ("socket", 16, 3, 0),
        "prctl": ("prctl", 3, 0, 0, 0, 0),
        "an unusual prctl": ("prctl", 1000, 0, 0, 0, 0),
        "an unusual ioctl": ("ioctl", 0, 0x00121234, 0),
        "own limits": ("prlimit64", 0, 7, 0, 0),
        "limits by the own pid": ("prlimit64", os.getpid(), 7, 0, 0),
    }
    free, _ = run_free(lambda: {name: raw(*call) for name, call in calls.items()})
    caged, _, _ = run_caged(lambda: {name: raw(*call) for name, call in calls.items()}, built)
    assert caged == free


def test_an_open_for_reading_is_recorded_only_from_files_on(tmp_path):
    (tmp_path / "file").touch()
    path = ctypes.create_string_buffer(os.fsencode(tmp_path / "file"))
    address = ctypes.addressof(path)

    def body():
        at = ctypes.c_ulong(-100 & (1 << 64) - 1).value
        return [
            raw("openat", at, address, os.O_RDONLY | os.O_CLOEXEC),
            raw("openat", at, address, os.O_WRONLY),
        ]

    def flags_seen(trace):
        _, _, seen = run_caged(body, compiled(Syscalls(trace=trace)))
        return [args[2] for nr, args, _ in seen if nr == resolve("openat") and args[1] == address]

    assert flags_seen("none") == []
    assert flags_seen("security") == [os.O_WRONLY]
    assert flags_seen("files") == [os.O_RDONLY | os.O_CLOEXEC, os.O_WRONLY]


def machine_code(code):
    """Calls machine code in this process."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


# mov eax, 20 (getpid on i386); int 0x80; ret
INT80_GETPID = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"


def test_int_0x80_kills(built):
    outside, status = run_free(lambda: machine_code(INT80_GETPID))
    if status != 0:
        pytest.skip("this kernel has no 32-bit system calls (CONFIG_IA32_EMULATION)")
    assert outside > 0
    result, status, _ = run_caged(lambda: machine_code(INT80_GETPID), built)
    assert (result, status) == (None, -signal.SIGSYS)


def test_x32_numbers_kill(built):
    result, status, _ = run_caged(lambda: raw(0x40000000 | 39), built)
    assert (result, status) == (None, -signal.SIGSYS)


def try_number(nr):
    """One allowed call with zeros in a process of its own: it may end that process, or wait until
    the alarm.
    """
    pid = os.fork()
    if pid == 0:
        die_quietly_with_the_parent()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        raw(nr, 0, 0, 0, 0, 0, 0)
        os._exit(0)
    os.waitpid(pid, 0)


def test_every_number_with_zeros_is_survived_and_the_unlisted_are_enosys():
    listed = {resolve(name) for name in (*table.ALLOWED, *table.CHECKED)}
    denied = {resolve(name) for name in table.DENIED}
    # Allowed in a cage, which has its own; here their zeros would name objects of the host (0 is
    # IPC_RMID).
    beyond_the_child = {resolve(name) for name in ("sync", "msgget", "msgctl", "semctl", "shmctl")}

    def body():
        # Zero is also a descriptor: fchmod(0, 0) would take /dev/null from the whole host.
        os.dup2(os.pipe()[0], 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for nr in listed - {-1} - beyond_the_child:
            try_number(nr)
        return {nr: raw(nr, 0, 0, 0, 0, 0, 0) for nr in range(1024) if nr not in listed}

    answers, status, seen = run_caged(body, compiled(Syscalls()))
    assert status == 0
    assert answers == {
        nr: table.EPERM if nr in denied else table.ENOSYS for nr in set(range(1024)) - listed
    }
    quiet = {resolve(name) for name in (*table.OPTIONAL, *table.ABSENT)}
    assert set(answers) - quiet <= {nr for nr, _, _ in seen}


EARLIER = {
    "limits of init": errno.EFAULT,
    "limits of init with high bits": errno.EFAULT,
    "keys of a connection": errno.EBADF,
    "a filter on a socket, with high bits": errno.ENOTSOCK,
    "tipc pair": errno.EFAULT,
}
"""What the kernel refuses in those calls before it comes to what the tables deny."""


async def test_the_native_pump_takes_the_table_and_answers_from_it(tmp_path):
    pytest.importorskip("akiosd.kernel._shim", reason="the native shim is not built")
    from tests.kernel.raw_records import RawPump

    built = compiled(Syscalls())
    missing = os.fsencode(tmp_path / "missing")
    path = ctypes.create_string_buffer(missing)

    def body():
        answers = {name: raw(*call) for name, (call, _) in DENIALS.items()}
        return {**answers, "unlink": raw("unlink", ctypes.addressof(path))}

    pid, channel = start_caged(body, built)
    _, (listener,), _, _ = socket.recv_fds(channel, 1, 1)
    pump = RawPump(listener, built.pump_table)
    try:
        events = [event async for batch in pump.batches() for event in batch]
    finally:
        pump.close()
    result, status = finish_caged(pid, channel)
    assert status == 0
    wanted = {name: want for name, (_, want) in DENIALS.items()} | EARLIER
    assert result == {"unlink": errno.ENOENT, **wanted}
    (unlink,) = [
        event for event in events if event.nr == resolve("unlink") and event.path == missing
    ]
    assert (table.KINDS[unlink.kind], unlink.err) == ("unlink", 0)
    for name, (call, _) in DENIALS.items():
        want = wanted[name]
        nr = call[0] if isinstance(call[0], int) else resolve(call[0])
        if name != "clone3":
            assert any(
                (event.nr, event.err, event.args[: len(call) - 1]) == (nr, want, call[1:])
                for event in events
            ), name


PROGRAMS = {
    "python3": [
        "-c",
        "import subprocess, threading, multiprocessing, asyncio, ssl, sqlite3\n"
        "subprocess.run(['true'], check=True)\n"
        "thread = threading.Thread(target=print); thread.start(); thread.join()\n"
        "assert multiprocessing.Pool(2).map(abs, [-1, 2]) == [1, 2]\n"
        "asyncio.run(asyncio.sleep(0))",
    ],
    "sh": [
        "-c",
        "echo a | cat > b && mv b c && ln -s c d && chmod 600 c && rm c d && mkfifo e && df . && id",
    ],
    "git": ["init", "-q", "."],
    "gcc": ["-pthread", "-xc", "/dev/null", "-fsyntax-only"],
    "node": [
        "-e",
        "require('child_process').execSync('true'); require('fs').writeFileSync('x', 'y')",
    ],
    "perl": ["-e", "print getpwuid($<)"],
    "tar": ["cf", "x.tar", "/etc/passwd"],
    "ssh": ["-G", "host"],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_ordinary_programs_work_and_nothing_of_theirs_is_denied(program, tmp_path):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")

    def body():
        pid = os.fork()
        if pid == 0:
            os.chdir(tmp_path)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.execve(
                path, [program, *PROGRAMS[program]], {"PATH": os.defpath, "HOME": str(tmp_path)}
            )
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    result, status, seen = run_caged(body, compiled(Syscalls()))
    assert (result, status) == (0, 0)
    assert [name_of(nr) for nr, _, err in seen if err] == []
