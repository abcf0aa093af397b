"""Confines a gateway process and proves it: no privilege, few system calls, files it may only read.

A gateway parses what the agent and the internet send. Whoever takes it over finds an unprivileged
process with a uid of its own. It can use the network as its host does and nothing else: it can
start no program, write no file, see no other process, and listen on no socket but those it was
given.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
from collections.abc import Callable

import msgspec

from akiosd.errors import KernelError
from akiosd.kernel import landlock, privileges
from akiosd.kernel.fds import Fd
from akiosd.kernel.seccomp import compile_bpf
from akiosd.policy.compile.seccomp import FilterSpec, SeccompRule
from akiosd.values.syscalls import Compare

READABLE = (
    "/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
    "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/lib/ssl",
    "/var/lib/ca-certificates",
)  # fmt: skip
"""Directories that a gateway may read, as far as file modes let everybody: the resolver's
configuration, wherever /etc/resolv.conf leads, and certificates.
"""

RLIMITS: tuple[tuple[int, int], ...] = (
    (resource.RLIMIT_CORE, 1),
    (resource.RLIMIT_NOFILE, 4096),
    (resource.RLIMIT_NPROC, 48),
    (resource.RLIMIT_FSIZE, 1 << 20),
    (resource.RLIMIT_MEMLOCK, 0),
    (resource.RLIMIT_MSGQUEUE, 0),
    (resource.RLIMIT_SIGPENDING, 64),
    (resource.RLIMIT_DATA, 1 << 30),
)
"""Resource limits of a gateway.  FSIZE bounds memfds, the only files it can write.  CORE of 1 also
keeps core handlers from running, which 0 does not (core(5)).
"""

_ALLOWED = (
    # Descriptors and memory.
    "read", "write", "readv", "writev", "pread64", "lseek", "close", "close_range", "dup", "fcntl",
    "fstat", "newfstatat", "stat", "lstat", "statx", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "getdents64", "getcwd", "munmap", "mremap", "madvise", "brk",
    "memfd_create", "ftruncate", "pipe2", "eventfd2",
    # Network: what was connected or given; never bind, never listen.
    "connect", "accept", "accept4", "shutdown", "getsockname", "getpeername", "getsockopt",
    "setsockopt", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg",
    # Waiting.
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll",
    "select", "pselect6", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres",
    "gettimeofday", "time", "restart_syscall",
    # Threads (of the resolver), signals of its own, itself.
    "futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "getcpu", "membarrier",
    "exit", "exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "gettid",
    "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getrandom", "uname", "sysinfo",
    "getrusage",
)  # fmt: skip

_PROT_EXEC = 4
_CLONE_THREAD = 0x00010000
_WRITING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SOCK_TYPE = 0xF
_LOW = 0xFFFFFFFF
_FIONREAD, _FIONBIO, _FIOCLEX = 0x541B, 0x5421, 0x5451


def _allow(name: str, *tests: Compare) -> SeccompRule:
    return SeccompRule(name, "allow", 0, tests)


def filter_spec() -> FilterSpec:
    """The seccomp filter: the calls listed here are allowed, every other fails with EPERM.

    clone3 fails with ENOSYS, so that glibc uses clone, whose flags a filter can read.
    """
    sockets = [
        _allow("socket", Compare(0, _LOW, family), Compare(1, _SOCK_TYPE, kind))
        for family in (socket.AF_INET, socket.AF_INET6)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    ]
    return FilterSpec(
        rules=(
            *(_allow(name) for name in _ALLOWED),
            *sockets,
            _allow("socketpair", Compare(0, _LOW, socket.AF_UNIX)),
            *(
                _allow("ioctl", Compare(1, _LOW, request))
                for request in (_FIONREAD, _FIONBIO, _FIOCLEX)
            ),
            _allow("openat", Compare(2, _WRITING, os.O_RDONLY)),
            _allow("open", Compare(1, _WRITING, os.O_RDONLY)),
            _allow("mmap", Compare(2, _PROT_EXEC, 0)),
            _allow("mprotect", Compare(2, _PROT_EXEC, 0)),
            _allow("clone", Compare(0, _CLONE_THREAD, _CLONE_THREAD)),
            # Reading a limit is writing none.
            _allow("prlimit64", Compare(2, (1 << 64) - 1, 0)),
            SeccompRule("clone3", "errno", errno.ENOSYS),
        ),
        pump_table=(),
        default_errno=errno.EPERM,
        listener=False,
    )


class Fences(msgspec.Struct, frozen=True):
    """The compiled filter and the Landlock ruleset: made once by the zygote, applied by every
    gateway.

    ``ruleset`` belongs to the zygote; ``landlock`` describes it for the posture.
    """

    bpf: bytes
    ruleset: Fd
    landlock: str

    @classmethod
    def build(cls) -> Fences:
        """Raises LayerUnavailableError or KernelError where this kernel lacks one of them."""
        ruleset, description = landlock.read_only_ruleset(READABLE)
        return cls(compile_bpf(filter_spec()), ruleset, description)


def give_up_privileges(keep: frozenset[int] = frozenset()) -> None:
    """For the zygote: give up all capabilities but ``keep``, for itself and for all
    that it forks.  Where akiosd has none (policy mode), that nobody gains any.
    """
    if os.geteuid() == 0:
        privileges.drop_bounding_set()
        privileges.lock_securebits()
        privileges.set_capabilities(keep)
    else:
        privileges.set_capabilities()
    privileges.set_no_new_privs()
    privileges.set_undumpable()


def confine(uid: int, parent: int, fences: Fences) -> tuple[str, ...]:
    """Confine this single-threaded process for good; returns the layers, each read back or proved.

    ``parent`` is the pid of the zygote, with whose death this process dies. Raises KernelError when
    a layer does not hold: then nothing may be served.
    """
    if uid < 1000:
        raise KernelError(f"a gateway must not run as uid {uid}", "gateway")
    shares = os.geteuid() == uid
    for which, value in _limits(shares):
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))
    if not shares:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    privileges.set_capabilities()
    privileges.set_no_new_privs()
    privileges.set_undumpable()
    privileges.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        raise KernelError("the process that makes gateways has ended", "gateway")
    # Landlock closes /proc; what was opened before stays.
    with Fd(os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)) as status:
        _control()
        landlock.restrict_self(fences.ruleset)
        _refused(
            "Landlock", errno.EACCES, lambda: os.close(os.open("/proc/self/stat", os.O_RDONLY))
        )
        privileges.load_filter(fences.bpf)
        _refused("seccomp", errno.EPERM, lambda: os.close(os.open("/dev/null", os.O_WRONLY)))
        _refused("seccomp", errno.EPERM, lambda: socket.socket(socket.AF_UNIX).close())
        text = os.pread(status.fileno(), 1 << 16, 0).decode("ascii", "replace")
        held = check_status(text, uid, shares=shares)
    return (*held, f"Landlock {fences.landlock}", "limits " + _read_limits(shares))


def _limits(shares: bool) -> tuple[tuple[int, int], ...]:
    """Processes are counted by uid: under akiosd's own that number says nothing of a gateway."""
    return tuple(one for one in RLIMITS if not shares or one[0] != resource.RLIMIT_NPROC)


