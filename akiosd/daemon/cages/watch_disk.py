"""Cages stand still before what they wrote finds no room below akiosd's state directory.

Their disks are images there that grow as they are filled, and the kernel fills them seconds after
an agent was told that it had written: too late for an error that it would hear of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio

from akiosd.cage.room import AGAIN_S, Room, floor_of, is_short, next_look_s, who_waits
from akiosd.daemon.base.guarded import call_guarded
from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.watch_room import room_of, say_make_room
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError
from akiosd.values.units import format_size

_log = get_log("cage")


class Writer(Protocol):
    """A cage, as far as its disk goes."""

    def room_taken(self) -> tuple[int, int]:
        """As :meth:`akiosd.kernel.disk.Slot.room_taken`."""
        ...

    def wait_for_room(self, why: str) -> None:
        """Stand still because of ``why``, or go on where that is ""."""
        ...


class DiskWatch:
    """Of the cages ``running`` on a host, by their ids; ``unwritten`` is what their disks have
    still to take together, beside what each says.
    """

    def __init__(
        self, host: Host, running: Mapping[str, Writer], unwritten: Callable[[], int]
    ) -> None:
        self._host, self._running, self._unwritten = host, running, unwritten
        self._waiting: frozenset[str] = frozenset()
        self._before: dict[str, int] = {}

    async def run(self) -> None:
        """Freeze and thaw, until cancelled."""
        while True:
            try:
                room = self.look(await self._measure())
            except OSError as error:
                _log.error("the room for disks of cages is not known", error=str(error))
                await trio.sleep(AGAIN_S)
                continue
            # Those that do not stand still are looked at as often as ever.
            await trio.sleep(next_look_s(room, self._keep_free, short=False))

    def look(self, below: Room) -> Room:
        """Freeze and thaw by what is free ``below`` now; returns what is once all is written."""
        found = {name: cage.room_taken() for name, cage in self._running.items()}
        taken = {name: size for name, (size, _) in found.items()}
        room = self._left(below, (unwritten for _, unwritten in found.values()))
        if is_short(room, self._keep_free):
            self._before = {name: self._before.get(name, size) for name, size in taken.items()}
        else:
            self._before = taken
        waiting = who_waits(room, self._keep_free, self._before, taken)
        for name in (waiting ^ self._waiting) & self._running.keys():
            why = self._describe(room) if name in waiting else ""
            call_guarded("freeze a cage", self._running[name].wait_for_room, why)
            if why:
                _log.warning("a cage stands still", cage=name, why=why)
            else:
                _log.info("a cage has room again", cage=name)
        self._waiting = waiting
        return room

    async def check(self) -> None:
        """Raise :class:`DeniedError` where there is too little room for another cage to begin."""
        below = await self._measure()
        room = self._left(below, (cage.room_taken()[1] for cage in self._running.values()))
        if is_short(room, self._keep_free):
            raise DeniedError(
                f"No space left on device for another cage: {self._describe(room)}",
                "quotas.keep_free_bytes",
                say_make_room(self._host, str(self._host.state_dir)),
            )

    @property
    def _keep_free(self) -> int:
        return self._host.config.quotas.keep_free_bytes

    async def _measure(self) -> Room:
        return room_of(await trio.to_thread.run_sync(os.statvfs, self._host.state_dir))

    def _left(self, below: Room, unwritten: Iterable[int]) -> Room:
        """What is free once all that was written has its room."""
        return Room(below.free - self._unwritten() - sum(unwritten), below.size)

    def _describe(self, room: Room) -> str:
        free, floor = max(room.free, 0), floor_of(self._keep_free, room)
        return (
            f"once the data of all cages is on disk, {format_size(free)} will be free on"
            f" the file system of {self._host.state_dir}, and {format_size(floor)} must stay free"
        )
