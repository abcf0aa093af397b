"""Records printed many at a time read exactly as each does by itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from akiosctl import records_text
from akiosctl.record_forms import Form
from akiosctl.records_text import record_json, record_line
from akiosd.values.records import KnownRecord, LogOpen, Started, Syscall, encode_entry


def one_by_one(entries: list[bytes], as_json: bool, kinds: frozenset[str] = frozenset()) -> list[str]:
    found = []
    for index, entry in enumerate(entries, 7):
        fields = record_json("c-1", index, entry)
        if not kinds or fields["kind"] in kinds:
            found.append(json.dumps(fields) if as_json else record_line("c-1", index, entry))
    return found


def both_agree(entries: list[bytes], kinds: frozenset[str] = frozenset()) -> None:
    for as_json in (False, True):
        form = Form(as_json, kinds)
        for _ in range(2):  # the second time from what was remembered
            assert form.lines("c-1", 7, entries) == one_by_one(entries, as_json, kinds)


TIMES = st.integers(-(1 << 40), (1 << 64) - 1) | st.integers(0, 1 << 34) | st.just(1_800_000_000_123_456_789)
WORDS = st.text(max_size=12) | st.sampled_from(["a b", "'", "\x1b[2J", "x='y'", "\u202e", "\xa2ts\xcf"])
NAMES = st.binary(max_size=20) | st.sampled_from([b"a b", b"\xa2ts\xcf12345678", b"/usr/bin/python3", b"\n"])


def records() -> st.SearchStrategy[Any]:
    """Of every kind, with every field now and then."""

    def of(kind: type[Any]) -> st.SearchStrategy[Any]:
        fields = {field.name: _values(field.type) for field in msgspec.structs.fields(kind) if field.name != "v"}
        return st.builds(kind, **{**fields, "ts": st.integers(0, (1 << 63) - 1)})

    return st.one_of(*(of(kind) for kind in KnownRecord.__args__))


def _values(kind: Any) -> st.SearchStrategy[Any]:
    if kind is bytes:
        return NAMES
    if kind is str:
        return WORDS
    if kind is int:
        return st.integers(-(1 << 63), (1 << 63) - 1)
    return st.from_type(kind)


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=4))
def test_records_of_every_kind(found: list[Any]) -> None:
    try:
        entries = [encode_entry(record) for record in found]
    except OverflowError:
        assume(False)  # no number of ours is so large
    both_agree(entries)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.dictionaries(WORDS, WORDS | NAMES | TIMES).map(msgspec.msgpack.encode)))
def test_entries_that_are_none_of_ours(entries: list[bytes]) -> None:
    both_agree(entries)


def test_only_some_kinds() -> None:
    entries = [encode_entry(Started(ts=1 << 40, pid=n)) for n in range(3)] + [encode_entry(LogOpen(ts=1, salt=b"x"))]
    both_agree([*entries, b"\xc0"], frozenset({"started"}))
    assert len(Form(False, frozenset({"started"})).lines("c", 0, entries)) == 3


def test_two_times_in_one_entry_are_not_taken_for_one() -> None:
    """What is remembered leaves the first time out; an entry in which another one counts is never remembered."""
    whole = encode_entry(Syscall(ts=1 << 60, name="openat", nr=257, pid=1, verdict="attempt", path=b"/x"))
    behind = whole.index(b"\xa2ts\xcf") + 12
    twice = [
        whole[:2] + bytes([whole[2] + 1]) + whole[3:behind] + b"\xa2ts\xcf" + ts.to_bytes(8) + whole[behind:]
        for ts in (1 << 60, 1 << 61)
    ]
    twice += [entry.replace((1 << 60).to_bytes(8), (1 << 62).to_bytes(8), 1) for entry in twice]
    assert all(record_json("c", 0, entry)["path"] == "/x" for entry in twice)
    both_agree(twice)
    in_a_path = [
        encode_entry(
            Syscall(ts=1, name="openat", nr=257, pid=1, verdict="attempt", path=b"\xa2ts\xcf" + bytes([n] * 8))
        )
        for n in (65, 66)
    ]
    both_agree(in_a_path)


def test_the_fields_of_a_kind_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking them up evaluates annotations, a hundred times what printing takes."""
    looked = []
    fields = msgspec.structs.fields
    records_text._defaults.cache_clear()
    form = Form(False)
    monkeypatch.setattr(msgspec.structs, "fields", lambda kind: looked.append(kind) or fields(kind))
    entries = [encode_entry(Started(ts=(1 << 40) + n, pid=n)) for n in range(500)]
    assert len(form.lines("c", 0, entries)) == 500 and not looked
    for index, entry in enumerate(entries):
        record_line("c", index, entry)
    assert len(looked) == 1
