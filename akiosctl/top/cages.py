"""What ``top`` shows of cages, as values: lists and measurements of akiosd in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from akiosctl.standing_cages import state_of
from akiosd.wire.messages import CageInfo, CageUse

MOST_ENDED = 200
"""Ended cages that are remembered for a list; the oldest go first."""


class Cage(msgspec.Struct, frozen=True):
    """A cage and what it uses; ``use`` is None for one that has ended, or was not measured yet.

    ``cpu_percent`` is of the time between the last two measurements, 100 for one CPU; None where
    there was one only.
    """

    info: CageInfo
    use: CageUse | None = None
    cpu_percent: float | None = None

    @property
    def state(self) -> str:
        """In the words of ``ps`` and ``cage list``: the measurement is newer than the list."""
        if self.info.ended_ns or self.use is None:
            return state_of(self.info) if self.info.standing else self.info.state
        now = msgspec.structs.replace(self.info, state=self.use.state)
        return state_of(now) if self.info.standing else now.state

    @property
    def name(self) -> str:
        """What people call it."""
        return self.info.name or self.info.cage

    @property
    def denials(self) -> int:
        """Of system calls, the network, the budget and loops, and connections that led nowhere."""
        if self.use is None:
            return 0
        used = self.use.usage
        return used.denials + used.refusals + used.dead_ends


class Known(msgspec.Struct, frozen=True):
    """All that is known of cages; each event gives another one.

    ``begun_ns``: cages that ended later than that (Unix time) are shown without being asked for.
    """

    begun_ns: int = 0
    infos: tuple[CageInfo, ...] = ()
    uses: Mapping[str, CageUse] = {}
    before: Mapping[str, CageUse] = {}

    def listed(self, infos: Iterable[CageInfo]) -> Known:
        """akiosd told its list."""
        found = list(infos)
        ended = sorted((one for one in found if one.ended_ns), key=lambda one: one.ended_ns)
        dropped = {one.cage for one in ended[:-MOST_ENDED]}
        kept = tuple(one for one in found if one.cage not in dropped)
        return msgspec.structs.replace(self, infos=kept)

    def measured(self, uses: Iterable[CageUse]) -> Known:
        """akiosd told what the running ones use."""
        now = {use.cage: use for use in uses}
        return msgspec.structs.replace(self, uses=now, before=self.uses)

    @property
    def is_stale(self) -> bool:
        """Whether the list does not know what was measured, or the other way round; also which of
        them stand still, since it says why.
        """
        listed = {one.cage: one.state == "paused" for one in self.infos if not one.ended_ns}
        return listed != {name: use.state == "paused" for name, use in self.uses.items()}

    def find(self, cage: str) -> Cage | None:
        """The cage of this id."""
        return next((self._cage(one) for one in self.infos if one.cage == cage), None)

    def cages(self, everything: bool = False) -> list[Cage]:
        """Those to be shown, the newest last; with ``everything`` also those that ended before."""
        shown = [
            self._cage(one)
            for one in self.infos
            if everything or not one.ended_ns or one.ended_ns >= self.begun_ns
        ]
        return sorted(shown, key=lambda cage: (cage.info.order, cage.info.started_ns))

    def _cage(self, info: CageInfo) -> Cage:
        use = None if info.ended_ns else self.uses.get(info.cage)
        return Cage(info, use, cpu_percent(self.before.get(info.cage), use))


def cpu_percent(before: CageUse | None, now: CageUse | None) -> float | None:
    """Of the time between two measurements by akiosd's own clock; None where there is none."""
    if before is None or now is None:
        return None
    wall = now.usage.wall_ns - before.usage.wall_ns
    used = _cpu_ns(now) - _cpu_ns(before)
    return max(0.0, 100 * used / wall) if wall > 0 else None


def _cpu_ns(use: CageUse) -> int:
    return use.usage.user_ns + use.usage.system_ns


def to_json(cage: Cage) -> dict[str, Any]:
    """Plain values, of ``top --once --json``; limits are 0 where there is none."""
    use = cage.use if cage.use is not None else CageUse(cage.info.cage, cage.info.state)
    used = use.usage
    return {
        "cage": cage.info.cage,
        "name": cage.info.name,
        "user": cage.info.user,
        "state": cage.state,
        "argv": [word.decode("utf-8", "backslashreplace") for word in cage.info.argv],
        "started_ns": cage.info.started_ns,
        "cpu_percent": round(cage.cpu_percent or 0.0, 1),
        "cpu_limit_percent": use.cpu_percent,
        "memory": use.memory,
        "memory_limit": used.memory_limit,
        "disk": used.disk_used,
        "disk_limit": used.disk_limit,
        "pids": use.pids,
        "pids_limit": used.pids_limit,
        "usd_micro": used.usd_micro,
        "reserved_usd_micro": use.reserved_usd_micro,
        "budget_usd_micro": use.budget_usd_micro,
        "calls": used.calls,
        "tokens": used.tokens,
        "redactions": use.redactions,
        "denials": cage.denials,
        "programs": use.programs,
    }
