"""The tamper table: what is done to a finished log, and the verdict and exit code it must get."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from akiosd.errors import LedgerError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.merkle import python_leaves, root_of
from akiosd.ledger.note import Checkpoint, Signer
from akiosd.ledger.proof import TlogProof, verify_proof
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.ledger.verify import verify_log
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, drop_outgrown, load_edge, publish_all
from akiosd.store.log_files import LogFiles
from akiosd.store.outgrown import Outgrown
from akiosd.store.proofs_and_tiles import prove_from, rebuild_tiles
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import Started, encode_entry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.ledger.consistency import verify_consistency
from tests.unit.store.proofs import prove, prove_consistency

KEY = LedgerKey("akios/test", bytes(range(32)))
CAGE = LogId("c-000000000001")


def write_log(state: Path, log: LogId, *sizes: int, word: str = "", after: int = 0) -> Path:
    """A log published at each of the sizes in turn, where it is of size ``after`` already; returns
    its directory.
    """
    disk = Directory(state)
    edge = load_edge(disk, KEY, log) if after else Edge()
    assert edge.size == after
    for size in sizes:
        entries = [
            encode_entry(Started(ts=i, pid=i)) + word.encode() * 0 for i in range(edge.size, size)
        ]
        if word:
            entries = [
                encode_entry(Started(ts=i, pid=i + len(word))) for i in range(edge.size, size)
            ]
        publication = prepare(log, edge, Batch.of(entries))
        publish_all(disk, KEY, [publication], lambda heads: None)
        if after:
            drop_outgrown(Outgrown(disk), publication)
        edge = publication.growth.edge
    disk.close()
    return state / directory(log)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("state"), CAGE, 100, 600).parent


@pytest.fixture
def log(pristine: Path, tmp_path: Path) -> Path:
    target = tmp_path / "cages" / CAGE
    shutil.copytree(pristine, target)
    return target / "audit"


def flip(path: Path, position: int = 40, bits: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= bits
    path.write_bytes(bytes(data))


def swap(a: Path, b: Path) -> None:
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)


def extend_by(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def into_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def into_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


def deepen(path: Path, name: str = "a") -> None:
    """Directories one in another, deeper than any tile lies."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(40):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def into_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def into_giant(path: Path) -> None:
    os.truncate(path, 1 << 40)


def resign(
    log: Path, key: bytes = bytes(32), name: str = f"akios/test/{CAGE}", size: str = "600"
) -> None:
    text = (log / "checkpoint").read_text().split("\n")
    (log / "checkpoint").write_bytes(Signer(name, key).sign(f"{name}\n{size}\n{text[2]}\n"))


