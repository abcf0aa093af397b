"""Mounts the merged view of an ended cage's workspace for its caller: read-only, ids mapped back.

A child of the launcher mounts it, and hands it over as a descriptor of a detached mount: it stands
in no mount table, and goes away when the client closes it.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import trio

from akiosd.daemon.base.guarded import guarded
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.pending_changes import KeptCage
from akiosd.daemon.host import Host
from akiosd.errors import CageFailedError, DeniedError
from akiosd.kernel import mounts, pidfd, userns
from akiosd.kernel.disk import Disks, Slot
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.launcher import CLONE_NEWNS
from akiosd.kernel.mount_space import open_tree_of
from akiosd.kernel.user_tree import identify
from akiosd.kernel.userns import IdMap
from akiosd.policy.compile.identity import caller_map, reverse
from akiosd.policy.compile.mounts import OVERLAY_OPTIONS
from akiosd.values import steps as steps_of
from akiosd.values.ids import DirectoryId
from akiosd.values.plan import Plan, StatusMessage, encode

WAIT = "wait until that is done: a diff in a pager, or a commit that asks"
_PATIENCE_S, _PAUSE_S = 2.0, 0.05
_ATTRS = mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV


async def open_view(
    host: Host, kept: KeptCage, workspace: Fd, client: int, git: Fd | None = None
) -> tuple[Fd, ...]:
    """The root directory of the view, and that of the view of ``git``, if a git directory was shown
    with the workspace; the descriptors are the caller's.  ``client`` is the process that asks.

    DeniedError when ``workspace`` or ``git`` is another directory, or somebody else has the view;
    CageFailedError.
    """
    _check_same(workspace, kept.directory, kept, "the directory the cage was started in")
    lowers = [("upper", workspace)]
    if kept.git is not None:
        if git is None:
            raise DeniedError(
                "the git directory that was shown with the workspace is missing",
                kept.info.cage,
                "put it back: the file .git in the workspace names it",
            )
        _check_same(git, kept.git, kept, "the git directory that was shown to the cage")
        lowers.append((kept.git_upper, git))
    assert host.disks is not None
    slot = await _reopen(host.disks, host.cages_dir / kept.info.cage, kept)
    return await _mount_back(host, kept, slot, lowers, client)


def _check_same(directory: Fd, wanted: DirectoryId, kept: KeptCage, what: str) -> None:
    if not identify(directory.fileno()).is_same(wanted):
        raise DeniedError(
            f"this directory is not {what}", kept.info.cage, "see where it ran: akiosctl ps --all"
        )


def _clone_workspace(workspace: Fd, client: int, cage: str) -> Fd:
    try:
        return open_tree_of(client, workspace.fileno())
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DeniedError(
            "the workspace was opened in a mount namespace that is neither yours nor akiosd's",
            cage,
            "give this command in the login or container in which you started the cage",
        ) from None


async def open_paused_view(
    host: Host, kept: KeptCage, workspace: Fd, client: int, git: Fd | None
) -> tuple[Fd, ...]:
    """The same of a cage that is paused.

    While nothing writes to the upper layers, second overlays over them show what is there
    (Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
    """
    assert host.disks is not None
    slot = host.disks.reopen_in_use(host.cages_dir / kept.info.cage, kept.disk_size)
    lowers = [("upper", workspace), *([(kept.git_upper, git)] if git is not None else ())]
    return await _mount_back(host, kept, slot, lowers, client)


async def _mount_back(
    host: Host, kept: KeptCage, slot: Slot, lowers: list[tuple[str, Fd]], client: int
) -> tuple[Fd, ...]:
    """``slot`` is owned from now on; ``lowers``: upper layers on it, and what they lie over."""
    try:
        with await userns.create(host.launcher, _lines_back(host, kept)) as back:
            mounts.set_attr(slot.mount.fileno(), set=_ATTRS, userns_fd=back.fileno())
        trees: list[Fd] = []
        try:
            for _, directory in lowers:
                trees.append(_clone_workspace(directory, client, kept.info.cage))
                mounts.set_attr(trees[-1].fileno(), set=_ATTRS)
            return await _mount(host, slot.mount, trees, [upper for upper, _ in lowers])
        finally:
            close_all(trees)
    finally:
        slot.release()


def _lines_back(host: Host, kept: KeptCage) -> IdMap:
    """From the cage's ids on its disk to its caller's."""
    display = host.config.uids.display_base
    return IdMap(
        reverse(caller_map(kept.owner[0], kept.inside[0], kept.host_id, display)),
        reverse(caller_map(kept.owner[1], kept.inside[1], kept.host_gid, display)),
    )


async def _reopen(disks: Disks, directory: Path, kept: KeptCage) -> Slot:
    """Mount the cage's disk; retried while whoever had it before is still releasing it."""
    with trio.move_on_after(_PATIENCE_S):
        while True:
            try:
                return disks.reopen(directory, kept.disk_size)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            await trio.sleep(_PAUSE_S)
    raise DeniedError("another diff or commit is open on these changes", kept.info.cage, WAIT)


def view_plan(uppers: Sequence[str]) -> Plan:
    """The plan of the helper that mounts the views: of each upper layer on its ``lower``, the first
    of which is the workspace.
    """
    steps = [steps_of.attach("the cage's disk, ids mapped back", "slot", b"/slot", stage=True)]
    for number, upper in enumerate(uppers):
        stage = f"/l{number}"
        options = {"lowerdir": f"/slot/{upper}:{stage}", **OVERLAY_OPTIONS}
        what = "the git directory" if number else "the workspace"
        steps += [
            steps_of.attach(f"{what} as it is", f"lower:{number}", stage.encode(), stage=True),
            steps_of.export(f"the merged view of {what}", "overlay", options, _ATTRS),
        ]
    return Plan(steps=tuple(steps), command=b"", argv=(), env=(), cwd=b"")


async def _reap(process: Fd) -> None:
    with process:
        await pidfd.wait_exit(process.fileno())


async def _mount(
    host: Host, slot: Fd, lowers: Sequence[Fd], uppers: Sequence[str]
) -> tuple[Fd, ...]:
    plan = view_plan(uppers)
    ours, theirs = StatusChannel.pair()
    with theirs, host.cgroups.open_helpers() as group:
        fds = {"slot": slot.fileno()}
        fds |= {f"lower:{number}": lower.fileno() for number, lower in enumerate(lowers)}
        _pid, process = await host.launcher.clone_cage(
            encode(plan),
            theirs.fileno(),
            group.fileno(),
            [fds[name] for name in plan.fd_names()],
            CLONE_NEWNS,
        )
    views: list[Fd] = []
    try:
        while len(views) < len(lowers):
            message, view = await ours.receive()
            if view is None:
                raise _explain(plan, message)
            views.append(view)
    except BaseException:
        close_all(views)
        raise
    finally:
        ours.close()
        # It may wait for the workspace's file system, where no signal reaches it; whoever asked has
        # left meanwhile.
        pidfd.send_signal(process.fileno(), signal.SIGKILL)
        trio.lowlevel.spawn_system_task(guarded, "reap a helper", process.close, _reap, process)
    return tuple(views)


def _explain(plan: Plan, message: StatusMessage | None) -> CageFailedError:
    what = "what the cage changed cannot be shown"
    if message is None or message.kind != "failed":
        return CageFailedError(f"{what}: the process that was to show it ended", "diff")
    return CageFailedError(
        f"{what}: {os.strerror(message.err)}", plan.steps[message.step].describe()
    )
