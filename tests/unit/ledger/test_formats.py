"""Bundles, tile paths, notes, proofs and WAL frames: what is written is read back, and nothing else
is.
"""

from __future__ import annotations

import random

import pytest
from akiosd.errors import LedgerError
from akiosd.ledger import tiles
from akiosd.ledger.bundle import Batch, decode_bundle, encode_bundle
from akiosd.ledger.edge import Edge, extend, outgrown
from akiosd.ledger.frame import (
    ALIGN,
    Entries,
    Forget,
    Head,
    decode_body,
    encode_frame,
    encode_mark,
    read_frame,
    scan_segment,
)
from akiosd.ledger.merkle import ProofError, python_leaves, root_of
from akiosd.ledger.note import (
    Checkpoint,
    NoteError,
    Signer,
    UntrustedNoteError,
    Vkey,
    decode_decimal,
    open_checkpoint,
    parse_note,
)
from akiosd.ledger.proof import TlogProof, prove_entry, verify_proof
from akiosd.ledger.tiles import ENTRIES, Tile, parse_path
from akiosd.values.ids import LogId
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.ledger.all_tiles import tiles_of

ENTRY_LISTS = st.lists(st.binary(max_size=300), max_size=20)


@given(ENTRY_LISTS)
@example([bytes(65_535), b""])
def test_bundle_round_trip(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == entries
    for bad, count in (
        (data + b"\0", len(entries)),
        (data[:-1], len(entries)),
        (data, len(entries) + 1),
    ):
        if bad != data or count != len(entries):
            with pytest.raises(LedgerError):
                decode_bundle(bad, count or 1)


@given(ENTRY_LISTS, st.integers(1, 400))
def test_a_batch_is_split_between_its_entries(entries: list[bytes], limit: int) -> None:
    parts = list(Batch.of(entries).split(limit))
    assert Batch.join(parts) == Batch.of(entries)
    assert all(len(part.data) <= limit or part.count == 1 for part in parts if entries)


@given(st.integers(-1, 63), st.integers(0, 10**13), st.integers(1, 256))
def test_paths_round_trip(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/0/0000",
        "tile/0/000/",
        "tile/0/x001/x23/067",
        "tile/entries/../0/000",
        "tile/0/٠٠٠",
        "checkpoint.bak",
        "",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(LedgerError):
        parse_path(path)


@given(st.lists(st.integers(0, 700), max_size=6))
@example([256, 1, 255, 256])
@example([65_536 + 300])
@settings(deadline=None, max_examples=50)
def test_a_log_grown_in_steps_is_the_log_grown_at_once(steps: list[int]) -> None:
    entries = [b"%d" % i for i in range(sum(steps))]
    edge, files, done = Edge(), {}, 0
    for step in steps:
        growth = extend(edge, Batch.of(entries[done : done + step]))
        for path, data in growth.files:
            assert files.setdefault(path, data) == data
        for folder in outgrown(edge.size, growth.edge.size):
            files = {path: data for path, data in files.items() if not path.startswith(folder)}
        edge, done = growth.edge, done + step
    leaves = python_leaves(entries)
    assert edge.root() == root_of(leaves)
    needed = {tile.path for tile in tiles_of(len(entries))}
    assert needed <= files.keys()
    for path in files.keys() - needed:
        # Only older partial tiles of what is still partial may be left.
        tile = parse_path(path)
        assert any(
            other.level == tile.level
            and other.index == tile.index
            and tile.width < other.width < 256
            for other in tiles_of(len(entries))
        )
    for tile in tiles_of(len(entries)):
        if tile.level == 0:
            assert files[tile.path] == leaves[tile.index * 8192 :][: tile.width * 32]


SIGNER = Signer("example.com/log", bytes(range(32)))


@given(st.integers(0, 10**18), st.binary(min_size=32, max_size=32))
def test_checkpoint_round_trip(size: int, root: bytes) -> None:
    note = SIGNER.sign(Checkpoint("example.com/log", size, root).text())
    assert open_checkpoint(note, SIGNER.vkey) == Checkpoint("example.com/log", size, root)
    assert Vkey.parse(str(SIGNER.vkey)) == SIGNER.vkey


def test_any_changed_byte_of_a_checkpoint_is_noticed() -> None:
    note = SIGNER.sign(Checkpoint("example.com/log", 7, bytes(32)).text())
    for position in range(len(note)):
        for change in (1, 0x20, 0x80):
            bad = bytearray(note)
            bad[position] ^= change
            with pytest.raises(NoteError):
                open_checkpoint(bytes(bad), SIGNER.vkey)


@pytest.mark.parametrize(
    "text",
    [
        "o\n07\n",
        "o\n-1\n",
        "o\n+1\n",
        "o\n1_0\n",
        "o\n１\n",
        "o\n7\n\n",
        "\n7\n",
        "o\n99999999999999999999\n",
    ],
)
def test_sloppy_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text + "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")


def test_a_note_of_another_key_or_log_is_untrusted() -> None:
    note = Signer("example.com/log", bytes(32)).sign(
        Checkpoint("example.com/log", 1, bytes(32)).text()
    )
    with pytest.raises(UntrustedNoteError):
        open_checkpoint(note, SIGNER.vkey)
    other = SIGNER.sign(Checkpoint("example.com/other", 1, bytes(32)).text())
    with pytest.raises(NoteError, match="another log"):
        open_checkpoint(other, SIGNER.vkey)


def test_a_note_may_carry_signatures_of_others() -> None:
    note = SIGNER.sign(Checkpoint("example.com/log", 1, bytes(32)).text())
    witness = Signer("witness.example/w", bytes(31) + b"w").sign("x\n").partition(b"\n\n")[2]
    assert open_checkpoint(note + witness, SIGNER.vkey).size == 1
    assert len(parse_note(note + witness).signatures) == 2


@given(st.integers(1, 600), st.data())
def test_proof_round_trip(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    entries = [b"%d" % i for i in range(size)]
    growth = extend(Edge(), Batch.of(entries))
    files = dict(growth.files)
    checkpoint = Checkpoint("example.com/log", size, growth.edge.root())
    proof = prove_entry(
        index, checkpoint, SIGNER.sign(checkpoint.text()), lambda tile: files[tile.path], b"why"
    )
    again = TlogProof.parse(proof.encode())
    assert again == proof
    assert verify_proof(again, entries[index], SIGNER.vkey) == checkpoint
    with pytest.raises(ProofError):
        verify_proof(again, b"another entry", SIGNER.vkey)


def test_any_changed_byte_of_a_proof_is_noticed() -> None:
    entries = [b"%d" % i for i in range(5)]
    growth = extend(Edge(), Batch.of(entries))
    checkpoint = Checkpoint("example.com/log", 5, growth.edge.root())
    files = dict(growth.files)
    data = prove_entry(
        3, checkpoint, SIGNER.sign(checkpoint.text()), lambda tile: files[tile.path]
    ).encode()
    for position in range(len(data)):
        bad = bytearray(data)
        bad[position] ^= 1
        with pytest.raises(LedgerError):
            verify_proof(TlogProof.parse(bytes(bad)), entries[3], SIGNER.vkey)


PIECES = [
    b"9" * 5000,
    b"\n\n",
    b"\xe2\x80\x94 ",
    b"\0",
    b"=",
    b" ",
    b"index ",
    b"extra ",
    b"\xff",
    b"-1",
    b"\xd9\xa3",
    b"0",
]


@given(st.data())
def test_garbage_is_refused_in_words(data: st.DataObject) -> None:
    """Whatever is put into a proof, a checkpoint or a key: ``LedgerError`` or nothing, never
    another exception.
    """
    text = bytearray(
        TlogProof(
            3, (bytes(32),), SIGNER.sign("example.com/log\n5\n" + "A" * 43 + "=\n"), b"x"
        ).encode()
    )
    for _ in range(data.draw(st.integers(1, 3))):
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        text[start : stop if data.draw(st.booleans()) else start] = data.draw(
            st.sampled_from([*PIECES, text[start:stop]])
        )
    for parse in (
        TlogProof.parse,
        parse_note,
        lambda given: Vkey.parse(given.decode("utf-8", "replace")),
    ):
        try:
            parse(bytes(text))
        except LedgerError:
            pass


@pytest.mark.parametrize(
    "number", ["", "+1", "01", "1_0", "\u0663", "9" * 20, "9" * 5000, " 1", "1\n"]
)
def test_a_number_has_one_form(number: str) -> None:
    with pytest.raises(NoteError):
        decode_decimal(number)
    assert decode_decimal("0") == 0 and decode_decimal("9" * 19) == 10**19 - 1


MAGIC = random.Random(1).randbytes(16)
LOG = LogId("c-000000000001")


@given(ENTRY_LISTS.filter(bool), st.integers(0, 2**40))
def test_marks_round_trip(entries: list[bytes], first: int) -> None:
    marks = [Entries(LOG, first, Batch.of(entries)), Head(LOG, first, bytes(32)), Forget(LOG)]
    assert list(decode_body(b"".join(map(encode_mark, marks)))) == marks


def test_a_torn_frame_is_absent_whatever_byte_it_ends_at() -> None:
    frame = encode_frame(MAGIC, 5, 2, b"x" * 5000)
    found = read_frame(MAGIC, frame, 0)
    assert found is not None
    assert (found.seq, found.base, found.body) == (5, 2, b"x" * 5000)
    written = len(frame.rstrip(b"\0"))
    for stop in range(written):
        assert read_frame(MAGIC, frame[:stop].ljust(len(frame), b"\0"), 0) is None


def test_any_changed_byte_of_a_frame_is_noticed() -> None:
    frame = encode_frame(MAGIC, 5, 2, b"body")
    for position in range(len(frame.rstrip(b"\0"))):
        bad = bytearray(frame)
        bad[position] ^= 4
        assert read_frame(MAGIC, bytes(bad), 0) is None


def test_scan_tells_a_torn_tail_from_damage() -> None:
    frames = [encode_frame(MAGIC, seq, 0, b"%d" % seq) for seq in range(4)]
    segment = bytearray(b"".join(frames) + bytes(8 * ALIGN))
    whole = scan_segment(MAGIC, bytes(segment))
    assert [frame.seq for frame in whole.frames] == [0, 1, 2, 3]
    assert (whole.end, whole.stray, whole.torn_bytes) == (4 * ALIGN, -1, 0)
    torn = segment.copy()
    torn[3 * ALIGN + 40] ^= 1
    assert scan_segment(MAGIC, bytes(torn)).stray == -1
    assert scan_segment(MAGIC, bytes(torn)).torn_bytes > 0
    damaged = segment.copy()
    damaged[1 * ALIGN + 40] ^= 1
    assert scan_segment(MAGIC, bytes(damaged)).stray == 3


def test_frames_inside_records_are_not_frames() -> None:
    forged = encode_frame(bytes(16), 99, 0, b"forged").ljust(2 * ALIGN, b"\0")
    segment = encode_frame(MAGIC, 0, 0, bytes(ALIGN - 48) + forged) + bytes(ALIGN)
    torn = bytearray(segment)
    torn[50] ^= 1
    assert scan_segment(MAGIC, bytes(torn)).stray == -1


def test_entries_are_the_only_level_without_hashes() -> None:
    assert tiles.tile_path(ENTRIES, 0, 15) == "tile/entries/000.p/15"