TABLE: dict[str, tuple[Callable[[Path], object], Verdict, str]] = {
    "nothing": (lambda log: None, Verdict.OK, ""),
    "flip in a bundle": (lambda log: flip(log / "tile/entries/001"), Verdict.TAMPERED, "entry "),
    "flip in a level 0 tile": (
        lambda log: flip(log / "tile/0/001", 64),
        Verdict.TAMPERED,
        "entry 258",
    ),
    "flip in a level 1 tile": (
        lambda log: flip(log / "tile/1/000.p/2"),
        Verdict.TAMPERED,
        "tile/1/000.p/2",
    ),
    "flip in an old partial tile": (
        lambda log: flip(log / "tile/0/000.p/100"),
        Verdict.TAMPERED,
        "tile/0/000.p/100",
    ),
    "flip in an old partial bundle": (
        lambda log: flip(log / "tile/entries/000.p/100"),
        Verdict.TAMPERED,
        "tile/entries/000.p/100",
    ),
    "truncated bundle": (
        lambda log: os.truncate(log / "tile/entries/000", 999),
        Verdict.TAMPERED,
        "tile/entries/000",
    ),
    "truncated tile": (
        lambda log: os.truncate(log / "tile/0/000", 8160),
        Verdict.TAMPERED,
        "tile/0/000",
    ),
    "empty checkpoint": (
        lambda log: os.truncate(log / "checkpoint", 0),
        Verdict.TAMPERED,
        "checkpoint",
    ),
    "byte behind a bundle": (
        lambda log: extend_by(log / "tile/entries/002.p/88", b"\0"),
        Verdict.TAMPERED,
        "tile/entries/002.p/88",
    ),
    "entry behind a bundle": (
        lambda log: extend_by(log / "tile/entries/002.p/88", b"\0\1x"),
        Verdict.TAMPERED,
        "tile/entries/002.p/88",
    ),
    "byte behind a tile": (
        lambda log: extend_by(log / "tile/0/000", b"\0"),
        Verdict.TAMPERED,
        "tile/0/000",
    ),
    "swapped bundles": (
        lambda log: swap(log / "tile/entries/000", log / "tile/entries/001"),
        Verdict.TAMPERED,
        "tile/entries/000",
    ),
    "swapped tiles": (
        lambda log: swap(log / "tile/0/000", log / "tile/0/001"),
        Verdict.TAMPERED,
        "tile/0/000",
    ),
    "duplicated bundle": (
        lambda log: shutil.copy(log / "tile/entries/000", log / "tile/entries/001"),
        Verdict.TAMPERED,
        "entry 256",
    ),
    "deleted bundle": (
        lambda log: (log / "tile/entries/001").unlink(),
        Verdict.INCOMPLETE,
        "tile/entries/001",
    ),
    "deleted tile": (lambda log: (log / "tile/0/001").unlink(), Verdict.INCOMPLETE, "tile/0/001"),
    "deleted checkpoint": (
        lambda log: (log / "checkpoint").unlink(),
        Verdict.INCOMPLETE,
        "checkpoint",
    ),
    "directory in the checkpoint's place": (
        lambda log: into_directory(log / "checkpoint"),
        Verdict.TAMPERED,
        "checkpoint",
    ),
    "directories without end": (lambda log: deepen(log / "tile/0"), Verdict.TAMPERED, "tile/0/a/a"),
    "names without end": (
        lambda log: deepen(log / "tile/0", "b" * 250),
        Verdict.TAMPERED,
        "tile/0/b",
    ),
    "directory in the key's place": (
        lambda log: into_directory(log.with_name("audit.vkey")),
        Verdict.TAMPERED,
        "audit.vkey",
    ),
    "file in the place of kept checkpoints": (
        lambda log: into_file(log.with_name("audit.history")),
        Verdict.TAMPERED,
        "audit.history",
    ),
    "link in the place of kept checkpoints": (
        lambda log: into_link(log.with_name("audit.history")),
        Verdict.TAMPERED,
        "audit.history",
    ),
    "foreign kept checkpoint": (
        lambda log: into_fifo(log.with_name("audit.history") / "100"),
        Verdict.TAMPERED,
        "audit.history/100",
    ),
    "foreign file": (
        lambda log: (log / "tile/0/notes").write_text("x"),
        Verdict.TAMPERED,
        "tile/0/notes",
    ),
    "link in a tile's place": (
        lambda log: into_link(log / "tile/0/000"),
        Verdict.TAMPERED,
        "tile/0/000",
    ),
    "FIFO in a bundle's place": (
        lambda log: into_fifo(log / "tile/entries/000"),
        Verdict.TAMPERED,
        "tile/entries/000",
    ),
    "FIFO in the checkpoint's place": (
        lambda log: into_fifo(log / "checkpoint"),
        Verdict.TAMPERED,
        "checkpoint",
    ),
    "giant tile": (lambda log: into_giant(log / "tile/0/001"), Verdict.TAMPERED, "tile/0/001"),
    "leading zero in the size": (
        lambda log: resign(log, KEY.seed, size="0600"),
        Verdict.TAMPERED,
        "checkpoint",
    ),
    "smaller size, signed": (
        lambda log: resign(log, KEY.seed, size="599"),
        Verdict.INCOMPLETE,
        "tile/",
    ),
    "larger size, signed": (
        lambda log: resign(log, KEY.seed, size="601"),
        Verdict.INCOMPLETE,
        "tile/",
    ),
    "another key": (resign, Verdict.UNTRUSTED, "checkpoint"),
    "another origin": (
        lambda log: resign(log, KEY.seed, "akios/test/c-00000000000z"),
        Verdict.UNTRUSTED,
        "checkpoint",
    ),
    "no public key": (lambda log: log.with_name("audit.vkey").unlink(), Verdict.UNTRUSTED, ""),
    "flip in the public key": (
        lambda log: flip(log.with_name("audit.vkey")),
        Verdict.UNTRUSTED,
        "",
    ),
    "byte behind the public key": (
        lambda log: extend_by(log.with_name("audit.vkey"), b"\n"),
        Verdict.UNTRUSTED,
        "",
    ),
}


