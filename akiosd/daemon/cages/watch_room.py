"""A cage that writes to a directory of its user's stands still before the file system is full."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Protocol

import trio

from akiosd.cage.room import AGAIN_S, LEAST_PAUSE_S, Overrun, Room, floor_of, is_short, next_look_s
from akiosd.daemon.base.log import get_log
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.fds import Fd
from akiosd.kernel.user_tree import read_name
from akiosd.values.units import format_size

_log = get_log("cage")
_FROZEN_AGAIN_S = 0.25
_LOOK = "see what ails that file system: stat -f DIRECTORY as root, and dmesg"


def room_of(numbers: os.statvfs_result) -> Room:
    """As the kernel tells it (statvfs(3))."""
    return Room(numbers.f_bavail * numbers.f_frsize, numbers.f_blocks * numbers.f_frsize)


def say_make_room(host: Host, directory: str) -> str:
    """What helps where ``quotas.keep_free_bytes`` keeps a cage from beginning."""
    return (
        f"make room there (df -h {directory}), or have an administrator lower"
        f" quotas.keep_free_bytes in {host.settings.config_file} and reload akiosd"
    )


class Still(Protocol):
    """Has a cage stand still."""

    def wait_where_written(self, frozen: bool) -> None:
        """Begin or end it.  Raises ``AkiosError``."""
        ...

    def is_still(self) -> bool:
        """Whether everything does."""
        ...


class RoomWatch:
    """``directory`` is what the cage writes to, a descriptor that stays the caller's.  ``end`` is
    called with why where a call that is under way goes on writing nevertheless: a write of 2 GiB
    (write(2)) ends only by itself or by SIGKILL, and one past the kernel's memory (O_DIRECT) by
    itself alone.
    """

    def __init__(
        self, host: Host, cage: str, directory: Fd, still: Still, end: Callable[[str], None]
    ) -> None:
        self.why = ""
        """Why the cage stands still, "" while it does not."""
        self._host = host
        self._cage = cage
        self._directory = directory
        self._still, self._end = still, end

    async def check(self) -> None:
        """Raise :class:`DeniedError` where there is too little room to begin."""
        room = await self._measure()
        if not self._is_short(room):
            return
        setting, directory = "quotas.keep_free_bytes", self._name
        if isinstance(room, OSError):
            raise DeniedError(_say_unknown(directory, room), setting, _LOOK)
        next = say_make_room(self._host, directory)
        raise DeniedError(self._describe(directory, room), setting, next)

    async def run(self) -> None:
        """Freeze and thaw, until cancelled."""
        overrun: Overrun | None = None
        while True:
            room = await self._measure()
            short = self._is_short(room, bool(self.why))
            if short != bool(self.why):
                try:
                    self._still.wait_where_written(short)
                except AkiosError as error:
                    # It may be ending, or else is asked again.
                    _log.info("a cage was not frozen", cage=self._cage, why=error.what)
                    await trio.sleep(_FROZEN_AGAIN_S)
                    continue
                self.why = self._say_short(room) if short else ""
                if short:
                    _log.warning("a cage stands still", cage=self._cage, why=self.why)
                else:
                    _log.info("a cage has room again", cage=self._cage)
            if isinstance(room, OSError):
                await trio.sleep(AGAIN_S)
                continue
            if not short:
                overrun = None
                await trio.sleep(next_look_s(room, self._keep_free))
                continue
            if self._still.is_still():
                overrun = None
                await trio.sleep(AGAIN_S)
                continue
            overrun = overrun or Overrun(trio.current_time())
            if overrun.is_over(room, self._keep_free, trio.current_time()):
                overrun = Overrun(math.inf)
                self._end(self._describe(self._name, room))
                _log.warning("a cage that goes on writing is ended", cage=self._cage, why=self.why)
            await trio.sleep(LEAST_PAUSE_S)

    @property
    def _keep_free(self) -> int:
        return self._host.config.quotas.keep_free_bytes

    def _is_short(self, room: Room | OSError, was_short: bool = False) -> bool:
        if isinstance(room, OSError):
            # What a file system in trouble has left is unknown, and may be nothing.
            return self._keep_free > 0
        return is_short(room, self._keep_free, was_short)

    async def _measure(self) -> Room | OSError:
        # A file system over a network may take any time to answer, or be gone (ESTALE, EIO).
        try:
            found = await trio.to_thread.run_sync(
                os.fstatvfs, self._directory.fileno(), abandon_on_cancel=True
            )
        except OSError as error:
            return error
        return room_of(found)

    @property
    def _name(self) -> str:
        return os.fsdecode(read_name(self._directory.fileno()))

    def _say_short(self, room: Room | OSError) -> str:
        if isinstance(room, OSError):
            return _say_unknown(self._name, room)
        return self._describe(self._name, room)

    def _describe(self, directory: str, room: Room) -> str:
        least = format_size(floor_of(self._keep_free, room))
        return (
            f"only {format_size(room.free)} are free on the file system of {directory}, and {least}"
            " must stay free there"
        )


def _say_unknown(directory: str, error: OSError) -> str:
    return f"the room on the file system of {directory} cannot be measured: {error.strerror}"
