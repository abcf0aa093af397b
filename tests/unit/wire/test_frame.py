"""Framing: every split of the stream gives the same frames, and no descriptor is lost or given
twice.
"""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.errors import ProtocolError
from akiosd.wire.frame import HEADER_SIZE, MAX_FDS, MAX_FRAME, FrameReader, encode_frame

payloads = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


@given(payloads, st.lists(st.integers(1, 50), max_size=60))
def test_any_split_gives_the_same_frames(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, sent))
    reader, got = FrameReader(), []
    for size in [*cuts, len(stream)]:
        got += [frame.payload for frame in reader.receive(stream[:size])]
        stream = stream[size:]
    reader.receive_eof()
    assert got == sent


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 0xFFFFFFFF])
def test_bad_lengths_are_refused_before_their_bytes_arrive(length: int) -> None:
    with pytest.raises(ProtocolError):
        FrameReader().receive(length.to_bytes(4, "big"))


def test_largest_frame_passes_and_one_more_byte_does_not() -> None:
    payload = b"x" * MAX_FRAME
    assert FrameReader().receive(encode_frame(payload))[0].payload == payload
    with pytest.raises(ProtocolError):
        encode_frame(payload + b"x")
    with pytest.raises(ProtocolError):
        encode_frame(b"")


def test_descriptors_belong_to_the_last_frame_that_starts_in_the_read() -> None:
    first, second = encode_frame(b"one"), encode_frame(b"two")
    reader = FrameReader()
    assert reader.receive(first[:3]) == []
    frames = reader.receive(first[3:] + second[:1], [7, 8])
    assert [(frame.payload, frame.fds) for frame in frames] == [(b"one", [])]
    frames = reader.receive(second[1:])
    assert [(frame.payload, frame.fds) for frame in frames] == [(b"two", [7, 8])]
    assert reader.close() == []


def test_descriptors_inside_a_frame_are_refused_and_handed_back() -> None:
    reader = FrameReader()
    reader.receive(encode_frame(b"abc")[:5], [3])
    with pytest.raises(ProtocolError):
        reader.receive(b"b", [4, 5])
    assert sorted(reader.close()) == [3, 4, 5]
    assert reader.close() == []


def test_truncated_control_data_breaks_the_connection_for_good() -> None:
    reader = FrameReader()
    with pytest.raises(ProtocolError, match="MSG_CTRUNC"):
        reader.receive(encode_frame(b"a"), [9], truncated=True)
    with pytest.raises(ProtocolError):
        reader.receive(encode_frame(b"a"), [10])
    assert reader.close() == [9, 10]


def test_end_inside_a_frame_is_an_error_and_between_frames_is_not() -> None:
    whole, cut = FrameReader(), FrameReader()
    whole.receive(encode_frame(b"abc"))
    whole.receive_eof()
    cut.receive(encode_frame(b"abc")[: HEADER_SIZE + 1], [4])
    with pytest.raises(ProtocolError, match="inside a message"):
        cut.receive_eof()
    assert cut.close() == [4]


reads = st.lists(
    st.tuples(st.binary(max_size=40), st.integers(0, MAX_FDS + 2), st.booleans()), max_size=12
)


@given(reads, payloads)
def test_arbitrary_reads_raise_only_protocol_errors_and_lose_no_descriptor(
    arbitrary: list[tuple[bytes, int, bool]], sent: list[bytes]
) -> None:
    reader, given_fds, got = FrameReader(), [], []
    chunks = [(encode_frame(payload), index % 3, False) for index, payload in enumerate(sent)]
    for data, count, truncated in [*chunks, *arbitrary]:
        fds = list(range(1000 + len(given_fds), 1000 + len(given_fds) + count))
        given_fds += fds
        try:
            for frame in reader.receive(data, fds, truncated=truncated):
                got += frame.fds
        except ProtocolError:
            pass
    try:
        reader.receive_eof()
    except ProtocolError:
        pass
    assert sorted(got + reader.close()) == given_fds


def test_the_kernel_ends_a_read_with_the_buffer_that_carried_descriptors() -> None:
    """The rule of the module, against a real socket: frames before, with and after descriptors,
    read at once.
    """
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        left.sendall(encode_frame(b"before"))
        socket.send_fds(left, [encode_frame(b"with")], [left.fileno()])
        left.sendall(encode_frame(b"after"))
        left.shutdown(socket.SHUT_WR)
        reader, got = FrameReader(), []
        while True:
            data, fds, _flags, _address = socket.recv_fds(right, 65536, MAX_FDS)
            for fd in fds:
                socket.close(fd)
            if not data:
                break
            got += [(frame.payload, len(frame.fds)) for frame in reader.receive(data, fds)]
    assert got == [(b"before", 0), (b"with", 1), (b"after", 0)]