def keep(log: Path, size: int, root: bytes, key: bytes = KEY.seed, name: str = "") -> Path:
    """A kept checkpoint beside the log."""
    path = log.with_name("audit.history") / (name or str(size))
    path.parent.mkdir(exist_ok=True)
    origin = f"akios/test/{CAGE}"
    path.write_bytes(Signer(origin, key).sign(Checkpoint(origin, size, root).text()))
    return path


def root_at(log: Path, size: int) -> bytes:
    hashes = (log / "tile/0/000").read_bytes() + (log / "tile/0/001").read_bytes()
    return root_of(hashes[: size * 32])


def test_checkpoints_are_kept_and_must_agree(log: Path) -> None:
    kept = log.with_name("audit.history") / "100"
    assert (kept.read_bytes().split(b"\n")[1], fsck(log).anchored_to) == (b"100", "nothing")
    for size in (1, 256, 300, 512):
        keep(log, size, root_at(log, size))
    assert fsck(log).verdict is Verdict.OK
    keep(log, 300, bytes(32))
    assert fsck(log).verdict is Verdict.FORK
    keep(log, 300, root_at(log, 300))
    keep(log, 601, bytes(32))
    assert fsck(log).verdict is Verdict.ROLLBACK


def test_kept_checkpoints_are_asked_too_where_the_log_is_an_open_directory(log: Path) -> None:
    keep(log, 601, bytes(32))
    fd = os.open(log, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert fsck(fd, KEY.vkey(CAGE)).verdict is Verdict.ROLLBACK
    finally:
        os.close(fd)


@pytest.mark.parametrize("what", ["another key", "another size", "flip", "garbage"])
def test_a_bad_kept_checkpoint_is_named(log: Path, what: str) -> None:
    path = keep(log, 300, root_at(log, 300), bytes(32) if what == "another key" else KEY.seed)
    if what == "another size":
        path.rename(path.with_name("301"))
    elif what == "flip":
        flip(path, -3)
    elif what == "garbage":
        path.write_bytes(b"x")
    report = fsck(log)
    assert report.verdict is Verdict.TAMPERED and "audit.history/30" in report.first_bad, report


@pytest.mark.parametrize("change", TABLE)
def test_tamper_table(log: Path, change: str) -> None:
    apply, verdict, first_bad = TABLE[change]
    apply(log)
    report = fsck(log)
    assert report.verdict is verdict, report
    assert report.first_bad.startswith(first_bad), report
    assert report.exit_code == {"TAMPERED": 1, "INCOMPLETE": 3, "UNTRUSTED": 4}.get(str(verdict), 0)


def files_of(log: Path) -> list[Path]:
    """The log's files, its key, and what was kept beside it."""
    files = sorted(path for path in log.parent.rglob("*") if path.is_file())
    assert {"audit.vkey", "100", "checkpoint"} <= {path.name for path in files}
    return files


def test_every_file_is_watched(log: Path) -> None:
    for path in files_of(log):
        original = path.read_bytes()
        for position in sorted(
            {*range(0, len(original), max(1, len(original) // 12)), len(original) - 1}
        ):
            flip(path, position)
            assert fsck(log).exit_code != 0, (path, position)
        path.write_bytes(original)
    assert fsck(log).verdict is Verdict.OK


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_single_byte_change_is_noticed(log: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files_of(log)))
    original = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(1, 255)))
    try:
        assert fsck(log).exit_code != 0
    finally:
        path.write_bytes(original)


def test_rollback_and_fork_are_told_apart_by_a_pin(tmp_path: Path) -> None:
    short = write_log(tmp_path / "short", CAGE, 100)
    long = write_log(tmp_path / "long", CAGE, 100, 600)
    other = write_log(tmp_path / "other", CAGE, 300, 700, word="other")
    pin = (long / "checkpoint").read_bytes()
    early = (short / "checkpoint").read_bytes()
    assert fsck(long, pin=pin).anchored_to == "pin"
    assert fsck(long, pin=early).verdict is Verdict.OK
    assert fsck(long).anchored_to == "nothing"
    back = fsck(short, pin=pin)
    assert (back.verdict, back.exit_code) == (Verdict.ROLLBACK, 2)
    fork = fsck(other, pin=pin)
    assert (fork.verdict, fork.exit_code) == (Verdict.FORK, 2)
    assert fsck(other, pin=early).verdict is Verdict.FORK
    forged = Signer(KEY.origin(CAGE), bytes(32)).sign(
        Checkpoint(KEY.origin(CAGE), 1, bytes(32)).text()
    )
    assert fsck(long, pin=forged).verdict is Verdict.UNTRUSTED


@pytest.fixture(autouse=True)
def state_dirs(tmp_path: Path) -> None:
    for name in ("short", "long", "other"):
        (tmp_path / name).mkdir()


def test_an_empty_and_an_absent_log(tmp_path: Path) -> None:
    assert fsck(tmp_path / "nowhere", KEY.vkey(HOST_LOG)).verdict is Verdict.INCOMPLETE
    assert fsck(tmp_path, KEY.vkey(HOST_LOG)).verdict is Verdict.INCOMPLETE


def test_a_directory_fd_will_do(log: Path) -> None:
    fd = os.open(log, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert fsck(fd, str(KEY.vkey(CAGE))).verdict is Verdict.OK
        assert fsck(fd).verdict is Verdict.UNTRUSTED
    finally:
        os.close(fd)


class Growing:
    """A reader of a log that grows each time after its checkpoint was read; what is outgrown goes
    at once.
    """

    def __init__(self, state: Path, files: LogFiles) -> None:
        self._state, self._files, self._size = state, files, 600

    def read(self, path: str, limit: int) -> bytes | None:
        data = self._files.read(path, limit)
        if path == "checkpoint":
            self._size += 70_000
            write_log(self._state, CAGE, self._size, after=self._size - 70_000)
        return data

    def files(self) -> Iterator[str]:
        return self._files.files()


def test_a_log_that_outgrows_its_checkpoint_while_it_is_read(log: Path) -> None:
    state = log.parents[2]
    with LogFiles(log) as files:
        reader = Growing(state, files)
        report = verify_log(reader, KEY.vkey(CAGE))
        assert (report.verdict, report.size) == (Verdict.OK, 600)
        assert not (log / "tile/entries/002.p").exists() and not (log / "tile/1/000.p").exists()
        proof, entry = prove_from(reader, 70_599, KEY.vkey(CAGE))
        assert verify_proof(proof, entry, KEY.vkey(CAGE)).size == 70_600
    assert fsck(log).size == 140_600


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 65_536 + 256 + 1])
def test_sizes_at_the_edges_of_tiles(tmp_path: Path, size: int) -> None:
    assert fsck(write_log(tmp_path, HOST_LOG, size)).verdict is Verdict.OK


