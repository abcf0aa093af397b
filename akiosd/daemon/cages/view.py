"""Mounts the merged view of an ended cage's workspace for its caller: read-only, ids mapped back.

A child of the launcher mounts it, and hands it over as a descriptor of a detached mount: it stands
in no mount table, and goes away when the client closes it.
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import trio

from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.pending_changes import KeptCage
from akiosd.daemon.host import Host
from akiosd.errors import CageFailedError, DeniedError
from akiosd.kernel import mounts, pidfd, userns
from akiosd.kernel.disk import Disks, Slot
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import CLONE_NEWNS
from akiosd.kernel.mount_space import open_tree_of
from akiosd.kernel.user_tree import identify
from akiosd.kernel.userns import IdMap
from akiosd.policy.compile.identity import caller_map, reverse
from akiosd.policy.compile.mounts import OVERLAY_OPTIONS
from akiosd.values import steps as steps_of
from akiosd.values.plan import Plan, encode

WAIT = "wait until they are done: a diff in a pager, or a commit that asks"
_PATIENCE_S, _PAUSE_S = 2.0, 0.05
_ATTRS = mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV


async def open_view(host: Host, kept: KeptCage, workspace: Fd, client: int) -> Fd:
    """The root directory of the view; the descriptor is the caller's.  ``client`` is the process
    that asks.

    DeniedError when ``workspace`` is another directory, or somebody else has the view;
    CageFailedError.
    """
    if not identify(workspace.fileno()).is_same(kept.directory):
        raise DeniedError(
            "this is not the directory the cage was started in",
            kept.info.cage,
            "go back to that directory",
        )
    assert host.disks is not None
    slot = await _reopen(host.disks, host.cages_dir / kept.info.cage, kept)
    return await _mount_back(host, kept, slot, workspace, client)


def _clone_workspace(workspace: Fd, client: int, cage: str) -> Fd:
    try:
        return open_tree_of(client, workspace.fileno())
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DeniedError(
            "the workspace was opened in a mount namespace that is neither yours nor akiosd's",
            cage,
            "go to that directory where you started the cage",
        ) from None


async def open_paused_view(host: Host, kept: KeptCage, workspace: Fd, client: int) -> Fd:
    """The same of a cage that is paused.

    While nothing writes to the upper layer, a second overlay over it shows what is there
    (Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
    """
    assert host.disks is not None
    slot = host.disks.reopen_in_use(host.cages_dir / kept.info.cage, kept.disk_size)
    return await _mount_back(host, kept, slot, workspace, client)


async def _mount_back(host: Host, kept: KeptCage, slot: Slot, workspace: Fd, client: int) -> Fd:
    """``slot`` is owned from now on."""
    try:
        with await userns.create(host.launcher, _lines_back(host, kept)) as back:
            mounts.set_attr(slot.mount.fileno(), set=_ATTRS, userns_fd=back.fileno())
        with _clone_workspace(workspace, client, kept.info.cage) as lower:
            mounts.set_attr(lower.fileno(), set=_ATTRS)
            return await _mount(host, slot.mount, lower)
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
    raise DeniedError("somebody else looks at these changes now", kept.info.cage, WAIT)


def view_plan() -> Plan:
    """The plan of the helper that mounts the view."""
    options = {"lowerdir": "/slot/upper:/lower", **OVERLAY_OPTIONS}
    steps = (
        steps_of.attach("the cage's disk, ids mapped back", "slot", b"/slot", stage=True),
        steps_of.attach("the workspace as it is", "lower", b"/lower", stage=True),
        steps_of.export("the merged view", "overlay", options, _ATTRS),
    )
    return Plan(steps=steps, command=b"", argv=(), env=(), cwd=b"")


async def _reap(process: Fd) -> None:
    with process:
        await pidfd.wait_exit(process.fileno())


async def _mount(host: Host, slot: Fd, lower: Fd) -> Fd:
    plan = view_plan()
    ours, theirs = StatusChannel.pair()
    with theirs, host.cgroups.open_helpers() as group:
        fds = {"slot": slot.fileno(), "lower": lower.fileno()}
        _pid, process = await host.launcher.clone_cage(
            encode(plan),
            theirs.fileno(),
            group.fileno(),
            [fds[name] for name in plan.fd_names()],
            CLONE_NEWNS,
        )
    try:
        message, view = await ours.receive()
    finally:
        ours.close()
        # It may wait for the workspace's file system, where no signal reaches it; whoever asked has
        # left meanwhile.
        pidfd.send_signal(process.fileno(), signal.SIGKILL)
        trio.lowlevel.spawn_system_task(_reap, process)
    if view is None:
        failed = message is not None and message.kind == "failed"
        why = os.strerror(message.err) if failed and message is not None else "its helper died"
        step = plan.steps[message.step].describe() if failed and message is not None else "view"
        raise CageFailedError(f"the view cannot be made: {why}", step)
    return view
