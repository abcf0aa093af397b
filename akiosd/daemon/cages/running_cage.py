"""What a cage is made from: what its client opened, and, where another akiosd began it, what was
kept of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.cage_state import CageState, LifeState
from akiosd.daemon.cages.git_directory import GitDirectory, find_git
from akiosd.daemon.cages.keep_cage import KeptCage
from akiosd.kernel.fds import Fd
from akiosd.kernel.user_tree import identify, read_name
from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import Run


class Opened(NamedTuple):
    """What the client of a run opened; whoever has it owns the descriptors."""

    workspace: Fd
    binds: list[Fd]
    git: GitDirectory | None
    directory: DirectoryId
    """Which directory the workspace is."""
    name: bytes
    written: Fd | None
    """The one of them that the cage writes to without an overlay, if any."""

    @classmethod
    def of(cls, request: Run, fds: list[int]) -> Opened:
        """``fds``: the workspace first, then the binds."""
        workspace, binds = Fd(fds[0]), [Fd(fd) for fd in fds[1:]]
        outputs = [binds[bind.fd - 1] for bind in request.binds if bind.kind == "output"]
        written = written_directly(request, workspace, outputs[0] if outputs else None)
        git, directory, name = find_git(request, binds), identify(fds[0]), read_name(fds[0])
        return cls(workspace, binds, git, directory, name, written)


def written_directly(request: Run, workspace: Fd, output: Fd | None) -> Fd | None:
    """What a cage writes to without an overlay; ``output`` is its ``data/output``, if any."""
    return workspace if request.policy.filesystem.workspace == "rw-direct" else output


class Running(NamedTuple):
    """A cage that another akiosd began, as it was kept; whoever has it owns the descriptors."""

    state: CageState
    life: LifeState
    sections: Mapping[str, bytes]
    """All of its state memory."""
    kept: KeptCage
    process: Fd
    status: StatusChannel
    listener: Fd
    ring: list[Fd]
    mounts: Fd
    files: Fd | None
    stdio: list[Fd]
    master: Fd | None
    gateway: list[Fd]
    """What was kept of the process of its gateway; none where there was none."""
