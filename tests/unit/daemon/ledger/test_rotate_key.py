"""Key epochs: rotation under way, stopped anywhere, and verdicts on keys that sign what they must
not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import trio

from akiosd.daemon.ledger import rotate_key
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.prune import prune_host_log
from akiosd.errors import LedgerError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.key_list import KEY_LIST_PATH, MAX_EPOCHS, open_key_list
from akiosd.ledger.note import Checkpoint, Vkey, is_signed_by, open_note
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.store import keys
from akiosd.store.durable import Directory, RegionFile
from akiosd.store.fsck import fsck
from akiosd.store.keys import KEY_PATH, NEXT_PATH, LedgerKey, load_key
from akiosd.store.log_dir import directory, publish_all
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import End, KeyEpoch, LogOpen, Started, encode_entry
from tests.unit.daemon.ledger.test_append import (
    CAGE,
    LOG,
    host_records,
    killed_at_the_end,
    open_here,
    running,
    started,
)
from tests.unit.store.proofs import prove

OTHER = CageId("c-000000000002")
FIRST = LedgerKey("akios/test", bytes(32))
SECOND = FIRST.next(bytes([1]) * 32)
THIRD = SECOND.next(bytes([2]) * 32)


def key_of(state: Path) -> LedgerKey:
    disk = Directory(state)
    key = load_key(disk)
    disk.close()
    assert key is not None
    return key


def signer_of(state: Path, log: LogId) -> int:
    """The epoch whose key signed the log's checkpoint."""
    note = (state / directory(log) / "checkpoint").read_bytes()
    key = key_of(state)
    return next(
        e.number
        for e, v in zip(key.epochs, reversed(key.vkeys(log)), strict=True)
        if is_signed_by(note, v)
    )


def check_all(state: Path, logs: list[LogId]) -> None:
    for log in logs:
        report = fsck(
            state / directory(log), host=None if log == HOST_LOG else state / directory(HOST_LOG)
        )
        assert report.exit_code == 0, (log, report)


