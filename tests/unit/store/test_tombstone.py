"""A host's log is believed under the key that is trusted, and what was asked of it is never passed
over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.note import Checkpoint, Vkey
from akiosd.ledger.report import Report, Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, publish_all
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import (
    CageBirth,
    CageDestroyed,
    CagePacked,
    DaemonStart,
    KeyEpoch,
    LogOpen,
    Record,
    Roots,
    Started,
    encode_entry,
)

CAGE, OTHER = LogId("c-000000000001"), LogId("c-000000000002")
TRUE, FORGER = LedgerKey("akios/test", bytes(range(32))), LedgerKey("akios/test", bytes(32))


def write(state: Path, log: LogId, key: LedgerKey, records: list[Record]) -> Checkpoint:
    """A log of these records; returns what its checkpoint says."""
    opened = LogOpen(ts=1, salt=bytes(32), public_key=key.public_key)
    publication = prepare(
        log, Edge(), Batch.of([encode_entry(record) for record in [opened, *records]])
    )
    state.mkdir(exist_ok=True)
    disk = Directory(state)
    publish_all(disk, key, [publication], lambda heads: None)
    disk.close()
    return Checkpoint(key.origin(log), publication.size, publication.root)


class Host:
    """A state directory with one cage's log and a host log that lists it."""

    def __init__(self, base: Path, key: LedgerKey, *more: Record) -> None:
        self.state = base
        self.cage = write(base, CAGE, key, [Started(ts=n, pid=n) for n in range(40)])
        roots = Roots(ts=2, roots=((CAGE, self.cage.size, self.cage.root),))
        write(base, HOST_LOG, key, [CageBirth(ts=1, cage=CAGE), roots, *more])

    @property
    def host(self) -> Path:
        return self.state / directory(HOST_LOG)

    @property
    def log(self) -> Path:
        return self.state / directory(CAGE)

    def verify(self, vkey: Vkey | None = None, **more: bytes) -> Report:
        return fsck(
            self.log,
            vkey,
            host=self.host,
            cage=CAGE,
            host_pin=more.get("host_pin"),
            pin=more.get("pin"),
        )


@pytest.fixture
def true(tmp_path: Path) -> Host:
    return Host(tmp_path / "true", TRUE)


def tombstone(size: int = 41, root: bytes = bytes(32)) -> CageDestroyed:
    return CageDestroyed(ts=3, cage=CAGE, size=size, root=root)


def put_host(host: Host, other: Host) -> None:
    """Another host's log in the place of this one's, its key beside it."""
    shutil.rmtree(host.host)
    shutil.copytree(other.host, host.host)
    shutil.copy(other.host.with_name("host.vkey"), host.host.with_name("host.vkey"))


@pytest.mark.parametrize(
    "vkey", [TRUE.vkey(CAGE), TRUE.vkey(HOST_LOG)], ids=["the cage's", "the host's"]
)
@pytest.mark.parametrize("gone", [True, False])
def test_a_tombstone_of_another_key_is_not_believed(
    true: Host, tmp_path: Path, vkey: Vkey, gone: bool
) -> None:
    put_host(true, Host(tmp_path / "forged", FORGER, tombstone()))
    if gone:
        shutil.rmtree(true.log)
    report = true.verify(vkey)
    assert (report.verdict, report.exit_code) == (Verdict.UNTRUSTED, 4), report
    assert "host log" in report.detail


@pytest.mark.parametrize(
    "vkey", [TRUE.vkey(CAGE), TRUE.vkey(HOST_LOG)], ids=["the cage's", "the host's"]
)
def test_one_of_the_trusted_key_is(tmp_path: Path, vkey: Vkey) -> None:
    """The control."""
    root = Host(tmp_path / "before", TRUE).cage.root
    host = Host(tmp_path / "true", TRUE, tombstone(root=root))
    shutil.rmtree(host.log)
    report = host.verify(vkey)
    assert (report.verdict, report.size, report.anchored_to) == (Verdict.DESTROYED, 41, "host log")


def test_a_tombstone_beside_a_log_of_another_key_is_not_believed_without_a_key_either(
    true: Host, tmp_path: Path
) -> None:
    put_host(true, Host(tmp_path / "forged", FORGER))
    report = true.verify()
    assert (
        report.verdict is Verdict.UNTRUSTED
        and "none of those that the host's log names" in report.detail
    )


def test_a_rotated_key_is_followed_and_a_tombstone_under_it_believed(tmp_path: Path) -> None:
    newer = TRUE.next(bytes([7]) * 32)
    host = Host(tmp_path / "true", TRUE)
    epoch = newer.epochs[-1]
    naming = KeyEpoch(ts=3, epoch=2, public_key=epoch.public_key, certified_by=epoch.certified_by)
    rewrite(host, newer, [CageBirth(ts=1, cage=CAGE), naming, tombstone()])
    shutil.rmtree(host.log)
    assert host.verify(TRUE.vkey(CAGE)).verdict is Verdict.DESTROYED
    assert host.verify(FORGER.vkey(CAGE)).verdict is Verdict.UNTRUSTED


