"""The posture of a cage, read back from the kernel while its init waits behind every fence."""

from __future__ import annotations

import os

from akiosd.cage import posture
from akiosd.daemon.cages.build_confinement import Confinement
from akiosd.daemon.cages.prepared_cage import Prepared
from akiosd.daemon.cages.record_files import FileRecorder
from akiosd.daemon.host import Host
from akiosd.kernel import probe
from akiosd.policy.compile.landlock import describe as describe_landlock
from akiosd.values.places import DATA
from akiosd.values.posture import LayerState
from akiosd.wire.messages import Run


def read_posture(
    host: Host,
    prepared: Prepared,
    request: Run,
    confinement: Confinement,
    pid: int,
    *,
    landlock_proved: bool,
    pump_running: bool,
    files: FileRecorder | None,
) -> tuple[LayerState, ...]:
    """What holds around the init ``pid``.  ``landlock_proved``: it was denied what Landlock is to
    deny; ``files``: the recorder of files, None where the policy traces nothing.
    """
    status, mountinfo, uid_map, limits = probe.read_process(pid)
    disks = host.disks
    evidence = posture.Evidence(
        status=status,
        mountinfo=mountinfo,
        uid_map=uid_map,
        namespaces=probe.read_namespaces(pid),
        own_namespaces=host.own_namespaces,
        landlock_proved=landlock_proved,
        landlock=describe_landlock(confinement.landlock)
        if confinement.landlock is not None
        else "",
        cgroup=prepared.limits_found,
        cgroup_missing=prepared.limits_missing,
        disk=f"{prepared.slot.size >> 20} MiB, {disks.kind}" if disks is not None else "",
        pump_running=pump_running,
        limits=limits,
        core_taker=probe.read_core_taker(),
        files_missing=files.missing if files is not None else "",
    )
    wanted = posture.Wanted(
        host_id=confinement.identity.host_id,
        host_gid=confinement.identity.host_gid,
        uid_lines=prepared.uid_lines,
        workspace=os.fsdecode(request.workspace),
        workspace_mode=request.policy.filesystem.workspace,
        tty=request.tty is not None,
        direct=tuple(DATA[bind.kind] for bind in request.binds if bind.kind == "output"),
        as_caller=prepared.is_caller,
        files=files is not None,
    )
    return (
        *posture.check(evidence, wanted),
        LayerState("ledger", "enforced", "birth durable before the agent"),
    )
