"""The plan of a cage: what the launcher does, step by step, as data.

Policy and host facts compile to a :class:`Plan`; ``policy explain`` prints ``describe()`` of each
step, an error names the step that failed, the launcher executes the encoded bytes, tests compare
them.  :func:`c_header` generates ``native/include/plan.h`` from the tables here, so that the two
languages cannot drift apart (a test compares the file).
"""

from __future__ import annotations

import struct

import msgspec

MAGIC = 0x4B_41_49_31
MAX_FDS = 120
NO_FD = -1

# Number of each step in the wire form; a number is never reused.
OPS: dict[str, int] = {
    "cgroup_v1": 1,
    "unshare": 2,
    "setns": 3,
    "hostname": 4,
    "setsid": 5,
    "attach": 6,
    "mkdir": 7,
    "symlink": 8,
    "mknod": 9,
    "fsmount": 10,
    "bind": 11,
    "setattr": 12,
    "pivot": 13,
    "stdio": 14,
    "pty": 15,
    "close_range": 16,
    "rlimit": 17,
    "keyring": 18,
    "bounding": 19,
    "securebits": 20,
    "ids": 21,
    "capset": 22,
    "lockdown": 23,
    "landlock": 24,
    "landlock_rule": 25,
    "landlock_enforce": 26,
    "seccomp": 27,
    "mkfile": 28,
    "canary": 29,
    "root": 31,
    "umask": 32,
    "export": 33,
    "park": 34,
    "watch": 35,
    "domain": 36,
}

# Messages on the status socket (SOCK_SEQPACKET), launcher's child to akiosd and back.
STATUS: dict[str, int] = {
    "failed": 1,  # step, errno
    "pty": 2,  # carries the master of the cage's terminal
    "ready": 3,  # listener fd number, result of the Landlock probe
    "go": 4,  # akiosd → init: start the agent; value: 0, or GO_KEPT
    "execed": 5,  # pid inside
    "exec_failed": 6,  # errno, step (0 chdir, 1 exec, 2 session, 3 landlock)
    "exited": 7,  # wait status, rusage
    "signal": 8,  # akiosd → init: signal number
    "mount": 9,  # carries a detached mount
    "parked": 10,  # the child waits for the plan that goes on where its own ends
    "listener": 11,  # carries the seccomp listener, where akiosd may not take it itself
    "kill": 12,  # akiosd → init of a cage without namespaces: end every process of it
    "program_started": 13,  # number of the program, its pid inside
    "program_failed": 14,  # number, errno, step as in exec_failed
    "program_ended": 15,  # number, wait status, rusage
    "program_signal": 16,  # akiosd → init: number, signal number
}

# What "go" may say, as bits.  GO_KEPT: the keeper holds this cage, so init no longer ends with the
# thread that made it (PR_SET_PDEATHSIG), only at end of file on its status socket.  GO_STANDING:
# there is no first agent; init starts programs when it is told to, and ends at end of file only.
GO_KEPT = 1
GO_STANDING = 2

# Flags of a step.
F_STAGE = 1  # the path is in the launcher's own staging root, not in the new root
F_EXIST_OK = 2
F_RECURSIVE = 4
F_SAME_KIND = (
    8  # a target that is a directory where the source is none, or the other way, is left as it is
)

# Fixed descriptor numbers in the child while it confines itself.
FD_STATUS = 3
FD_CANARY = 4
FD_FIRST_FREE = 5

_HEADER = struct.Struct("<IIIIIIIIII")
_OP = struct.Struct("<IIiiIIIIIIIIQQQ")
_MESSAGE = struct.Struct("<IiII")
_EXIT = struct.Struct("<IiIIQQQ")
REQUEST = struct.Struct("<IIIIQ")
REPLY = struct.Struct("<ii")

