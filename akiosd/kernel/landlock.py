"""Landlock for a process that restricts itself (landlock(7)); the launcher applies a cage's
ruleset, not this module.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from akiosd.errors import LayerUnavailableError
from akiosd.kernel import syscalls
from akiosd.kernel.fds import Fd
from akiosd.kernel.probe import landlock_abi
from akiosd.kernel.refusals import named_refusal
from akiosd.policy.compile.landlock import (
    FLOOR_ABI,
    READ_DIR,
    READ_FILE,
    SCOPE_ABSTRACT_UNIX_SOCKET,
    SCOPE_SIGNAL,
    handled_rights,
)

MISSING = (
    "with ABI 0, boot with lsm=landlock,LIST, where LIST is what cat /sys/kernel/security/lsm"
    " prints; else run a newer kernel"
)

_BIND_TCP = 1 << 0  # since ABI 4
_RULESET_ATTR = struct.Struct("=QQQ")
_PATH_BENEATH = struct.Struct("=Qi")


def read_only_ruleset(directories: Iterable[str]) -> tuple[Fd, str]:
    """A ruleset that allows reading below ``directories`` and no writing; where the kernel can,
    also no binding of TCP ports, no signals and no abstract sockets towards other processes.

    Returns the ruleset, which the caller owns, and its description. Directories that this host
    lacks are left out. Raises LayerUnavailableError below ABI 2.
    """
    abi = landlock_abi()
    if abi < FLOOR_ABI:
        raise LayerUnavailableError(
            f"Landlock has ABI {abi}, and AKIOS needs {FLOOR_ABI}", "landlock", MISSING
        )
    net = _BIND_TCP if abi >= 4 else 0
    scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if abi >= 6 else 0
    attr = _RULESET_ATTR.pack(handled_rights(abi), net, scoped)[
        : 24 if abi >= 6 else 16 if abi >= 4 else 8
    ]
    with named_refusal("create_ruleset", "landlock"):
        ruleset = Fd(syscalls.landlock_create_ruleset(attr))
    try:
        for path in directories:
            _allow_reading(ruleset, path)
    except BaseException:
        ruleset.close()
        raise
    parts = [
        "files",
        *(["no TCP port"] if net else []),
        *(["signals and abstract sockets scoped"] if scoped else []),
    ]
    return ruleset, f"ABI {abi}: {', '.join(parts)}"


def _allow_reading(ruleset: Fd, path: str) -> None:
    try:
        directory = Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return
    with directory:
        rule = _PATH_BENEATH.pack(READ_FILE | READ_DIR, directory.fileno())
        with named_refusal(f"add_rule {path}", "landlock"):
            syscalls.landlock_add_rule(ruleset.fileno(), rule)


def restrict_self(ruleset: Fd) -> None:
    """Apply ``ruleset`` for good to the calling thread and whatever it starts; needs no_new_privs.
    Raises KernelError.
    """
    with named_refusal("restrict_self", "landlock"):
        syscalls.landlock_restrict_self(ruleset.fileno())
