"""Finds cages by what people call them: the name a run was given, an id or its beginning, or
``last``; see :mod:`akiosctl.choose_cage`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from akiosctl.choose_cage import Need, choose, count_back, is_whole
from akiosctl.locate import locate_workspace
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.values.ids import DirectoryId
    from akiosd.wire.messages import CageInfo


def list_cages(client: Client, everyone: bool = False) -> list[CageInfo]:
    """The caller's own cages, or all that they may see, oldest first."""
    return _list(client, everyone, None)[0]


def _list(
    client: Client, everyone: bool, here: int | None
) -> tuple[list[CageInfo], DirectoryId | None]:
    from akiosd.wire.messages import Cages, List

    found: list[CageInfo] = []
    directory, more = None, True
    while more:
        after = found[-1].cage if found else ""
        fds = [here] if here is not None and not found else []
        reply, _ = client.call(List(everyone=everyone, after=after), Cages, fds)
        directory = directory or reply.here
        found += reply.cages
        more = reply.more and bool(reply.cages)
    return sorted(found, key=lambda cage: (cage.order, cage.started_ns)), directory


@contextmanager
def open_here() -> Iterator[int | None]:
    """The directory that a run from here would have as its workspace; None where there could be
    none.

    The descriptor is the caller's.
    """
    try:
        found = locate_workspace(os.getcwd(), None, os.path.expanduser("~"))
    except (AkiosError, OSError):
        yield None
        return
    try:
        yield found.fd
    finally:
        os.close(found.fd)


def identify(client: Client, fd: int) -> DirectoryId | None:
    """Which directory that is, as akiosd sees it."""
    return _list(client, False, fd)[1]


def open_at(client: Client, cage: CageInfo) -> int:
    """A cage's workspace, opened by the caller: where they are if it is that one, whatever it is
    called now.

    The descriptor is the caller's.  Raises OSError.
    """
    with open_here() as here:
        if here is not None and cage.directory is not None:
            directory = _list(client, False, here)[1]
            if directory is not None and directory.is_same(cage.directory):
                return os.dup(here)
    return os.open(cage.workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def find_cage(client: Client, name: str, *, writes: bool = False, need: Need = "") -> CageInfo:
    """The cage that ``name`` means here.  Raises :class:`AkiosError` when it means none, or
    several.

    ``writes``: the verb changes something. ``need``: what the cage must have for the verb.
    """
    with open_here() as here:
        by_place = count_back(name) is not None
        own, directory = _list(client, False, here if by_place else None)
    others: list[CageInfo] = []
    if not by_place and not any(name in (cage.cage, cage.name) for cage in own):
        mine = {cage.cage for cage in own}
        others = [cage for cage in list_cages(client, everyone=True) if cage.cage not in mine]
    return choose(own, others, directory, name, writes=writes, need=need)


def find_log(client: Client, name: str) -> str:
    """The cage whose log is called ``name``: also one that ended and left nothing but its log, by
    its whole name.
    """
    try:
        return find_cage(client, name).cage
    except AkiosError:
        if not is_whole(name):
            raise
        return name
