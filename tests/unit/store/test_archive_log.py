"""One archive for a finished log: other tools unpack it, it verifies as it is, and every byte of it
is watched.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from akiosd.errors import LedgerError
from akiosd.ledger.host_word import CageWord
from akiosd.ledger.merkle import PYTHON
from akiosd.ledger.note import Checkpoint, parse_note
from akiosd.ledger.proof import verify_proof
from akiosd.ledger.report import Verdict
from akiosd.store import archive_log
from akiosd.store.archive_format import PackedLog, header
from akiosd.store.archive_log import Places, drop_directory, make_archive, pack_log
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.log_dir import load_edge, read_entries
from akiosd.store.retention import survey_cages
from akiosd.store.wipe import How
from akiosd.values.records import Started, encode_entry
from tests.unit.store.proofs import prove
from tests.unit.store.test_fsck import CAGE, KEY, flip, write_log

VKEY = KEY.vkey(CAGE)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("state"), CAGE, 100, 600)


@pytest.fixture
def archive(source: Path, tmp_path: Path) -> Path:
    out = tmp_path / "audit.tar"
    assert pack_log(source, out, VKEY) == out.stat().st_size
    return out


def test_it_verifies_as_it_is(archive: Path, source: Path) -> None:
    report = fsck(archive)
    assert (report.verdict, report.size) == (Verdict.OK, 600)
    assert fsck(archive, VKEY).verdict is Verdict.OK
    assert fsck(archive, pin=(source / "checkpoint").read_bytes()).anchored_to == "pin"
    fd = os.open(archive, os.O_RDONLY)
    assert fsck(fd, VKEY).root == report.root
    os.close(fd)
    proof, entry = prove(archive, 299, VKEY)
    assert (proof, entry) == prove(source, 299, VKEY)
    assert verify_proof(proof, entry, VKEY).size == 600


def test_the_same_log_gives_the_same_bytes(archive: Path, source: Path, tmp_path: Path) -> None:
    pack_log(source, tmp_path / "again.tar", VKEY)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_a_header_stays_as_it_is_and_tar_reads_it() -> None:
    """Archives that were written before are compared with it, byte for byte."""
    raw = header("audit/tile/entries/x001/234", 70_000)
    assert (
        sha256(raw).hexdigest()
        == "239d6c42c95cb70a5f0980ac14e151b375647606f80e24d4109abb78c9d747df"
    )
    info = tarfile.TarInfo.frombuf(raw, "ascii", "strict")
    assert (info.name, info.size, info.mode, info.mtime) == (
        "audit/tile/entries/x001/234",
        70_000,
        0o644,
        0,
    )
    assert info.isreg() and (info.uid, info.gid, info.uname, info.gname) == (0, 0, "root", "root")


def test_other_tools_unpack_it(archive: Path, source: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        assert all(member.isfile() and member.mode == 0o644 for member in tar)
    target = tmp_path / "unpacked"
    target.mkdir()
    subprocess.run(["tar", "xf", archive, "-C", target], check=True)
    assert fsck(target / "audit").verdict is Verdict.OK
    packed = {
        path.relative_to(target / "audit"): path.read_bytes()
        for path in (target / "audit").rglob("*")
        if path.is_file()
    }
    assert packed == {
        path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()
    }


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, 1 << 30), bits=st.integers(1, 255))
@example(position=92, bits=0xC3)  # a name that is no ASCII
def test_any_single_byte_change_is_noticed(archive: Path, position: int, bits: int) -> None:
    original = archive.read_bytes()
    flip(archive, position, bits)
    assert fsck(archive, VKEY).exit_code != 0
    archive.write_bytes(original)


def test_every_header_byte_is_watched(archive: Path) -> None:
    data = archive.read_bytes()
    for position in [*range(512), *range(1024, 1536), *range(len(data) - 600, len(data))]:
        changed = bytearray(data)
        changed[position] ^= 0x80 if position % 2 else 0x20
        archive.write_bytes(changed)
        with pytest.raises(LedgerError):
            PackedLog(archive).close()


@pytest.mark.parametrize("change", ["cut", "longer", "link", "directory inside", "empty"])
def test_other_archives_are_refused(archive: Path, change: str) -> None:
    if change == "cut":
        os.truncate(archive, archive.stat().st_size - 512)
    elif change == "longer":
        os.truncate(archive, archive.stat().st_size + 10240)
    elif change == "empty":
        os.truncate(archive, 0)
    elif change == "link":
        archive.rename(archive.with_name("x"))
        archive.symlink_to("x")
    else:
        with tarfile.open(archive, "w") as tar:
            info = tarfile.TarInfo("audit")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
    assert fsck(archive, VKEY).verdict is Verdict.TAMPERED


def test_a_pipe_or_device_is_not_replaced_by_an_archive(source: Path, tmp_path: Path) -> None:
    """As root, /dev/null would be gone from the whole host.  Control: a file is replaced."""
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_bytes(b"older")
    with pytest.raises(LedgerError, match="not a regular file"):
        pack_log(source, pipe, VKEY)
    assert pipe.is_fifo()
    pack_log(source, file, VKEY)
    assert fsck(file, VKEY).exit_code == 0


def test_a_bad_log_is_not_packed(tmp_path: Path) -> None:
    log = write_log(tmp_path, CAGE, 300)
    flip(log / "tile/entries/000")
    with pytest.raises(LedgerError, match="TAMPERED"):
        pack_log(log, tmp_path / "out.tar", VKEY)
    assert not (tmp_path / "out.tar").exists()


def listed(log: Path) -> CageWord:
    """What the host's log says of it: that it is as it is here."""
    found = Checkpoint.parse(parse_note((log / "checkpoint").read_bytes()).text)
    return CageWord(size=found.size, root=found.root)


