"""What is decided otherwise where a cage has no namespaces and no uid of its own (policy mode).

Data only, by the terms of :mod:`akiosd.values.syscalls`.  There the network namespace and the uid
hold what is let through; here nothing does but this table, Landlock, and akiosd itself, which makes
some calls for the agent by a copy of what their pointers show (``deferred``).

What an agent gets as a socket of the internet is none: ``socket`` gives it a closed stand-in, and
``connect`` puts a connection to its gateway in that one's place.  So there is no socket that could
send to another address, whatever a call is given, and none that could listen.
"""

from __future__ import annotations

from akiosd.values.sockopts import ANSWERED, SETTABLE, SOL_SOCKET, cover
from akiosd.values.syscalls import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNIX,
    CHECKED,
    EAFNOSUPPORT,
    ENOPROTOOPT,
    ENOSYS,
    EPERM,
    EPROTONOSUPPORT,
    IOPRIO_WHO_USER,
    IPPROTO_TCP,
    IPPROTO_UDP,
    LOW32,
    PRIO_USER,
    RLIMIT_CORE,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
    Checked,
    Compare,
    Form,
)

ESOCKTNOSUPPORT = 94
SOCK_SEQPACKET = 5
MSG_FASTOPEN = 0x20000000
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15
PR_SET_DUMPABLE, PR_SET_PTRACER = 4, 0x59616D61
FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR = 0x40086602, 0x40046602, 0x401C5820
_ALL64 = (1 << 64) - 1

# Whatever the arguments are: a comparison of no bits, of one that none of these calls has.
_DEFERRED = Checked((Form((Compare(5, 0, 0),), 0, deferred=True),), 0)


def _low(arg: int, value: int) -> Compare:
    return Compare(arg, LOW32, value)


def _socket(type_: int, *protocols: int) -> tuple[Form, ...]:
    return tuple(
        Form(
            (_low(0, family), Compare(1, SOCK_TYPE_MASK, type_), _low(2, protocol)),
            0,
            deferred=True,
        )
        for family in (AF_INET, AF_INET6)
        for protocol in protocols
    )


# Of unix sockets only those that take no address with what they send: a datagram could go to any
# socket in the container.
_LOCAL = (
    *(
        Form((_low(0, AF_UNIX), Compare(1, SOCK_TYPE_MASK, type_)), 0)
        for type_ in (SOCK_STREAM, SOCK_SEQPACKET)
    ),
    Form((_low(0, AF_UNIX),), ESOCKTNOSUPPORT),
)


def _own_only(*before: Form, usual: tuple[Compare, ...] = ()) -> Checked:
    """Allowed for the calling thread (argument 0 is 0) and no other."""
    return Checked((*before, Form((_low(0, 0),), 0)), EPERM, usual=usual)


def _options() -> tuple[Form, ...]:
    """A connection's own options are answered: what it is made of is not what the agent thinks."""
    real = SETTABLE[SOL_SOCKET]
    answered = [(SOL_SOCKET, ANSWERED[SOL_SOCKET])]
    for level in (*SETTABLE, *ANSWERED):
        if level != SOL_SOCKET:
            answered.append((level, {**SETTABLE.get(level, {}), **ANSWERED.get(level, {})}))
    return (
        *(
            Form((_low(1, SOL_SOCKET), Compare(2, mask, value)), 0)
            for mask, value in cover(frozenset(real.values()))
        ),
        *(
            Form((_low(1, level), Compare(2, mask, value)), 0, answered=True)
            for level, names in dict(answered).items()
            for mask, value in cover(frozenset(names.values()))
        ),
    )


ACTED_ON: tuple[str, ...] = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("utime", "utimes", "futimesat", "utimensat"),
)
"""Calls that Landlock does not look at, and that the owner of a file may make: akiosd makes them
where the agent may write.
"""

