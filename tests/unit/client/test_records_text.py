"""How records look to people."""

from __future__ import annotations

import json
import socket
import struct

import msgspec
import pytest
from akiosctl.records_text import address_text, record_json, record_line
from akiosd.values.records import LogOpen, Syscall, encode_entry


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (struct.pack("=H", 1) + b"/run/x.sock\0garbage", "unix:/run/x.sock"),
        (struct.pack("=H", 1) + b"\0name\x1b[2J", "unix:@name\\x1b[2J"),
        (
            struct.pack("=H", 2) + b"\x01\xbb" + socket.inet_aton("192.0.2.1") + bytes(8),
            "192.0.2.1:443",
        ),
        (
            struct.pack("=H", 10)
            + b"\0\x50"
            + bytes(4)
            + socket.inet_pton(socket.AF_INET6, "::1")
            + bytes(4),
            "[::1]:80",
        ),
        (struct.pack("=H", 38) + b"ab", "family 38:6162"),
        (b"", "family 0:"),
    ],
)
def test_addresses_read_as_people_write_them(address: bytes, text: str) -> None:
    assert address_text(address) == text


def test_a_line_shows_addresses_and_digests() -> None:
    call = Syscall(
        ts=0,
        name="connect",
        nr=42,
        pid=7,
        verdict="requested",
        address=struct.pack("=H", 1) + b"/a",
    )
    assert "address=unix:/a" in record_line("c", 3, encode_entry(call))
    assert "salt=" + "ff" * 32 in record_line(
        "c", 0, encode_entry(LogOpen(ts=0, salt=b"\xff" * 32))
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/plain", "path=/plain"),
        (b"/a verdict=allow", "path='/a verdict=allow'"),
        (b"/a' verdict='allow", "path='/a\\' verdict=\\'allow'"),
        (b"/a\\' b", "path='/a\\\\\\' b'"),
        (b"]", "path=']'"),
    ],
)
def test_no_value_looks_like_the_next_field(path: bytes, text: str) -> None:
    call = Syscall(ts=0, name="unlink", nr=87, pid=7, verdict="requested", path=path)
    assert record_line("c", 3, encode_entry(call)).endswith(" " + text)


def test_what_a_record_of_tomorrow_holds_is_shown_and_cannot_say_it_stands_elsewhere() -> None:
    fields = {
        "when": msgspec.msgpack.Ext(5, b"\x1b"),
        "nan": float("nan"),
        "log": "host",
        "index": 0,
        "n": [1, None],
    }
    entry = msgspec.msgpack.encode({"kind": "tomorrow", "v": 1, "ts": 5, **fields})
    found = record_json("c", 3, entry)
    assert (found["log"], found["index"], found["nan"], found["n"]) == ("c", 3, "nan", [1, None])
    assert "NaN" not in json.dumps(found) and record_line("c", 3, entry).isprintable()


def test_an_extension_is_shown_as_its_bytes() -> None:
    """Its repr is an address in memory: two lines of one entry would differ."""
    entry = msgspec.msgpack.encode(
        {"kind": "x", "ts": 1, "v": 1, "a": [msgspec.msgpack.Ext(3, b"\x01\xff")]}
    )
    assert record_line("c-1", 0, entry).endswith("a=[ext(3 01ff)]")
    assert record_json("c-1", 0, entry)["a"] == ["ext(3 01ff)"]