def _control() -> None:
    """Do successfully what the layers must refuse afterwards: without this control a refusal would
    prove nothing.
    """
    os.close(os.open("/proc/self/stat", os.O_RDONLY))
    os.close(os.open("/dev/null", os.O_WRONLY))
    socket.socket(socket.AF_UNIX).close()


def _refused(layer: str, number: int, action: Callable[[], None]) -> None:
    """Raises KernelError unless ``action`` fails with the errno ``number``."""
    try:
        action()
    except OSError as error:
        if error.errno == number:
            return
        raise KernelError(
            f"{layer} refused with {error.strerror}", "gateway", errno=error.errno or 0
        ) from None
    raise KernelError(f"{layer} does not hold", "gateway")


def _read_limits(shares: bool) -> str:
    for which, value in _limits(shares):
        found = resource.getrlimit(which)
        if not (found[0] == found[1] <= value):
            raise KernelError(f"rlimit {which} reads back as {found}", "gateway")
    return f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]} descriptors, no core"


def check_status(text: str, uid: int, *, shares: bool = False) -> tuple[str, ...]:
    """Check ``text``, the ``/proc/PID/status`` of a gateway (proc_pid_status(5)); returns the
    layers that it shows.  ``shares``: akiosd has no privilege, and the gateway akiosd's own ids.

    Called by the gateway about itself, and by akiosd before it hands over keys. Raises KernelError
    for a field that differs.
    """
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    wanted = {
        **dict.fromkeys(("Uid", "Gid"), "\t".join([str(uid)] * 4)),
        "Groups": "",
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    if shares:
        # Nobody without a privilege can give these up, and nothing can be gained from them.
        for name in ("Gid", "Groups", "CapBnd"):
            del wanted[name]
    for name, value in wanted.items():
        found = fields.get(name, "absent")
        if found.strip() != value:
            raise KernelError(f"{name} reads back as {found!r}", "gateway")
    return (
        f"akiosd's uid {uid} and groups" if shares else f"uid {uid}, no groups",
        "no capabilities, no_new_privs",
        "seccomp filter, default deny",
    )
