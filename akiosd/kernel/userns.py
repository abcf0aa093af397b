"""User namespaces: one for each cage, and those that stand behind idmapped mounts
(user_namespaces(7)).

The launcher clones a holder into a new namespace, the daemon writes its maps, opens it and lets the
holder go; what stays is a descriptor.
"""

from __future__ import annotations

import os
import signal

import msgspec

from akiosd.kernel import pidfd
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import Launcher


class IdMap(msgspec.Struct, frozen=True):
    """Lines ``(inside, outside, count)`` of uid_map and gid_map."""

    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]


def _text(lines: tuple[tuple[int, int, int], ...]) -> bytes:
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in lines).encode()


def _write(path: str, data: bytes) -> None:
    # One write(2) for the whole map: the kernel takes no second one.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


async def create(launcher: Launcher, ids: IdMap, owner: int = 0) -> Fd:
    """A new user namespace with these maps; the descriptor is the caller's.

    ``owner``: the host uid that is charged for what processes in it use of the kernel's numbers per
    user, and that would have every capability in it, so one under which nothing else runs.
    """
    pid, holder = await launcher.clone_userns(owner)
    with holder:
        try:
            _write(f"/proc/{pid}/uid_map", _text(ids.uids))
            _write(f"/proc/{pid}/gid_map", _text(ids.gids))
            return Fd(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
        finally:
            pidfd.send_signal(holder.fileno(), signal.SIGKILL)
            await pidfd.wait_exit(holder.fileno())