_REFUSED = (
    # The same uid owns akiosd's files.
    *("chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat"),
    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat"),
    # A watch tells what happens in directories that cannot be opened.
    "inotify_add_watch",
)
_ABSENT = (
    # One System V and one POSIX name space for all of the container.
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop"),
    *("msgget", "msgsnd", "msgrcv", "msgctl"),
    *("mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"),
)

INSTEAD: dict[str, Checked] = {
    "socket": Checked(
        (
            *_LOCAL,
            *_socket(SOCK_STREAM, 0, IPPROTO_TCP),
            *_socket(SOCK_DGRAM, 0, IPPROTO_UDP),
            Form((_low(0, AF_NETLINK),), EAFNOSUPPORT),
            Form((Compare(1, SOCK_TYPE_MASK, SOCK_RAW),), EPERM),
            Form((_low(0, AF_INET),), EPROTONOSUPPORT),
            Form((_low(0, AF_INET6),), EPROTONOSUPPORT),
        ),
        EAFNOSUPPORT,
    ),
    "socketpair": Checked(_LOCAL, EAFNOSUPPORT),
    "connect": _DEFERRED,
    # An address, or a connection made while sending.  By the length: whatever the pointer shows.
    "sendto": Checked(
        (Form((Compare(3, MSG_FASTOPEN, MSG_FASTOPEN),), EPERM), Form((_low(5, 0),), 0)), EPERM
    ),
    "sendmsg": Checked((Form((Compare(2, MSG_FASTOPEN, MSG_FASTOPEN),), EPERM),), 0),
    "sendmmsg": Checked((Form((Compare(3, MSG_FASTOPEN, MSG_FASTOPEN),), EPERM),), 0),
    "setsockopt": Checked(_options(), ENOPROTOOPT),
    "prlimit64": Checked(
        (
            Form((_low(0, 0), Compare(2, _ALL64, 0)), 0),
            Form((_low(0, 0), _low(1, RLIMIT_CORE)), 0, answered=True),
            Form((_low(0, 0),), 0),
        ),
        EPERM,
        usual=(_low(0, 0), Compare(2, _ALL64, 0)),
        usual_together=True,
    ),
    **dict.fromkeys(
        ("sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"),
        _own_only(usual=(_low(0, 0),)),
    ),
    "setpriority": Checked((Form((_low(0, PRIO_USER),), EPERM), Form((_low(1, 0),), 0)), EPERM),
    "ioprio_set": Checked(
        (Form((_low(0, IOPRIO_WHO_USER),), EPERM), Form((_low(1, 0),), 0)), EPERM
    ),
    # Signals that the kernel would send for this process to another.  Locks are not counted.
    "fcntl": Checked(
        tuple(Form((_low(1, command),), EPERM) for command in (F_SETOWN, F_SETSIG, F_SETOWN_EX)),
        0,
        usual=(Compare(1, LOW32 & ~7, 0), Compare(1, LOW32 & ~15, 1024)),
    ),
    **dict.fromkeys(("getdents", "getdents64"), Checked((), 0)),
    "ioctl": Checked(
        (
            *CHECKED["ioctl"].forms,
            # Attributes of files that may only be read, and that the same uid owns.
            *(
                Form((_low(1, command),), EPERM)
                for command in (FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR)
            ),
        ),
        0,
        usual=CHECKED["ioctl"].usual,
    ),
    # A supervisor without a privilege reads what dumpable processes show, and no others.
    "prctl": Checked(
        (
            Form((_low(0, PR_SET_DUMPABLE), Compare(1, _ALL64, 0)), EPERM),
            Form((_low(0, PR_SET_PTRACER),), EPERM),
            *CHECKED["prctl"].forms,
        ),
        0,
        usual=tuple(test for test in CHECKED["prctl"].usual if test.value != PR_SET_PTRACER),
    ),
    **dict.fromkeys(ACTED_ON, _DEFERRED),
    **dict.fromkeys(_REFUSED, Checked((), EPERM)),
    **dict.fromkeys(_ABSENT, Checked((), ENOSYS)),
}
"""Instead of what :data:`akiosd.values.syscalls.CHECKED` and ``ALLOWED`` say."""