async def test_a_rotation_with_open_closed_and_finished_logs(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        finished = ledger.open_log(CageId("c-000000000009"))
        ledger.append(finished, End(ts=1, exit_code=0))
        ledger.close_log(finished)
        await ledger.publish(finished)
        old = ledger.vkey(HOST_LOG)
        log, closed = ledger.open_log(CAGE), ledger.open_log(OTHER)
        ledger.append_many(log, [started(i) for i in range(300)])
        await ledger.commit(closed, End(ts=1, exit_code=0))
        ledger.close_log(closed)
        assert await ledger.rotate_key() == 2
        assert ledger.vkey(HOST_LOG) != old
        later = ledger.open_log(CageId("c-000000000003"))
        await ledger.commit(log, started(1))
        await ledger.publish(later)
        epochs = [record for record in await host_records(ledger) if isinstance(record, KeyEpoch)]
        assert [record.epoch for record in epochs] == [1, 2]
        assert (await ledger.checkpoint(finished))[1] != (await ledger.checkpoint(log))[1]
    assert [signer_of(tmp_path, name) for name in (HOST_LOG, LOG, closed, later, finished)] == [
        2,
        2,
        2,
        2,
        1,
    ]
    check_all(tmp_path, [HOST_LOG, LOG, closed, later, finished])
    # The key beside each log is the one that signs it, for tools that know nothing of rotations.
    for name in (HOST_LOG, LOG, closed, later, finished):
        path = tmp_path / directory(name)
        beside = Vkey.parse(path.with_name(path.name + ".vkey").read_text())
        assert is_signed_by((path / "checkpoint").read_bytes(), beside), name
    # Whoever trusts the old key follows to the new one, and takes no other.
    assert fsck(tmp_path / directory(HOST_LOG), old).verdict is Verdict.OK
    report = fsck(tmp_path / directory(LOG), Vkey(f"{key_of(tmp_path).name}/{LOG}", old.public_key))
    assert (report.verdict, report.vkey) == (Verdict.OK, str(key_of(tmp_path).vkey(LOG)))
    async with running(open_here(tmp_path)) as again:
        assert again.interrupted == [LOG, later]
        assert await again.rotate_key() == 3
    check_all(tmp_path, [HOST_LOG, LOG, closed, later, finished])
    assert [signer_of(tmp_path, name) for name in (LOG, closed)] == [3, 2]


async def test_a_log_born_later_is_trusted_through_the_host_log(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        old = ledger.vkey(LOG)
        old_host = ledger.vkey(HOST_LOG)
        await ledger.rotate_key()
        await ledger.publish(ledger.open_log(CAGE))
    path, host = tmp_path / directory(LOG), tmp_path / directory(HOST_LOG)
    key_list = (tmp_path / KEY_LIST_PATH).read_bytes()
    assert (
        fsck(path, old).verdict is Verdict.OK
    )  # by the list of the host's keys, where a state directory has it
    (tmp_path / KEY_LIST_PATH).unlink()
    assert fsck(path, old).verdict is Verdict.UNTRUSTED
    assert fsck(path, old_host, key_list=key_list).verdict is Verdict.OK
    assert fsck(path, old, host=host, host_key=old_host).verdict is Verdict.OK


class Stop(Exception):
    """Where the daemon is killed."""


STEPS = [
    "save_next",
    "after save_next",
    "install_next",
    "after install_next",
    "name",
    "publish",
    "done",
]


class Watched(Directory):
    """A disk that stops before its operation number ``stop_at`` on a key, and that keeps what names
    no longer show.
    """

    def __init__(self, root: Path, stop_at: int = -1) -> None:
        super().__init__(root)
        self._left = stop_at

    def _step(self) -> None:
        if self._left == 0:
            raise Stop
        self._left -= 1

    def link(self, source: str, target: str) -> None:
        self._step()
        super().link(source, target)

    def replace(self, source: str, target: str) -> None:
        self._step()
        super().replace(source, target)

    def remove(self, path: str) -> None:
        self._step()
        super().remove(path)

    def sync(self, files: Iterable[str], dirs: Iterable[str]) -> None:
        self._step()
        super().sync(files, dirs)

    def open_region(self, path: str) -> RegionFile:
        self._step()
        return super().open_region(path)


@pytest.mark.parametrize("stop_at", range(9))
def test_the_old_private_key_is_overwritten_wherever_it_stopped(
    tmp_path: Path, stop_at: int
) -> None:
    disk = Directory(tmp_path)
    old = keys.make_key(disk, os.urandom)
    new = old.next(os.urandom(32))
    keys.save_next(disk, new)
    held = os.open(tmp_path / KEY_PATH, os.O_RDONLY)  # what remains of its blocks
    secret = (tmp_path / KEY_PATH).read_bytes()
    with contextlib.suppress(Stop):
        keys.install_next(Watched(tmp_path, stop_at))
    keys.drop_old(disk)  # the next start
    if (tmp_path / NEXT_PATH).exists():
        assert load_key(disk) == old and os.pread(held, 4096, 0) == secret
        keys.install_next(disk)
    assert load_key(disk) == new
    assert os.pread(held, 4096, 0) == bytes(len(secret)), "the old private key is still on the disk"
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["ledger.key"]
    os.close(held)
    disk.close()


def test_a_key_that_never_signed_is_overwritten_too(tmp_path: Path) -> None:
    disk = Directory(tmp_path)
    keys.save_next(disk, keys.make_key(disk, os.urandom).next(os.urandom(32)))
    held = os.open(tmp_path / NEXT_PATH, os.O_RDONLY)
    keys.drop_next(disk)
    assert not (tmp_path / NEXT_PATH).exists() and set(os.pread(held, 4096, 0)) == {0}
    os.close(held)
    disk.close()


@pytest.mark.parametrize("stop_at", STEPS)
async def test_a_rotation_stopped_anywhere_happened_or_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    def stopping(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            if stop_at == name:
                raise Stop
            result = real(*arguments)
            if stop_at == f"after {name}":
                raise Stop
            return result

        return step

    async with killed_at_the_end(open_here(tmp_path)) as ledger:
        log, closed = ledger.open_log(CAGE), ledger.open_log(OTHER)
        await ledger.commit(log, started(1))
        await ledger.publish(log)
        await ledger.commit(log, started(2))
        await ledger.commit(closed, End(ts=1, exit_code=0))
        ledger.close_log(closed)
        real_name = rotate_key.KeyRing.name_key

        def name_key(self: rotate_key.KeyRing, log: LogId, after: int) -> int:
            if stop_at == "name" and log != HOST_LOG:
                raise Stop
            return real_name(self, log, after)

        async def publish(log: LogId) -> None:
            raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(rotate_key, "save_next", stopping("save_next", keys.save_next))
            patch.setattr(rotate_key, "install_next", stopping("install_next", keys.install_next))
            patch.setattr(rotate_key.KeyRing, "name_key", name_key)
            if stop_at == "publish":
                patch.setattr(ledger, "publish", publish)
            try:
                await ledger.rotate_key()
            except Stop:
                pass
            else:
                assert stop_at == "done"
    async with running(open_here(tmp_path)) as again:
        happened = stop_at not in ("save_next", "after save_next")
        assert again.vkey(LOG).public_key == key_of(tmp_path).public_key
        if stop_at == "name":  # what this run appended to finish it was not found there
            assert (again.recovered_size(LOG), again.size(LOG)) == (3, 4)
        assert len(key_of(tmp_path).epochs) == (2 if happened else 1)
        assert not (tmp_path / NEXT_PATH).exists()
        await again.commit(LOG, started(3))
    check_all(tmp_path, [HOST_LOG, LOG, closed])
    assert [signer_of(tmp_path, name) for name in (HOST_LOG, LOG)] == [
        len(key_of(tmp_path).epochs)
    ] * 2
    async with running(open_here(tmp_path)) as last:
        await last.rotate_key()
    check_all(tmp_path, [HOST_LOG, LOG, closed])


async def test_rotations_while_records_pour_in(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)

        async def pour() -> None:
            while True:
                await ledger.wait_room()
                ledger.append_many(log, [started(i) for i in range(50)])
                await ledger.publish(log)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour)
            for epoch in range(2, 6):
                assert await ledger.rotate_key() == epoch
            nursery.cancel_scope.cancel()
    check_all(tmp_path, [HOST_LOG, LOG])


def test_the_key_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    disk = Directory(tmp_path)
    disk.make_dirs("keys", 0o700)
    for key in (FIRST, SECOND, THIRD):
        keys.save_next(disk, key)
        if key is FIRST:
            disk.replace(NEXT_PATH, KEY_PATH)
        else:
            keys.install_next(disk)
        assert load_key(disk) == key
        assert (tmp_path / KEY_PATH).stat().st_mode & 0o777 == 0o600
        assert "seed" not in repr(key)
    data = (tmp_path / KEY_PATH).read_bytes()
    for position in range(len(data)):
        bad = bytearray(data)
        bad[position] ^= 1
        (tmp_path / KEY_PATH).write_bytes(bad)
        try:
            found = load_key(disk)
        except LedgerError:
            continue
        # Certificates are checked where they count, in the log; nothing else may change unnoticed.
        assert found is not None and (found.seed, found.name) == (THIRD.seed, THIRD.name), position
    disk.close()


def write(state: Path, entries: list[bytes], key: LedgerKey) -> Path:
    disk = Directory(state)
    publish_all(disk, key, [prepare(LOG, Edge(), Batch.of(entries))], lambda heads: None)
    disk.close()
    return state / directory(LOG)


def opened(key: LedgerKey) -> bytes:
    return encode_entry(LogOpen(ts=1, salt=bytes(32), public_key=key.public_key))


def naming(key: LedgerKey) -> bytes:
    epoch = key.epochs[-1]
    return encode_entry(
        KeyEpoch(
            ts=1, epoch=epoch.number, public_key=epoch.public_key, certified_by=epoch.certified_by
        )
    )


A = encode_entry(Started(ts=1, pid=1))
IMPOSTOR = LedgerKey(
    "akios/test", bytes([9]) * 32, FIRST.epochs, FIRST.next(bytes([1]) * 32).certified_by
)
REPLAYED = LedgerKey("akios/else", bytes(32)).next(bytes([1]) * 32)

# The entries, who signs their checkpoint, which key is trusted, and the verdict.
TABLE: dict[str, tuple[list[bytes], LedgerKey, LedgerKey, Verdict]] = {
    "one key": ([opened(FIRST), A], FIRST, FIRST, Verdict.OK),
    "rotated": ([opened(FIRST), A, naming(SECOND), A], SECOND, FIRST, Verdict.OK),
    "rotated twice": ([opened(FIRST), naming(SECOND), A, naming(THIRD)], THIRD, FIRST, Verdict.OK),
    "the middle key trusted": (
        [opened(FIRST), naming(SECOND), A, naming(THIRD)],
        THIRD,
        SECOND,
        Verdict.OK,
    ),
    "the newest key trusted": ([opened(FIRST), naming(SECOND), A], SECOND, SECOND, Verdict.OK),
    "an old range signed by a newer key": ([opened(FIRST), A], SECOND, SECOND, Verdict.UNTRUSTED),
    "an old range signed by a newer key, old trusted": (
        [opened(FIRST), A],
        SECOND,
        FIRST,
        Verdict.UNTRUSTED,
    ),
    "a new range signed by the old key": (
        [opened(FIRST), naming(SECOND), A],
        FIRST,
        FIRST,
        Verdict.UNTRUSTED,
    ),
    "a range between signed by the third": (
        [opened(FIRST), naming(SECOND), A],
        THIRD,
        FIRST,
        Verdict.UNTRUSTED,
    ),
    "a key nobody certified": (
        [opened(FIRST), naming(IMPOSTOR), A],
        IMPOSTOR,
        FIRST,
        Verdict.UNTRUSTED,
    ),
    "a key nobody certified, itself trusted": (
        [opened(FIRST), naming(IMPOSTOR)],
        IMPOSTOR,
        IMPOSTOR,
        Verdict.TAMPERED,
    ),
    "a certificate of another host": (
        [opened(FIRST), naming(REPLAYED)],
        SECOND,
        SECOND,
        Verdict.TAMPERED,
    ),
    "epochs backwards": (
        [opened(FIRST), naming(SECOND), naming(SECOND)],
        SECOND,
        SECOND,
        Verdict.TAMPERED,
    ),
    "an epoch left out": ([opened(FIRST), naming(THIRD)], THIRD, THIRD, Verdict.TAMPERED),
    "another log's key": ([opened(FIRST), A], FIRST, THIRD, Verdict.UNTRUSTED),
}


@pytest.mark.parametrize("case", TABLE)
def test_who_may_sign_what(tmp_path: Path, case: str) -> None:
    entries, signer, trusted, verdict = TABLE[case]
    signer = LedgerKey("akios/test", signer.seed)
    log = write(tmp_path, entries, signer)
    report = fsck(log, Vkey(f"akios/test/{LOG}", trusted.public_key))
    assert report.verdict is verdict, report


async def test_proofs_and_pins_over_a_rotation(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        await ledger.publish(HOST_LOG)
        shutil.copy(tmp_path / directory(HOST_LOG) / "checkpoint", tmp_path / "pin")
        old = ledger.vkey(HOST_LOG)
        await ledger.rotate_key()
    path, pin = tmp_path / directory(HOST_LOG), (tmp_path / "pin").read_bytes()
    report = fsck(path, old, pin)
    assert (report.verdict, report.anchored_to) == (Verdict.OK, "pin")
    assert fsck(path, Vkey.parse(report.vkey), pin).verdict is Verdict.OK
    prove(path, 0, Vkey.parse(report.vkey))
    forged = LedgerKey(key_of(tmp_path).name, bytes(32)).signer(HOST_LOG)
    text = open_note(pin, old)
    assert Checkpoint.parse(text).size > 0
    assert fsck(path, old, forged.sign(text)).verdict is Verdict.UNTRUSTED


async def test_a_next_key_that_does_not_follow_stops_the_start(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)):
        pass
    disk = Directory(tmp_path)
    keys.save_next(disk, SECOND)
    disk.close()
    with pytest.raises(LedgerError, match="does not belong to"):
        Ledger.open(tmp_path, lambda: 1, bytes)


def many_epochs(state: Path, count: int) -> None:
    """A state directory whose key is its ``count``-th, each certified by the one before; nothing
    but that is signed.
    """
    disk = Directory(state)
    key = key_of(state)
    for number in range(count - len(key.epochs)):
        key = key.next(number.to_bytes(32, "big"))
    keys.save_next(disk, key)
    keys.install_next(disk)
    disk.close()


async def test_the_last_key_that_there_is_room_for_stays(tmp_path: Path) -> None:
    """Its list, and a cut in the host's log, which names them all, are read by whoever trusts the
    first.
    """
    async with running(open_here(tmp_path)) as ledger:
        first = ledger.vkey(HOST_LOG)
    many_epochs(tmp_path, MAX_EPOCHS - 1)
    async with running(open_here(tmp_path)) as ledger:
        assert await ledger.rotate_key() == MAX_EPOCHS
        for _ in range(2):
            with pytest.raises(LedgerError, match=f"at most {MAX_EPOCHS} keys"):
                await ledger.rotate_key()
        assert len(open_key_list((tmp_path / KEY_LIST_PATH).read_bytes(), first)) == MAX_EPOCHS
        ledger.append_many(HOST_LOG, [started(1)] * 600)
        await ledger.publish(HOST_LOG)
        assert await prune_host_log(ledger, [], MAX_EPOCHS + 500, 1) > MAX_EPOCHS
        await ledger.publish(HOST_LOG)
        assert len(ledger.epochs) == MAX_EPOCHS
    assert fsck(tmp_path / directory(HOST_LOG), first).verdict is Verdict.OK
    async with running(open_here(tmp_path)) as ledger:
        assert len(ledger.epochs) == MAX_EPOCHS


@pytest.mark.parametrize("junk", [b"x" * (1 << 20), b"x", b""])
async def test_another_file_in_the_lists_place_is_written_over(tmp_path: Path, junk: bytes) -> None:
    async with running(open_here(tmp_path)) as ledger:
        wanted = ledger.key_list()
    (tmp_path / KEY_LIST_PATH).write_bytes(junk)
    async with running(open_here(tmp_path)) as ledger:
        await ledger.commit(HOST_LOG, started(1))
    assert (tmp_path / KEY_LIST_PATH).read_bytes() == wanted
