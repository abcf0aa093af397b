"""The file with a cage's output: its head and its tail, whatever was written in whatever pieces."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.wire.output import (
    FILE_HEADER,
    MIN_SIZE,
    Frame,
    Layout,
    behind,
    join,
    parts,
    read_part,
    read_size,
)

PIECES = st.lists(
    st.tuples(st.integers(1, 90_000), st.integers(0, 300_000_000), st.integers(0, 9)), max_size=60
)


def read(file: bytes) -> list[Frame]:
    size = read_size(file)
    assert size is not None
    return join([read_part(file[part.start : part.end]) for part in parts(size)])


@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_head_and_tail_are_kept_and_the_offsets_tell_what_is_missing(
    pieces: list[tuple[int, int, int]],
) -> None:
    """``pieces``: length, ns since the last, and 0 for one that does not reach the disk."""
    layout, file = Layout(0), bytearray(MIN_SIZE)
    file[: FILE_HEADER.size] = layout.header().data
    whole, lost, now = b"", False, 10**18
    for number, (length, later, luck) in enumerate(pieces):
        now += later
        piece = bytes([number % 251]) * length
        for at, data in layout.place(piece, now):
            if luck:
                assert at + len(data) <= MIN_SIZE
                file[at : at + len(data)] = data
            else:
                layout.undo()
                lost = True
        whole += piece
        frames = read(bytes(file))
        for before, after in itertools.pairwise(frames):
            assert before.offset + len(before.data) <= after.offset
            assert before.time_ns <= after.time_ns
        for frame in frames:
            assert whole[frame.offset : frame.offset + len(frame.data)] == frame.data
        if not lost:
            kept = sum(len(frame.data) for frame in frames)
            assert frames[0].offset == 0 and len(frames[0].data) > 0
            assert frames[-1].offset + len(frames[-1].data) == len(whole), "the last of it"
            assert kept == len(whole) or kept > MIN_SIZE // 3
        half = len(whole) // 2
        cut = behind(frames, half)
        assert all(frame.offset >= half for frame in cut)
        wanted = sum(max(0, f.offset + len(f.data) - max(half, f.offset)) for f in frames)
        assert sum(len(frame.data) for frame in cut) == wanted
    assert layout.offset == len(whole)


def test_many_small_pieces_are_few_frames() -> None:
    layout = Layout(MIN_SIZE)
    file = bytearray(MIN_SIZE)
    file[: FILE_HEADER.size] = layout.header().data
    for number in range(5000):
        for at, data in layout.place(b"x", 10**18 + number):
            file[at : at + len(data)] = data
    frames = read(bytes(file))
    assert len(frames) == 2 and sum(len(frame.data) for frame in frames) == 5000


def test_what_is_no_such_file_is_not_read() -> None:
    assert read_size(b"") is None and read_size(b"plain text of an older akiosd") is None
    assert read_part(b"out\n" + b"\xff" * 60) == [] and read_part(bytes(100)) == []
