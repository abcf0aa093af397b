"""What a user keeps of logs is asked for again: cosignatures, their number, and which host was met
where.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from akiosctl import pins
from akiosctl.client import DaemonError
from akiosctl.ledger_source import LogSource, refused
from akiosctl.pins import pins_directory
from akiosd.errors import AkiosError
from akiosd.ledger.note import Signer
from akiosd.ledger.proof import TlogProof
from akiosd.ledger.report import Report
from akiosd.ledger.witness import WitnessKey, cosignature_line, cosigned_message, witnesses_of
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory
from akiosd.values.ids import HOST_LOG
from akiosd.values.records import CageBirth, CageDestroyed, Record, Roots, Started
from tests.unit.client import test_ledger_verbs
from tests.unit.client.test_ledger_verbs import CAGE, KEY, ORIGIN, Log
from tests.unit.client.witness_server import Server, Witness
from tests.unit.store.test_fsck import flip
from tests.unit.store.test_tombstone import write

ABSENT = WitnessKey("absent.example/w", Signer("absent.example/w", bytes([8]) * 32).vkey.public_key)


def ask(log: Log, server: Server) -> None:
    assert log.here("witness", server.url, "--witness-key", server.witness.key)[0] == 0


def verify(log: Log, *words: object) -> tuple[int, str]:
    code, text = log.here("verify", "--json", *words)
    return code, str(json.loads(text)["anchored_to"])


def kept(suffix: str) -> Path:
    return pins_directory() / (ORIGIN.replace("/", "%2F") + suffix)


def test_a_cosignature_that_is_asked_for_must_be_there(log: Log, server: Server) -> None:
    key = server.witness.key
    assert verify(log) == (0, "nothing")
    assert verify(log, "--witness-key", key)[0] == 4
    ask(log, server)
    log.grow(400)
    for words in ((), ("--witness-key", key)):
        assert verify(log, *words) == (0, f"pin, witness {key.name}")
    assert verify(log, "--witness-key", ABSENT)[0] == 4
    assert verify(log, "--witness-key", key, "--witness-key", ABSENT)[0] == 4


@pytest.mark.parametrize(("count", "code"), [("1", 0), ("any", 0), ("2", 4), ("all", 4)])
def test_a_policy_says_how_many(
    log: Log, server: Server, tmp_path: Path, count: str, code: int
) -> None:
    ask(log, server)
    policy = tmp_path / "policy"
    policy.write_text(
        f"log {KEY.vkey(CAGE)}\nwitness a {server.witness.key}\nwitness b {ABSENT}\ngroup g {count} a b\nquorum g\n"
    )
    assert verify(log, "--policy", policy)[0] == code
    proof = tmp_path / "proof"
    assert log.here("prove", 5, "--out", proof)[0] == 0
    assert log("verify-proof", proof, "--policy", policy)[0] == code


def test_two_witnesses_of_one_checkpoint_make_a_quorum(
    log: Log, server: Server, tmp_path: Path
) -> None:
    second = Witness(
        tmp_path / "second.json", KEY.vkey(CAGE), seed=bytes([9]) * 32, name="second.example/w"
    )
    other = Server(second)
    try:
        words = ("--witness-key", server.witness.key, "--also", other.url, second.key)
        assert log.here("witness", server.url, *words)[0] == 0
    finally:
        other.close()
    names = f"witness second.example/w and {server.witness.key.name}"
    assert verify(log, "--witness-key", server.witness.key, "--witness-key", second.key) == (
        0,
        f"pin, {names}",
    )
    assert verify(log) == (0, f"pin, {names}")
    lines = kept(".cosigned").read_text().splitlines(keepends=True)
    kept(".cosigned").write_text("".join(lines[:-1]))  # one of the two is missing
    kept("").write_text("".join(lines[:-1]))
    assert verify(log)[0] == 4


def test_a_kept_cosignature_is_looked_at_again_each_time(log: Log, server: Server) -> None:
    ask(log, server)
    assert log.here("pin")[0] == 0  # which moves on, and leaves the cosigned checkpoint
    good = kept(".cosigned").read_bytes()
    flip(kept(".cosigned"), len(good) - 20)
    code, _ = verify(log)
    assert code == 4
    kept(".cosigned").write_bytes(good.rsplit(b"\n", 2)[0] + b"\n")  # the cosignature cut off
    assert verify(log)[0] == 4
    kept(".cosigned").write_bytes(good)
    assert verify(log)[0] == 0


def test_a_log_rewritten_after_it_was_cosigned_is_a_fork(
    log: Log, server: Server, tmp_path: Path
) -> None:
    ask(log, server)
    for suffix in ("", ".vkey"):
        kept(suffix).unlink()  # all that is left is what the witness signed
    other = Log(tmp_path / "other", log._capsys, b"other")
    other.grow(700)
    assert other.here("verify", "--vkey", KEY.vkey(CAGE))[0] == 2
    assert verify(log)[0] == 0


def test_a_proof_carries_the_cosignatures_and_is_held_to_them(
    log: Log, server: Server, tmp_path: Path
) -> None:
    ask(log, server)
    log.grow(400)
    cosigned, fresh = tmp_path / "cosigned", tmp_path / "fresh"
    for index, out in ((5, cosigned), (299, cosigned), (450, fresh)):
        assert log.here("prove", index, "--out", out)[0] == 0
        given = witnesses_of(TlogProof.parse(out.read_bytes()).checkpoint, [server.witness.key])
        assert bool(given) is (out is cosigned), index
    vkey = KEY.vkey(CAGE)
    code, text = log("verify-proof", cosigned, "--vkey", vkey, "--witness-key", server.witness.key)
    assert code == 0 and f"witness {server.witness.key.name}" in text
    assert log("verify-proof", fresh, "--vkey", vkey)[0] == 0
    assert log("verify-proof", fresh, "--vkey", vkey, "--witness-key", server.witness.key)[0] == 4
    assert log("verify-proof", cosigned, "--vkey", vkey, "--witness-key", ABSENT)[0] == 4
    # The host's key, which is the same under another name, serves as well.
    assert (
        log("verify-proof", cosigned, "--vkey", KEY.vkey(test_ledger_verbs.LogId("host")))[0] == 0
    )


def another_host(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a host with another name and key in the place of the one that was there."""
    monkeypatch.setattr(test_ledger_verbs, "KEY", LedgerKey("akios/other", bytes([3]) * 32))
    other = Log(tmp_path / "elsewhere", log._capsys)
    other.grow(300)
    shutil.rmtree(log.path.parent)
    shutil.copytree(other.path.parent, log.path.parent)


