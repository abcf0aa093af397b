"""Frames of streams: byte for byte what came, however it was cut; broken ones are an error."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest
from akiosd.gateway.llm.eventstream import EventStreamCodec, pack, read_headers
from akiosd.gateway.llm.frames import BrokenStreamError, Codec, StreamFrame
from akiosd.gateway.llm.ndjson import ArrayCodec, NdjsonCodec
from akiosd.gateway.llm.sse import SseCodec
from chunk_invariance import assert_chunk_invariant, per_chunk
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.pack_headers import pack_headers

SSE = (
    b'\xef\xbb\xbf: hello\n\nevent: message_start\r\ndata: {"a":1}\r\n\r\nid: 7\rretry: 100\rdata: x\rdata: y\r\r'
    b'data\n\ndata:no blank\n\n\n\ndata: [DONE]\n\ndata: {"unfinished": true}'
)
EVENTS = b"".join(
    pack(pack_headers({":event-type": kind, ":message-type": "event"}), payload)
    for kind, payload in (
        ("messageStart", b'{"role":"assistant"}'),
        ("x", b""),
        ("metadata", b'{"usage":{}}'),
    )
)
ARRAY = b'[{"a":"]}\\"{","b":[1,{"c":2}]}\n,\r\n{"d":"\\\\"}, {}\n]\n'
LINES = b'{"a":1}\n\n{"b":2}\r\n{"last":3}'

STREAMS: list[tuple[Callable[[], Codec], bytes, list[tuple[bytes | None, str]]]] = [
    (SseCodec, SSE, [
        (None, ""), (b'{"a":1}', "message_start"), (b"x\ny", ""), (b"", ""), (b"no blank", ""), (None, ""),
        (None, ""), (b"[DONE]", ""), (b'{"unfinished": true}', ""),
    ]),
    (EventStreamCodec, EVENTS, [(b'{"role":"assistant"}', "messageStart"), (None, "x"), (b'{"usage":{}}', "metadata")]),
    (NdjsonCodec, LINES, [(b'{"a":1}', ""), (None, ""), (b'{"b":2}', ""), (b'{"last":3}', "")]),
]  # fmt: skip


def frames(codec: Codec, chunks: list[bytes]) -> list[StreamFrame]:
    found = [frame for chunk in chunks for frame in codec.push(chunk)]
    return found + codec.flush()


def read(codec: Codec, chunks: list[bytes]) -> bytes:
    return repr([(f.raw, f.data, f.kind) for f in frames(codec, chunks)]).encode()


@pytest.mark.parametrize(("make", "data", "expected"), STREAMS)
def test_frames_at_every_split(make: Callable[[], Codec], data: bytes, expected: object) -> None:
    whole = frames(make(), [data])
    assert [(f.data, f.kind) for f in whole] == expected
    assert b"".join(f.raw for f in whole) == data
    assert_chunk_invariant(
        lambda chunks: [read(make(), [*chunks])], lambda whole: read(make(), [whole]), data
    )
    each = [data[i : i + 1] for i in range(len(data))]
    assert_chunk_invariant(
        lambda chunks: [read(make(), [*chunks])],
        lambda whole: read(make(), [whole]),
        data,
        splits=[each],
    )


def test_an_array_at_every_split() -> None:
    elements = [f.data for f in frames(ArrayCodec(), [ARRAY]) if f.data is not None]
    assert elements == [b'{"a":"]}\\"{","b":[1,{"c":2}]}', b'{"d":"\\\\"}', b"{}"]
    assert [f.kind for f in frames(ArrayCodec(), [ARRAY])][-1] == "end"

    def push(chunk: bytes, state: dict[str, ArrayCodec]) -> bytes:
        codec = state.setdefault("codec", ArrayCodec())
        return b"".join(
            b"<" + f.raw + b">" if f.data is not None else f.raw for f in codec.push(chunk)
        )

    assert (
        assert_chunk_invariant(per_chunk(push), lambda data: push(data, {}), ARRAY)
        > len(ARRAY) // 2
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 40), max_size=30))
def test_any_cutting(stream: tuple[Callable[[], Codec], bytes, object], sizes: list[int]) -> None:
    make, data, _ = stream
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    assert read(make(), [*chunks, data[at:]]) == read(make(), [data])


def test_rendering_keeps_all_but_the_data() -> None:
    frame = SseCodec().push(b": note\nevent: e\r\ndata: a\r\nid: 3\ndata: b\n\n")[0]
    assert SseCodec().render(frame, b"{}") == b": note\nevent: e\r\ndata: {}\r\nid: 3\n\n"
    line = NdjsonCodec().push(b'{"a":1}\r\n')[0]
    assert NdjsonCodec().render(line, b"{}") == b"{}\r\n"
    event = EventStreamCodec().push(EVENTS)[0]
    again = EventStreamCodec().push(EventStreamCodec().render(event, b'{"longer":"payload"}'))[0]
    assert (again.kind, again.data) == ("messageStart", b'{"longer":"payload"}')


@pytest.mark.parametrize("at", [0, 5, 9, 14, 40, -1])
def test_a_flipped_bit_is_seen(at: int) -> None:
    broken = bytearray(EVENTS[: struct.unpack_from(">I", EVENTS)[0]])
    broken[at] ^= 1
    with pytest.raises(BrokenStreamError):
        frames(EventStreamCodec(), [bytes(broken)])


def test_cut_and_impossible_frames() -> None:
    with pytest.raises(BrokenStreamError):
        frames(EventStreamCodec(), [EVENTS[:-1]])
    prelude = struct.pack(">II", 12, 0)
    with pytest.raises(BrokenStreamError):
        EventStreamCodec().push(prelude + struct.pack(">I", zlib.crc32(prelude)))
    with pytest.raises(BrokenStreamError):
        read_headers(b"\x05ab")
    assert read_headers(b"\x01t\x00\x01n\x04\x00\x00\x00\x05" + pack_headers({"k": "v"})) == {
        "k": "v"
    }


@pytest.mark.parametrize("codec", [SseCodec(), NdjsonCodec(), ArrayCodec()])
def test_a_frame_without_end_is_refused(codec: Codec) -> None:
    with pytest.raises(BrokenStreamError):
        for _ in range(20):
            codec.push(b'[{"data": "' + b"x" * (1 << 20))
