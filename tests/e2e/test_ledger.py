"""The ledger of a real daemon: proofs, keys, destruction, retention, for root and for an ordinary
user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon


@pytest.fixture(scope="module")
def akios() -> Iterator[Daemon]:
    private = Daemon()
    try:
        yield private.start()
    finally:
        private.close()


def ledger(akios: Daemon, *words: str | Path, uid: int = 0, code: int = 0) -> str:
    env = {"XDG_STATE_HOME": str(akios.base / "pins")} if uid == 0 else {}
    options = akios.as_user(uid)
    done = akios.ctl(
        "ledger", *words, uid=uid, env={**options.get("env", {"PATH": "/usr/bin:/bin"}), **env}
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return str(done.stdout) + (str(done.stderr) if code else "")


def as_json(akios: Daemon, *words: str | Path, uid: int = 0, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ledger(akios, *words, "--json", uid=uid, code=code))
    return found


def make_cage(akios: Daemon, uid: int = 0, command: str = "cat /etc/hostname") -> str:
    """Run a cage; its name."""
    report = akios.report("sh", "-c", command, uid=uid)
    return str(report["cage"])


def test_an_ordinary_user_verifies_proves_and_exports_what_is_theirs(
    akios: Daemon, tmp_path: Path
) -> None:
    cage = make_cage(akios, NOBODY)
    report = as_json(akios, "verify", cage, uid=NOBODY)
    assert (report["verdict"], report["size"]) == (
        "OK",
        as_json(akios, "stats", cage, uid=NOBODY)["size"],
    )
    lines = [json.loads(line) for line in ledger(akios, "export", cage, uid=NOBODY).splitlines()]
    assert [line["index"] for line in lines] == list(range(report["size"])) and lines[1][
        "kind"
    ] == "birth"
    proof = tmp_path / "proof"
    proof.write_text(ledger(akios, "prove", "1", cage, uid=NOBODY))
    vkey = ledger(akios, "keys", cage).strip()
    found = as_json(akios, "verify-proof", proof, "--vkey", vkey)
    assert found["record"]["kind"] == "birth" and found["record"]["cage"] == cage
    assert as_json(akios, "verify", cage)["anchored_to"] == "host log"
    for words in (
        ["verify"],
        ["export", "host"],
        ["rotate-key"],
        ["destroy", cage],
        ["prune", "--max-size", "0"],
    ):
        assert ledger(akios, *words, uid=NOBODY, code=125)
    assert ledger(akios, "verify", cage, uid=OTHER, code=125)


def test_a_pin_follows_the_log(akios: Daemon) -> None:
    assert "pinned" in ledger(akios, "pin")
    make_cage(akios)
    assert as_json(akios, "verify")["anchored_to"] == "pin"


def test_rotation(akios: Daemon) -> None:
    before, cage = as_json(akios, "keys")["vkey"], make_cage(akios)
    ledger(akios, "verify", cage)
    running = akios.popen(
        "run", "--workspace", akios.workspace(), "--", "sh", "-c", "cat; true", stdin=-1
    )
    try:
        after = as_json(akios, "rotate-key")["vkey"]
        assert after != before and as_json(akios, "keys")["vkey"] == after
        assert as_json(akios, "verify", "--vkey", before)["vkey"] == after
    finally:
        running.communicate(timeout=300)
    assert as_json(akios, "verify", cage)["verdict"] == "OK"
    later = make_cage(akios)
    akios.stop()
    akios.start()
    for name in ("", cage, later):
        assert as_json(akios, "verify", *([name] if name else []))["verdict"] in (
            "OK",
            "OK-RECOVERED",
        )


def test_destruction_leaves_its_record_and_nothing_else(akios: Daemon) -> None:
    secret = "correct-horse-battery-staple"
    cage = make_cage(akios, command=f"true {secret}")
    assert secret in ledger(akios, "show", cage)
    report = as_json(akios, "verify", cage)
    done = as_json(akios, "destroy", cage)
    assert (done["size"], done["root"], done["spared"]) == (report["size"], report["root"], [])
    assert done["files"] >= 3 and done["bytes"] > 0
    assert not (akios.state / "cages" / cage).exists()
    for path in [*(akios.state / "ledger").rglob("*"), *(akios.state / "cages").rglob("*")]:
        # The disks of other cages are sparse gigabytes that never held it.
        if path.is_file() and path.name != "disk.img":
            assert secret.encode() not in path.read_bytes(), path
    gone = as_json(akios, "verify", cage)
    assert (gone["verdict"], gone["size"], gone["root"]) == (
        "DESTROYED",
        report["size"],
        report["root"],
    )
    host = akios.state / "ledger/host"
    assert "DESTROYED" in ledger(
        akios, "verify", cage, "--dir", akios.state / "cages" / cage / "audit", "--host", host
    )
    assert "no such log" in ledger(akios, "destroy", cage, code=125)


def test_a_running_cage_and_one_with_changes_are_not_destroyed(akios: Daemon) -> None:
    cage = make_cage(akios, command="echo x > file")
    assert "wait to be committed" in ledger(akios, "destroy", cage, code=125)
    assert akios.ctl("discard", cage).returncode == 0
    assert "destroyed" in ledger(akios, "destroy", cage)


def test_prune_takes_the_oldest(akios: Daemon) -> None:
    cages = [make_cage(akios) for _ in range(3)]
    for cage in cages:
        ledger(akios, "verify", cage)
    would = as_json(akios, "prune", "--max-size", "0", "--dry-run")
    assert set(cages) <= set(would["cages"])
    assert as_json(akios, "prune", "--older-than", "1d")["cages"] == []
    done = as_json(akios, "prune", "--max-size", "0", "--fast")
    assert set(cages) <= set(done["cages"])
    assert all(as_json(akios, "verify", cage)["verdict"] == "DESTROYED" for cage in cages)
    assert as_json(akios, "verify")["exit_code"] == 0
