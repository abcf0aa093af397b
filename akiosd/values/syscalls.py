"""The system call table: what a program in a cage may call, what is answered for it, what is
recorded.

Data only.  Five classes, by name, so that one table serves every architecture:

* **allowed**: needed by ordinary programs; safe without privileges inside the cage's namespaces.
* **checked**: allowed or denied by the *numbers* in its arguments, never by what a pointer points
  to.
* **denied**: known to be dangerous; answered with an errno and recorded, whatever the trace level.
* **optional**: harmless but rarely wanted; ENOSYS unless the policy's ``syscalls.allow`` names it.
* everything else, also a number that no kernel knows yet: ENOSYS, recorded.

Argument positions and flag values are those of the manual pages (section 2) and of the kernel's
uapi headers; kernels up to 6.18.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.sockopts import ANSWERED, SETTABLE, cover

EPERM = 1
ENOMEM = 12
EINVAL = 22
ENOLCK = 37
ENOSYS = 38
ENOPROTOOPT = 92
EPROTONOSUPPORT = 93
EAFNOSUPPORT = 97
ENOBUFS = 105

Level = Literal["security", "files", "all"]

KINDS: tuple[str, ...] = (
    "other",
    "exec",
    "open",
    "connect",
    "bind",
    "send",
    "unlink",
    "rename",
    "chmod",
    "chown",
    "link",
    "truncate",
    "xattr",
    "mknod",
    "mkdir",
    "times",
    "stat",
    "process",
    "signal",
    "socket",
    "privilege",
)
"""What a record is about; its index here is the ``kind`` of a pump entry.  Append only: numbers are
in ledgers.
"""


class Compare(msgspec.Struct, frozen=True):
    """One comparison of a raw argument register: ``args[arg] & mask == value``."""

    arg: int
    mask: int
    value: int


Counted = Literal["sockets", "netlink_sockets", "filters", "locks", "ofd_locks", "directories"]
COUNTED: tuple[Counted, ...] = (
    "sockets",
    "netlink_sockets",
    "filters",
    "locks",
    "ofd_locks",
    "directories",
)
"""What the pump counts before it lets another be made, in the order of AKIOS_COUNTED_*
(native/include/akios.h).
"""


class Form(msgspec.Struct, frozen=True):
    """One row of a decision: when all ``tests`` hold, the call gets ``errno`` (0: it is allowed).

    ``counted``: the call is allowed while the cage holds fewer of these objects than its bound,
    else it gets ``errno``. ``answered``: the call returns 0 without being made. ``deferred``:
    akiosd itself makes it, or refuses it, by a copy of what its pointers show.
    """

    tests: tuple[Compare, ...]
    errno: int
    counted: Counted | None = None
    answered: bool = False
    deferred: bool = False

    @property
    def passes(self) -> bool:
        """Whether the filter itself may allow it, without asking the pump."""
        return self.errno == 0 and not self.answered and not self.deferred


class Checked(msgspec.Struct, frozen=True):
    """A call decided by its numbers: by the first matching form, else by ``otherwise`` (0:
    allowed).

    ``usual``: comparisons that most allowed calls satisfy. Only calls that satisfy one of them (or
    all, with ``usual_together``) are allowed in the filter itself; other allowed calls go through
    the pump, so that the filter stays short. Empty means all calls.
    """

    forms: tuple[Form, ...]
    otherwise: int
    usual: tuple[Compare, ...] = ()
    usual_together: bool = False


class Facts(msgspec.Struct, frozen=True):
    """Where the arguments of a call are (-1: it has none), and from which trace level on it is
    recorded.

    ``quiet`` is the form of the call that is *not* recorded at ``level`` itself but only above it:
    opens that neither write nor create.
    """

    kind: str
    level: Level
    path: int = -1
    dirfd: int = -1
    path2: int = -1
    dirfd2: int = -1
    sockaddr: int = -1
    sockaddr_len: int = -1
    argv: int = -1
    quiet: Compare | None = None


# The kernel reads an int argument from the low half of its register; the high half may hold
# anything, garbage from a compiler or an attempt to slip past a 64-bit comparison.
LOW32 = 0xFFFFFFFF


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ALLOWED: tuple[str, ...] = _names(
    # files
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2"
    " creat close stat lstat fstat newfstatat statx access faccessat faccessat2 lseek dup dup2 dup3"
    " flock fsync fdatasync sync syncfs sync_file_range truncate ftruncate fallocate fadvise64"
    " readahead getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat"
    " unlink unlinkat symlink symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown"
    " fchown lchown fchownat umask utime utimes futimesat utimensat statfs fstatfs sendfile splice"
    " tee vmsplice copy_file_range cachestat name_to_handle_at file_getattr setxattr lsetxattr"
    " fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr"
    " listxattrat removexattr lremovexattr fremovexattr removexattrat inotify_init inotify_init1"
    " inotify_add_watch inotify_rm_watch "
    # memory
    "mprotect munmap brk mremap msync mincore madvise mlock mlock2 munlock mlockall munlockall"
    " remap_file_pages membarrier pkey_mprotect pkey_alloc pkey_free mseal map_shadow_stack "
    # waiting, pipes, timers
    "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait"
    " epoll_pwait2 eventfd eventfd2 signalfd signalfd4 pipe pipe2 timerfd_create timerfd_settime"
    " timerfd_gettime nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times"
    " alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun"
    " timer_delete pause "
    # processes and threads
    "fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open"
    " pidfd_send_signal rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait"
    " rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack restart_syscall futex futex_wait"
    " futex_wake futex_requeue futex_waitv set_robust_list get_robust_list set_tid_address rseq"
    " sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max"
    " sched_get_priority_min sched_rr_get_interval sched_getattr getpriority ioprio_get getcpu"
    " getpid gettid getppid getpgid setpgid getpgrp getsid setsid arch_prctl uretprobe uprobe "
    # identity, limits, the system
    "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid"
    " setresuid setresgid setfsuid setfsgid setgroups capget capset getrlimit getrusage sysinfo"
    " uname getrandom "
    # sockets and System V IPC, both in namespaces of the cage
    "bind listen accept accept4 getsockname getpeername getsockopt sendto sendmsg sendmmsg recvfrom"
    " recvmsg recvmmsg shutdown shmget shmat shmctl shmdt semget semop semctl semtimedop msgget"
    " msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr "
    # agents sandbox their own tools
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
)

ESSENTIAL: frozenset[str] = frozenset(
    _names(
        "read write close mmap munmap mprotect brk execve exit exit_group rt_sigaction"
        " rt_sigprocmask rt_sigreturn restart_syscall wait4 kill openat newfstatat fstat clone"
        " vfork ppoll poll recvmsg setpgid setsid dup3 ioctl prctl close_range"
        " landlock_create_ruleset landlock_add_rule landlock_restrict_self arch_prctl"
        " set_tid_address set_robust_list rseq prlimit64 getrandom futex waitid signalfd4 fcntl"
        " getpid gettid tgkill"
    )
)
"""Without these neither the cage's own init nor any program starts; ``syscalls.deny`` refuses them.
"""

OPTIONAL: tuple[str, ...] = _names(
    # the host has one number of asynchronous requests for everybody (fs.aio-max-nr), and one cage
    # can take it all
    "io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel adjtimex clock_adjtime"
    " file_setattr get_mempolicy listmount lsm_get_self_attr lsm_list_modules mbind modify_ldt"
    " process_madvise process_mrelease set_mempolicy set_mempolicy_home_node statmount sysfs ustat"
)
"""ENOSYS by default.  None of them gives a privilege: they act on the caller, or only read."""

ABSENT: tuple[str, ...] = ("clone3",)
"""Answered ENOSYS by the filter itself, unrecorded: libcs ask first, then use ``clone``, whose
flags are seen.
"""

DENIED: tuple[str, ...] = _names(
    # the mount interfaces, old and new
    "mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount"
    " fspick mount_setattr "
    # namespaces
    "unshare setns listns "
    # other processes; memfd_secret because a path in such memory could not be read by the
    # supervisor
    "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp move_pages migrate_pages"
    " memfd_secret "
    # file handles, whole-filesystem watches
    "open_by_handle_at fanotify_init fanotify_mark quotactl quotactl_fd lookup_dcookie "
    # kernel interfaces with a history
    "add_key request_key keyctl bpf perf_event_open userfaultfd io_uring_setup io_uring_enter"
    " io_uring_register "
    # the machine
    "kexec_load kexec_file_load create_module init_module finit_module delete_module query_module"
    " get_kernel_syms swapon swapoff reboot settimeofday clock_settime iopl ioperm acct syslog"
    " vhangup sethostname setdomainname nfsservctl uselib _sysctl vserver lsm_set_self_attr"
)
"""Answered EPERM and recorded."""

# ---- calls decided by numbers --------------------------------------------------------------------

# CLONE_NEWNS CGROUP UTS IPC USER PID NET.  CLONE_NEWTIME (0x80) lies inside clone's signal byte and
# means nothing there; clone3 and unshare, where it does, are not available.
CLONE_NEW_MASK = 0x7E020000

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3
SOCK_TYPE_MASK = 0xF
IPPROTO_TCP, IPPROTO_UDP, IPPROTO_MPTCP = 6, 17, 262
NETLINK_ROUTE = 0

TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD = 0x5412, 0x541C, 0x541D, 0x5423
PR_SET_SECCOMP, PR_SET_MM, PR_SCHED_CORE = 22, 35, 62
RLIMIT_CORE = 4
F_SETLK, F_OFD_SETLK, F_OFD_SETLKW = 6, 37, 38
CLONE_FILES, CLONE_THREAD, CLOSE_RANGE_UNSHARE = 0x400, 0x10000, 2
MAP_ANONYMOUS, MAP_HUGETLB, MFD_HUGETLB = 0x20, 0x40000, 4
MFD_NOEXEC_SEAL, MFD_EXEC, MFD_UNKNOWN = 8, 16, 0x3FFFFE0
PRIO_USER, IOPRIO_WHO_USER = 2, 3
PR_SET_VMA, PR_SET_PTRACER = 0x53564D41, 0x59616D61
S_IFMT, S_IFCHR, S_IFBLK = 0o170000, 0o020000, 0o060000
SECCOMP_SET_MODE_FILTER, _LISTENER = 1, 8
_HUGE_MEMORY = MAP_ANONYMOUS | MAP_HUGETLB
_ALL64 = (1 << 64) - 1

O_ACCMODE, O_CREAT, O_TRUNC = 0o3, 0o100, 0o1000
OPEN_QUIET_MASK = O_ACCMODE | O_CREAT | O_TRUNC


def _low(arg: int, value: int) -> Compare:
    return Compare(arg, LOW32, value)


def _inet(type_: int, protocol: int) -> tuple[Form, ...]:
    return tuple(
        Form(
            (_low(0, family), Compare(1, SOCK_TYPE_MASK, type_), _low(2, protocol)),
            ENOBUFS,
            "sockets",
        )
        for family in (AF_INET, AF_INET6)
    )


def _options(table: dict[int, dict[str, int]], *, answered: bool = False) -> tuple[Form, ...]:
    return tuple(
        Form((_low(1, level), Compare(2, mask, value)), 0, answered=answered)
        for level, names in table.items()
        for mask, value in cover(frozenset(names.values()))
    )


CHECKED: dict[str, Checked] = {
    "clone": Checked(
        (
            *(
                Form((Compare(0, 1 << bit, 1 << bit),), EPERM)
                for bit in range(32)
                if CLONE_NEW_MASK >> bit & 1
            ),
            # A process that shares another's descriptors keeps its locks when that one has ended,
            # and then nothing tells any more whose they are.
            Form((Compare(0, CLONE_FILES | CLONE_THREAD, CLONE_FILES),), EINVAL),
            # And what a thread had open for itself alone would be in no list.
            Form((Compare(0, CLONE_FILES | CLONE_THREAD, CLONE_THREAD),), EINVAL),
        ),
        0,
    ),
    # Loadable socket protocols (SCTP, SMC, DCCP…) are reached by number under AF_INET, so protocols
    # are listed too.
    "socket": Checked(
        (
            Form((_low(0, AF_UNIX),), 0),
            *_inet(SOCK_STREAM, 0),
            *_inet(SOCK_DGRAM, 0),
            *_inet(SOCK_STREAM, IPPROTO_TCP),
            *_inet(SOCK_DGRAM, IPPROTO_UDP),
            *_inet(SOCK_STREAM, IPPROTO_MPTCP),
            Form((_low(0, AF_NETLINK), _low(2, NETLINK_ROUTE)), ENOBUFS, "netlink_sockets"),
            Form((_low(0, AF_NETLINK),), EPROTONOSUPPORT),
            Form((Compare(1, SOCK_TYPE_MASK, SOCK_RAW),), EPERM),
            Form((_low(0, AF_INET),), EPROTONOSUPPORT),
            Form((_low(0, AF_INET6),), EPROTONOSUPPORT),
        ),
        EAFNOSUPPORT,
    ),
    # An accepted socket was connected to from inside; connections may be made again and again by
    # one socket.
    "connect": Checked((Form((Compare(0, 0, 0),), ENOBUFS, "sockets"),), 0),
    "close_range": Checked(
        (Form((Compare(2, CLOSE_RANGE_UNSHARE, CLOSE_RANGE_UNSHARE),), EINVAL),), 0
    ),
    # No control group charges for the names that the kernel keeps of a directory while it is read.
    **dict.fromkeys(
        ("getdents", "getdents64"), Checked((Form((Compare(0, 0, 0),), ENOMEM, "directories"),), 0)
    ),
    "setsockopt": Checked((*_options(SETTABLE), *_options(ANSWERED, answered=True)), ENOPROTOOPT),
    # Other families have pairs, too (TIPC), and load their modules for them.
    "socketpair": Checked((Form((_low(0, AF_UNIX),), 0),), EAFNOSUPPORT),
    # The kernel lets any process of the same uid lower the limits of the cage's init, and init
    # would die of them.  A core limit of 1 is the only one that keeps the host's core handler, a
    # program of root, from running (core(5)); programs that set theirs to 0 would bring it back.
    "prlimit64": Checked(
        (
            Form((_low(0, 1),), EPERM),
            Form((Compare(2, _ALL64, 0),), 0),
            Form((_low(1, RLIMIT_CORE),), 0, answered=True),
        ),
        0,
        usual=(_low(0, 0), Compare(2, _ALL64, 0)),
        usual_together=True,
    ),
    "setrlimit": Checked(
        (Form((_low(0, RLIMIT_CORE),), 0, answered=True),), 0, usual=(Compare(0, 4, 0),)
    ),
    # No control group charges for a record lock, and no limit counts them.
    "fcntl": Checked(
        (
            Form((Compare(1, LOW32 & ~1, F_SETLK),), ENOLCK, "locks"),
            Form((_low(1, F_OFD_SETLK),), ENOLCK, "ofd_locks"),
            Form((_low(1, F_OFD_SETLKW),), ENOLCK, "ofd_locks"),
        ),
        0,
        usual=tuple(
            Compare(1, LOW32 & ~mask, value) for mask, value in ((3, 0), (1, 4), (7, 8), (15, 1024))
        ),
    ),
    # Nor is init slowed down: it says when the agent has ended.  "All of my user" would mean init,
    # too.
    **dict.fromkeys(
        ("sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"),
        Checked((Form((_low(0, 1),), EPERM),), 0, usual=(_low(0, 0),)),
    ),
    "setpriority": Checked(
        (Form((_low(1, 1),), EPERM), Form((_low(0, PRIO_USER),), EPERM)), 0, usual=(_low(0, 0),)
    ),
    "ioprio_set": Checked(
        (Form((_low(1, 1),), EPERM), Form((_low(0, IOPRIO_WHO_USER),), EPERM)),
        0,
        usual=(_low(0, 1),),
    ),
    # TIOCSTI types into the terminal, TIOCLINUX pastes into a console, TIOCCONS takes the console's
    # output, TIOCSETD loads line disciplines, a part of the kernel that no agent needs.
    "ioctl": Checked(
        tuple(
            Form((_low(1, command),), EPERM) for command in (TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD)
        ),
        0,
        # Plain 16-bit commands, and those whose top bits say that data is read or written
        # (ioctl(2)).
        usual=(
            Compare(1, 0xFFFF0000, 0),
            Compare(1, 1 << 31, 1 << 31),
            Compare(1, 3 << 30, 1 << 30),
        ),
    ),
    # PR_SCHED_CORE could keep sibling hardware threads from other cages.
    "prctl": Checked(
        (
            *(Form((_low(0, option),), EPERM) for option in (PR_SET_MM, PR_SCHED_CORE)),
            Form((_low(0, PR_SET_SECCOMP),), ENOMEM, "filters"),
        ),
        0,
        usual=(Compare(0, LOW32 & ~0x7F, 0), _low(0, PR_SET_VMA), _low(0, PR_SET_PTRACER)),
    ),
    # Pages of the pool that the administrator keeps for others: no memory limit counts them.
    # (shmget asks for a capability.)  The answer is that of a host whose pool is empty, which
    # programs fall back from.  With a file the flag asks for nothing: the kernel refuses it itself.
    "mmap": Checked((Form((Compare(3, _HUGE_MEMORY, _HUGE_MEMORY),), ENOMEM),), 0),
    # What the kernel itself would refuse it refuses with EINVAL (mm/memfd.c): programs that ask
    # whether a flag is known take any other answer for a fault, and some abort.  Bits 26 to 31 say
    # how large the pages are.
    "memfd_create": Checked(
        (
            Form((Compare(1, MFD_HUGETLB, 0),), 0),
            Form((Compare(1, MFD_EXEC | MFD_NOEXEC_SEAL, MFD_EXEC | MFD_NOEXEC_SEAL),), EINVAL),
            Form((Compare(1, MFD_HUGETLB | MFD_UNKNOWN, MFD_HUGETLB),), ENOMEM),
        ),
        EINVAL,
    ),
    # The kernel takes persona as an unsigned int; all ones only asks.
    "personality": Checked((Form((_low(0, 0),), 0), Form((_low(0, LOW32),), 0)), EPERM),
    "mknod": Checked(
        tuple(Form((Compare(1, S_IFMT, type_),), EPERM) for type_ in (S_IFCHR, S_IFBLK)), 0
    ),
    "mknodat": Checked(
        tuple(Form((Compare(2, S_IFMT, type_),), EPERM) for type_ in (S_IFCHR, S_IFBLK)), 0
    ),
    # A second listener in the tree is EBUSY; denied here so that it is seen.  Only
    # SECCOMP_SET_MODE_FILTER takes flags.  Filters are machine code from a pool that the whole host
    # shares (net.core.bpf_jit_limit).
    "seccomp": Checked(
        (
            Form((_low(0, SECCOMP_SET_MODE_FILTER), Compare(1, _LISTENER, _LISTENER)), EPERM),
            Form((_low(0, SECCOMP_SET_MODE_FILTER),), ENOMEM, "filters"),
        ),
        0,
        usual=(_low(0, 0), Compare(0, LOW32 & ~1, 2)),
    ),
}

# ---- what is recorded, and where its arguments are -----------------------------------------------


def _opens(flags: int) -> Compare:
    return Compare(flags, OPEN_QUIET_MASK, 0)


FACTS: dict[str, Facts] = {
    "execve": Facts("exec", "security", path=0, argv=1),
    "execveat": Facts("exec", "security", dirfd=0, path=1, argv=2),
    "open": Facts("open", "security", path=0, quiet=_opens(1)),
    "openat": Facts("open", "security", dirfd=0, path=1, quiet=_opens(2)),
    # Its flags lie behind a pointer: recorded whatever they are, never decided on.
    "openat2": Facts("open", "security", dirfd=0, path=1),
    "creat": Facts("open", "security", path=0),
    # A datagram with an address is not here: nothing leaves the network namespace but through the
    # gateway, which records names and connections itself.
    "connect": Facts("connect", "security", sockaddr=1, sockaddr_len=2),
    "bind": Facts("bind", "security", sockaddr=1, sockaddr_len=2),
    "unlink": Facts("unlink", "security", path=0),
    "unlinkat": Facts("unlink", "security", dirfd=0, path=1),
    "rmdir": Facts("unlink", "security", path=0),
    "rename": Facts("rename", "security", path=0, path2=1),
    "renameat": Facts("rename", "security", dirfd=0, path=1, dirfd2=2, path2=3),
    "renameat2": Facts("rename", "security", dirfd=0, path=1, dirfd2=2, path2=3),
    "link": Facts("link", "security", path=0, path2=1),
    "linkat": Facts("link", "security", dirfd=0, path=1, dirfd2=2, path2=3),
    "symlink": Facts("link", "security", path=0, path2=1),
    "symlinkat": Facts("link", "security", path=0, dirfd2=1, path2=2),
    "chmod": Facts("chmod", "security", path=0),
    "fchmod": Facts("chmod", "security", dirfd=0),
    "fchmodat": Facts("chmod", "security", dirfd=0, path=1),
    "fchmodat2": Facts("chmod", "security", dirfd=0, path=1),
    "chown": Facts("chown", "security", path=0),
    "lchown": Facts("chown", "security", path=0),
    "fchown": Facts("chown", "security", dirfd=0),
    "fchownat": Facts("chown", "security", dirfd=0, path=1),
    "truncate": Facts("truncate", "security", path=0),
    "setxattr": Facts("xattr", "security", path=0, path2=1),
    "lsetxattr": Facts("xattr", "security", path=0, path2=1),
    "fsetxattr": Facts("xattr", "security", dirfd=0, path2=1),
    "setxattrat": Facts("xattr", "security", dirfd=0, path=1, path2=3),
    "removexattr": Facts("xattr", "security", path=0, path2=1),
    "lremovexattr": Facts("xattr", "security", path=0, path2=1),
    "fremovexattr": Facts("xattr", "security", dirfd=0, path2=1),
    "removexattrat": Facts("xattr", "security", dirfd=0, path=1, path2=3),
    "mknod": Facts("mknod", "security", path=0),
    "mknodat": Facts("mknod", "security", dirfd=0, path=1),
    # Rare, and recorded so that the filter need not take two of their arguments apart.
    "setpriority": Facts("process", "security"),
    "ioprio_set": Facts("process", "security"),
    "mkdir": Facts("mkdir", "files", path=0),
    "mkdirat": Facts("mkdir", "files", dirfd=0, path=1),
    "utime": Facts("times", "files", path=0),
    "utimes": Facts("times", "files", path=0),
    "futimesat": Facts("times", "files", dirfd=0, path=1),
    "utimensat": Facts("times", "files", dirfd=0, path=1),
    "name_to_handle_at": Facts("open", "files", dirfd=0, path=1),
    "inotify_add_watch": Facts("open", "files", dirfd=0, path=1),
    "mq_open": Facts("open", "files", path=0),
    "mq_unlink": Facts("unlink", "files", path=0),
    "stat": Facts("stat", "all", path=0),
    "lstat": Facts("stat", "all", path=0),
    "newfstatat": Facts("stat", "all", dirfd=0, path=1),
    "statx": Facts("stat", "all", dirfd=0, path=1),
    "statfs": Facts("stat", "all", path=0),
    "access": Facts("stat", "all", path=0),
    "faccessat": Facts("stat", "all", dirfd=0, path=1),
    "faccessat2": Facts("stat", "all", dirfd=0, path=1),
    "readlink": Facts("stat", "all", path=0),
    "readlinkat": Facts("stat", "all", dirfd=0, path=1),
    "chdir": Facts("stat", "all", path=0),
    "fchdir": Facts("stat", "all", dirfd=0),
    "getxattr": Facts("xattr", "all", path=0, path2=1),
    "lgetxattr": Facts("xattr", "all", path=0, path2=1),
    "getxattrat": Facts("xattr", "all", dirfd=0, path=1, path2=3),
    "ftruncate": Facts("truncate", "all", dirfd=0),
    "memfd_create": Facts("open", "all", path=0),
    "listen": Facts("socket", "all"),
    "accept": Facts("socket", "all"),
    "accept4": Facts("socket", "all"),
    "sendto": Facts("send", "all", sockaddr=4, sockaddr_len=5),
    "sendmsg": Facts("send", "all"),
    "sendmmsg": Facts("send", "all"),
    "clone": Facts("process", "all"),
    "fork": Facts("process", "all"),
    "vfork": Facts("process", "all"),
    "setsid": Facts("process", "all"),
    "setpgid": Facts("process", "all"),
    "prctl": Facts("process", "all"),
    "ioctl": Facts("other", "all"),
    "pidfd_open": Facts("process", "all"),
    "kill": Facts("signal", "all"),
    "tkill": Facts("signal", "all"),
    "tgkill": Facts("signal", "all"),
    "pidfd_send_signal": Facts("signal", "all"),
    "rt_sigqueueinfo": Facts("signal", "all"),
    "rt_tgsigqueueinfo": Facts("signal", "all"),
    "setuid": Facts("privilege", "all"),
    "setgid": Facts("privilege", "all"),
    "setresuid": Facts("privilege", "all"),
    "setresgid": Facts("privilege", "all"),
    "setgroups": Facts("privilege", "all"),
    "capset": Facts("privilege", "all"),
    "seccomp": Facts("privilege", "all"),
    "personality": Facts("privilege", "all"),
    "landlock_restrict_self": Facts("privilege", "all"),
    "shmget": Facts("other", "all"),
    "semget": Facts("other", "all"),
    "msgget": Facts("other", "all"),
}

# Recorded only when denied.  ``socket`` among them: making one reaches nothing, connect and bind
# are recorded.
DENIED_FACTS: dict[str, Facts] = {
    "socket": Facts("socket", "security"),
    "socketpair": Facts("socket", "security"),
    "setsockopt": Facts("socket", "security"),
    "fcntl": Facts("other", "security"),
    **dict.fromkeys(("getdents", "getdents64", "close_range"), Facts("other", "security")),
    "setrlimit": Facts("process", "security"),
    **dict.fromkeys(
        ("prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"),
        Facts("process", "security"),
    ),
    "mmap": Facts("other", "security"),
    "mount": Facts("privilege", "security", path=0, path2=1),
    "umount2": Facts("privilege", "security", path=0),
    "pivot_root": Facts("privilege", "security", path=0, path2=1),
    "chroot": Facts("privilege", "security", path=0),
    "open_tree": Facts("privilege", "security", dirfd=0, path=1),
    "open_tree_attr": Facts("privilege", "security", dirfd=0, path=1),
    "move_mount": Facts("privilege", "security", dirfd=0, path=1, dirfd2=2, path2=3),
    "fsopen": Facts("privilege", "security", path=0),
    "fspick": Facts("privilege", "security", dirfd=0, path=1),
    "mount_setattr": Facts("privilege", "security", dirfd=0, path=1),
    "unshare": Facts("privilege", "security"),
    "setns": Facts("privilege", "security", dirfd=0),
    "swapon": Facts("privilege", "security", path=0),
    "swapoff": Facts("privilege", "security", path=0),
    "acct": Facts("privilege", "security", path=0),
    "quotactl": Facts("privilege", "security", path=1),
    "fanotify_mark": Facts("privilege", "security", dirfd=3, path=4),
}

# Strings in the place of path (1) or path2 (2) that the kernel looks up nowhere: names, and the
# text of a new link.
WORDS: dict[str, int] = {
    **dict.fromkeys(("memfd_create", "mq_open", "mq_unlink", "fsopen", "symlink", "symlinkat"), 1),
    **{name: 2 for name in FACTS if "xattr" in name},
}

# ---- numbers -------------------------------------------------------------------------------------

NEW_NUMBERS: dict[str, int] = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "process_madvise": 440,
    "epoll_pwait2": 441,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
    "listns": 470,
}
"""Numbers that every architecture shares (from 424 on), for names that the installed libseccomp
does not know.
"""

X86_64_NUMBERS: dict[str, int] = {"uretprobe": 335, "uprobe": 336}
"""Numbers of x86_64 alone that the installed libseccomp may not know."""

MAX_NUMBER = 1023


def known_names() -> frozenset[str]:
    """Every name that the table gives a class."""
    return frozenset((*ALLOWED, *OPTIONAL, *ABSENT, *DENIED, *CHECKED))
