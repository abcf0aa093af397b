"""Compiles a cage without namespaces: its Landlock rules, its limits, and the plan of its init.

Pure.  Paths inside are those outside: there is no view of its own, so Landlock alone says which
files there are for the agent, and nothing is listed that the policy, the toolchain or this table
does not name.
"""

from __future__ import annotations

import msgspec

from akiosd.policy.compile.landlock import (
    BEST_ABI,
    DEVICE,
    FILE_RIGHTS,
    READ,
    READ_DIR,
    READ_FILE,
    SCOPE_ABSTRACT_UNIX_SOCKET,
    SCOPE_SIGNAL,
    WRITE,
    handled_rights,
)
from akiosd.policy.compile.limits import RLIM_INFINITY, HostPools, Rlimit, compile_rlimits
from akiosd.values import steps as steps_of
from akiosd.values.plan import Plan, Step
from akiosd.values.policy import Limits

FLOOR_ABI = 6
"""Signals and abstract sockets have a scope from here on; without it one agent could end all."""
BIND_TCP, CONNECT_TCP = 1, 2
_ATTR_SIZE = 24
# Of the whole uid (setrlimit(2)): akiosd, its helpers and every other agent are counted too.
_OTHERS = 256

SYSTEM = (b"/usr", b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64", b"/libx32")
ETC = (
    *(b"ld.so.cache", b"ld.so.conf", b"ld.so.conf.d", b"ld.so.preload"),
    *(b"passwd", b"group", b"nsswitch.conf", b"hosts", b"host.conf", b"resolv.conf", b"gai.conf"),
    *(b"services", b"protocols", b"localtime", b"timezone", b"os-release", b"debian_version"),
    *(b"alternatives", b"terminfo", b"mime.types", b"magic", b"magic.mime", b"inputrc"),
    *(b"profile", b"profile.d", b"bash.bashrc", b"bash_completion.d", b"locale.alias"),
    *(b"ssl/certs", b"ssl/cert.pem", b"ssl/openssl.cnf", b"ca-certificates", b"pki/tls/certs"),
    *(b"pki/ca-trust", b"fonts", b"java", b"perl", b"python3", b"login.defs", b"shells"),
)
"""Names in ``/etc`` that an agent may read, as far as they exist."""
DEVICES = (b"null", b"zero", b"full", b"random", b"urandom")


class Grant(msgspec.Struct, frozen=True):
    """A tree or file that is open as ``fd`` (a name of the plan)."""

    fd: str
    what: str
    writable: bool
    is_directory: bool


class DomainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the plan of one such cage; bytes are absolute paths."""

    command: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: bytes
    canary: bytes
    """A directory with a file ``canary``, which nothing below names."""
    grants: tuple[Grant, ...]
    rlimits: tuple[Rlimit, ...]
    filter: bytes
    filter_flags: int
    abi: int


def compile_waiting() -> Plan:
    """What can be done before anybody asks: the init that waits for the rest."""
    steps = (steps_of.domain("a cage without namespaces"), steps_of.park("wait for the plan"))
    return Plan(steps=steps, command=b"", argv=(), env=(), cwd=b"/")


def compile_domain(spec: DomainSpec) -> Plan:
    """The rest of the plan, in the one order that works: Landlock is built while descriptors are
    open, the filter comes last.
    """
    handled = handled_rights(min(spec.abi, BEST_ABI))
    steps = (
        steps_of.canary("keep a file that Landlock must refuse", spec.canary),
        *(
            steps_of.stdio(f"{name} from akiosd", name, number)
            for number, name in enumerate(("stdin", "stdout", "stderr"))
        ),
        steps_of.umask("files are made as the agent says", 0o022),
        *(
            steps_of.rlimit(f"{limit.name} {limit.soft}", limit.resource, limit.soft, limit.hard)
            for limit in spec.rlimits
        ),
        steps_of.lockdown("no new privileges, not dumpable"),
        steps_of.landlock(
            "no file, no TCP port, no signal and no abstract socket but those of the cage",
            handled,
            SCOPE_SIGNAL | SCOPE_ABSTRACT_UNIX_SOCKET,
            _ATTR_SIZE,
            BIND_TCP | CONNECT_TCP,
        ),
        *_rules(spec.grants, handled),
        steps_of.landlock_enforce("hold to it, and prove it"),
        steps_of.seccomp("the system calls of policy mode", spec.filter, spec.filter_flags),
    )
    return Plan(
        steps=steps,
        command=spec.command,
        argv=spec.argv,
        env=spec.env,
        cwd=spec.cwd,
        nested_scope=SCOPE_SIGNAL,
    )


def _rules(grants: tuple[Grant, ...], handled: int) -> list[Step]:
    read = READ & handled
    return [
        *(
            steps_of.landlock_rule(f"read {path.decode()}", path, read, optional=True)
            for path in SYSTEM
        ),
        *(
            steps_of.landlock_rule(
                f"read /etc/{name.decode()}",
                b"/etc/" + name,
                (READ_FILE if _is_file(name) else READ_FILE | READ_DIR) & handled,
                optional=True,
            )
            for name in ETC
        ),
        # Read only: what others of this uid let be written there (oom_score_adj) would be theirs.
        steps_of.landlock_rule("read /proc", b"/proc", READ_FILE | READ_DIR),
        *(
            steps_of.landlock_rule(
                f"/dev/{name.decode()}", b"/dev/" + name, DEVICE & handled, optional=True
            )
            for name in DEVICES
        ),
        *(_grant(one, handled) for one in grants),
    ]


_DIRECTORIES = frozenset(
    (
        *(b"ld.so.conf.d", b"alternatives", b"terminfo", b"profile.d", b"bash_completion.d"),
        *(b"ssl/certs", b"ca-certificates", b"pki/tls/certs", b"pki/ca-trust", b"fonts", b"java"),
        *(b"perl", b"python3"),
    )
)


def _is_file(name: bytes) -> bool:
    return name not in _DIRECTORIES


def _grant(one: Grant, handled: int) -> Step:
    access = (READ | WRITE if one.writable else READ) & handled
    if not one.is_directory:
        access &= FILE_RIGHTS
    words = f"{'write' if one.writable else 'read'} {one.what}"
    return steps_of.landlock_rule(words, b"", access, fd=one.fd)


def compile_domain_rlimits(limits: Limits, pools: HostPools) -> tuple[Rlimit, ...]:
    """The limits of every process of the cage.  No group counts them together, so memory is bounded
    for each process (its data), and processes for the uid.
    """
    data = limits.memory or RLIM_INFINITY
    processes = limits.pids + _OTHERS if limits.pids else RLIM_INFINITY
    instead = {
        "data": Rlimit("data", data, data),
        "nproc": Rlimit("nproc", processes, processes),
    }
    return tuple(instead.get(limit.name, limit) for limit in compile_rlimits(limits, pools))
