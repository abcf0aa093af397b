"""The form of a cage's state memory: what akiosd knows of a cage, so that another akiosd can go on
with it.  Functions over bytes.

    0     header    magic, version, boot id, SHA-256 of those
    128   sections  SECTIONS entries of 256 bytes: name, index, two slots
    4352  data      what the slots point at, in pages; grows

A section is written whole.  The new content goes into the slot that is not in use, then what
describes that slot, then the index, in one store of eight bytes: a writer that is killed between
any two of these leaves the content before it, whole.  The slot that the index names must be exactly
what was written, else the whole memory is refused: nothing that was damaged is believed.  An older
content never takes the place of a damaged one, because it may allow what the newer one forbids.

The numbers are little-endian.  A reader ignores sections it does not know; another major version is
refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from akiosd.errors import AkiosError

MAJOR, MINOR = 1, 0
"""A major version is another form; a minor one adds sections, or fields with defaults in them."""
SECTIONS = 16
MAX_BYTES = 16 << 20
PAGE = 4096

_MAGIC = b"akioscag"
_HEADER = struct.Struct("<8sHH36s")
_HEADER_BYTES = 128
_ENTRY_BYTES = 256
_NAME_BYTES = 24
_INDEX_AT = 32
_SLOT_AT = (64, 128)
_SLOT = struct.Struct("<QQQ32s")  # where, room, length, SHA-256
_MIXED = 0x5A17_C0DE
_DATA_AT = (_HEADER_BYTES + SECTIONS * _ENTRY_BYTES + 63) // 64 * 64

FIRST_BYTES = (_DATA_AT + PAGE - 1) // PAGE * PAGE
"""How large a memory is before anything was written to it."""


class StateError(AkiosError):
    """A state memory cannot be believed, or holds no more."""

    NEXT = "akiosd ended this cage; its uncommitted changes are kept: akiosctl ps --all"


class _Slot(NamedTuple):
    at: int
    room: int
    length: int
    digest: bytes


def new(boot: str, sections: Mapping[str, bytes]) -> tuple[bytearray, Writer]:
    """The bytes of a memory with these sections, at least FIRST_BYTES, and what writes more into
    it.  ``boot`` is the kernel's boot id.  Raises StateError when there is no room.
    """
    head = _HEADER.pack(_MAGIC, MAJOR, MINOR, boot.encode())
    made = bytearray((head + hashlib.sha256(head).digest()).ljust(FIRST_BYTES, b"\0"))

    def store(at: int, data: bytes) -> None:
        made[at : at + len(data)] = data

    writer = Writer(len(made))
    writer.write_into(store, lambda size: made.extend(bytes(size - len(made))))
    for name, data in sections.items():
        writer.write(name, data)
    return made, writer


def read(memory: bytes | memoryview, boot: str) -> dict[str, bytes]:
    """What is in a memory, by section.  Raises StateError when any of it is not what was
    written, or when it is of another boot or version.
    """
    view = memoryview(memory)
    _check_header(view, boot)
    found: dict[str, bytes] = {}
    for number in range(SECTIONS):
        entry = _entry(view, number)
        turn = _turn(entry)
        if turn is None:
            continue
        name = bytes(entry[:_NAME_BYTES]).rstrip(b"\0").decode("ascii", "replace")
        found[name] = _content(view, entry, turn, name)
    return found


def _check_header(view: memoryview, boot: str) -> None:
    if not FIRST_BYTES <= len(view) <= MAX_BYTES:
        raise StateError(
            f"what akiosd kept of a running cage cannot have {len(view)} bytes", "header"
        )
    head = bytes(view[: _HEADER.size])
    magic, major, _minor, made_in = _HEADER.unpack(head)
    if magic != _MAGIC:
        raise StateError("this is not what akiosd keeps of a running cage", "header")
    if hashlib.sha256(head).digest() != bytes(view[_HEADER.size : _HEADER.size + 32]):
        raise StateError("what akiosd kept of it is damaged", "header")
    if major != MAJOR:
        what = f"what akiosd kept of it is of version {major}, this akiosd reads version {MAJOR}"
        raise StateError(what, "header")
    if made_in.rstrip(b"\0") != boot.encode():
        raise StateError(
            "what akiosd kept of it is from before the host was started anew", "header"
        )


def _entry(view: memoryview, number: int) -> memoryview:
    start = _HEADER_BYTES + number * _ENTRY_BYTES
    return view[start : start + _ENTRY_BYTES]


def _turn(entry: memoryview) -> int | None:
    """How often a section was written, modulo 2^32 and never 0; None when it never was."""
    index = int.from_bytes(entry[_INDEX_AT : _INDEX_AT + 8], "little")
    if index == 0:
        return None
    turn = index & 0xFFFF_FFFF
    if index != _mix(turn):
        raise StateError("what akiosd kept of it is damaged", "index")
    return turn


def _mix(turn: int) -> int:
    return (turn ^ _MIXED) << 32 | turn


def _slot(entry: memoryview, turn: int) -> _Slot:
    return _Slot(*_SLOT.unpack_from(entry, _SLOT_AT[turn & 1]))


def _content(view: memoryview, entry: memoryview, turn: int, name: str) -> bytes:
    slot = _slot(entry, turn)
    inside = slot.at >= _DATA_AT and slot.length <= slot.room <= len(view) - slot.at
    if not inside:
        raise StateError("what akiosd kept of it is damaged", name)
    data = bytes(view[slot.at : slot.at + slot.length])
    if _digest(bytes(entry[:_NAME_BYTES]), turn, slot.at, slot.room, data) != slot.digest:
        raise StateError("what akiosd kept of it is damaged", name)
    return data


def _digest(name: bytes, turn: int, at: int, room: int, data: bytes) -> bytes:
    said = struct.pack("<QQQQ", turn, at, room, len(data))
    return hashlib.sha256(name.ljust(_NAME_BYTES, b"\0") + said + data).digest()


class Writer:
    """Writes sections into a memory of ``size`` bytes that this process alone writes."""

    _store: Callable[[int, bytes], None]
    _grow: Callable[[int], None]

    def __init__(self, size: int) -> None:
        """:meth:`write_into` says where the memory is."""
        self._size = size
        self._numbers: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._slots: dict[tuple[str, int], _Slot] = {}

    def write_into(self, store: Callable[[int, bytes], None], grow: Callable[[int], None]) -> None:
        """``store(at, data)`` writes bytes in place, each call's after those of the call before;
        ``grow(size)`` makes the memory that large.  Both raise what they like.
        """
        self._store, self._grow = store, grow

    @classmethod
    def resume(cls, memory: bytes | memoryview) -> Writer:
        """Go on with a memory that :func:`read` believes.  What a killed writer had begun is
        written over.
        """
        view = memoryview(memory)
        writer = cls(len(view))
        for number in range(SECTIONS):
            entry = _entry(view, number)
            turn = _turn(entry)
            if turn is None:
                continue
            name = bytes(entry[:_NAME_BYTES]).rstrip(b"\0").decode("ascii", "replace")
            writer._numbers[name], writer._turns[name] = number, turn
            writer._slots[name, turn & 1] = _slot(entry, turn)
        return writer

    def write(self, name: str, data: bytes) -> None:
        """Replace the content of a section.  Raises StateError when there is no room for it."""
        raw = name.encode("ascii")
        if not 0 < len(raw) <= _NAME_BYTES:
            raise StateError(
                f"what is kept of a cage cannot have a part named {name!r}: a fault of AKIOS",
                "write",
            )
        number = self._number(name, raw)
        turn = self._turns.get(name, 0) % 0xFFFF_FFFF + 1
        slot = self._slots.get((name, turn & 1))
        if slot is None or slot.room < len(data):
            self._slots.pop((name, turn & 1), None)  # the index names the other one
            slot = self._room(len(data))
        start = _HEADER_BYTES + number * _ENTRY_BYTES
        self._store(slot.at, data)
        filled = _Slot(slot.at, slot.room, len(data), _digest(raw, turn, slot.at, slot.room, data))
        self._slots[name, turn & 1] = filled
        self._store(start + _SLOT_AT[turn & 1], _SLOT.pack(*filled))
        self._store(start + _INDEX_AT, _mix(turn).to_bytes(8, "little"))
        self._turns[name] = turn

    def _number(self, name: str, raw: bytes) -> int:
        number = self._numbers.get(name)
        if number is None:
            taken = set(self._numbers.values())
            number = next((n for n in range(SECTIONS) if n not in taken), -1)
            if number < 0:
                raise StateError(f"what is kept of a cage has no room for {name}", "write")
            self._store(_HEADER_BYTES + number * _ENTRY_BYTES, raw.ljust(_NAME_BYTES, b"\0"))
            self._numbers[name] = number
        return number

    def _room(self, length: int) -> _Slot:
        """The first free place, with twice the room that is needed: a section that grows by a
        little each time moves seldom.
        """
        room = max(256, -(-length // 64) * 64 * 2)
        at = _DATA_AT
        for slot in sorted(self._slots.values()):
            if slot.at - at >= room:
                break
            at = slot.at + slot.room
        if at + room > MAX_BYTES:
            raise StateError("what akiosd keeps of it has no more room", "write")
        if at + room > self._size:
            self._size = -(-(at + room) // PAGE) * PAGE
            self._grow(self._size)
        return _Slot(at, room, 0, b"")
