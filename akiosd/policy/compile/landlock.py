"""Compiles policy and view to a Landlock ruleset: the file rules a second time, independent of
mounts.

Access rights and ABI numbers are those of landlock(7) and the kernel's ``uapi/linux/landlock.h``.
TCP is not restricted: servers on localhost must work, and the network namespace has no way out in
any case.
"""

from __future__ import annotations

import msgspec

from akiosd.values.policy import Policy

FLOOR_ABI = 2
BEST_ABI = 7
"""The newest ABI this module has something for; a newer kernel is used as this one."""

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
SCOPE_SIGNAL = 1 << 1

_REMOVE = REMOVE_DIR | REMOVE_FILE
_MAKE = MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
_ABI_1 = EXECUTE | WRITE_FILE | READ_FILE | READ_DIR | _REMOVE | _MAKE
_SINCE = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
_SCOPES_SINCE = 6
# struct landlock_ruleset_attr grew by one __u64 for the network (ABI 4) and one for scopes (ABI 6).
_ATTR_SIZE = ((6, 24), (4, 16), (1, 8))

READ = EXECUTE | READ_FILE | READ_DIR
# Device nodes appear in no rule: nobody makes one.
WRITE = (_ABI_1 & ~(MAKE_CHAR | MAKE_BLOCK)) | REFER | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a rule on something other than a directory may name."""

SYSTEM_READ = (
    b"/usr",
    b"/bin",
    b"/sbin",
    b"/lib",
    b"/lib32",
    b"/lib64",
    b"/libx32",
    b"/etc",
    b"/run",
    b"/var",
)
SCRATCH = (b"/tmp", b"/var/tmp", b"/dev/shm")
DEVICES = (
    b"/dev/null",
    b"/dev/zero",
    b"/dev/full",
    b"/dev/random",
    b"/dev/urandom",
    b"/dev/tty",
    b"/dev/ptmx",
    b"/dev/console",
)


class LandlockView(msgspec.Struct, frozen=True):
    """Where things are inside the cage; absolute paths.  ``read`` and ``write`` say whether each is
    a directory.
    """

    workspace: bytes
    home: bytes
    read: tuple[tuple[bytes, bool], ...] = ()
    """Toolchain, ``filesystem.read`` and whatever else is bound read-only."""
    write: tuple[tuple[bytes, bool], ...] = ()


class LandlockRule(msgspec.Struct, frozen=True):
    """``optional``: a path that this view may lack is left out; any other must exist."""

    path: bytes
    access: int
    optional: bool = False


class LandlockSpec(msgspec.Struct, frozen=True):
    """Arguments of landlock_create_ruleset(2) and landlock_add_rule(2), in order."""

    abi: int
    handled_fs: int
    scoped: int
    attr_size: int
    rules: tuple[LandlockRule, ...]

    @property
    def nested_scope(self) -> int:
        """The scope bits of the second ruleset that the agent applies to itself, so that it cannot
        signal the cage's init.
        """
        return self.scoped & SCOPE_SIGNAL


def handled_rights(abi: int) -> int:
    """The file access rights that a ruleset of this ABI can restrict."""
    rights = _ABI_1
    for since, right in _SINCE.items():
        if abi >= since:
            rights |= right
    return rights


def compile_landlock(policy: Policy, view: LandlockView, abi: int) -> LandlockSpec | None:
    """The ruleset for a kernel of this ABI; None below ``FLOOR_ABI``, where the layer is reported
    as unavailable.
    """
    if abi < FLOOR_ABI:
        return None
    handled = handled_rights(abi)
    workspace_access = READ if policy.filesystem.workspace == "ro" else READ | WRITE
    rules = [
        LandlockRule(b"/", READ_DIR),
        *(LandlockRule(path, READ, True) for path in SYSTEM_READ),
        *(_rule(path, READ, is_directory) for path, is_directory in view.read),
        *(_rule(path, READ | WRITE, is_directory) for path, is_directory in view.write),
        *(LandlockRule(path, READ | WRITE, True) for path in SCRATCH),
        LandlockRule(view.home, READ | WRITE),
        LandlockRule(view.workspace, workspace_access),
        # comm, oom_score_adj and the like; /proc/sys is mounted read-only.
        LandlockRule(b"/proc", READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE),
        LandlockRule(b"/dev", READ_FILE | READ_DIR),
        LandlockRule(b"/dev/pts", DEVICE | READ_DIR, True),
        *(LandlockRule(path, DEVICE, True) for path in DEVICES),
    ]
    return LandlockSpec(
        abi=min(abi, BEST_ABI),
        handled_fs=handled,
        scoped=(SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL) if abi >= _SCOPES_SINCE else 0,
        attr_size=next(size for since, size in _ATTR_SIZE if abi >= since),
        rules=tuple(msgspec.structs.replace(rule, access=rule.access & handled) for rule in rules),
    )


def _rule(path: bytes, access: int, is_directory: bool) -> LandlockRule:
    return LandlockRule(path, access if is_directory else access & FILE_RIGHTS)


def describe(spec: LandlockSpec) -> str:
    """For the posture: ``ABI 7: files, scopes``."""
    parts = ["files"]
    if spec.scoped:
        parts.append("abstract sockets and signals scoped")
    missing = [
        name
        for name, right in (("truncate", TRUNCATE), ("device ioctl", IOCTL_DEV))
        if not spec.handled_fs & right
    ]
    return f"ABI {spec.abi}: {', '.join(parts)}" + (
        f"; not covered: {', '.join(missing)}" if missing else ""
    )
