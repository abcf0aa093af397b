"""Old logs, cared for by akiosd itself: packed, destroyed, pruned, as its configuration says."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.test_ledger import as_json, ledger, make_cage

CONFIG = "ledger:\n  pack_after_s: 1\n  check_every_s: 1\n"


@pytest.fixture
def akios() -> Iterator[Daemon]:
    private = Daemon(config=CONFIG)
    try:
        yield private.start()
    finally:
        private.close()


def wait_for(akios: Daemon, kind: str, cage: str) -> None:
    """Until the host's log has a record of that kind about the cage."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for line in ledger(akios, "show", "--kind", kind, "--json").splitlines():
            if json.loads(line)["cage"] == cage:
                return
    raise AssertionError(f"no {kind} of {cage}")


def test_a_finished_log_is_packed_and_read_as_before(akios: Daemon, tmp_path: Path) -> None:
    cage = make_cage(akios, NOBODY, "true a-word-of-its-own")
    before = as_json(akios, "verify", cage)
    shown = ledger(akios, "show", cage)
    wait_for(akios, "cage_packed", cage)
    folder = akios.state / "cages" / cage
    # The record comes before the directory goes, and its key goes last.
    assert wait_until(lambda: [path.name for path in folder.glob("audit*")] == ["audit.tar"])
    for uid in (0, NOBODY):
        report = as_json(akios, "verify", cage, uid=uid)
        assert (report["verdict"], report["size"], report["root"]) == (
            "OK",
            before["size"],
            before["root"],
        )
        assert ledger(akios, "show", cage, uid=uid) == shown
        proof = tmp_path / f"proof{uid}"
        proof.write_text(ledger(akios, "prove", "1", cage, uid=uid))
        assert ledger(akios, "verify-proof", proof, "--vkey", report["vkey"])
        assert len(ledger(akios, "export", cage, uid=uid).splitlines()) == before["size"]
        assert as_json(akios, "stats", cage, uid=uid)["size"] == before["size"]
        assert as_json(akios, "checkpoint", cage, uid=uid)["root"] == before["root"]
    assert as_json(akios, "verify", cage)["anchored_to"] == "host log"
    assert as_json(akios, "verify", cage, "--dir", folder / "audit.tar")["verdict"] == "OK"
    akios.stop()
    akios.start()
    assert (
        as_json(akios, "verify", cage)["verdict"] == "OK" and ledger(akios, "show", cage) == shown
    )
    assert as_json(akios, "destroy", cage)["size"] == before["size"]
    assert not folder.exists() and as_json(akios, "verify", cage)["verdict"] == "DESTROYED"


def test_the_oldest_go_when_there_is_too_much(akios: Daemon) -> None:
    first = make_cage(akios)
    wait_for(akios, "cage_packed", first)
    akios.stop()
    akios.config.write_text(akios.config.read_text() + "  keep_bytes: 1\n")
    akios.start()
    # It ended today: it is spared, and whoever would fill the disk meanwhile is refused.
    assert wait_until(lambda: akios.run("true").returncode == 125)
    refused = akios.run("true").stderr
    assert "logs of the last 7 days take" in refused and "ledger.keep_bytes is 1 B" in refused
    told = json.loads(akios.ctl("doctor", "--json").stdout)
    assert ("ledger", "degraded") in [(one["layer"], one["status"]) for one in told["posture"]]
    (logs,) = [row for row in told["disk"] if row["setting"] == "ledger.keep_bytes"]
    assert logs["bytes"] > logs["bound"] == 1
    assert as_json(akios, "verify", first)["verdict"] == "OK"
    akios.config.write_text(akios.config.read_text() + "  spare_days: 0\n")
    assert akios.process is not None
    akios.process.send_signal(signal.SIGHUP)
    wait_for(akios, "cage_destroyed", first)
    assert as_json(akios, "verify", first)["verdict"] == "DESTROYED"
    assert as_json(akios, "verify")["exit_code"] == 0
    assert wait_until(lambda: akios.run("true").returncode == 0), "with room again it goes on"
