"""Cages that an earlier akiosd left running: what the keeper has of each is looked at, and becomes
a :class:`~akiosd.daemon.cages.run_cage.Cage` again, or is ended.

Nothing is believed that cannot be checked: a memory must be whole, of this boot, and of a version
that is understood; every descriptor it names must be there; its log must be open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from akiosd.cage.state_format import StateError
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.cage_state import CAGE, LIFE, CageState, LifeState, decode, encode
from akiosd.daemon.cages.git_directory import GitDirectory
from akiosd.daemon.cages.keep_cage import BOUND, CORE, LEAF, RING, KeptCage, unpack
from akiosd.daemon.cages.prepared_cage import STDIO, Prepared
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.cages.running_cage import Opened, Running, written_directly
from akiosd.daemon.gateways.cage_ca import Authority
from akiosd.daemon.gateways.kept_gateway import GATEWAY
from akiosd.daemon.gateways.listeners import Bound
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.state_memory import StateMemory, read_boot
from akiosd.values.ids import CageId, is_cage_id

MOST_TRIES = 2
"""An akiosd that ends while it takes a cage over is started again; after so many of them in a row
the cage is ended, because it may be why.
"""
_NEEDED = ("status", "process", "listener", "workspace", "mounts", "slot")
_GOES_ON = ("starting", "running", "ending")

Parts = dict[str, list[Fd]]


class Found(NamedTuple):
    """A cage that can be gone on with; whoever has it owns the descriptors."""

    cage: CageId
    state: CageState
    life: LifeState
    memory: StateMemory
    fds: dict[str, Fd]
    ring: list[Fd]
    bound: list[Fd]
    gateway: list[Fd]

    def close(self) -> None:
        """Nobody goes on with it."""
        self.memory.close()
        close_all((*self.fds.values(), *self.ring, *self.bound, *self.gateway))


class Refused(NamedTuple):
    """One that cannot, and why."""

    cage: CageId
    why: str


def by_cage(taken: Mapping[str, list[Fd]]) -> dict[CageId, Parts]:
    """What was kept, by cage and part; what is of no cage is closed."""
    found: dict[CageId, Parts] = {}
    for name, fds in taken.items():
        cage, _, part = name.partition("/")
        if is_cage_id(cage):
            found.setdefault(CageId(cage), {})[part] = fds
    return found


def look(cage: CageId, parts: Parts) -> Found | Refused:
    """Whether one cage can be gone on with.  The descriptors in ``parts`` are taken, or closed."""
    memory: StateMemory | None = None
    try:
        if not parts.get(CORE):
            raise StateError("too little was kept of this cage to go on with it", CORE)
        memory = StateMemory.open(parts[CORE][0], read_boot())
        state = decode(memory.sections, CAGE, CageState)
        life = decode(memory.sections, LIFE, LifeState)
        fds = unpack(parts, state.core)
        _check(life, fds)
        life = msgspec.structs.replace(life, adoptions=life.adoptions + 1)
        memory.write(LIFE, encode(life))
    except (AkiosError, OSError) as error:
        if memory is not None:
            memory.close()
        close_all(fd for held in parts.values() for fd in held)
        return Refused(cage, error.what if isinstance(error, AkiosError) else str(error))
    close_all(parts.get(LEAF, ()))
    ring, bound = parts.get(RING, []), parts.get(BOUND, [])
    return Found(cage, state, life, memory, fds, ring, bound, parts.get(GATEWAY, []))


def _check(life: LifeState, fds: Mapping[str, Fd]) -> None:
    missing = [name for name in _NEEDED if name not in fds]
    if missing:
        raise StateError(f"open files of the cage were not kept: {', '.join(missing)}", CORE)
    if life.life.state not in _GOES_ON:
        raise StateError("akiosd ended before the agent of this cage had begun", LIFE)
    if life.adoptions >= MOST_TRIES:
        what = f"akiosd ended {life.adoptions} times in a row while it took this cage over"
        raise StateError(what, LIFE)


def make_cage(host: Host, found: Found) -> Cage:
    """The cage, to be run.  Raises StateError, OSError where something of it does not fit this
    host; the descriptors are closed then.
    """
    try:
        return _make(host, found)
    except BaseException:
        found.close()
        raise


def _make(host: Host, found: Found) -> Cage:
    state, fds = found.state, found.fds
    if len(state.listeners) != len(found.bound):
        what = f"{len(found.bound)} of its {len(state.listeners)} listening sockets were kept"
        raise StateError(what, BOUND)
    kept = KeptCage(found.cage, host.keeper, found.memory)
    kept.life = found.life
    git = None
    if state.git is not None:
        git = GitDirectory(fds["git"], state.git, state.git_upper)
    workspace, output = fds["workspace"], fds.get("output")
    written = written_directly(state.request, workspace, output)
    opened = Opened(workspace, [], git, state.workspace_id, state.workspace_name, written)
    stdio = [fds[name] for name in STDIO[1:] if name in fds]
    running = Running(
        state=state,
        life=found.life,
        sections=found.memory.sections,
        kept=kept,
        process=fds["process"],
        status=StatusChannel.of(fds["status"]),
        listener=fds["listener"],
        ring=found.ring,
        mounts=fds["mounts"],
        files=fds.get("files"),
        stdio=[Fd(-1), *stdio] if stdio else [],
        master=fds.get("master"),
        gateway=found.gateway,
    )
    hurried = host.hurry.begin()
    hurried.end()
    prepared = _prepare(host, found)
    return Cage(host, prepared, state.peer, state.request, opened, hurried, state.order, running)


def _prepare(host: Host, found: Found) -> Prepared:
    state = found.state
    if host.disks is None or host.disks.kind != state.disk_kind:
        raise StateError(
            "since akiosd was restarted, the disks of cages are limited in another way", "slot"
        )
    directory = host.cages_dir / found.cage
    slot = host.disks.adopt(directory, state.disk_size, found.fds["slot"])
    if "failures" in found.fds:
        slot.failures.close()
        slot.failures = found.fds["failures"]
    leaf = host.cgroups.leaf(found.cage)
    made = Prepared(found.cage, directory, state.owner, Fd(-1), slot, leaf)
    made.host_id, made.host_gid = state.host_id, state.host_gid
    made.caller, made.uid_lines = state.caller, state.uid_lines
    made.authority = Authority.of(state.certificate, state.certificate_key)
    made.bound = [Bound(*one) for one in zip(state.listeners, found.bound, strict=True)]
    host.uids.adopt(state.owner)
    return made


def groups_of(cages: Iterable[str]) -> set[str]:
    """The control groups that cages which go on may have; of their gateways those, too."""
    return {name for cage in cages for name in (cage, f"{cage}-gateway")}