def test_another_host_where_one_was_pinned_is_an_alarm(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log.here("pin")[0] == 0
    another_host(log, tmp_path, monkeypatch)
    for verb in ("verify", "pin"):
        code, text = log.here(verb)
        assert code == 4 and "akios/other" in text and "akios/test" in text, text
    # Whoever names the new key means it, and still is told: the place says another host.
    assert log.here("verify", "--vkey", test_ledger_verbs.KEY.vkey(CAGE))[0] == 4
    assert log.here("pin", "--renew")[0] == 0
    assert verify(log) == (0, "pin")


def test_where_nothing_was_pinned_another_host_is_none(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    another_host(log, tmp_path, monkeypatch)
    assert verify(log) == (0, "nothing")


def test_the_same_cage_of_another_host_in_another_place_is_an_alarm_too(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log.here("pin")[0] == 0
    another_host(log, tmp_path, monkeypatch)
    moved = tmp_path / "moved" / CAGE
    shutil.copytree(log.path.parent, moved)
    assert log("verify", "--dir", moved / "audit")[0] == 4


def test_a_key_that_was_pinned_counts_more_than_one_that_lies_beside(
    log: Log, tmp_path: Path
) -> None:
    assert log.here("pin")[0] == 0
    forger = LedgerKey(KEY.name, bytes([5]) * 32)
    note = (log.path / "checkpoint").read_text().partition("\n\n")[0] + "\n"
    (log.path / "checkpoint").write_bytes(forger.signer(CAGE).sign(note))
    log.path.with_name("audit.vkey").write_text(f"{forger.vkey(CAGE)}\n")
    shutil.rmtree(log.path.with_name("audit.history"), ignore_errors=True)
    assert log.here("verify")[0] == 4
    pins.forget(ORIGIN)
    assert log.here("verify")[0] == 0  # the control: nothing else tells it


def test_the_hosts_pinned_key_counts_for_its_other_logs(log: Log) -> None:
    """Nothing of this cage was kept, but its host is known: another key beside its log is not
    taken.
    """
    host = KEY.signer(test_ledger_verbs.LogId("host"))
    pins.save_pin(host.vkey, host.sign(f"{host.vkey.name}\n0\n{'A' * 43}=\n"))
    assert verify(log) == (0, "nothing")
    forger = LedgerKey(KEY.name, bytes([5]) * 32)
    note = (log.path / "checkpoint").read_text().partition("\n\n")[0] + "\n"
    (log.path / "checkpoint").write_bytes(forger.signer(CAGE).sign(note))
    log.path.with_name("audit.vkey").write_text(f"{forger.vkey(CAGE)}\n")
    shutil.rmtree(log.path.with_name("audit.history"), ignore_errors=True)
    assert verify(log)[0] == 4
    pins.forget(host.vkey.name)
    assert verify(log)[0] == 0  # the control


def test_a_log_that_was_pinned_and_that_akiosd_refuses_is_missing(log: Log) -> None:
    """A deleted cage has no owner any more, so nobody but root is told of it; who kept a checkpoint
    knows better.
    """
    error = DaemonError(f"no log {CAGE} for you", "ledger")
    with pytest.raises(DaemonError):
        refused(CAGE, error)
    assert log.here("pin")[0] == 0
    report = refused(CAGE, error)
    assert (report.exit_code, report.origin) == (3, ORIGIN) and "for you" in report.detail


# What is done to something that is kept.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"garbage\n"),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "empty": lambda path: path.write_bytes(b""),
    "too much": lambda path: path.write_bytes(b"x" * (2 << 20)),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to nothing of that kind": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "a loop of links": lambda path: (path.unlink(), path.symlink_to(path.name)),
}
KEPT = ("", ".vkey", ".cosigned", ".witnesses", "hosts")


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_kept_and_damaged_is_a_failed_verdict(
    log: Log, server: Server, what: str, damage: str
) -> None:
    """Never an OK, as if nothing had been kept, nor an error that says nothing of the log."""
    ask(log, server)
    assert verify(log)[0] == 0
    path = kept(what) if what != "hosts" else pins_directory() / "hosts"
    DAMAGE[damage](path)
    for words in ((), ("--witness-key", server.witness.key)):
        code, text = log.here("verify", "--json", *words)
        report = json.loads(text)
        assert (code, report["verdict"]) in ((3, "INCOMPLETE"), (4, "UNTRUSTED")), report
        said = f"{report['first_bad']} {report['detail']}"
        assert str(path) in said or "damaged" in said or "known checkpoints" in said, report
    before = os.lstat(path).st_ino
    try:
        assert log.here("pin")[0] in (3, 4)
    except AkiosError as error:
        assert error.where == str(path)
    assert os.lstat(path).st_ino == before, "nothing is put in its place"


def test_a_checkpoint_whose_witnesses_are_forgotten_is_no_anchor_that_may_go(
    log: Log, server: Server
) -> None:
    ask(log, server)
    kept(".witnesses").unlink()
    code, text = log.here("verify", "--json")
    assert (code, json.loads(text)["first_bad"]) == (3, str(kept(".witnesses")))


def test_another_log_of_the_state_directory_that_was_pinned_is_told_by_it(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All logs of a state directory are one host's, whichever of them was pinned."""
    assert log.here("pin")[0] == 0
    host = tmp_path / "state" / directory(HOST_LOG)
    monkeypatch.setattr(test_ledger_verbs, "KEY", LedgerKey("akios/other", bytes([3]) * 32))
    write(tmp_path / "state", HOST_LOG, test_ledger_verbs.KEY, [])
    code, text = log("verify", "--dir", host)
    assert code == 4 and "akios/other" in text and "akios/test" in text
    assert log("pin", "--renew", "--dir", host)[0] == 0
    assert log("verify", "--dir", host)[0] == 0
    assert log.here("verify")[0] == 4  # now that one is the stranger


@pytest.mark.parametrize(("at", "code"), [(3, 0), (2, 4), (1, 4)])
def test_witnesses_asked_for_a_cage_must_have_seen_the_hosts_log_list_it(
    log: Log, tmp_path: Path, server: Server, at: int, code: int
) -> None:
    """A cosigned checkpoint of the host's log that is older than the cage says nothing of it."""
    state, key = tmp_path / "two", KEY
    found = write(state, CAGE, key, [Started(ts=n, pid=n) for n in range(5)])
    records: list[Record] = [
        CageBirth(ts=1, cage=CAGE),
        Roots(ts=2, roots=((CAGE, found.size, found.root),)),
    ]
    cosigned = write(tmp_path / "older", HOST_LOG, key, records[: at - 1])
    write(state, HOST_LOG, key, records)
    vkey, witness = key.vkey(HOST_LOG), server.witness.key
    note = key.signer(HOST_LOG).sign(cosigned.text())
    signature = Signer(witness.name, bytes([7]) * 32).sign_bytes(
        cosigned_message(cosigned.text(), 1)
    )
    note += cosignature_line(witness, 1, signature).encode()
    pins.save_pin(vkey, note)
    pins.save_cosigned(vkey, note, [witness])
    words = (
        "verify",
        "--dir",
        state / directory(CAGE),
        "--host",
        state / directory(HOST_LOG),
        "--vkey",
        vkey,
    )
    got, text = log(*words, "--witness-key", witness, "--json")
    assert got == code, text
    assert log(*words)[0] == 0  # nothing was asked on the cage's behalf: the control
    tomb = CageDestroyed(ts=3, cage=CAGE, size=found.size, root=found.root)
    shutil.rmtree(state / directory(HOST_LOG))
    write(state, HOST_LOG, key, [*records, tomb])
    got, text = log(*words, "--witness-key", witness)
    assert (
        got == 4 and "destruction" in text
    )  # the one that holds the key may have made that up since
    assert log(*words)[0] == 0


@pytest.mark.parametrize("verb", ["pin", "witness"])
def test_a_log_put_back_after_it_was_verified_is_not_kept(
    log: Log, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Else whoever puts an older log there just then would take the anchor back with it."""
    older = tmp_path / "older"
    shutil.copytree(log.path, older)
    log.grow(300)
    ask(log, server)
    verified = LogSource.verify

    def verify_and_roll_back(self: LogSource) -> Report:
        report = verified(self)
        shutil.rmtree(log.path)
        shutil.copytree(older, log.path)
        return report

    monkeypatch.setattr(LogSource, "verify", verify_and_roll_back)
    words = {"pin": (), "witness": (server.url, "--witness-key", server.witness.key)}[verb]
    with pytest.raises(AkiosError, match="replaced after it was verified: it had 600 records then"):
        log.here(verb, *words)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    assert log.here("verify")[0] == 2


def test_up_to_where_an_anchor_vouches_is_said(log: Log, server: Server) -> None:
    ask(log, server)
    assert "anchored to: pin, witness" in log.here("verify")[1]
    log.grow(400)
    assert (
        f"anchored to: pin (up to 300), witness {server.witness.key.name} (up to 300)"
        in log.here("verify")[1]
    )
    sizes = [anchor["size"] for anchor in json.loads(log.here("verify", "--json")[1])["anchors"]]
    assert sizes == [300, 300]
