"""``akiosctl ledger`` without a daemon: proofs, exports, pins, archives, from a log's files
alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from akiosctl.commands import run_verb
from akiosctl.hashing import HASHER
from akiosctl.pins import load_pin, pins_directory
from akiosd.errors import AkiosError
from akiosd.kernel.hashing import NATIVE
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.note import Vkey
from akiosd.ledger.sequencer import prepare
from akiosd.store.durable import Directory
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, publish_all
from akiosd.values.ids import LogId
from akiosd.values.records import Lost, Started, encode_entry
from tests.unit.store.test_fsck import flip

KEY = LedgerKey("akios/test", bytes(range(32)))
CAGE = LogId("c-000000000001")
ORIGIN = f"akios/test/{CAGE}"


class Log:
    """A log that grows, and the verbs on it."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str], word: bytes = b"") -> None:
        base.mkdir(exist_ok=True)
        self.path = base / directory(CAGE)
        self._base, self._capsys, self._edge, self._word = base, capsys, Edge(), word

    def grow(self, count: int) -> None:
        entries = [
            encode_entry(Started(ts=i + 1, pid=i))
            for i in range(self._edge.size, self._edge.size + count)
        ]
        entries[-1] = encode_entry(
            Lost(ts=10**18, count=1, why="x\n\x1b[31m" + self._word.decode())
        )
        disk = Directory(self._base)
        publication = prepare(CAGE, self._edge, Batch.of(entries))
        publish_all(disk, KEY, [publication], lambda heads: None)
        self._edge = publication.growth.edge
        disk.close()

    def __call__(self, *words: object) -> tuple[int, str]:
        code = run_verb(["ledger", *map(str, words)], "/nonexistent", False)
        return code, self._capsys.readouterr().out

    def here(self, verb: str, *words: object) -> tuple[int, str]:
        return self(verb, *words, "--dir", self.path)


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    log = Log(tmp_path / "state", capsys)
    log.grow(600)
    return log


def test_a_proof_is_verified_with_the_public_key_alone(log: Log, tmp_path: Path) -> None:
    proof = tmp_path / "p.tlog-proof"
    assert log.here("prove", 299, "--out", proof) == (0, "")
    vkey = log.here("keys")[1].strip()
    shutil.rmtree(log.path.parents[2])
    code, text = log("verify-proof", proof, "--vkey", vkey)
    assert code == 0 and "record 299" in text and "pid=299" in text
    (tmp_path / "key").write_text(vkey + "\n")
    code, text = log("verify-proof", proof, "--vkey", tmp_path / "key", "--json")
    found = json.loads(text)
    assert (code, found["verdict"], found["record"]["pid"], found["index"]) == (0, "OK", 299, 299)


def test_a_proof_without_a_key_or_with_another_is_untrusted(log: Log, tmp_path: Path) -> None:
    proof = tmp_path / "p"
    log.here("prove", 5, "--out", proof)
    assert log("verify-proof", proof)[0] == 4
    other = LedgerKey("akios/test", bytes(32)).vkey(CAGE)
    assert log("verify-proof", proof, "--vkey", other)[0] == 4
    assert log.here("pin")[0] == 0
    assert log("verify-proof", proof)[0] == 0


def test_every_changed_byte_of_a_proof_is_noticed(log: Log, tmp_path: Path) -> None:
    proof = tmp_path / "p"
    log.here("prove", 299, "--out", proof)
    good = proof.read_bytes()
    vkey = log.here("keys")[1].strip()
    for position in range(0, len(good), 3):
        bad = bytearray(good)
        bad[position] ^= 1
        proof.write_bytes(bad)
        assert log("verify-proof", proof, "--vkey", vkey)[0] in (1, 4), position
    proof.write_bytes(good)
    (tmp_path / "entry").write_bytes(b"something else")
    assert log("verify-proof", proof, "--vkey", vkey, "--entry", tmp_path / "entry")[0] == 1


