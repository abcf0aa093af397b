"""akios-ledger(5): its records are those there are, and its verifier verifies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from akiosd.kernel.hashing import NATIVE
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.note import Vkey
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.store.archive_log import pack_from
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, publish_all
from akiosd.store.log_files import LogFiles
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import LogOpen, Started, encode_entry
from tests.unit.describe_records import PAGE, renewed
from tests.unit.store.test_fsck import flip

CAGE = LogId("c-000000000001")
OLD = LedgerKey("akios/0123456789abcdef", bytes(32))
NEW = OLD.next(bytes([1]) * 32)
STRANGER = LedgerKey(OLD.name, bytes([2]) * 32)
SIZES = (1, 255, 256, 257, 700)


def test_the_records_are_those_there_are() -> None:
    text = PAGE.read_text()
    assert text == renewed(text), "write it again: python -m tests.unit.describe_records"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier as it stands in the page."""
    text = PAGE.read_text().partition(".SH VERIFIER")[2].partition(".EX\n")[2].partition(".EE\n")[0]
    for roff, plain in (("\\&", ""), ("\\-", "-"), ("\\(aq", "'"), ("\\e", "\\")):
        text = text.replace(roff, plain)
    assert sum(bool(line) for line in text.splitlines()) <= 50
    path = tmp_path_factory.mktemp("verifier") / "verify-log"
    path.write_text(text)
    return path


def exported(base: Path, size: int, signer: LedgerKey = OLD, lister: LedgerKey = NEW) -> Path:
    """A log signed by one key of the host, and the list of its keys as another one signs it."""
    base.mkdir()
    disk = Directory(base)
    opened = LogOpen(ts=1, salt=bytes(32), public_key=signer.public_key)
    records = [opened, *(Started(ts=n, pid=n) for n in range(1, size))]
    batch = Batch.of([encode_entry(record) for record in records])
    publish_all(disk, signer, [prepare(CAGE, Edge(), batch)], lambda heads: None)
    disk.close()
    out = base / "log.tar"
    with LogFiles(base / directory(CAGE)) as reader:
        pack_from(reader, out, signer.vkey(CAGE), NATIVE, lister.key_list())
    return out


def unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", target], check=True)


def run(program: Path, log: Path, vkey: Vkey) -> tuple[int, str]:
    command = [sys.executable, "-I", str(program), str(log), str(vkey)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("size", SIZES)
def test_the_verifier_of_the_page_verifies(program: Path, tmp_path: Path, size: int) -> None:
    archive = exported(tmp_path / "state", size)
    for vkey in (OLD.vkey(CAGE), OLD.vkey(HOST_LOG), NEW.vkey(HOST_LOG)):
        assert run(program, archive, vkey) == (0, f"OK {OLD.name}/{CAGE} {size}\n")
        assert fsck(archive, vkey).exit_code == 0
    assert run(program, archive, STRANGER.vkey(HOST_LOG))[0] != 0
    assert fsck(archive, STRANGER.vkey(HOST_LOG)).exit_code == 4
    unpack(archive, tmp_path / "unpacked")
    assert run(program, tmp_path / "unpacked", NEW.vkey(HOST_LOG))[0] == 0


@pytest.mark.parametrize(
    "part", ["tile/entries/001", "tile/entries/002.p/188", "checkpoint", "../host.keys"]
)
def test_it_finds_what_was_changed(program: Path, tmp_path: Path, part: str) -> None:
    unpack(exported(tmp_path / "state", 700), tmp_path / "unpacked")
    path = tmp_path / "unpacked/audit" / part
    shutil.copy(path, tmp_path / "good")
    for position in (4, path.stat().st_size // 2, path.stat().st_size - 6):
        flip(path, position)
        assert run(program, tmp_path / "unpacked", NEW.vkey(HOST_LOG))[0] != 0, position
        shutil.copy(tmp_path / "good", path)
    path.unlink()
    code = run(program, tmp_path / "unpacked", NEW.vkey(HOST_LOG))[0]
    assert code != 0, "of this log the new key knows nothing by itself"


def test_what_tar_unpacked_is_verified_by_any_key_of_the_host_as_the_archive_is(
    tmp_path: Path,
) -> None:
    """The list of its keys lies beside it; another one there, or none, makes nobody trusted."""
    unpack(exported(tmp_path / "state", 300), tmp_path / "unpacked")
    log = tmp_path / "unpacked/audit"
    for key, verdict in ((OLD, Verdict.OK), (NEW, Verdict.OK), (STRANGER, Verdict.UNTRUSTED)):
        assert fsck(log, key.vkey(HOST_LOG)).verdict is verdict
    for junk in (STRANGER.key_list(), b"x", None):
        (tmp_path / "unpacked/host.keys").unlink()
        if junk is not None:
            (tmp_path / "unpacked/host.keys").write_bytes(junk)
        assert fsck(log, OLD.vkey(HOST_LOG)).verdict is Verdict.OK
        assert fsck(log, NEW.vkey(HOST_LOG)).verdict is Verdict.UNTRUSTED
        (tmp_path / "unpacked/host.keys").touch()
