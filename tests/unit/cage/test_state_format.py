"""The state memory of a cage: what was written is read, and nothing else ever is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.cage import state_format
from akiosd.cage.state_format import StateError, Writer

BOOT = "5d3c9f0e-7a86-4d0f-8c2e-0f2f9c1f6b11"
INDEX_BYTES = 8


def empty() -> bytes:
    return bytes(state_format.new(BOOT, {})[0])


names = st.sampled_from(["cage", "life", "spend", "gateway"])
writes = st.lists(st.tuples(names, st.binary(max_size=3000)), min_size=1, max_size=12)


class Memory:
    """A memory that notes each store, as a killed writer would have left them."""

    def __init__(self, data: bytes | None = None) -> None:
        self.stores: list[tuple[int, bytes]] = []
        if data is None:
            self.data, self.writer = state_format.new(BOOT, {})
        else:
            self.data, self.writer = bytearray(data), Writer.resume(data)
        self.writer.write_into(self.store, self.grow)

    def store(self, at: int, data: bytes) -> None:
        assert at + len(data) <= len(self.data)
        self.stores.append((at, data))
        self.data[at : at + len(data)] = data

    def grow(self, size: int) -> None:
        self.data.extend(bytes(size - len(self.data)))

    def read(self) -> dict[str, bytes]:
        return state_format.read(bytes(self.data), BOOT)


def filled(items: list[tuple[str, bytes]]) -> tuple[Memory, dict[str, bytes]]:
    memory, expected = Memory(), dict[str, bytes]()
    for name, data in items:
        memory.writer.write(name, data)
        expected[name] = data
    return memory, expected


@given(writes)
def test_what_was_written_last_is_read(items: list[tuple[str, bytes]]) -> None:
    memory, expected = filled(items)
    assert memory.read() == expected


@given(st.dictionaries(names, st.binary(max_size=9000)), writes)
def test_a_memory_begins_with_sections(
    first: dict[str, bytes], items: list[tuple[str, bytes]]
) -> None:
    made, writer = state_format.new(BOOT, first)
    assert state_format.read(bytes(made), BOOT) == first
    for name, data in items:
        writer.write(name, data)
    assert state_format.read(bytes(made), BOOT) == {**first, **dict(items)}


@given(writes, writes)
def test_another_writer_goes_on(
    items: list[tuple[str, bytes]], more: list[tuple[str, bytes]]
) -> None:
    memory, expected = filled(items)
    second = Memory(bytes(memory.data))
    for name, data in more:
        second.writer.write(name, data)
        expected[name] = data
    assert second.read() == expected


@settings(max_examples=60)
@given(writes, names, st.binary(max_size=6000), st.data())
def test_a_writer_that_is_killed_leaves_the_content_before_it(
    items: list[tuple[str, bytes]], name: str, data: bytes, draw: st.DataObject
) -> None:
    memory, before = filled(items)
    old = bytes(memory.data)
    memory.stores.clear()
    memory.writer.write(name, data)
    assert memory.read() == {**before, name: data}
    stores = memory.stores
    for count in range(len(stores)):
        at, last = stores[count]
        # The index is one store of the processor; of anything else, any part may be there.
        part = draw.draw(st.integers(0, len(last))) if count < len(stores) - 1 else 0
        torn = bytearray(old.ljust(len(memory.data), b"\0"))
        for where, what in [*stores[:count], (at, last[:part])]:
            torn[where : where + len(what)] = what
        assert state_format.read(bytes(torn), BOOT) == before
        # And the next writer takes up from there.
        successor = Memory(bytes(torn))
        successor.writer.write(name, data)
        assert successor.read() == {**before, name: data}
    assert len(stores[-1][1]) == INDEX_BYTES


@settings(max_examples=200)
@given(writes, st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(
    items: list[tuple[str, bytes]], draw: st.DataObject
) -> None:
    memory, expected = filled(items)
    at = draw.draw(st.integers(0, len(memory.data) - 1))
    memory.data[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found = memory.read()
    except StateError:
        return
    assert found == expected


def test_every_byte_that_counts_is_guarded() -> None:
    memory, expected = filled([("cage", b"request"), ("life", b"old"), ("life", b"running")])
    good, refused = bytes(memory.data), 0
    for at in range(len(good)):
        memory.data = bytearray(good)
        memory.data[at] ^= 0xFF
        try:
            assert memory.read() == expected
        except StateError:
            refused += 1
    # Header, and of each section name, index, slot in use and content; the index of the others.
    header, section = 8 + 2 + 2 + 36 + 32, 24 + INDEX_BYTES + 56
    unused = (state_format.SECTIONS - 2) * INDEX_BYTES
    assert refused == header + 2 * section + unused + len(b"request") + len(b"running")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"x" + data[1:], "not what akiosd keeps"),
        (lambda data: data[:100], "100 bytes"),
        (lambda data: data[:-1], "bytes"),
    ],
)
def test_what_is_no_state_memory_is_refused(change: object, words: str) -> None:
    with pytest.raises(StateError, match=words):
        state_format.read(change(empty()), BOOT)  # type: ignore[operator]


def test_another_boot_and_another_major_version_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StateError, match="before the host was started anew"):
        state_format.read(empty(), BOOT.replace("5", "6"))
    monkeypatch.setattr(state_format, "MAJOR", 2)
    newer = empty()
    monkeypatch.undo()
    with pytest.raises(StateError, match="version 2, this akiosd reads version 1"):
        state_format.read(newer, BOOT)


def test_another_minor_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_format, "MINOR", 9)
    memory, expected = filled([("cage", b"of a newer akiosd"), ("unheard-of", b"ignored")])
    monkeypatch.undo()
    assert memory.read() == expected


def test_room_is_used_again_and_has_a_bound() -> None:
    memory = Memory()
    for turn in range(300):
        memory = Memory(bytes(memory.data)) if turn % 3 == 0 else memory
        memory.writer.write("spend", bytes([turn % 256]) * (9000 + turn))
    assert len(memory.data) < 20 * 9300
    with pytest.raises(StateError, match="no more room"):
        memory.writer.write("spend", bytes(state_format.MAX_BYTES))
    assert memory.read() == {"spend": bytes([299 % 256]) * 9299}
