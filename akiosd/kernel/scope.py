"""The systemd scope in which cages live: a unit of its own beside akiosd's service, so that neither
a stop nor a restart of the service touches them (systemd.scope(5)).

The keeper is started in it, and what else outlives akiosd is put beside the keeper.  On systemd
before 254 a service cannot be started again while there are groups below its own; the cages' are
not.
"""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.kernel.cgroup import Layout, read_field, write
from akiosd.kernel.keeper_process import spawn_directly
from akiosd.kernel.programs import find_program

_BOOTED = "/run/systemd/system"  # sd_booted(3)
_SLICE = "akios.slice"
_PROPERTIES = (
    "Delegate=yes",
    "TasksMax=infinity",
    # At shutdown units stop in the reverse order: akiosd ends its cages, then the scope is over.
    "Before=akiosd.service",
)


class Scope:
    """The scope ``name`` (``akios-cages``); without systemd there is none, and the keeper is a
    child like any other.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self._name = name
        self._group = Path(layout.v2, _SLICE, f"{name}.scope")

    def spawn(self, words: list[str], listener: int, ended: int) -> int:
        """Start a keeper in the scope: with it, or where cages of a keeper that was lost are in it
        still, beside them.  Raises OSError, KernelError.
        """
        if not os.path.isdir(_BOOTED):
            return spawn_directly(words, listener, ended)
        if read_field(self._group / "cgroup.events", "populated"):
            place = self._group / "keeper"
            place.mkdir(exist_ok=True)
            pid = spawn_directly(words, listener, ended)
            write(place / "cgroup.procs", str(pid))
            return pid
        return spawn_directly([*self.words(), *words], listener, ended)

    def words(self) -> list[str]:
        """systemd-run(1) as far as the command that it becomes in the scope."""
        program = find_program("systemd-run") or "/usr/bin/systemd-run"
        properties = [f"--property={one}" for one in _PROPERTIES]
        fixed = ["--scope", "--collect", "--quiet", f"--unit={self._name}", f"--slice={_SLICE}"]
        return [program, *fixed, *properties, "--"]
