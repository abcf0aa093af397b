"""The mount namespace of a client, where that is not akiosd's own: a service with PrivateTmp, a
snap, a container with akiosd's socket bound into it (mount_namespaces(7)).

What such a client opened can be cloned only there (open_tree(2)).  Which namespace that is is read
from the process that connected.  Nothing depends on its number being still that process's: the
kernel refuses to clone what does not lie in the namespace that was entered, and what a namespace
with fewer rights may not uncover (mount_namespaces(7), "Restrictions").
"""

from __future__ import annotations

import errno
import os

from akiosd.errors import KernelError
from akiosd.kernel import _shim, mounts
from akiosd.kernel.fds import Fd, read_all

# Some 2,000 mounts.  A user's own namespace may hold 100,000 (fs.mount-max), and akiosd would serve
# nobody else while it read about them.
_MOST_INFO = 256 << 10
_NEXT = "run akiosctl where akiosd runs: outside of the container, the snap or the service"


def _refused(done: str, error: OSError, where: str) -> KernelError:
    what = f"your mount namespace cannot be {done}: {error.strerror}"
    return KernelError(what, where, _NEXT, error.errno or 0)


class MountSpace:
    """A mount namespace that was looked into; it owns a descriptor until :meth:`close`.

    ``name`` is its identity, as /proc/PID/ns/mnt shows it; ``mountinfo`` what is mounted there.
    """

    def __init__(self, pid: int) -> None:
        """The one of process ``pid``; 0 is a process that akiosd cannot see.

        KernelError says why it cannot be entered.
        """
        if pid <= 0:
            raise KernelError(
                "akiosd cannot see your process: its PID namespace does not lie below akiosd's",
                "your process",
                _NEXT,
            )
        link = f"/proc/{pid}/ns/mnt"
        try:
            self._fd = Fd(os.open(link, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise _refused("opened", error, link) from None
        try:
            self.name = os.readlink(f"/proc/self/fd/{self._fd.fileno()}")
            self.mountinfo = self._read_mountinfo()
        except OSError as error:
            self.close()
            raise _refused("entered", error, link) from None

    def _read_mountinfo(self) -> str:
        with Fd(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as proc:
            found = _shim.lib.akios_mount_space_info(self._fd.fileno(), proc.fileno())
        with Fd(mounts.check(found, "mountinfo")) as file:
            found_text = read_all(file.fileno(), _MOST_INFO)
        if len(found_text) >= _MOST_INFO:
            raise OSError(errno.E2BIG, "too much is mounted in it")
        return found_text.decode(errors="surrogateescape")

    def clone(self, fd: int) -> Fd:
        """A detached clone of the mount that ``fd`` is open in; as :func:`mounts.open_tree`.

        OSError EINVAL when it lies elsewhere, or has mounts in it that must not be uncovered.
        """
        tree = _shim.lib.akios_mount_space_clone(self._fd.fileno(), fd)
        return Fd(mounts.check(tree, "open_tree"))

    def close(self) -> None:
        """Let go of the namespace, which lives no longer than its processes then."""
        self._fd.close()


def own_name() -> str:
    """The identity of akiosd's own mount namespace."""
    return os.readlink("/proc/self/ns/mnt")


def open_tree_of(pid: int, fd: int) -> Fd:
    """A detached clone of what the process ``pid`` opened, wherever it lies: here, or there.

    OSError EINVAL for a third place, KernelError where its namespace cannot be entered.
    """
    try:
        return mounts.open_tree(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    space = MountSpace(pid)
    try:
        return space.clone(fd)
    finally:
        space.close()