@pytest.mark.parametrize("stop_at", ["archive", "log", "history"])
def test_packing_stopped_anywhere_leaves_the_log_readable_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    log = write_log(tmp_path, CAGE, 100, 600)
    places, wiped = Places.of(tmp_path, CAGE), archive_log.wipe
    ended = (log / "checkpoint").stat().st_mtime_ns

    class Stop(Exception):
        pass

    def stop(path: Path, how: How) -> None:
        if stop_at != path.name.partition(".")[2] and stop_at != "log":
            wiped(path, how)
            return
        if stop_at == "log":
            (path / "tile/entries/000").write_bytes(b"overwritten")
        raise Stop

    disk = Directory(tmp_path)
    assert not places.is_packed
    report = make_archive(places, PYTHON, listed(log))
    if stop_at != "archive":
        monkeypatch.setattr(archive_log, "wipe", stop)
        with pytest.raises(Stop):
            drop_directory(places, How())
        monkeypatch.undo()
    # Whoever reads now reads the archive, whatever has become of the directory.
    assert load_edge(disk, KEY, CAGE).root() == report.root
    assert read_entries(disk, CAGE, 299, 301, 600) == [
        encode_entry(Started(ts=i, pid=i)) for i in (299, 300)
    ]
    if not places.is_packed:
        assert make_archive(places, PYTHON, CageWord(size=report.size, root=report.root)) == report
    drop_directory(places, How())
    assert places.is_packed and sorted(path.name for path in log.parent.iterdir()) == ["audit.tar"]
    assert places.archive.stat().st_mtime_ns == ended
    (use,) = survey_cages(tmp_path / "cages")
    assert use.ended_ns == ended
    disk.close()


def test_a_bad_log_stays_as_it_is(tmp_path: Path) -> None:
    log = write_log(tmp_path, CAGE, 300)
    flip(log / "tile/entries/000")
    before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    with pytest.raises(LedgerError, match="TAMPERED"):
        make_archive(Places.of(tmp_path, CAGE), PYTHON, listed(log))
    assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before
    assert not Places.of(tmp_path, CAGE).archive.exists()


def test_kept_checkpoints_must_agree_before_they_go(tmp_path: Path) -> None:
    log = write_log(tmp_path, CAGE, 100, 600)
    flip(log.with_name("audit.history") / "100", -3)
    with pytest.raises(LedgerError, match="TAMPERED"):
        make_archive(Places.of(tmp_path, CAGE), PYTHON, listed(log))
