"""Backup and restore, by the very commands of packaging/OPERATIONS.md; and an old backup over a
newer log, which is noticed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from akiosd.daemon.ledger.seen import SEEN
from akiosd.ledger.note import Vkey
from tests.e2e.daemon import BIN, REPO, Daemon
from tests.unit.client.witness_server import Server, Witness

PAGE = REPO / "packaging" / "OPERATIONS.md"
SAID = "an older state was put in its place"


class Kept:
    """A daemon that was pinned and witnessed, and whose state can be backed up and restored."""

    def __init__(self, akios: Daemon) -> None:
        self.akios = akios
        self.backup = akios.base / "akios.tar"
        vkey = akios.ctl("ledger", "keys").stdout.strip()
        self.server = Server(Witness(akios.base / "witness.json", Vkey.parse(vkey)))

    def ledger(self, *words: str, code: int = 0, pins: str = "pins") -> str:
        env = {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(self.akios.base / pins)}
        done = self.akios.ctl("ledger", *words, env=env)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + (done.stderr if code else "")

    def verdict(self, *words: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ledger("verify", *words, "--json", code=code))
        return found

    def witness(self, code: int = 0, pins: str = "pins") -> str:
        key = str(self.server.witness.key)
        return self.ledger("witness", self.server.url, "--witness-key", key, code=code, pins=pins)

    def follow(self, block: str) -> None:
        """Run one block of the page on this daemon's directory; what systemd and the daemon do
        there, the caller does.
        """
        for line in commands(block):
            for theirs, ours in (
                ("/var/backups/akios.tar", self.backup),
                ("/var/lib/akios", self.akios.state),
            ):
                line = line.replace(theirs, str(ours))
            subprocess.run(["sh", "-ec", line], check=True, timeout=120)

    def start_fails(self) -> str:
        done = subprocess.run(
            [BIN / "akiosd", "--config", self.akios.config],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        return done.stderr


def commands(block: str) -> list[str]:
    text = PAGE.read_text()
    found = re.search(rf"^```sh {block}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    lines = [line.removeprefix("sudo ") for line in found[1].splitlines()]
    return [line for line in lines if line.split()[0] not in ("systemctl", "akiosd", "akiosctl")]


@pytest.fixture
def kept() -> Iterator[Kept]:
    akios = Daemon("pools: {userns: 1, disk_image_bytes: 268435456}\n").start()
    try:
        kept = Kept(akios)
        try:
            yield kept
        finally:
            kept.server.close()
    finally:
        akios.close()


def test_a_restore_into_an_empty_directory_goes_on_where_it_was(kept: Kept) -> None:
    akios = kept.akios
    workspace = akios.workspace()
    report = akios.report("sh", "-c", "echo kept > made", cwd=workspace)
    key = b"sk-proj-" + b"a" * 40
    assert akios.ctl("keys", "set", "openai", input=key.decode()).returncode == 0
    kept.ledger("pin")
    kept.witness()
    akios.stop()
    kept.follow("backup")
    kept.follow("restore")
    check = subprocess.run(
        [BIN / "akiosd", "--check", "--config", akios.config],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert check.returncode == 0, check.stderr
    akios.start()
    assert akios.run("true").returncode == 0
    found = kept.verdict()
    assert (found["verdict"], found["anchored_to"]) == ("OK", "pin, witness witness.example/w")
    assert ", 0 bad" in kept.ledger("verify", "--all")
    kept.witness()  # it saw the log before, and is given the proof that this one continues it
    assert "openai" in akios.ctl("keys", "list").stdout
    done = akios.ctl("commit", "--yes", str(report["cage"]), cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert (workspace / "made").read_text() == "kept\n"


def test_an_older_backup_is_noticed(kept: Kept) -> None:
    akios = kept.akios
    kept.ledger("pin")
    akios.stop()
    kept.follow("backup")
    akios.start()
    for _ in range(3):
        assert akios.run("true").returncode == 0
    kept.ledger("pin")
    kept.witness()
    akios.stop()
    size = int((akios.base / "run" / SEEN).read_text().splitlines()[1])
    assert size > 1
    # Over the newer files: they do not belong together.
    both = akios.base / "both"
    subprocess.run(["cp", "-a", akios.state, both], check=True)
    kept.follow("restore")
    older = akios.base / "older"
    akios.state.rename(older)
    both.rename(akios.state)
    subprocess.run(["tar", "-C", akios.state, "-xpf", kept.backup], check=True)
    assert re.search(r"does not list c-|was to be signed|was recorded|missing", kept.start_fails())
    # In the place of them, while the host is up: akiosd knows better.
    shutil.rmtree(akios.state)
    older.rename(akios.state)
    said = kept.start_fails()
    assert SAID in said and SEEN in said and "ROLLBACK" in said
    # After a reboot only those outside know.
    (akios.base / "run" / SEEN).unlink()
    akios.start()
    assert kept.verdict("--json", code=2)["verdict"] == "ROLLBACK"
    assert "the log is ROLLBACK" in kept.witness(code=125)
    assert "was rolled back" in kept.witness(code=125, pins="none"), "the witness by itself"
    for _ in range(8):
        assert akios.run("true").returncode == 0
    assert kept.verdict(code=2)["verdict"] == "FORK"
    assert "the log is FORK" in kept.witness(code=125)
    assert "the log is not what it was" in kept.witness(code=125, pins="none")
    assert kept.ledger("verify", "--all", code=2)


def test_keys_that_a_restore_left_open_keep_it_from_starting(kept: Kept) -> None:
    kept.akios.stop()
    kept.follow("backup")
    kept.follow("restore")
    (kept.akios.state / "keys" / "ledger.key").chmod(0o644)
    assert "users other than root may reach a private key" in kept.start_fails()
    os.chmod(kept.akios.state / "keys" / "ledger.key", 0o600)
    kept.akios.start()