def test_lost_and_damaged_tiles_are_restored_byte_for_byte(log: Path) -> None:
    tiles = [path for path in sorted(log.glob("tile/[0-9]*/**/*")) if path.is_file()]
    before = {path: path.read_bytes() for path in tiles}
    assert rebuild_tiles(log, KEY.vkey(CAGE)) == []
    for number, path in enumerate(tiles):
        if number % 2 and path.name != "100":
            path.unlink()
        else:
            flip(path)
    assert fsck(log).exit_code != 0
    assert len(rebuild_tiles(log, KEY.vkey(CAGE))) == len(tiles)
    assert {path: path.read_bytes() for path in tiles} == before
    assert fsck(log).verdict is Verdict.OK


def test_tiles_are_not_rebuilt_from_changed_entries(log: Path) -> None:
    flip(log / "tile/entries/000")
    before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    with pytest.raises(LedgerError):
        rebuild_tiles(log, KEY.vkey(CAGE))
    assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, 599])
def test_an_entry_is_proved_from_the_files_and_checked_with_the_key_alone(
    log: Path, index: int
) -> None:
    proof, entry = prove(log, index, KEY.vkey(CAGE))
    assert entry == encode_entry(Started(ts=index, pid=index))
    assert verify_proof(TlogProof.parse(proof.encode()), entry, KEY.vkey(CAGE)).size == 600


@pytest.mark.parametrize("old", [1, 100, 256, 300, 512, 600])
def test_growth_is_proved_from_the_files(log: Path, old: int) -> None:
    checkpoint, proof = prove_consistency(log, old, KEY.vkey(CAGE))
    entries = [encode_entry(Started(ts=i, pid=i)) for i in range(old)]
    verify_consistency(old, 600, root_of(python_leaves(entries)), checkpoint.root, proof)