REQUEST_RUN = 1
REQUEST_USERNS = 2
REQUEST_PROGRAM = 3
MAX_PROGRAMS = 256
"""How many programs of a standing cage init knows at once."""
_OPTIONS = ("fsmount", "export")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, as the launcher reads it.

    :mod:`akiosd.values.steps` makes them, and says what each of ``a b c u0 u1 u2`` holds. ``fd``
    names a descriptor that is given to the launcher; strings are bytes without NUL.
    """

    op: str
    what: str
    fd: str | None = None
    a: bytes = b""
    b: bytes = b""
    c: bytes = b""
    flags: int = 0
    uid: int = 0
    gid: int = 0
    u0: int = 0
    u1: int = 0
    u2: int = 0

    def describe(self) -> str:
        """The step for ``policy explain`` and for errors."""
        return f"{self.op}: {self.what}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the launcher needs to make one cage.  ``command`` and ``cwd`` are paths inside the
    cage.
    """

    steps: tuple[Step, ...]
    command: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: bytes
    tty: bool = False
    nested_scope: int = 0
    """Landlock scope bits the agent adds to itself before exec; 0 where the ABI has none."""

    def describe(self) -> list[str]:
        """One line for each step."""
        return [step.describe() for step in self.steps]

    def fd_names(self) -> tuple[str, ...]:
        """The descriptors the steps use, in the order in which they are to be sent."""
        return tuple(dict.fromkeys(step.fd for step in self.steps if step.fd is not None))


class _Blob:
    """Strings of a plan, each stored once and NUL-terminated.  ``base`` is the offset of the first
    byte, an empty string.
    """

    def __init__(self, base: int) -> None:
        self._base = base
        self.data = bytearray(8)
        self._offsets: dict[bytes, int] = {b"": base}

    def add(self, text: bytes) -> int:
        found = self._offsets.get(text)
        if found is None:
            found = self._offsets[text] = self._base + len(self.data)
            self.data += text + bytes(8 - len(text) % 8)
        return found


def encode(plan: Plan) -> bytes:
    """The bytes that the launcher maps: header, steps, offsets of argv and env, strings.

    ``fsmount`` options (``b``) and the seccomp program (``a``) are raw bytes: key NUL value NUL …
    NUL, and an array of ``struct sock_filter``. Raises ValueError for too many descriptors and for
    a NUL in a string.
    """
    names = {name: index for index, name in enumerate(plan.fd_names())}
    if len(names) > MAX_FDS:
        raise ValueError(f"a plan can use {MAX_FDS} descriptors, this one needs {len(names)}")
    ops_at = _HEADER.size
    vectors_at = ops_at + _OP.size * len(plan.steps)
    argv_at = vectors_at
    env_at = argv_at + 8 * (len(plan.argv) + 1)
    blob = _Blob(env_at + 8 * (len(plan.env) + 1))
    ops = bytearray()
    add, pack, empty = blob.add, _OP.pack, blob.add(b"")
    for step in plan.steps:
        a, b, c = step.a, step.b, step.c
        if (
            b"\0" in c
            or (b"\0" in a and step.op != "seccomp")
            or (b"\0" in b and step.op not in _OPTIONS)
        ):
            raise ValueError(f"a string of the step {step.op} holds a NUL")
        ops += pack(
            OPS[step.op],
            step.flags,
            names[step.fd] if step.fd is not None else NO_FD,
            NO_FD,
            add(a) if a else empty,
            len(a),
            add(b) if b else empty,
            len(b),
            add(c) if c else empty,
            len(c),
            step.uid,
            step.gid,
            step.u0,
            step.u1,
            step.u2,
        )
    argv = b"".join(struct.pack("<Q", add(arg)) for arg in plan.argv) + bytes(8)
    env = b"".join(struct.pack("<Q", add(item)) for item in plan.env) + bytes(8)
    if any(b"\0" in text for text in (*plan.argv, *plan.env, plan.command, plan.cwd)):
        raise ValueError("an argument of the plan holds a NUL")
    command, cwd = add(plan.command), add(plan.cwd)
    total = env_at + len(env) + len(blob.data)
    header = _HEADER.pack(
        MAGIC,
        total,
        len(plan.steps),
        ops_at,
        argv_at,
        env_at,
        command,
        cwd,
        int(plan.tty),
        plan.nested_scope,
    )
    return b"".join((header, ops, argv, env, blob.data))


def encode_options(options: dict[str, str]) -> bytes:
    """Mount options as the launcher and the shim take them: key NUL value NUL …; an empty value is
    a flag.
    """
    return b"".join(key.encode() + b"\0" + value.encode() + b"\0" for key, value in options.items())


class StatusMessage(msgspec.Struct, frozen=True):
    """One message of the status socket.  ``rusage``: user ns, system ns, max RSS in bytes."""

    kind: str
    err: int = 0
    step: int = 0
    value: int = 0
    rusage: tuple[int, int, int] = (0, 0, 0)


_KINDS = {number: name for name, number in STATUS.items()}


