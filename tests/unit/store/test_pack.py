"""One archive for a finished log: other tools unpack it, it verifies as it is, and every byte of it is watched."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akiosd.errors import LedgerError
from akiosd.ledger.proof import verify_proof
from akiosd.ledger.report import Verdict
from akiosd.store.derive import pack_log, prove
from akiosd.store.fsck import fsck
from akiosd.store.pack import PackedLog
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
    assert packed == {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1 << 30))
def test_any_single_byte_change_is_noticed(archive: Path, position: int) -> None:
    original = archive.read_bytes()
    flip(archive, position)
    assert fsck(archive, VKEY).exit_code != 0
    archive.write_bytes(original)


def test_every_header_byte_is_watched(archive: Path) -> None:
    data = archive.read_bytes()
    for position in [*range(512), *range(1024, 1536), *range(len(data) - 600, len(data))]:
        changed = bytearray(data)
        changed[position] ^= 0x20
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


def test_a_bad_log_is_not_packed(tmp_path: Path) -> None:
    log = write_log(tmp_path, CAGE, 300)
    flip(log / "tile/entries/000")
    with pytest.raises(LedgerError, match="TAMPERED"):
        pack_log(log, tmp_path / "out.tar", VKEY)
    assert not (tmp_path / "out.tar").exists()
