"""Cages stand still before what they wrote finds no room below akiosd's state directory.

Their disks are images there that grow as they are filled, and the kernel fills them seconds after
an agent was told that it had written: too late for an error that it would hear of.

What a disk says that it uses is not all: a file may be written over blocks that it has and the
image has not, while the image has others that the disk no longer uses. So where all that is written
and on no disk might not fit, a cage that has some stands still until it is there, and counts.

    free, and what disks still take ──short──▶ who takes more of it waits for room
    free, and all that is unwritten ──short──▶ who has some of it is brought to the disk

Who is to stand still goes on with a call that is under way, which may write 2 GiB (write(2)). So
disks are never let take more until the next look than there is; and who goes on nevertheless, over
blocks that its disk has and the image has not, is ended.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from akiosd.cage.room import (
    AGAIN_S,
    MAY_TAKE,
    Overrun,
    Room,
    allowances,
    floor_of,
    is_short,
    next_look_s,
    who_is_unsure,
    who_waits,
)
from akiosd.daemon.base.guarded import call_guarded
from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.watch_room import room_of, say_make_room
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.cgroup import unwritten_of_all
from akiosd.values.units import format_size

_log = get_log("cage")
_ELSEWHERE_S = 0.25
"""After a cage was brought to its disk and has as much that is for another one."""


class Writer(Protocol):
    """A cage, as far as its disk goes."""

    def room_taken(self) -> tuple[int, int]:
        """As :meth:`akiosd.kernel.disk.Slot.room_taken`."""
        ...

    def wait_for_room(self, why: str) -> None:
        """Stand still because of ``why``, or go on where that is ""."""
        ...

    def is_still(self) -> bool:
        """Whether nothing in it goes on."""
        ...

    def end_for_room(self, why: str) -> None:
        """It goes on writing although it is to stand still because of ``why``: end it."""
        ...

    def allow(self, more: int) -> bool:
        """As :meth:`akiosd.kernel.disk.Slot.allow`."""
        ...

    def unwritten(self) -> int:
        """Bytes that it has written, to whatever file, and no disk has yet."""
        ...

    def held_on_disk(self) -> AbstractAsyncContextManager[None]:
        """Inside the ``with`` it stands still, and all is on its disk.  Raises ``DeniedError``."""
        ...


class DiskWatch:
    """Of the cages ``running`` on a host, by their ids; ``unwritten`` is what their disks have
    still to take together, beside what each says.  ``is_shared``: all are in one image, and no
    disk says which of its blocks that has.
    """

    def __init__(
        self,
        host: Host,
        running: Mapping[str, Writer],
        unwritten: Callable[[], int],
        *,
        is_shared: bool = False,
    ) -> None:
        self._host, self._running, self._unwritten = host, running, unwritten
        self._is_shared = is_shared
        self._brought: dict[str, int] = {}
        """What each took when it was brought to its disk, as far as its disk does not say it."""
        self._waiting: frozenset[str] = frozenset()
        self._before: dict[str, int] = {}
        self._being_written: set[str] = set()
        self._looked: dict[str, int] = {}
        """What each took at the last look."""
        self._asked: dict[str, Overrun] = {}
        """Those that are to stand still."""
        self._says_unbound = False
        self._least_allowed: int | None = None
        """Of those whose disks have more, None where none has."""

    async def run(self) -> None:
        """Freeze and thaw, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    below = await self._measure()
                    room = self.look(below)
                    least, unsure = self.find_unsure(below, room)
                except OSError as error:
                    _log.error("the room for disks of cages is not known", error=str(error))
                    await trio.sleep(AGAIN_S)
                    continue
                for name in unsure - self._being_written:
                    self._being_written.add(name)
                    nursery.start_soon(self._write, name)
                # Those that do not stand still are looked at as often as ever.
                allowed = self._least_allowed
                await trio.sleep(next_look_s(least, self._keep_free, allowed))

    def look(self, below: Room) -> Room:
        """Freeze and thaw by what is free ``below`` now; returns what is once all is written."""
        found = {name: cage.room_taken() for name, cage in self._running.items()}
        self._brought = {name: size for name, size in self._brought.items() if name in found}
        taken = {name: size + self._brought.get(name, 0) for name, (size, _) in found.items()}
        room = self._left(below, (unwritten for _, unwritten in found.values()))
        if is_short(room, self._keep_free):
            self._before = {name: self._before.get(name, size) for name, size in taken.items()}
        else:
            self._before = taken
        waiting = who_waits(room, self._keep_free, self._before, taken)
        writing = {name for name, size in taken.items() if size > self._looked.get(name, size)}
        self._looked = taken
        self._allow(room, taken.keys() - waiting, writing)
        for name in (waiting ^ self._waiting) & self._running.keys():
            why = self._describe(room) if name in waiting else ""
            call_guarded("freeze a cage", self._running[name].wait_for_room, why)
            if why:
                _log.warning("a cage stands still", cage=name, why=why)
            else:
                _log.info("a cage has room again", cage=name)
        self._waiting = waiting
        self._end_who_goes_on(room)
        return room

    def _allow(self, room: Room, names: AbstractSet[str], writing: AbstractSet[str]) -> None:
        found = allowances(room, self._keep_free, names, writing)
        # Who waits for room may end the call that is under way.
        found |= dict.fromkeys(self._running.keys() - names, MAY_TAKE)
        bound = [name for name, more in found.items() if self._bind(name, more)]
        self._least_allowed = min((found[name] for name in bound if name in names), default=None)

    def _bind(self, name: str, more: int) -> bool:
        """Where one disk cannot be bound, the others are all the same."""
        try:
            return self._running[name].allow(more)
        except OSError as error:
            if not self._says_unbound:
                _log.warning("calls under way are not kept to what is free", error=str(error))
            self._says_unbound = True
            return False

    def _end_who_goes_on(self, room: Room) -> None:
        now = time.monotonic()
        asked = (self._waiting | self._being_written) & self._running.keys()
        self._asked = {name: self._asked.get(name) or Overrun(now) for name in asked}
        for name, overrun in self._asked.items():
            cage = self._running[name]
            if overrun.is_over(room, self._keep_free, now) and not cage.is_still():
                self._asked[name] = Overrun(math.inf)
                why = self._describe(room)
                call_guarded("end a cage", cage.end_for_room, why)
                _log.warning("a cage that goes on writing is ended", cage=name, why=why)

    def find_unsure(self, below: Room, room: Room) -> tuple[Room, frozenset[str]]:
        """The least that can be free ``below``, where ``room`` is by what disks say that they take;
        and the cages that may bring it there.
        """
        least = Room(min(room.free, below.free - unwritten_of_all()), below.size)
        if not is_short(least, self._keep_free):
            return least, frozenset()
        unwritten = {name: cage.unwritten() for name, cage in self._running.items()}
        least = Room(min(room.free, below.free - sum(unwritten.values())), below.size)
        unsure = who_is_unsure(least, self._keep_free, unwritten)
        # What waits for room would lose what it has, were it written now.
        return least, unsure - self._waiting

    async def _write(self, name: str) -> None:
        try:
            cage = self._running.get(name)
            if cage is None:
                return
            most, before = cage.unwritten(), self._unwritten()
            async with cage.held_on_disk():
                below = await self._measure()
                if self._is_shared:
                    # What the image took for blocks that were in use already; others take theirs
                    # meanwhile.
                    brought = min(max(before - self._unwritten(), 0), most)
                    self._brought[name] = self._brought.get(name, 0) + brought
                self.look(below)
            if cage.unwritten() >= MAY_TAKE:
                await trio.sleep(_ELSEWHERE_S)
        except DeniedError:
            pass  # it begins or ends, or does not stop: the next look asks again
        except (AkiosError, OSError) as error:
            _log.error("a cage was not brought to its disk", cage=name, error=str(error))
            await trio.sleep(AGAIN_S)
        finally:
            self._being_written.discard(name)

    async def check(self) -> None:
        """Raise :class:`DeniedError` where there is too little room for another cage to begin."""
        below = await self._measure()
        room = self._left(below, (cage.room_taken()[1] for cage in self._running.values()))
        room, _ = self.find_unsure(below, room)
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
        return Room(below.free - max(self._unwritten(), 0) - sum(unwritten), below.size)

    def _describe(self, room: Room) -> str:
        free, floor = max(room.free, 0), floor_of(self._keep_free, room)
        return (
            f"once the data of all cages is on disk, {format_size(free)} will be free on"
            f" the file system of {self._host.state_dir}, and {format_size(floor)} must stay free"
        )