def decode_status(data: bytes) -> StatusMessage:
    """The message in ``data``; ValueError when it is none."""
    if len(data) == _EXIT.size:
        kind, err, step, value, *usage = _EXIT.unpack(data)
        return StatusMessage(
            _KINDS.get(kind, "?"), err, step, value, (usage[0], usage[1], usage[2])
        )
    if len(data) != _MESSAGE.size:
        raise ValueError(f"a status message has {len(data)} bytes")
    kind, err, step, value = _MESSAGE.unpack(data)
    return StatusMessage(_KINDS.get(kind, "?"), err, step, value)


def encode_status(kind: str, value: int = 0, number: int = 0) -> bytes:
    """A message of akiosd to init; ``number`` is that of a program, where it is about one."""
    return _MESSAGE.pack(STATUS[kind], 0, number, value)


def c_header() -> str:
    """The text of ``native/include/plan.h``."""
    lines = [
        "/* Generated by akiosd/values/plan.py (python3 -m akiosd.values.plan); do not edit. */",
        "#ifndef AKIOS_PLAN_H",
        "#define AKIOS_PLAN_H",
        "#include <stdint.h>",
        "",
        f"#define AKIOS_PLAN_MAGIC 0x{MAGIC:08x}u",
        f"#define AKIOS_PLAN_MAX_FDS {MAX_FDS}",
        f"#define AKIOS_FD_STATUS {FD_STATUS}",
        f"#define AKIOS_FD_CANARY {FD_CANARY}",
        f"#define AKIOS_FD_FIRST_FREE {FD_FIRST_FREE}",
        f"#define AKIOS_F_STAGE {F_STAGE}u",
        f"#define AKIOS_F_EXIST_OK {F_EXIST_OK}u",
        f"#define AKIOS_F_RECURSIVE {F_RECURSIVE}u",
        f"#define AKIOS_F_SAME_KIND {F_SAME_KIND}u",
        f"#define AKIOS_GO_KEPT {GO_KEPT}u",
        f"#define AKIOS_GO_STANDING {GO_STANDING}u",
        f"#define AKIOS_MAX_PROGRAMS {MAX_PROGRAMS}",
        f"#define AKIOS_REQUEST_RUN {REQUEST_RUN}u",
        f"#define AKIOS_REQUEST_USERNS {REQUEST_USERNS}u",
        f"#define AKIOS_REQUEST_PROGRAM {REQUEST_PROGRAM}u",
        "",
        "enum akios_op_kind {",
        *(f"    AKIOS_OP_{name.upper()} = {number}," for name, number in OPS.items()),
        "};",
        "",
        "enum akios_status_kind {",
        *(f"    AKIOS_STATUS_{name.upper()} = {number}," for name, number in STATUS.items()),
        "};",
        "",
        (
            "/* Offsets count from the start of the plan; argv and env are arrays of offsets ended"
            " by 0. */"
        ),
        "struct akios_plan {",
        (
            "    uint32_t magic, size, op_count, ops_at, argv_at, env_at, command_at, cwd_at, tty,"
            " nested_scope;"
        ),
        "};",
        "struct akios_op {",
        "    uint32_t kind, flags;",
        "    int32_t fd, pad;",
        "    uint32_t a_at, a_len, b_at, b_len, c_at, c_len, uid, gid;",
        "    uint64_t u0, u1, u2;",
        "};",
        "struct akios_status { uint32_t kind; int32_t err; uint32_t step, value; };",
        "struct akios_exit { struct akios_status head; uint64_t user_ns, system_ns, max_rss; };",
        "/* argument: clone flags of a run; the owner's uid of a user namespace; the number of a",
        " * program. */",
        "struct akios_request { uint32_t magic, kind, nfds, plan_size; uint64_t argument; };",
        "struct akios_reply { int32_t pid, err; };",
        "",
        f'_Static_assert(sizeof(struct akios_plan) == {_HEADER.size}, "plan header");',
        f'_Static_assert(sizeof(struct akios_op) == {_OP.size}, "plan step");',
        f'_Static_assert(sizeof(struct akios_status) == {_MESSAGE.size}, "status");',
        f'_Static_assert(sizeof(struct akios_exit) == {_EXIT.size}, "exit");',
        f'_Static_assert(sizeof(struct akios_request) == {REQUEST.size}, "request");',
        f'_Static_assert(sizeof(struct akios_reply) == {REPLY.size}, "reply");',
        "#endif",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(c_header(), end="")
