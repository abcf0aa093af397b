"""Cages stand still before what they wrote finds no room below akiosd's state directory.

Their disks are images there that grow as they are filled, and the kernel fills them seconds after
an agent was told that it had written: too late for an error that it would hear of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import trio

from akiosd.cage.room import AGAIN_S, Room, floor_of, is_short, next_look_s, who_waits
from akiosd.daemon.base.guarded import call_guarded
from akiosd.daemon.base.log import get_log
from akiosd.daemon.host import Host
from akiosd.errors import DeniedError
from akiosd.values.units import format_size

_log = get_log("cage")


class Writer(Protocol):
    """A cage, as far as its disk goes."""

    def unwritten(self) -> int:
        """Bytes that it wrote and that no disk has yet; 0 where that is not known."""
        ...

    def wait_for_room(self, why: str) -> None:
        """Stand still because of ``why``, or go on where that is ""."""
        ...


class DiskWatch:
    """Of the cages ``running`` on a host, by their ids."""

    def __init__(self, host: Host, running: Mapping[str, Writer]) -> None:
        self._host, self._running = host, running

    async def run(self) -> None:
        """Freeze and thaw, until cancelled."""
        waiting: frozenset[str] = frozenset()
        while True:
            try:
                room = await self._measure()
            except OSError as error:
                _log.error("the room for disks of cages is not known", error=str(error))
                await trio.sleep(AGAIN_S)
                continue
            unwritten = {name: cage.unwritten() for name, cage in self._running.items()}
            now = who_waits(room, self._keep_free, unwritten, waiting)
            why = self._describe(room, sum(unwritten.values()))
            for name in (now ^ waiting) & self._running.keys():
                told = why if name in now else ""
                call_guarded("freeze a cage", self._running[name].wait_for_room, told)
                if told:
                    _log.warning("a cage stands still", cage=name, why=told)
                else:
                    _log.info("a cage has room again", cage=name)
            waiting = now
            left = Room(room.free - sum(unwritten.values()), room.size)
            await trio.sleep(next_look_s(left, self._keep_free, bool(waiting)))

    async def check(self) -> None:
        """Raise :class:`DeniedError` where there is too little room for another cage to begin."""
        room = await self._measure()
        unwritten = sum(cage.unwritten() for cage in self._running.values())
        if is_short(Room(room.free - unwritten, room.size), self._keep_free):
            raise DeniedError(
                f"No space left on device for another cage: {self._describe(room, unwritten)}",
                "quotas.keep_free_bytes",
                f"make room there (df -h {self._host.state_dir}), or have an administrator lower"
                f" quotas.keep_free_bytes in {self._host.settings.config_file} and reload akiosd",
            )

    @property
    def _keep_free(self) -> int:
        return self._host.config.quotas.keep_free_bytes

    async def _measure(self) -> Room:
        found = await trio.to_thread.run_sync(os.statvfs, self._host.state_dir)
        return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def _describe(self, room: Room, unwritten: int) -> str:
        floor = format_size(floor_of(self._keep_free, room))
        more = f", cages have {format_size(unwritten)} still to write there" if unwritten else ""
        return (
            f"{format_size(room.free)} are free on the file system of {self._host.state_dir}{more},"
            f" and cages leave {floor} free"
        )