def test_a_record_that_does_not_fit_is_written_beside(log: Log, tmp_path: Path) -> None:
    big = Log(tmp_path / "big", log._capsys, b"y" * 9000)
    big.grow(3)
    with pytest.raises(AkiosError, match="is larger than the"):
        big.here("prove", 2)
    assert big.here("prove", 2, "--out", tmp_path / "p", "--entry-out", tmp_path / "e")[0] == 0
    vkey = big.here("keys")[1].strip()
    assert big("verify-proof", tmp_path / "p", "--vkey", vkey)[0] == 1
    assert big("verify-proof", tmp_path / "p", "--vkey", vkey, "--entry", tmp_path / "e")[0] == 0


def test_export_gives_every_record_once_and_only_of_a_good_log(log: Log) -> None:
    code, text = log.here("export")
    lines = [json.loads(line) for line in text.splitlines()]
    assert code == 0 and [line["index"] for line in lines] == list(range(600))
    assert lines[7]["pid"] == 7 and lines[599]["kind"] == "lost"
    whole = json.loads(log.here("export", "--format", "json")[1])
    assert whole["records"] == lines and whole["verified"]["verdict"] == "OK"
    assert Vkey.parse(whole["vkey"]).name == ORIGIN and whole["checkpoint"].startswith(
        ORIGIN + "\n600\n"
    )
    tile = log.path / "tile/entries/001"
    data = bytearray(tile.read_bytes())
    data[100] ^= 1
    tile.write_bytes(data)
    with pytest.raises(AkiosError, match="TAMPERED"):
        log.here("export")


def test_stats_count_what_is_there(log: Log) -> None:
    found = json.loads(log.here("stats", "--json")[1])
    files = [path for path in log.path.rglob("*") if path.is_file()]
    entries = sum(
        json.loads(log.here("stats", "--json")[1])["kinds"][kind][0] for kind in ("started", "lost")
    )
    assert (found["size"], found["files"], entries, found["last_ts"]) == (
        600,
        len(files),
        600,
        10**18,
    )
    assert found["kinds"]["started"][0] == 599
    text = log.here("stats")[1]
    assert "started  599" in text and "\x1b" not in text


def test_checkpoint_and_keys_are_what_other_tools_read(log: Log) -> None:
    assert log.here("checkpoint")[1].encode() == (log.path / "checkpoint").read_bytes()
    assert json.loads(log.here("checkpoint", "--json")[1])["size"] == 600
    vkey = log.path.with_name("audit.vkey").read_text().strip()
    assert log.here("keys")[1] == vkey + "\n"
    assert log.here("keys", "--format", "policy")[1] == f"log {vkey}\nquorum none\n"


def test_a_pin_moves_forward_and_never_back(log: Log, tmp_path: Path) -> None:
    assert log.here("pin")[0] == 0
    assert (pins_directory().stat().st_mode & 0o777) == 0o700
    old = tmp_path / "old"
    shutil.copytree(log.path.parent, old)
    log.grow(50)
    assert json.loads(log.here("verify", "--json")[1])["anchored_to"] == "pin"
    assert log.here("pin")[0] == 0
    pinned = load_pin(ORIGIN)
    assert pinned == (log.path / "checkpoint").read_bytes()
    shutil.rmtree(log.path.parent)
    shutil.copytree(old, log.path.parent)
    assert log.here("verify")[0] == 2
    code, text = log.here("pin")
    assert (code, load_pin(ORIGIN)) == (2, pinned) and "ROLLBACK" in text
    fork = Log(tmp_path / "fork", log._capsys, b"other")
    fork.grow(700)
    code, text = fork.here("verify")
    assert code == 2 and "FORK" in text


def test_an_archive_stands_for_its_directory(log: Log, tmp_path: Path) -> None:
    archive = tmp_path / "audit.tar"
    assert log.here("pack", archive)[0] == 0
    vkey = log.here("keys")[1].strip()
    shutil.rmtree(log.path.parent)
    assert log("verify", "--dir", archive)[0] == 0
    assert log("verify", "--dir", archive, "--vkey", vkey)[0] == 0
    assert len(log("show", "--dir", archive, "--from", 590)[1].splitlines()) == 10
    assert len(log("export", "--dir", archive)[1].splitlines()) == 600
    assert log("prove", 3, "--dir", archive)[1].startswith("c2sp.org/tlog-proof@v1\n")


