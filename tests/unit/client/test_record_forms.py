"""Records printed many at a time read exactly as each does by itself."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from akiosctl import record_forms, records_text
from akiosctl.record_forms import Form
from akiosctl.records_text import record_json, record_line
from akiosd.values.records import FileUsed, KnownRecord, LogOpen, Started, Syscall, encode_entry
from hypothesis import assume, given, settings
from hypothesis import strategies as st


def one_by_one(
    entries: list[bytes], as_json: bool, kinds: frozenset[str] = frozenset()
) -> list[str]:
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


TIMES = (
    st.integers(-(1 << 40), (1 << 64) - 1)
    | st.integers(0, 1 << 34)
    | st.just(1_800_000_000_123_456_789)
)
HOSTILE = [
    *(
        "a b",
        "'",
        '"',
        "x='y'",
        "=",
        "[1 2]",
        "{a=b}",
        "\\",
        "%s",
        "%",
        "\n",
        "\r",
        "\0",
        "\x7f",
        "\x1b[2J",
        "\x9b",
        "\u2028",
    ),
    *(
        "\u202e",
        "\u200b",
        "\u3164",
        "\U000e0041",
        "e" + 9 * "\u0301",
        "\ud800",
        "é",
        "path=/etc",
        "\xa4path\xc4\x01a",
    ),
]
HOSTILE_BYTES = [text.encode("utf-8", "surrogatepass") for text in HOSTILE]
KEYS = [
    b"\xa4path\xc4\x01a",
    b"\xa4path",
    b"\xa2ts\xcf12345678",
    b"\xa4kind\xa7started",
    b"\xa1v\x01",
    b"\xc1",
    b"\xff",
]
WORDS = st.text(max_size=12) | st.sampled_from([text for text in HOSTILE if text != "\ud800"])
NAMES = st.binary(max_size=20) | st.sampled_from([b"/usr/bin/python3", b"", *HOSTILE_BYTES, *KEYS])


def records() -> st.SearchStrategy[Any]:
    """Of every kind, with every field now and then."""

    def of(kind: type[Any]) -> st.SearchStrategy[Any]:
        fields = {
            field.name: _values(field.type)
            for field in msgspec.structs.fields(kind)
            if field.name != "v"
        }
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
    assume(are_encoded(found))
    entries = [encode_entry(record) for record in found]
    both_agree(entries)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.dictionaries(WORDS, WORDS | NAMES | TIMES).map(msgspec.msgpack.encode)
    )
)
def test_entries_that_are_none_of_ours(entries: list[bytes]) -> None:
    both_agree(entries)


ANYTHING = (
    TIMES
    | WORDS
    | NAMES
    | st.none()
    | st.booleans()
    | st.floats()
    | st.lists(NAMES | TIMES, max_size=3)
)
NUMBERS = st.integers(0, 30)


def map_of(pairs: list[tuple[Any, Any]], long: bool) -> bytes:
    """A map of these pairs, in this order, whether or not a key comes twice."""
    head = (
        b"\xde" + len(pairs).to_bytes(2) if long or len(pairs) > 15 else bytes((0x80 | len(pairs),))
    )
    return head + b"".join(msgspec.msgpack.encode(item) for pair in pairs for item in pair)


@st.composite
def nearly_records(draw: st.DrawFn) -> list[bytes]:
    """Entries of one kind as they are written, and the same with a pair or a byte gone, new,
    changed or moved.
    """
    whole = draw(st.lists(records(), min_size=1, max_size=2).filter(are_encoded))
    entries = [encode_entry(record) for record in whole]
    found = entries[:]
    for _ in range(draw(st.integers(1, 4))):
        entry = draw(st.sampled_from(found))
        at = draw(NUMBERS)
        if draw(st.booleans()):
            place, byte = (draw(st.integers(0, len(entry)))), bytes((draw(st.integers(0, 255)),))
            found.append(
                entry[:place] + draw(st.sampled_from([b"", byte])) + entry[place + at % 2 :]
            )
            continue
        try:
            pairs = list(msgspec.msgpack.decode(entry).items())
        except (ValueError, TypeError, AttributeError, msgspec.MsgspecError):
            continue
        pair = pairs[at % len(pairs)] if pairs else ("ts", 0)
        match draw(
            st.sampled_from(
                ["drop", "twice", "move", "value", "unknown", "other kind's", "as it is"]
            )
        ):
            case "drop":
                pairs = [each for each in pairs if each is not pair]
            case "twice":
                pairs.append((pair[0], draw(st.just(pair[1]) | ANYTHING)))
            case "move":
                pairs.remove(pair)
                pairs.insert(draw(NUMBERS), pair)
            case "value":
                pairs[at % len(pairs) : at % len(pairs) + 1] = [(pair[0], draw(ANYTHING))]
            case "unknown":
                pairs.insert(draw(NUMBERS), (draw(WORDS | NAMES | TIMES), draw(ANYTHING)))
            case "other kind's":
                pairs.insert(draw(NUMBERS), (draw(st.sampled_from(FIELDS)), draw(ANYTHING)))
        found.append(map_of(pairs, draw(st.booleans())))
    return found + entries


def are_encoded(found: list[Any]) -> bool:
    try:
        return all(encode_entry(record) for record in found)
    except OverflowError:
        return False  # no number of ours is so large


FIELDS = sorted(
    {field.name for kind in KnownRecord.__args__ for field in msgspec.structs.fields(kind)}
    | {"kind"}
)


@settings(max_examples=150, deadline=None)
@given(nearly_records())
def test_entries_that_are_nearly_ours(entries: list[bytes]) -> None:
    both_agree(entries)


@pytest.mark.named_set("histories")
@settings(max_examples=500, deadline=None)
@given(nearly_records())
def test_many_entries_that_are_nearly_ours(entries: list[bytes]) -> None:
    both_agree(entries)


def full(kind: Any) -> list[tuple[Any, Any]]:
    """The pairs of an entry in which every simple field has a value of its own."""
    values: dict[Any, Any] = {int: 7, bytes: b"/x", bytes | None: b"/y", str: "w", bool: True}
    values |= {tuple[int, ...]: (1, 2), tuple[bytes, ...]: (b"a", b"b"), tuple[str, ...]: ("s",)}
    given = {"ts": 1 << 60}
    for field in msgspec.structs.fields(kind):
        if field.name not in ("ts", "v"):
            literal = get_args(field.type) if get_origin(field.type) is Literal else ()
            value = literal[0] if literal else values.get(field.type, field.default)
            given[field.name] = () if value is msgspec.NODEFAULT else value
    return list(msgspec.msgpack.decode(encode_entry(kind(**given))).items())


@pytest.mark.parametrize("kind", KnownRecord.__args__)
def test_every_field_gone_twice_moved_empty_or_at_its_default(kind: Any) -> None:
    pairs, defaults = (
        full(kind),
        {field.name: field.default for field in msgspec.structs.fields(kind)},
    )
    changed, numbers = [pairs], range(len(pairs))
    for a in numbers:
        name, others = pairs[a][0], pairs[:a] + pairs[a + 1 :]
        changed += [
            others,
            [*others[: a + 1], pairs[a], *others[a + 1 :]],
            [*pairs[:a], (name, None), *pairs[a + 1 :]],
        ]
        changed += [[pair for pair in others if pair is not pairs[b]] for b in numbers]
        changed += [
            [*others[:b], *others[b + 1 :], others[b], others[b]] for b in range(len(others))
        ]
        changed += [[*others[:b], (others[b][0], None), *others[b:]] for b in range(len(others))]
        changed.append([*pairs[:a], (1, "x"), *pairs[a + 1 :]])
        if defaults.get(name, msgspec.NODEFAULT) is not msgspec.NODEFAULT and not isinstance(
            defaults[name], msgspec.Struct
        ):
            changed.append([*pairs[:a], (name, defaults[name]), *pairs[a + 1 :]])
            changed += [
                [*part[:a], (name, defaults[name]), *part[a:]]
                for part in (others[:b] for b in range(a, len(pairs)))
            ]
    entries = [map_of(each, long) for long in (False, True) for each in changed]
    torn = [entry.replace(b"\xa1v\x01", b"\x01\x01\x01", 1) for entry in entries[:1]]
    both_agree([*entries, *torn])


def test_a_key_within_a_value_is_not_taken_for_the_field() -> None:
    """A path may hold the key of its directory, and a length that reaches over the real one."""
    call = Syscall(
        ts=1 << 60, name="open", nr=2, pid=1, verdict="requested", path=b"b", directory=b"d"
    )
    paths = [b"x\xa9directory\xc4" + bytes((length,)) for length in range(30)]
    both_agree([encode_entry(msgspec.structs.replace(call, path=path)) for path in (b"sh", *paths)])


@pytest.mark.parametrize("value", [*HOSTILE_BYTES, *KEYS, b"x" * 2000])
def test_what_was_remembered_of_plain_records_does_not_let_a_hostile_one_through(
    value: bytes,
) -> None:
    def calls(path: bytes, directory: bytes, path2: bytes, argv: bytes) -> list[bytes]:
        call = Syscall(
            ts=1 << 60, name="openat", nr=257, pid=1, verdict="requested", path=path, path2=path2
        )
        more = [{"directory": directory}, {"argv": (argv, argv)}, {"errno": 13}, {"args": (1, 2)}]
        used = FileUsed(ts=1 << 60, use="written", path=path, pid=9)
        return [
            encode_entry(each)
            for each in (used, call, *(msgspec.structs.replace(call, **m) for m in more))
        ]

    plain = calls(b"/a", b"/b", b"sh", b"-c")
    both_agree([*plain, *calls(value, b"/b", b"sh", b"-c"), *calls(b"/a", value, b"sh", value)])
    both_agree(
        [*plain, *calls(b"/a", b"/b", value, b"-c"), *calls(value, value, value, value), *plain]
    )
    for line in Form(False).lines("c", 0, [*plain, *calls(value, value, value, value)]):
        assert line.isprintable()


def test_what_is_remembered_is_bounded_and_forgotten_in_the_middle_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_forms, "_MOST_PARTS", 32)
    entries = [
        encode_entry(
            Syscall(
                ts=1 << 60,
                name=f"n{n % 7}",
                nr=n % 5,
                pid=n % 3,
                verdict="requested",
                path=b"/%d" % n,
            )
        )
        for n in range(300)
    ]
    both_agree(entries)
    form = Form(False)
    form.lines("c", 0, entries)
    assert sum(map(len, form._room.all)) <= 32 and all(
        len(head.firsts) <= 32 for head in form._heads.values()
    )


def test_only_some_kinds() -> None:
    entries = [encode_entry(Started(ts=1 << 40, pid=n)) for n in range(3)] + [
        encode_entry(LogOpen(ts=1, salt=b"x"))
    ]
    both_agree([*entries, b"\xc0"], frozenset({"started"}))
    assert len(Form(False, frozenset({"started"})).lines("c", 0, entries)) == 3


def test_two_times_in_one_entry_are_not_taken_for_one() -> None:
    """What is remembered leaves the first time out; an entry in which another one counts is never
    remembered.
    """
    whole = encode_entry(
        Syscall(ts=1 << 60, name="openat", nr=257, pid=1, verdict="attempt", path=b"/x")
    )
    behind = whole.index(b"\xa2ts\xcf") + 12
    twice = [
        whole[:2]
        + bytes([whole[2] + 1])
        + whole[3:behind]
        + b"\xa2ts\xcf"
        + ts.to_bytes(8)
        + whole[behind:]
        for ts in (1 << 60, 1 << 61)
    ]
    twice += [entry.replace((1 << 60).to_bytes(8), (1 << 62).to_bytes(8), 1) for entry in twice]
    assert all(record_json("c", 0, entry)["path"] == "/x" for entry in twice)
    both_agree(twice)
    in_a_path = [
        encode_entry(
            Syscall(
                ts=1,
                name="openat",
                nr=257,
                pid=1,
                verdict="attempt",
                path=b"\xa2ts\xcf" + bytes([n] * 8),
            )
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
