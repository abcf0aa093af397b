"""The posture of this host: what a cage could be given, layer by layer, tried or read back."""

from __future__ import annotations

import os

from akiosd.cage import domain_posture
from akiosd.daemon.base.host_faults import describe_full
from akiosd.daemon.host import Host
from akiosd.daemon.requests.disk_use import describe_crowd
from akiosd.errors import DeniedError, KernelError
from akiosd.kernel import probe
from akiosd.kernel.fanotify import FileEvents
from akiosd.policy.compile.landlock import FLOOR_ABI
from akiosd.policy.compile.policy_mode import FLOOR_ABI as POLICY_MODE_ABI
from akiosd.values.posture import LayerState, Status


def _state(layer: str, good: bool, detail: str, bad: Status = "unavailable") -> LayerState:
    return LayerState(layer, "enforced" if good else bad, detail)


def read_posture(host: Host) -> tuple[LayerState, ...]:
    """One state for each layer that depends on the host; a run reads back its own."""
    if host.config.policy_mode:
        return _policy_mode(host)
    layout, controllers = host.cgroups.layout, host.cgroups.controllers
    abi = host.facts.landlock_abi
    cgroups = [
        _state(
            name,
            name in controllers,
            (
                f"v1 leaf under {layout.v1[name]}"
                if name in layout.v1
                else "v2 leaf"
                if name in controllers
                else "no controller"
            ),
        )
        for name in ("memory", "pids", "cpu")
    ]
    disks = host.disks
    untold = _why_untold(host.config.uids.first_cage)
    return (
        _state("identity", True, f"uids from {host.config.uids.first_cage}, id-mapped binds"),
        _state("namespaces", True, " ".join(sorted(host.own_namespaces))),
        *cgroups,
        _state("disk", disks is not None, disks.kind if disks is not None else "none"),
        _state("landlock", abi >= FLOOR_ABI, probe.describe_landlock(abi)),
        _state("seccomp", _can_notify(), "user notification, killable while received"),
        _state("files", not untold, untold or "the kernel tells what is executed and written"),
        _ledger(host),
    )


def _policy_mode(host: Host) -> tuple[LayerState, ...]:
    """The same where cages have no namespaces; what the mode never holds is said line by line."""
    abi, kernel = host.facts.landlock_abi, domain_posture.KERNEL
    return (
        _state("landlock", abi >= POLICY_MODE_ABI, f"{kernel}: {probe.describe_landlock(abi)}"),
        _state("seccomp", _can_notify(), f"{kernel}: user notification"),
        _state(
            "network", _can_notify(), f"{domain_posture.POLICY}: akiosd connects; {kernel}: no TCP"
        ),
        *domain_posture.never_held(),
        _ledger(host),
    )


def _ledger(host: Host) -> LayerState:
    if host.ledger.full:
        return _state("ledger", False, describe_full(host.state_dir))
    crowded = describe_crowd(host.config.ledger, host.log_bytes)
    return _state("ledger", not crowded, crowded or "writable", "degraded")


async def read_room(host: Host) -> tuple[LayerState, ...]:
    """A state of its own where no cage can begin for want of room; none where there is enough."""
    if host.check_room is None:
        return ()
    try:
        await host.check_room()
    except DeniedError as error:
        return (LayerState("room", "unavailable", f"no cage can begin: {error.what}"),)
    except OSError as error:
        return (LayerState("room", "unavailable", f"no cage can begin: {error}"),)
    return ()


def _why_untold(owner: int) -> str:
    """Why fanotify cannot be used here; "" when it can."""
    try:
        FileEvents(owner).close()
    except KernelError as error:
        return error.what
    return ""


def _can_notify() -> bool:
    # Every kernel from the floor on has the flag; the actions are what a build may lack.
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail") as file:
            return "user_notif" in file.read().split()
    except OSError:
        return os.path.exists("/proc/sys/kernel/seccomp")
