"""Keeps a cage for the akiosd that comes after this one: its state in a memory, and copies of its
descriptors with the keeper (:mod:`akiosd.kernel.keeper`).

    core       the state memory, then what ``CageState.core`` names, in its order
    leaf       the directory of its v2 control group: the keeper kills by it
    ring       what its pump writes into
    bound      the sockets its gateway listens on
    gateway    its gateway's process, and the socket to it (daemon/gateways/kept_gateway.py)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from akiosd import __version__
from akiosd.cage.machine import Life
from akiosd.cage.state_format import StateError
from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.cage_state import CAGE, LIFE, CageState, LifeState, encode
from akiosd.errors import AkiosError
from akiosd.kernel.fds import Fd
from akiosd.kernel.keeper import Keeper
from akiosd.kernel.state_memory import StateMemory, read_boot

_log = get_log("keep")

LEAF, CORE, RING, BOUND = "leaf", "core", "ring", "bound"
NOT_KEPT = "this cage does not outlive akiosd: {}"


class KeptCage:
    """One cage as the next akiosd would find it.  Nothing here raises: a cage that cannot be kept
    goes on without, and ends with akiosd as the kernel ends it.
    """

    def __init__(self, cage: str, keeper: Keeper | None, memory: StateMemory | None = None) -> None:
        self._cage, self._keeper, self._memory = cage, keeper, memory
        self.life = LifeState(akiosd=__version__)
        self.why_not = "" if keeper is not None else "there is no keeper"
        """Why the cage is not kept; "" while it is, or may be."""
        self._asked = memory is not None
        self._first: dict[str, bytes] = {}
        """What is to be in the memory, until :meth:`keep` makes it."""

    def remember(self, **changes: Any) -> None:
        """Change fields of the life, and write it."""
        self.life = msgspec.structs.replace(self.life, seen_ns=time.time_ns(), **changes)
        if self._memory is not None:
            self.write(LIFE, encode(self.life))

    def write(self, name: str, data: bytes) -> None:
        """Replace a section of the memory; it is there when this returns.  A memory that cannot be
        written is one that nobody goes on with.
        """
        if self._memory is None:
            self._first[name] = data
            return
        try:
            self._memory.write(name, data)
        except (OSError, StateError) as error:
            self._fail(error)

    def remember_life(self, life: Life) -> None:
        """The machine has advanced; that it has ended stands in the log, and it is dropped."""
        if life != self.life.life and life.state != "ended":
            self.remember(life=life)

    async def keep(
        self,
        state: CageState,
        leaf: int,
        core: Sequence[int],
        ring: Sequence[int],
        bound: Sequence[int],
    ) -> None:
        """Make the memory, and give the keeper copies; they are with it when this returns, or
        :attr:`why_not` says why not.  All of them stay the caller's.
        """
        if self._keeper is None:
            return
        first, self._first = {**self._first, CAGE: encode(state), LIFE: encode(self.life)}, {}
        try:
            self._memory = StateMemory.create(read_boot(), first)
        except (OSError, StateError) as error:
            self._fail(error)
            return
        self._asked = True
        parts: dict[str, Sequence[int]] = {LEAF: [leaf], CORE: [self._memory.fd.fileno(), *core]}
        parts |= {RING: ring} if ring else {}
        parts |= {BOUND: bound} if bound else {}
        try:
            await self._keeper.keep({f"{self._cage}/{part}": fds for part, fds in parts.items()})
        except (OSError, AkiosError) as error:
            self._fail(error)

    async def keep_part(self, part: str, fds: Sequence[int]) -> None:
        """Give the keeper copies of what came to be after ``go``; where that fails, the cage goes
        on without it after akiosd.
        """
        if self._keeper is None or self._memory is None or not self._asked:
            return
        try:
            await self._keeper.keep({f"{self._cage}/{part}": fds})
        except (OSError, AkiosError) as error:
            _log.warning("a part of a cage does not outlive akiosd", cage=self._cage, part=part)
            self.why_not = error.what if isinstance(error, AkiosError) else str(error)

    async def drop_part(self, part: str) -> None:
        """Let go of such a part, which is gone."""
        if self._keeper is not None and self._asked:
            try:
                await self._keeper.drop(f"{self._cage}/{part}")
            except (OSError, AkiosError) as error:
                # The next akiosd finds that it is dead.
                _log.warning("a dead part is still kept", cage=self._cage, error=str(error))

    async def drop(self) -> None:
        """The cage has ended: nobody is to go on with it."""
        if self._keeper is not None and self._asked:
            self._asked = False
            try:
                await self._keeper.drop_all_of(self._cage)
            except (OSError, AkiosError) as error:
                # The next akiosd finds its end in the log, and drops it.
                _log.warning("an ended cage is still kept", cage=self._cage, error=str(error))

    def close(self) -> None:
        """Close the memory; the keeper's copies stay."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _fail(self, error: OSError | AkiosError) -> None:
        self.why_not = error.what if isinstance(error, AkiosError) else str(error)
        _log.warning("a cage does not outlive akiosd", cage=self._cage, why=self.why_not)
        if self._memory is not None:
            self._memory.spoil()
            self._memory.close()
            self._memory = None


def unpack(parts: Mapping[str, Sequence[Fd]], names: Sequence[str]) -> dict[str, Fd]:
    """The descriptors of ``core`` behind the memory, by their names.  Raises StateError when they
    are not as many.
    """
    found = parts[CORE][1:]
    if len(found) != len(names):
        what = f"{len(found)} file descriptors of this cage were kept, and {len(names)} are needed"
        raise StateError(what, CORE)
    return dict(zip(names, found, strict=True))
