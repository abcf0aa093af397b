"""The plan of a run here, as people read it: the steps that the launcher would execute, in their
order.
"""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.policy.compile.identity import Identity
from akiosd.policy.compile.landlock import BEST_ABI, LandlockView, compile_landlock
from akiosd.policy.compile.limits import HostPools, compile_cgroup_v2, compile_rlimits
from akiosd.policy.compile.mounts import CageSpec, compile_plan
from akiosd.values.policy import Policy

_HOST_ID, _DISPLAY = 1_900_000_000, 1 << 31
_MERGED = (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32")


def plan_text(policy: Policy, workspace: Path, home: Path) -> list[str]:
    """One line a step.  Numbers that only a run has (the cage's uid, its descriptors)
    are examples.
    """
    inside, own_home = os.fsencode(workspace), os.fsencode(home)
    view = LandlockView(workspace=inside, home=own_home)
    spec = CageSpec(
        name="c-example",
        identity=Identity(_HOST_ID, _HOST_ID, _DISPLAY, os.getuid(), os.getgid()),
        workspace=inside,
        workspace_mode=policy.filesystem.workspace,
        home=own_home,
        command=b"CMD",
        argv=(b"CMD",),
        env=(),
        cwd=inside,
        system_links=tuple(
            (name, os.readlink(b"/" + name)) for name in _MERGED if os.path.islink(b"/" + name)
        ),
        system_dirs=(b"usr",),
        hide=tuple(os.fsencode(path) for path in policy.filesystem.hide),
        shm=policy.limits.shm_bytes,
        rlimits=compile_rlimits(policy.limits, HostPools()),
        landlock=compile_landlock(policy, view, BEST_ABI),
        filter=bytes(8),
    )
    limits = [f"cgroup: {value.file} = {value.value}" for value in compile_cgroup_v2(policy.limits)]
    steps = [line.replace("1 instructions", "the filter") for line in compile_plan(spec).describe()]
    return [*limits, *(f"{number:3}  {line}" for number, line in enumerate(steps))]
