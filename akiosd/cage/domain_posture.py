"""What holds in a cage without namespaces, line by line: by the kernel, by policy, or not at all.

Pure: texts of the kernel in, states out.  ``enforced`` names who enforces it; ``degraded`` is what
this mode never holds, which whoever started akiosd in it has accepted.
"""

from __future__ import annotations

import msgspec

from akiosd.values.posture import LayerState

KERNEL, POLICY, NOT = "by the kernel", "by policy", "not held"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What akiosd has read from ``/proc/<init>``, and what init has proved."""

    status: str
    proved: bool
    """A file that could be read before, and a signal that could be sent, were refused after."""
    abi: int
    pump_running: bool
    workspace_mode: str
    stores: int
    """Trust stores that cannot be covered by the cage's own."""


_NEVER: tuple[tuple[str, str], ...] = (
    ("identity", "the agent has akiosd's own uid"),
    ("view", "files outside of its list cannot be opened, but their names and sizes can be asked"),
    ("namespaces", "other processes of the container and their command lines can be seen"),
    ("memory", "each process is bounded, not the cage; the container's limit holds for all"),
    ("pids", "processes are counted for the whole uid"),
    ("cpu", "no limit but the container's"),
    ("disk", "no limit but the container's"),
    ("files", "names in records are hints: the kernel tells none"),
)
"""Layer → what is missing in this mode, whatever the host."""


def never_held() -> tuple[LayerState, ...]:
    """The lines that no cage of this mode has."""
    return tuple(LayerState(name, "degraded", f"{NOT}: {what}") for name, what in _NEVER)


def check(evidence: Evidence) -> tuple[LayerState, ...]:
    """Evidence → one state for each layer."""
    fields = dict(line.split(":\t", 1) for line in evidence.status.splitlines() if ":\t" in line)
    return (
        _landlock(evidence),
        _seccomp(fields, evidence),
        LayerState(
            "network",
            "enforced" if evidence.proved and evidence.pump_running else "unavailable",
            f"{POLICY}: akiosd connects, to the cage's gateway; {KERNEL}: no TCP",
        ),
        _capabilities(fields),
        _workspace(evidence),
        _trust(evidence),
        LayerState("stdio", "enforced", f"{KERNEL}: own pipes, no caller descriptor"),
        *never_held(),
        LayerState("ledger", "enforced", "birth durable before the agent"),
    )


def _landlock(evidence: Evidence) -> LayerState:
    if not evidence.proved:
        return LayerState("landlock", "unavailable", "what it should refuse was not refused")
    what = "files, no TCP port, signals and abstract sockets scoped"
    return LayerState("landlock", "enforced", f"{KERNEL}: ABI {evidence.abi}: {what}")


def _seccomp(fields: dict[str, str], evidence: Evidence) -> LayerState:
    loaded = fields.get("Seccomp") == "2" and fields.get("Seccomp_filters", "0") != "0"
    if not loaded or not evidence.pump_running:
        return LayerState("seccomp", "unavailable", "no filter, or nobody listens")
    return LayerState("seccomp", "enforced", f"{KERNEL}: default deny, listener served")


def _capabilities(fields: dict[str, str]) -> LayerState:
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if fields[name].strip("0")]
    if held or fields.get("NoNewPrivs") != "1":
        return LayerState("capabilities", "unavailable", ", ".join(held) or "no_new_privs is off")
    return LayerState("capabilities", "enforced", f"{KERNEL}: none, no_new_privs")


def _workspace(evidence: Evidence) -> LayerState:
    if evidence.workspace_mode == "ro":
        return LayerState("workspace", "enforced", f"{KERNEL}: ro, by Landlock")
    return LayerState(
        "workspace",
        "degraded",
        f"{NOT}: rw-direct: changes reach the files at once, no name is protected",
    )


def _trust(evidence: Evidence) -> LayerState:
    if not evidence.stores:
        return LayerState("trust", "enforced", f"{POLICY}: variables name the cage's certificates")
    what = f"{evidence.stores} trust stores of programs are not covered; variables name the cage's"
    return LayerState("trust", "degraded", f"{NOT}: {what}")
