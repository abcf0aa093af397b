"""Landlock for a process that restricts itself (landlock(7)); the launcher applies a cage's
ruleset, not this module.

The numbers of the three system calls are the same on every architecture.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterable
from typing import Any

from cffi import FFI

from akiosd.errors import KernelError, LayerUnavailableError
from akiosd.kernel.fds import Fd
from akiosd.kernel.probe import landlock_abi
from akiosd.policy.compile.landlock import (
    FLOOR_ABI,
    READ_DIR,
    READ_FILE,
    SCOPE_ABSTRACT_UNIX_SOCKET,
    SCOPE_SIGNAL,
    handled_rights,
)

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_BIND_TCP = 1 << 0  # since ABI 4
_RULESET_ATTR = struct.Struct("=QQQ")
_PATH_BENEATH = struct.Struct("=Qi")

_ffi = FFI()
_ffi.cdef("long syscall(long number, ...);")


@functools.cache
def _libc() -> Any:
    return _ffi.dlopen(None)


def _call(number: int, what: str, *arguments: Any) -> int:
    casted = [_ffi.cast("long", one) if isinstance(one, int) else one for one in arguments]
    result = int(_libc().syscall(number, *casted))
    if result < 0:
        raise KernelError(f"{what}: {os.strerror(_ffi.errno)}", "landlock", errno=_ffi.errno)
    return result


def read_only_ruleset(directories: Iterable[str]) -> tuple[Fd, str]:
    """A ruleset that allows reading below ``directories`` and no writing; where the kernel can,
    also no binding of TCP ports, no signals and no abstract sockets towards other processes.

    Returns the ruleset, which the caller owns, and its description. Directories that this host
    lacks are left out. Raises LayerUnavailableError below ABI 2.
    """
    abi = landlock_abi()
    if abi < FLOOR_ABI:
        raise LayerUnavailableError(
            f"Landlock is ABI {abi}, needed is {FLOOR_ABI}", "landlock", "boot with lsm=landlock,…"
        )
    net = _BIND_TCP if abi >= 4 else 0
    scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if abi >= 6 else 0
    attr = _RULESET_ATTR.pack(handled_rights(abi), net, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = Fd(_call(_CREATE_RULESET, "create_ruleset", _ffi.from_buffer(attr), len(attr), 0))
    try:
        for path in directories:
            _allow_reading(ruleset, path)
    except BaseException:
        ruleset.close()
        raise
    parts = ["files", *(["no TCP port"] if net else []), *(["signals and abstract sockets scoped"] if scoped else [])]
    return ruleset, f"ABI {abi}: {', '.join(parts)}"


def _allow_reading(ruleset: Fd, path: str) -> None:
    try:
        directory = Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return
    with directory:
        rule = _PATH_BENEATH.pack(READ_FILE | READ_DIR, directory.fileno())
        _call(_ADD_RULE, f"add_rule {path}", ruleset.fileno(), _RULE_PATH_BENEATH, _ffi.from_buffer(rule), 0)


def restrict_self(ruleset: Fd) -> None:
    """Apply ``ruleset`` for good to the calling thread and whatever it starts; needs no_new_privs.
    Raises KernelError.
    """
    _call(_RESTRICT_SELF, "restrict_self", ruleset.fileno(), 0)