def test_an_escape_in_a_record_never_reaches_the_terminal(log: Log) -> None:
    for verb in ("show", "export", "stats"):
        text = log.here(verb)[1]
        assert "\x1b" not in text and "\nx" not in text


def test_what_is_not_there_is_said(log: Log, tmp_path: Path) -> None:
    for verb in ("export", "stats", "checkpoint", "pin", "keys"):
        with pytest.raises(AkiosError, match="no such log"):
            log(verb, "--dir", tmp_path / "none")
    assert log("verify", "--dir", tmp_path / "none")[0] == 3
    with pytest.raises(AkiosError, match="cannot be read"):
        log("verify-proof", tmp_path / "none")
    (tmp_path / "x").touch()
    assert log("verify-proof", tmp_path / "x")[0] == 1


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["prove", "1", "--out", "{base}/none/proof"], "none/proof"),
        (["prove", "1", "--entry-out", "{base}"], "{base}"),
        (["pack", "{base}/none/out.tar"], "none/out.tar.tmp"),
        (["verify", "--pin", "{base}/none"], "{base}/none"),
        (["verify", "--pin", "/dev/zero"], "/dev/zero"),
        (["verify", "--vkey", "{base}/none"], "{base}/none"),
        (["stats", "--vkey", "/dev/zero"], "/dev/zero"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    log: Log, tmp_path: Path, words: list[str], where: str
) -> None:
    with pytest.raises(AkiosError) as caught:
        log.here(*(word.format(base=tmp_path) for word in words))
    assert where.format(base=tmp_path) in caught.value.where


def test_a_damaged_archive_and_a_log_without_a_key_have_their_verdicts(
    log: Log, tmp_path: Path
) -> None:
    packed = tmp_path / "out.tar"
    assert log.here("pack", packed)[0] == 0
    flip(packed, 3)
    code, text = log("verify", "--dir", packed)
    assert code == 1 and "TAMPERED" in text and "first bad: byte 0" in text
    log.path.with_name("audit.vkey").unlink()
    assert log.here("verify")[0] == 4
    code, text = log.here("verify", "--host", tmp_path)
    assert code == 4 and "the host log is UNTRUSTED" in text


def test_without_the_native_hasher_the_same_is_found(log: Log) -> None:
    script = (
        "import sys; sys.modules['akiosd.kernel._shim'] = None\n"
        "from akiosctl import hashing\n"
        "from akiosd.ledger.merkle import PYTHON\n"
        "assert hashing.HASHER is PYTHON\n"
        "from akiosctl.commands import run_verb\n"
        f"sys.exit(run_verb(['ledger', 'verify', '--json', '--dir', {str(log.path)!r}], '/nonexistent', False))"
    )
    assert HASHER is NATIVE
    for damage in (lambda: None, lambda: flip(log.path / "tile/entries/001")):
        damage()
        plain = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert (plain.returncode, plain.stdout) == log.here("verify", "--json")


def test_tiles_are_made_again_from_whole_entries_only(log: Log) -> None:
    log.grow(700)
    before = {path: path.read_bytes() for path in log.path.rglob("*") if path.is_file()}
    (log.path / "tile/0/001").unlink()
    flip(log.path / "tile/0/003")
    flip(log.path / "tile/1/000.p/5")
    assert log.here("verify")[0] == 1
    code, out = log.here("verify", "--rebuild-tiles", "--json")
    assert (code, json.loads(out)["rebuilt"]) == (0, ["tile/0/001", "tile/0/003", "tile/1/000.p/5"])
    assert {path: path.read_bytes() for path in log.path.rglob("*") if path.is_file()} == before
    flip(log.path / "tile/entries/002")
    flip(log.path / "tile/0/003")
    damaged = {path: path.read_bytes() for path in log.path.rglob("*") if path.is_file()}
    with pytest.raises(AkiosError, match="do not lead to the signed hash"):
        log.here("verify", "--rebuild-tiles")
    assert {path: path.read_bytes() for path in log.path.rglob("*") if path.is_file()} == damaged
    with pytest.raises(AkiosError, match=r"name it with --dir|in a log's directory"):
        log("verify", "--rebuild-tiles")
