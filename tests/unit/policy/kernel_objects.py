"""Every kind of kernel object an agent can make, and what keeps it from taking the host's.

Data only; tests compare it with the table of system calls, so that a call which is allowed and
makes something cannot be forgotten here.  ``kept`` says how:

* **charged**: its memory is the cage's (SLAB_ACCOUNT, GFP_KERNEL_ACCOUNT, or socket memory charged to the group).
* **counted**: the pump lets a bounded number be made (policy/compile/limits.py, ``Bounds``).
* **limited**: an rlimit, a control group, a mount option or a number of the cage's own namespace bounds it.
* **with**: one for each of another object that is kept, and smaller than it.
* **refused**: the system call table, or an option list, refuses it.

``source``: where the kernel allocates it (6.18; a file of its tree), or where the bound is.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kept = Literal["charged", "counted", "limited", "with", "refused"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Kind(NamedTuple):
    """One kind of kernel object: what it is, how a cage is kept from exhausting it, and where the
    kernel says so.
    """

    what: str
    made_by: tuple[str, ...]
    """System calls (or ``call:option``) that make one."""
    kept: Kept
    how: str
    source: str


KINDS: tuple[Kind, ...] = (
    # processes
    Kind("tasks, stacks, page tables, credentials", ("clone", "fork", "vfork", "execve", "execveat"), "limited",
         "pids.max of the cage, and of all cages together half of pid_max; memory charged", "kernel/fork.c"),
    Kind("seccomp filters and their machine code", ("seccomp", "prctl"), "counted",
         "Bounds.filters; machine code is of net.core.bpf_jit_limit, which all share", "kernel/seccomp.c"),
    Kind("Landlock rulesets and domains", ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"),
         "charged", "GFP_KERNEL_ACCOUNT; 16 layers", "security/landlock/ruleset.c"),
    Kind("queued signals", ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"),
         "limited", "RLIMIT_SIGPENDING of the cage's uid; SLAB_ACCOUNT", "kernel/signal.c"),
    Kind("POSIX timers", ("timer_create",), "limited", "RLIMIT_SIGPENDING of the cage's uid; SLAB_ACCOUNT",
         "kernel/time/posix-timers.c"),
    Kind("futex states", ("futex", "futex_wait", "futex_waitv", "set_robust_list"), "with", "a task",
         "kernel/futex/pi.c"),
    # memory
    Kind("mappings and pages", ("mmap", "mremap", "brk", "memfd_create", "remap_file_pages"), "charged",
         "SLAB_ACCOUNT; huge pages of the host's pool refused", "mm/mmap.c"),
    Kind("locked memory", ("mlock", "mlock2", "mlockall"), "limited",
         "RLIMIT_MEMLOCK × pids ≤ memory (64 KiB a process in any case); pages of a file are charged where first read",
         "mm/mlock.c"),
    Kind("protection keys", ("pkey_alloc",), "with", "an address space", "arch/x86/mm/pkeys.c"),
    # files
    Kind("open files", ("open", "openat", "openat2", "creat", "dup", "dup2", "dup3", "pidfd_open"), "limited",
         "RLIMIT_NOFILE × pids ≤ fs.file-max / 4 (at least 1,024 a process); SLAB_ACCOUNT", "fs/file_table.c"),
    Kind("inodes, names, extended attributes", ("mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink",
         "symlinkat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "rename", "renameat", "renameat2"),
         "charged", "SLAB_ACCOUNT; disk by quota, tmpfs by size", "fs/inode.c, fs/dcache.c"),
    Kind("names of directories that are being read", ("getdents", "getdents64"), "counted",
         "Bounds.directories, by size; a directory on the cage's disk is of 16 MiB at most (max_dir_size_kb)",
         "fs/overlayfs/readdir.c, fs/ext4/dir.c"),
    Kind("record locks of processes", ("fcntl:F_SETLK", "fcntl:F_SETLKW"), "counted",
         "Bounds.locks; descriptors are not shared between processes, so a lock's holder lives", "fs/locks.c"),
    Kind("record locks of open files", ("fcntl:F_OFD_SETLK", "fcntl:F_OFD_SETLKW"), "counted",
         "Bounds.ofd_locks: calls in a cage's life, as nothing tells whose a lock is", "fs/locks.c"),
    Kind("whole-file locks and leases", ("flock", "fcntl:F_SETLEASE"), "with", "an open file", "fs/locks.c"),
    Kind("directory notes and owners of files", ("fcntl:F_NOTIFY", "fcntl:F_SETOWN"), "with", "an open file; fasync "
         "and dnotify SLAB_ACCOUNT", "fs/fcntl.c, fs/notify/dnotify"),
    Kind("pipes and their pages", ("pipe", "pipe2", "splice", "tee", "vmsplice", "fcntl:F_SETPIPE_SZ"), "charged",
         "GFP_KERNEL_ACCOUNT; fs.pipe-user-pages-soft of the cage's uid", "fs/pipe.c"),
    Kind("inotify instances and watches", ("inotify_init", "inotify_init1", "inotify_add_watch"), "limited",
         "user.max_inotify_* of the cage's uid; GFP_KERNEL_ACCOUNT", "fs/notify/inotify"),
    Kind("epoll sets and items", ("epoll_create", "epoll_create1", "epoll_ctl"), "limited",
         "user.max_epoll_watches of the cage's uid; items SLAB_ACCOUNT; a set is with its file", "fs/eventpoll.c"),
    Kind("event, signal and timer files", ("eventfd", "eventfd2", "signalfd", "signalfd4", "timerfd_create"), "with",
         "an open file, which is larger", "fs/eventfd.c, fs/timerfd.c"),
    Kind("terminals", ("open:/dev/ptmx",), "limited", "max=64 of the cage's devpts", "fs/devpts/inode.c"),
    Kind("asynchronous requests", ("io_setup",), "refused", "fs.aio-max-nr is the host's; optional by policy",
         "fs/aio.c"),
    Kind("io_uring", ("io_uring_setup",), "refused", "", "io_uring/io_uring.c"),
    Kind("mounts, file handles, fanotify groups", ("mount", "open_tree", "fsopen", "fanotify_init"), "refused", "",
         "fs/namespace.c"),
    Kind("namespaces", ("unshare", "clone:CLONE_NEW*"), "refused", "", "kernel/nsproxy.c"),
    Kind("keys", ("add_key", "request_key", "keyctl"), "refused", "", "security/keys"),
    Kind("BPF programs and maps, performance events", ("bpf", "perf_event_open"), "refused", "", "kernel/bpf"),
    Kind("userfaultfd, secret memory", ("userfaultfd", "memfd_secret"), "refused", "", "mm/userfaultfd.c"),
    # System V and POSIX IPC
    Kind("shared memory, semaphores, message queues", ("shmget", "shmat", "semget", "semop", "semtimedop", "msgget",
         "msgsnd"), "charged", "GFP_KERNEL_ACCOUNT; numbers of the cage's IPC namespace", "ipc"),
    Kind("POSIX message queues", ("mq_open", "mq_timedsend", "mq_notify"), "limited",
         "RLIMIT_MSGQUEUE of the cage's uid; GFP_KERNEL_ACCOUNT", "ipc/mqueue.c"),
    # sockets
    Kind("internet sockets", ("socket:AF_INET", "socket:AF_INET6", "connect", "accept", "accept4"), "counted",
         "Bounds.sockets of the network namespace: every accepted one was connected to from inside",
         "net/core/sock.c"),
    Kind("unread packets of connections nobody accepted", ("connect", "listen"), "counted",
         "Bounds.sockets × tcp_rmem of the cage's namespace (256 KiB)", "net/ipv4/inet_connection_sock.c"),
    Kind("remains of closed connections", ("close",), "limited", "tcp_max_tw_buckets of the cage's namespace",
         "net/ipv4/inet_timewait_sock.c"),
    Kind("unread netlink replies", ("socket:AF_NETLINK", "sendto", "sendmsg"), "counted",
         "Bounds.netlink_sockets × the host's default sizes, which options do not change", "net/netlink"),
    Kind("the queue of errors, time-stamped copies", ("setsockopt:SO_TIMESTAMPING", "setsockopt:IP_RECVERR",
         "sendmsg:SO_TIMESTAMPING"), "refused", "options ENOPROTOOPT or answered; by message: tstamp_allow_data 0 "
         "where a namespace has it, else Bounds.sockets × the host's default size", "net/core/skbuff.c"),
    Kind("keys of connections", ("setsockopt:TCP_MD5SIG", "setsockopt:TCP_AO_ADD_KEY"), "refused", "ENOPROTOOPT",
         "net/ipv4/tcp_ipv4.c"),
    Kind("multicast groups and filters", ("setsockopt:IP_ADD_MEMBERSHIP", "setsockopt:MCAST_JOIN_GROUP"), "refused",
         "ENOPROTOOPT", "net/ipv4/igmp.c"),
    Kind("socket filters and their machine code", ("setsockopt:SO_ATTACH_FILTER",
         "setsockopt:SO_ATTACH_REUSEPORT_CBPF"), "refused", "ENOPROTOOPT", "net/core/filter.c"),
    Kind("saved headers, zero-copy pages, upper protocols", ("setsockopt:TCP_SAVE_SYN", "setsockopt:SO_ZEROCOPY",
         "setsockopt:TCP_ULP"), "refused", "ENOPROTOOPT", "net/ipv4/tcp.c"),
    Kind("unix sockets and what is in flight", ("socket:AF_UNIX", "socketpair", "bind", "sendmsg", "sendmmsg"),
         "charged", "GFP_KERNEL_ACCOUNT; descriptors in flight by RLIMIT_NOFILE of the cage's uid", "net/unix"),
    Kind("routes, addresses, neighbours, firewall rules, connection tracking", ("sendto",), "refused",
         "no capability in the network namespace; without rules nothing is tracked", "net/netfilter"),
)  # fmt: skip

MAKES_NOTHING: frozenset[str] = _names(
    "access adjtime alarm arch_prctl cachestat capget capset chdir chmod chown clock_getres clock_gettime "
    "clock_nanosleep close_range copy_file_range epoll_pwait epoll_pwait2 epoll_wait exit exit_group "
    "faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fdatasync "
    "fgetxattr file_getattr flistxattr fremovexattr fstat fstatfs fsync ftruncate futex_requeue futex_wake "
    "futimesat get_robust_list getcpu getcwd getegid geteuid getgid getgroups getitimer "
    "getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage "
    "getsid getsockname getsockopt gettid gettimeofday getuid getxattr getxattrat inotify_rm_watch ioctl "
    "ioprio_get ioprio_set lchown lgetxattr listxattr listxattrat llistxattr lremovexattr lseek lstat madvise "
    "map_shadow_stack membarrier mincore mprotect mq_getsetattr mq_timedreceive mq_unlink mseal msgctl msgrcv "
    "msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat pause personality pkey_free "
    "pkey_mprotect poll ppoll pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read "
    "readahead readlink readlinkat readv recvfrom recvmmsg recvmsg removexattr removexattrat restart_syscall "
    "rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam "
    "sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam "
    "sched_setscheduler sched_yield select semctl sendfile set_tid_address setfsgid setfsuid setgid setgroups "
    "setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid shmctl shmdt "
    "shutdown sigaltstack stat statfs statx sync sync_file_range syncfs sysinfo time timer_delete "
    "timer_getoverrun timer_gettime timer_settime timerfd_gettime timerfd_settime times truncate umask uname "
    "unlink unlinkat uprobe uretprobe utime utimensat utimes wait4 waitid write writev"
)
"""Allowed calls that leave nothing in the kernel beyond the objects listed above."""