def rewrite(host: Host, key: LedgerKey, records: list[Record]) -> None:
    """The host's log anew, begun by the first key and signed by ``key``."""
    shutil.rmtree(host.host)
    opened = LogOpen(ts=1, salt=bytes(32), public_key=TRUE.public_key)
    publication = prepare(
        HOST_LOG, Edge(), Batch.of([encode_entry(record) for record in [opened, *records]])
    )
    disk = Directory(host.state)
    publish_all(disk, key, [publication], lambda heads: None)
    disk.close()


# What is done to the state directory, without its key, and the verdict on the cage's log with the
# host's asked.
HOST_LOG_TABLE: dict[str, tuple[Callable[[Host], object], Verdict]] = {
    "nothing": (lambda host: None, Verdict.OK),
    "spoilt checkpoint": (
        lambda host: (host.host / "checkpoint").write_bytes(b"x"),
        Verdict.TAMPERED,
    ),
    "no checkpoint": (lambda host: (host.host / "checkpoint").unlink(), Verdict.INCOMPLETE),
    "no host log": (lambda host: shutil.rmtree(host.host), Verdict.INCOMPLETE),
    "no cage log": (lambda host: shutil.rmtree(host.log), Verdict.INCOMPLETE),
    "a host log that does not know it": (
        lambda host: rewrite(host, TRUE, [DaemonStart(ts=1, version="1")]),
        Verdict.INCOMPLETE,
    ),
}


@pytest.mark.parametrize("key", [None, TRUE.vkey(HOST_LOG)], ids=["no key", "the host's key"])
@pytest.mark.parametrize("case", HOST_LOG_TABLE)
def test_a_host_log_that_was_asked_and_does_not_answer_is_a_verdict(
    true: Host, case: str, key: Vkey | None
) -> None:
    change, verdict = HOST_LOG_TABLE[case]
    change(true)
    report = true.verify(key)
    assert report.verdict is verdict, report


def test_a_host_log_cut_back_is_told_by_its_own_pin(true: Host, tmp_path: Path) -> None:
    pin = (true.host / "checkpoint").read_bytes()
    assert true.verify(TRUE.vkey(CAGE), host_pin=pin).verdict is Verdict.OK
    rewrite(true, TRUE, [])
    report = true.verify(TRUE.vkey(CAGE), host_pin=pin)
    assert report.verdict is Verdict.ROLLBACK and "host log" in report.detail


def test_a_pin_and_a_tombstone_must_agree(true: Host, tmp_path: Path) -> None:
    pin = (true.log / "checkpoint").read_bytes()
    key = TRUE.vkey(CAGE)
    for size, root, verdict in (
        (true.cage.size, true.cage.root, Verdict.DESTROYED),
        (true.cage.size, bytes(32), Verdict.FORK),
        (true.cage.size - 1, bytes(32), Verdict.ROLLBACK),
        (true.cage.size + 1, bytes(32), Verdict.DESTROYED),
    ):
        rewrite(true, TRUE, [CageBirth(ts=1, cage=CAGE), tombstone(size, root)])
        assert true.verify(key, pin=pin).verdict is verdict, size


# What the host's log says of a log on disk after it has listed another; each is signed by the
# host's own key.
SAID_LATER: dict[str, Callable[[Checkpoint], Record]] = {
    "destroyed": lambda now: tombstone(now.size, now.root),
    "packed": lambda now: CagePacked(ts=3, cage=CAGE, size=now.size, root=now.root),
    "listed": lambda now: Roots(ts=3, roots=((CAGE, now.size, now.root),)),
}
# The log that is there → the verdict; it was listed with 41 entries.
THERE: dict[str, tuple[range, Verdict]] = {
    "the same": (range(40), Verdict.OK),
    "a shorter one": (range(30), Verdict.ROLLBACK),
    "another one": (range(1, 41), Verdict.FORK),
}


@pytest.mark.parametrize("said", SAID_LATER)
@pytest.mark.parametrize("there", THERE)
def test_no_later_record_takes_back_what_the_hosts_log_listed(
    tmp_path: Path, said: str, there: str
) -> None:
    """An akiosd that believed what it found on disk may have signed that record."""
    state = tmp_path / "state"
    numbers, verdict = THERE[there]
    listed = write(tmp_path / "before", CAGE, TRUE, [Started(ts=n, pid=n) for n in range(40)])
    now = write(state, CAGE, TRUE, [Started(ts=n, pid=n) for n in numbers])
    roots = Roots(ts=2, roots=((CAGE, listed.size, listed.root),))
    write(state, HOST_LOG, TRUE, [CageBirth(ts=1, cage=CAGE), roots, SAID_LATER[said](now)])
    if (said, there) == ("destroyed", "the same"):
        verdict = Verdict.DESTROYED
    report = fsck(
        state / directory(CAGE), TRUE.vkey(HOST_LOG), host=state / directory(HOST_LOG), cage=CAGE
    )
    assert report.verdict is verdict


def test_logs_that_changed_places_are_told_even_with_their_keys(true: Host) -> None:
    write(true.state, OTHER, TRUE, [Started(ts=1, pid=1)])
    a, b = (true.state / "cages" / name for name in (CAGE, OTHER))
    a.rename(true.state / "x")
    b.rename(a)
    (true.state / "x").rename(b)
    for vkey in (None, TRUE.vkey(HOST_LOG)):
        report = fsck(a / "audit", vkey)
        assert report.verdict is Verdict.UNTRUSTED, report
