"""The git directory of a workspace that has it elsewhere: a linked worktree, or a submodule.

It is shown as an overlay beside the workspace's own, on the same disk, and its changes wait with
the workspace's.  Which of them are written back is the client's to decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from akiosd.kernel.fds import Fd
from akiosd.kernel.user_tree import identify
from akiosd.policy.compile.mounts import upper_of
from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import Bind, Run


class GitDirectory(msgspec.Struct, frozen=True):
    """``directory`` as the client opened it, owned by whoever has this; ``upper`` is where its
    changes are on the cage's disk.
    """

    directory: Fd
    identity: DirectoryId
    upper: str


def is_writable(bind: Bind, run: Run) -> bool:
    """Whether the agent may write there, into a layer of the cage."""
    if bind.kind == "git":
        return not bind.name and run.policy.filesystem.workspace in ("cow", "rw")
    return bind.kind == "write" and not bind.name


def find_git(run: Run, bind_fds: Sequence[Fd]) -> GitDirectory | None:
    """The git directory among the binds, if its changes will wait; ``bind_fds`` are the request's
    descriptors after the workspace's, and stay the caller's.
    """
    overlays = [bind for bind in run.binds if is_writable(bind, run)]
    for number, bind in enumerate(overlays):
        if bind.kind == "git":
            directory = bind_fds[bind.fd - 1].dup()
            return GitDirectory(directory, identify(directory.fileno()), upper_of(number))
    return None
