"""What the account of a cage must not forget when akiosd dies: a section of the cage's state
memory, written whole, so that what belongs together changes in one moment.

Where a thousand calls are open, the whole is not written for each message: a second section has
what changed since, and names the whole it belongs to.  Each change writes one of the two, so it is
there or is not; a newer whole makes the other section one that belongs to nothing.

A record that is about to be appended stands in it, with its place in the log, until it is durable:
whoever goes on compares that place in the recovered log with it, and appends what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec
import trio
from msgspec.structs import replace

from akiosd.cage.state_format import StateError
from akiosd.meter.account import Account, Open
from akiosd.values.denial import Denial
from akiosd.values.records import Record, encode_entry
from akiosd.values.spend import ModelSpend

SPEND = "spend"
"""The name of the section."""
MORE = "spend.more"
"""The name of the section with what changed since."""
WHOLE_UP_TO, MOST_CHANGED = 64, 64
"""Calls up to which the whole is written each time; with more of them it is not for so many that
changed.
"""
MOST_UNWRITTEN_BYTES = 256 << 10
"""Of records that are not durable yet; beyond it the next ones wait."""

Write = Callable[[str, bytes], None]
"""Replaces a section of the state memory: (its name, its content).  It raises nothing: a memory
that cannot be written is one that nobody goes on with."""


class Refused(msgspec.Struct, frozen=True):
    """A denial that the gateway has not confirmed; ``recorded``: it stands in the log."""

    denial: Denial
    recorded: bool = False


class SpendState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The account, and what was said about it.

    ``waiting``, ``denied``: numbers of calls.  ``taken``: the last message of the present gateway
    (:class:`akiosd.wire.gateway.Told`) whose effect is in here.  ``unwritten``: entries that may be
    missing in the log, each with its index.  ``generation`` is of the whole.
    """

    account: Account
    refused: int = 0
    models: dict[str, ModelSpend] = msgspec.field(default_factory=dict)
    waiting: set[int] = msgspec.field(default_factory=set)
    denied: dict[int, Refused] = msgspec.field(default_factory=dict)
    taken: int = 0
    unwritten: list[tuple[int, bytes]] = msgspec.field(default_factory=list)
    generation: int = 0


class Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state without calls, and which of them changed since the whole of that ``generation``;
    None stands for one that is gone.
    """

    state: SpendState
    open: dict[int, Open | None]
    denied: dict[int, Refused | None]


class Book(Protocol):
    """The cage's log (:class:`akiosd.daemon.gateways.gateway_records.Book`)."""

    @property
    def next_index(self) -> int: ...
    @property
    def durable(self) -> int: ...
    async def wait_turn(self, records: int) -> None: ...
    def write(self, records: Sequence[Record], entries: Sequence[bytes]) -> None: ...
    def write_again(self, entries: Sequence[bytes]) -> None: ...
    async def wait_durable(self, index: int) -> None: ...
    async def read(self, index: int) -> bytes | None: ...


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SpendState).decode
_decode_change = msgspec.msgpack.Decoder(Change).decode
_Call = TypeVar("_Call")


def decode(data: bytes, more: bytes | None) -> SpendState:
    """The state of both sections.  Raises what msgspec does."""
    whole = _decode(data)
    change = _decode_change(more) if more else None
    if change is None or change.state.generation != whole.generation:
        return whole
    state = change.state
    state.account = replace(state.account, open=_changed(whole.account.open, change.open))
    state.denied = _changed(whole.denied, change.denied)
    return state


def _changed(whole: dict[int, _Call], change: dict[int, _Call | None]) -> dict[int, _Call]:
    """In the same order as they came to be."""
    found = {**whole, **change}
    return {call: value for call, value in found.items() if value is not None}


def _difference(whole: dict[int, _Call], now: dict[int, _Call]) -> dict[int, _Call | None]:
    gone: dict[int, _Call | None] = {call: None for call in whole if call not in now}
    return gone | {call: value for call, value in now.items() if whole.get(call) is not value}


class SpendMemory:
    """``state`` may be changed by its owner, who then calls :meth:`save` or :meth:`write` before
    anything that follows from the change is told to anybody.
    """

    def __init__(self, book: Book, state: SpendState) -> None:
        self.state = state
        self._book = book
        self._write: Write | None = None
        self._recovering = trio.Lock()
        self._whole: tuple[dict[int, Open], dict[int, Refused]] | None = None
        """The calls of the whole that is in the memory."""
        self._left = list(state.unwritten)
        """What an earlier akiosd may not have got onto the disk."""

    @classmethod
    def restore(
        cls, book: Book, data: bytes | None, fresh: Account, more: bytes | None = None
    ) -> SpendMemory:
        """From the sections that an earlier akiosd wrote; ``fresh`` has the limits of the cage's
        policy.  Raises StateError.
        """
        if data is None:
            raise StateError(f"what akiosd kept of it lacks the section {SPEND}", SPEND)
        try:
            state = decode(data, more)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            what = f"what akiosd kept of it has a section {SPEND} that this akiosd cannot read"
            raise StateError(f"{what}: {error}", SPEND) from None
        state.account = replace(
            state.account,
            limits=fresh.limits,
            loops_up_to=fresh.loops_up_to,
            system_file=fresh.system_file,
        )
        return cls(book, state)

    def keep_in(self, write: Write) -> None:
        """From now on every change goes into the state memory, beginning with what there is."""
        self._write = write
        self.save()

    def save(self) -> None:
        """Write the state, or what changed of it."""
        if self._write is None:
            return
        state, account = self.state, self.state.account
        if self._whole is not None and len(account.open) + len(state.denied) > WHOLE_UP_TO:
            opened = _difference(self._whole[0], account.open)
            denied = _difference(self._whole[1], state.denied)
            if len(opened) + len(denied) <= MOST_CHANGED:
                rest = replace(state, account=replace(account, open={}), denied={})
                self._write(MORE, _encode(Change(state=rest, open=opened, denied=denied)))
                return
        state.generation += 1
        self._whole = dict(account.open), dict(state.denied)
        self._write(SPEND, _encode(state))

    async def wait_turn(self, records: int) -> None:
        """Wait until so many records may be written, behind those of an earlier akiosd."""
        await self.recover()
        while sum(len(entry) for _, entry in self._still_unwritten()) > MOST_UNWRITTEN_BYTES:
            await self._book.wait_durable(self.state.unwritten[0][0])
        await self._book.wait_turn(records)

    def write(self, records: Sequence[Record]) -> int:
        """Append records, and save the state: either both are found afterwards, or neither.
        Returns the index of the last record.
        """
        entries = [encode_entry(record) for record in records]
        self._note(entries)
        self._book.write(records, entries)
        return self._book.next_index - 1

    async def wait_written(self) -> None:
        """Wait until all that was written is durable."""
        unwritten = self._still_unwritten()
        if unwritten:
            await self._book.wait_durable(unwritten[-1][0])

    async def recover(self) -> None:
        """Append what an earlier akiosd had begun to and did not get onto the disk."""
        async with self._recovering:
            if self._left:
                missing = [
                    entry for index, entry in self._left if await self._book.read(index) != entry
                ]
                self._left = []
                self.state.unwritten = []
                self._note(missing)
                self._book.write_again(missing)

    def _note(self, entries: Sequence[bytes]) -> None:
        new = enumerate(entries, self._book.next_index)
        self.state.unwritten = [*self._still_unwritten(), *new]
        self.save()

    def _still_unwritten(self) -> list[tuple[int, bytes]]:
        durable = self._book.durable
        return [found for found in self.state.unwritten if found[0] >= durable]
