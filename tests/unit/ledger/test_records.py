"""Records: encoded, decoded, cut to fit, tolerant of the unknown, and harmless on a terminal."""

from __future__ import annotations

import msgspec
import pytest
from akiosd.values.records import (
    MAX_ENTRY_BYTES,
    Birth,
    End,
    Layer,
    LogOpen,
    Roots,
    Rusage,
    Syscall,
    Unknown,
    decode_entry,
    encode_entry,
    escape,
)
from hypothesis import example, given
from hypothesis import strategies as st

BIRTH = Birth(
    ts=7,
    cage="c-000000000001",
    uid=1000,
    argv=(b"python3", b"\xff\n"),
    policy_sha256=bytes(32),
    posture=(Layer("landlock", "enforced", "ABI 6"),),
)


@pytest.mark.parametrize(
    "record",
    [
        BIRTH,
        LogOpen(ts=1, salt=bytes(32)),
        Syscall(
            ts=2,
            name="openat",
            nr=257,
            pid=9,
            verdict="denied",
            args=(2**64 - 1, -100),
            path=b"/\xff",
            errno=1,
        ),
        End(ts=3, exit_code=137, signal=9, reason="memory limit", rusage=Rusage(user_ns=1)),
        Roots(ts=4, roots=(("c-000000000001", 3, bytes(32)),)),
    ],
)
def test_round_trip(record: Birth) -> None:
    entry = encode_entry(record)
    assert decode_entry(entry) == record
    fields = msgspec.msgpack.decode(entry)
    assert fields["v"] == 1
    assert {"kind", "ts"} <= fields.keys()


@given(st.lists(st.binary(max_size=3000), max_size=60), st.integers(0, 200_000))
def test_what_does_not_fit_is_cut_and_says_so(argv: list[bytes], extra: int) -> None:
    record = msgspec.structs.replace(BIRTH, argv=(*argv, b"x" * extra))
    entry = encode_entry(record)
    assert len(entry) <= MAX_ENTRY_BYTES
    again = decode_entry(entry)
    assert isinstance(again, Birth)
    assert again.truncated is (again.argv != record.argv)
    assert again.policy_sha256 == record.policy_sha256


def test_a_million_short_arguments_are_cut_too() -> None:
    again = decode_entry(encode_entry(msgspec.structs.replace(BIRTH, argv=(b"a",) * 200_000)))
    assert isinstance(again, Birth)
    assert again.truncated


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"kind": "from the future", "ts": 5, "v": 2}, "from the future"),
        ({"kind": "end", "ts": 5, "v": 9, "exit_code": "none"}, "end"),
        ({"x": 1}, ""),
    ],
)
def test_unknown_records_are_shown_as_they_are(fields: dict[str, object], kind: str) -> None:
    record = decode_entry(msgspec.msgpack.encode(fields))
    assert isinstance(record, Unknown)
    assert (record.kind, record.fields) == (kind, fields)


def test_unknown_fields_are_tolerated() -> None:
    fields = msgspec.msgpack.decode(encode_entry(BIRTH)) | {"later": 1}
    assert decode_entry(msgspec.msgpack.encode(fields)) == BIRTH


@given(st.binary(max_size=50))
@example(b"\xa1\x80")
@example(b"\x81\x90\x01")
@example(b"\x91" * 60_000)
@example(b"\xc1")
def test_junk_raises_a_decode_error_or_is_a_record(entry: bytes) -> None:
    try:
        decode_entry(entry)
    except msgspec.DecodeError:
        pass


@given(
    st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_escaped_text_is_one_printable_line_and_keeps_its_bytes(text: bytes) -> None:
    shown = escape(text)
    assert shown.isprintable()
    again = shown.encode().decode("latin-1")
    assert again.encode("latin-1").decode("unicode_escape").encode("latin-1") == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain/\xc3\xa9", "plain/é"),
        (b"a\nb\x1b[2J", r"a\x0ab\x1b[2J"),
        ("x\u202ey".encode(), r"x\xe2\x80\xaey"),
        (b"back\\slash\xff", r"back\\slash\xff"),
    ],
)
def test_escape(raw: bytes, shown: str) -> None:
    assert escape(raw) == shown
