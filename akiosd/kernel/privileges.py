"""What a process gives up for good: identity, capabilities, the right to gain any, and most system
calls.

For a single-threaded process that restricts itself: each function changes the calling thread
(credentials(7)). All raise KernelError with the kernel's errno.
"""

from __future__ import annotations

from akiosd.errors import KernelError
from akiosd.kernel import syscalls
from akiosd.kernel.refusals import named_refusal

# include/uapi/linux/capability.h
CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7

SECUREBITS_LOCKED = 0xEF
"""Every bit but KEEP_CAPS set, every bit locked (capabilities(7))."""


def _prctl(option: int, argument: int | bytes = 0) -> int:
    with named_refusal(f"prctl({option})", "prctl"):
        return syscalls.prctl(option, argument)


def drop_bounding_set(keep: frozenset[int] = frozenset()) -> None:
    """Remove every capability outside ``keep`` from the bounding set; needs CAP_SETPCAP."""
    for number in range(64):
        try:
            held = _prctl(syscalls.PR_CAPBSET_READ, number)
        except KernelError:
            return  # EINVAL: one more than the last this kernel knows
        if held and number not in keep:
            _prctl(syscalls.PR_CAPBSET_DROP, number)


def lock_securebits() -> None:
    """Take all meaning from uid 0, irrevocably; needs CAP_SETPCAP."""
    _prctl(syscalls.PR_SET_SECUREBITS, SECUREBITS_LOCKED)
    if _prctl(syscalls.PR_GET_SECUREBITS) != SECUREBITS_LOCKED:
        raise KernelError("the securebits of the process are not those that were set", "securebits")


def set_capabilities(keep: frozenset[int] = frozenset()) -> None:
    """Set the effective and permitted sets to ``keep``, and empty the inheritable and ambient sets
    (capset(2)).
    """
    _prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    with named_refusal("capset", "capset"):
        syscalls.capset(sum(1 << number for number in keep))


def set_no_new_privs() -> None:
    """Set no_new_privs, which cannot be undone (prctl(2))."""
    _prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def set_undumpable() -> None:
    """Forbid core dumps, ptrace, and reading of /proc/PID/mem by the same uid.

    A change of ids undoes it: call it after that.
    """
    _prctl(syscalls.PR_SET_DUMPABLE, 0)
    if _prctl(syscalls.PR_GET_DUMPABLE) != 0:
        raise KernelError(
            "others may still read the memory of the process (it is dumpable)", "dumpable"
        )


def set_parent_death_signal(signo: int) -> None:
    """Ask for ``signo`` when the thread that forked this process ends; 0 asks for none.

    A change of ids clears it: call it after that, then compare getppid with the expected parent.
    """
    _prctl(syscalls.PR_SET_PDEATHSIG, signo)


def set_name(name: str) -> None:
    """Set the name that ps(1) shows; cut to 15 bytes."""
    _prctl(syscalls.PR_SET_NAME, name.encode()[:15])


def load_filter(bpf: bytes) -> None:
    """Install a seccomp filter (an array of struct sock_filter, 8 bytes each); needs
    no_new_privs.
    """
    with named_refusal("seccomp", "seccomp"):
        syscalls.load_filter(bpf)
