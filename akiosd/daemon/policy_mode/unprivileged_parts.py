"""What a cage is made of where there are no privileges, in the shape of what others are made of: a
group that is no control group, a disk that is a directory, a uid that is akiosd's own.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from akiosd.daemon.base.uids import CageUids
from akiosd.kernel import pidfd
from akiosd.kernel.cgroup import CageCgroup, CgroupHost, Layout, MemoryEvents
from akiosd.kernel.disk import Slot, remove_tree
from akiosd.kernel.fds import Fd
from akiosd.policy.compile.limits import CgroupValue

_DISK = "files"


class Domain(CageCgroup):
    """The processes of one Landlock domain, which its init ends (``native/src/launcher_domain.c``).

    ``name`` is the cage's; nothing is made for it.
    """

    def __init__(self, host: CgroupHost, name: str) -> None:
        super().__init__(host, name)
        self.ask_to_end: Callable[[], None] = lambda: None
        """Tells init to end everything; set once there is one."""
        self.init: Fd | None = None
        """A pidfd of init; the cage's."""

    def make(self) -> None:
        """There is nothing to make."""

    def limit(self, v2: Iterable[CgroupValue], v1: Iterable[CgroupValue]) -> dict[str, str]:
        """No limit holds for all processes together: none is reported."""
        return {}

    def open_entrances(self) -> list[Fd]:
        """Nobody need move in."""
        return []

    def holds(self, groups: str) -> bool:
        """Every process is where it was."""
        return True

    async def wait_oom_kill(self) -> bool:
        """The kernel's killer is the container's, and says nothing here."""
        return False

    def kill(self) -> None:
        """SIGKILL for every process of the domain, by its init; that one then leaves."""
        self.ask_to_end()

    def freeze(self, frozen: bool) -> None:
        """Nothing stops a whole domain at once; :meth:`is_frozen` says so.  While the ledger has no
        room its recorded calls wait all the same: nobody empties the ring.
        """

    def is_frozen(self) -> bool:
        """Never."""
        return False

    def events(self) -> MemoryEvents:
        """Nobody counts."""
        return MemoryEvents(peak=0, limit=0, oom_kills=0, pids_peak=0, pids_limit=0, pids_denied=0)

    def in_use(self) -> tuple[int, int]:
        """Nobody counts."""
        return 0, 0

    def cpu_ns(self) -> tuple[int, int]:
        """What init has reaped is in its own report; nobody counts the rest."""
        return 0, 0

    async def destroy(self) -> None:
        """Ask init once more; its end is awaited by who holds its pidfd."""
        self.kill()

    def end_init(self) -> None:
        """Kill init itself, where it does not do what it is asked."""
        if self.init is not None and not self.init.closed:
            pidfd.send_signal(self.init.fileno(), signal.SIGKILL)


class NoGroups(CgroupHost):
    """A host whose control groups are not ours."""

    def __init__(self) -> None:
        self.layout = Layout("", {})
        self.v2 = Path("/")
        self.v1 = {}
        self.controllers = frozenset()

    def leaf(self, name: str) -> Domain:
        """The processes of the cage ``name``."""
        return Domain(self, name)

    async def tear_down(self) -> None:
        """Nothing was made."""


class OwnUid(CageUids):
    """Every cage and gateway has akiosd's own uid."""

    def __init__(self) -> None:
        self.kept: Callable[[], Collection[int]] = tuple

    @property
    def left(self) -> int:
        """There is always one."""
        return 1 << 20

    def take(self) -> int:
        """Our own."""
        return os.geteuid()

    def give_back(self, uid: int) -> None:
        """It stays ours."""


class Directory(Slot):
    """The private directory of one cage: ``home``, ``tmp`` and ``trust``."""

    def __init__(self, directory: Path) -> None:
        path = directory / _DISK
        for name in ("", "home", "tmp", "trust"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
        mount = Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        super().__init__(mount, 0, path, None)

    def space(self) -> tuple[int, int]:
        """Nobody counts, and nothing bounds it."""
        return 0, 0

    def is_empty(self, *uppers: str) -> bool:
        """There is no layer with changes: the workspace itself was written."""
        return True

    def destroy(self) -> None:
        """Remove it with all that is in it."""
        self.release()
        remove_tree(self.directory)


class Directories:
    """How the disks of cages are bounded here: not at all.  ``cages`` is where theirs are."""

    kind = "a directory, without a bound"
    is_filled_later = is_shared = False

    def __init__(self, cages: Path) -> None:
        self._cages = cages

    def create(self, directory: Path, size: int) -> Slot:
        """A new private directory; ``size`` is not kept."""
        return Directory(directory)

    def reopen(self, directory: Path, size: int) -> Slot:
        """FileNotFoundError: no cage leaves changes."""
        raise FileNotFoundError(errno.ENOENT, "no disk outlives its cage here", str(directory))

    reopen_in_use = reopen

    def adopt(self, directory: Path, size: int, mount: Fd) -> Slot:
        """FileNotFoundError: no cage goes on without its akiosd."""
        mount.close()
        raise FileNotFoundError(errno.ENOENT, "no disk outlives its cage here", str(directory))

    def remove_others(self, names: Collection[str]) -> None:
        """Remove what agents had in the cages that are not in ``names``."""
        for path in self._cages.glob(f"*/{_DISK}"):
            if path.parent.name not in names:
                remove_tree(path)

    def punch_free(self) -> bool:
        """There is no image."""
        return False

    def unwritten(self) -> int:
        """What is written has its room at once, or is refused."""
        return 0

    def not_overwritten(self) -> str:
        """A file system may keep copies of what is overwritten; whose it is, is not known."""
        return "the file system below the state directory, where it writes elsewhere"

    def close(self) -> None:
        """Nothing is mounted."""
