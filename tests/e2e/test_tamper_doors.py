"""The tamper table through every door: what is done to logs on disk, and the verdict each way of
looking must give.

Four columns: the files (``--dir``, with the host's log and key), the daemon asked by root, the
daemon asked by the cage's owner, who may read no file, and an archive that whoever tampered made of
what is left.  Attackers have no key, or the host's.  Everybody looks with what they kept before:
root a pin of the host's log, the owner one of the cage's, whoever gets the archive the cage's
checkpoint and the host's key.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from akiosctl.commands import run_verb
from akiosd.errors import AkiosError, LedgerError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.entries import entries_of
from akiosd.ledger.note import Checkpoint, parse_note
from akiosd.ledger.sequencer import prepare
from akiosd.store.archive_log import pack_log
from akiosd.store.durable import Directory
from akiosd.store.fsck import open_log_files
from akiosd.store.keys import LedgerKey, load_key
from akiosd.store.log_dir import directory, publish_all
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import CageDestroyed, encode_entry

from tests.e2e.daemon import NOBODY, REPO, Daemon

FORGER = bytes(range(32))
OWNER_SCRIPT = """
import contextlib, io, json, sys
from akiosctl.commands import run_verb
from akiosd.errors import AkiosError
for line in sys.stdin:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            code = run_verb(json.loads(line), sys.argv[1], False)
    except AkiosError as error:
        code, out = 125, io.StringIO(str(error))
    print(json.dumps([code, out.getvalue()]), flush=True)
"""


@dataclass
class Scene:
    """A daemon with two finished logs of one user, saved as they were, and what everybody kept of
    them.
    """

    akios: Daemon
    cage: LogId
    other: LogId
    saved: Path
    short: Path
    key: LedgerKey
    owner: subprocess.Popen[str]

    def path(self, log: LogId) -> Path:
        return self.akios.state / directory(log)

    @property
    def log(self) -> Path:
        return self.path(self.cage)

    @property
    def host(self) -> Path:
        return self.path(HOST_LOG)

    def restore(self) -> None:
        copy_logs(self.saved, self.akios.state)

    def entries(self, log: LogId) -> list[bytes]:
        with open_log_files(self.path(log)) as reader:
            note = (self.path(log) / "checkpoint").read_bytes()
            return list(entries_of(reader, Checkpoint.parse(parse_note(note).text).size))

    def rewrite(self, log: LogId, entries: list[bytes], seed: bytes) -> None:
        """The log anew, of these entries, signed with ``seed``; its public key beside it, no kept
        checkpoints.
        """
        key = LedgerKey(self.key.name, seed)
        scratch = self.akios.base / "scratch"
        scratch.mkdir()
        disk = Directory(scratch)
        publish_all(disk, key, [prepare(log, Edge(), Batch.of(entries))], lambda heads: None)
        disk.close()
        target = self.path(log)
        for suffix in ("", ".history"):
            shutil.rmtree(target.with_name(target.name + suffix), ignore_errors=True)
        shutil.copytree(scratch / directory(log), target)
        shutil.copy(scratch / f"{directory(log)}.vkey", target.with_name(target.name + ".vkey"))
        shutil.rmtree(scratch)

    # ---- the doors -------------------------------------------------------------------------------

    def files(self) -> str:
        words = ["verify", self.cage, "--dir", str(self.log), "--host", str(self.host)]
        return verdict(in_process(self, [*words, "--vkey", str(self.key.vkey(HOST_LOG))]))

    def root(self) -> str:
        return verdict(in_process(self, ["verify", self.cage]))

    def user(self) -> str:
        assert self.owner.stdin is not None and self.owner.stdout is not None
        self.owner.stdin.write(json.dumps(["ledger", "verify", self.cage, "--json"]) + "\n")
        self.owner.stdin.flush()
        return verdict(json.loads(self.owner.stdout.readline()))

    def archive(self) -> str:
        """Of what is left; "-" where nothing can be put into one."""
        out = self.akios.base / "carried.tar"
        out.unlink(missing_ok=True)
        try:
            with open_log_files(self.log) as reader:
                _pack_unseen(reader, out, self.key)
        except (OSError, LedgerError):
            return "-"
        words = ["verify", self.cage, "--dir", str(out), "--vkey", str(self.key.vkey(HOST_LOG))]
        return verdict(
            in_process(self, [*words, "--pin", str(self.akios.base / "carried.checkpoint")])
        )


def _pack_unseen(reader: Any, out: Path, key: LedgerKey) -> None:
    """An archive of a log whatever it holds: a forger verifies nothing."""
    from akiosd.ledger.bundle import MAX_BUNDLE_BYTES
    from akiosd.store.archive_format import pack

    log = LogId(out.name)
    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        pack(reader, key.vkey(log), MAX_BUNDLE_BYTES, fd, key.key_list())
    finally:
        os.close(fd)


def in_process(scene: Scene, words: list[str]) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = run_verb(["ledger", *words, "--json"], str(scene.akios.socket), False)
        except AkiosError as error:
            return 125, str(error)
    return code, out.getvalue()


def verdict(found: Any) -> str:
    code, text = found
    if code == 125:
        return f"125: {text}"
    report = json.loads(text)
    assert report["exit_code"] == code
    return str(report["verdict"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    akios = Daemon()
    mine, theirs = akios.base / "root-state", akios.base / "user-state"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(mine)
    try:
        yield _set_up(akios.start(), theirs)
    finally:
        os.environ.pop("XDG_STATE_HOME")
        if before is not None:
            os.environ["XDG_STATE_HOME"] = before
        akios.close()


def _set_up(akios: Daemon, theirs: Path) -> Scene:
    write = "for i in $(seq 300); do : > f$i; done; rm f*"
    running = akios.popen(
        *("run", "--json", "--workspace", akios.workspace(uid=NOBODY), "--"),
        *("sh", "-c", f"{write}; read x; {write}"),
        uid=NOBODY,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    cage = _wait_for_files(akios)
    short = akios.base / "short"
    assert akios.ctl("ledger", "verify", cage).returncode == 0  # publishes
    shutil.copytree(akios.state / directory(cage), short)
    assert Checkpoint.parse(parse_note((short / "checkpoint").read_bytes()).text).size > 256
    running.communicate("go\n", timeout=300)
    other = LogId(akios.report("true", uid=NOBODY)["cage"])
    for log in (cage, other):
        assert akios.ctl("ledger", "verify", log).returncode == 0
    disk = Directory(akios.state)
    key = load_key(disk)
    disk.close()
    assert key is not None
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER_SCRIPT, akios.socket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={"XDG_STATE_HOME": str(theirs), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPO)},
        cwd="/",
    )
    scene = Scene(akios, cage, other, akios.base / "saved", short, key, owner)
    shutil.copy(scene.log / "checkpoint", akios.base / "carried.checkpoint")
    assert in_process(scene, ["pin"])[0] == 0
    assert owner.stdin is not None and owner.stdout is not None
    owner.stdin.write(json.dumps(["ledger", "pin", cage, "--json"]) + "\n")
    owner.stdin.flush()
    assert json.loads(owner.stdout.readline())[0] == 0
    copy_logs(akios.state, scene.saved)
    return scene


def copy_logs(source: Path, target: Path) -> None:
    """The logs, what lies beside them, and whose they are, in the place of those there; not the
    cages' disks.
    """
    for folder in ("ledger", *(f"cages/{cage.name}" for cage in (target / "cages").glob("c-*"))):
        for path in [*(target / folder).glob("audit*"), *(target / folder).glob("host*")]:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for folder in ("ledger", *(f"cages/{cage.name}" for cage in (source / "cages").glob("c-*"))):
        (target / folder).mkdir(parents=True, exist_ok=True)
        for path in [
            *(source / folder).glob("audit*"),
            *(source / folder).glob("host*"),
            source / folder / "owner",
        ]:
            if path.is_dir():
                shutil.copytree(path, target / folder / path.name)
            elif path.exists():
                shutil.copy2(path, target / folder / path.name)


def _wait_for_files(akios: Daemon) -> LogId:
    """The running cage, once its first half is written: its agent then waits for a line."""
    from tests.e2e.resources import wait_until

    found: list[str] = []

    def half_done() -> bool:
        done = akios.ctl("--json", "ps", "--all")
        found[:] = [str(cage["cage"]) for cage in json.loads(done.stdout or "[]")]
        if not found:
            return False
        shown = akios.ctl("ledger", "show", found[0], "--json").stdout
        return shown.count('"unlinkat"') + shown.count('"unlink"') >= 300

    wait_until(half_done, 120)
    return LogId(found[0])


# ---- what is done --------------------------------------------------------------------------------


def flip(path: Path, position: int = 40) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1
    path.write_bytes(bytes(data))


def roll_back(scene: Scene) -> None:
    """As it was in the middle, signature and all."""
    shutil.rmtree(scene.log)
    shutil.rmtree(scene.log.with_name("audit.history"), ignore_errors=True)
    shutil.copytree(scene.short, scene.log)


def swap(scene: Scene) -> None:
    a, b = scene.log.parent, scene.path(scene.other).parent
    between = scene.akios.base / "between"
    between.mkdir()
    for source, target in ((a, between), (b, a), (between, b)):
        for path in source.glob("audit*"):
            path.rename(target / path.name)
    between.rmdir()


def changed(entries: list[bytes]) -> list[bytes]:
    """Another tree of the same size: an entry in the middle is another one's."""
    return [*entries[:300], entries[301], *entries[301:]]


def forge_tombstone(scene: Scene, seed: bytes, keep: bool = False) -> None:
    """The cage gone, and the host's log, with a record of its destruction behind all else, signed
    by ``seed``.
    """
    note = Checkpoint.parse(parse_note((scene.log / "checkpoint").read_bytes()).text)
    record = CageDestroyed(ts=1, cage=scene.cage, size=note.size, root=note.root)
    scene.rewrite(HOST_LOG, [*scene.entries(HOST_LOG), encode_entry(record)], seed)
    if not keep:
        shutil.rmtree(scene.log.parent)


def new_world(scene: Scene, seed: bytes) -> None:
    """Both logs written anew, and alike: the host's lists the changed root as if it had always been
    so.
    """
    old = Checkpoint.parse(parse_note((scene.log / "checkpoint").read_bytes()).text)
    scene.rewrite(scene.cage, changed(scene.entries(scene.cage)), seed)
    new = Checkpoint.parse(parse_note((scene.log / "checkpoint").read_bytes()).text)
    entries = scene.entries(HOST_LOG)
    scene.rewrite(HOST_LOG, [entry.replace(old.root, new.root) for entry in entries], seed)


def foreign_checkpoint(scene: Scene) -> None:
    found = Checkpoint.parse(parse_note((scene.log / "checkpoint").read_bytes()).text)
    signer = LedgerKey(scene.key.name, FORGER).signer(scene.cage)
    (scene.log / "checkpoint").write_bytes(signer.sign(found.text()))


def into_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


Change = Callable[[Scene], object]
ALL = ("files", "root", "user", "archive")

# What is done → the verdicts by files, by the daemon for root, for the owner, and of an archive.
WITHOUT_KEY: dict[str, tuple[Change, tuple[str, str, str, str]]] = {
    "nothing": (lambda s: None, ("OK",) * 4),
    "flip in a bundle": (lambda s: flip(s.log / "tile/entries/001"), ("TAMPERED",) * 4),
    "flip in a tile": (lambda s: flip(s.log / "tile/0/001"), ("TAMPERED",) * 4),
    "truncated bundle": (lambda s: os.truncate(s.log / "tile/entries/000", 999), ("TAMPERED",) * 4),
    "deleted bundle": (lambda s: (s.log / "tile/entries/001").unlink(), ("INCOMPLETE",) * 4),
    "deleted tile": (lambda s: (s.log / "tile/0/000").unlink(), ("INCOMPLETE",) * 4),
    "garbage for a checkpoint": (
        lambda s: (s.log / "checkpoint").write_bytes(b"x"),
        ("TAMPERED",) * 4,
    ),
    "no checkpoint": (lambda s: (s.log / "checkpoint").unlink(), ("INCOMPLETE",) * 4),
    "a foreign signature": (foreign_checkpoint, ("UNTRUSTED",) * 4),
    "a link in a tile's place": (
        lambda s: into_link(s.log / "tile/0/001"),
        ("TAMPERED", "TAMPERED", "TAMPERED", "-"),
    ),
    "a giant tile": (
        lambda s: os.truncate(s.log / "tile/0/001", 1 << 40),
        ("TAMPERED", "TAMPERED", "TAMPERED", "-"),
    ),
    "a foreign file": (lambda s: (s.log / "tile/0/notes").write_text("x"), ("TAMPERED",) * 4),
    "the log a file": (
        lambda s: (shutil.rmtree(s.log), s.log.write_text("x")),
        ("TAMPERED", "TAMPERED", "TAMPERED", "-"),
    ),
    "the log a link": (lambda s: into_link(s.log), ("TAMPERED", "TAMPERED", "TAMPERED", "-")),
    "rolled back": (roll_back, ("ROLLBACK",) * 4),
    "rolled back, the host's checkpoint spoilt": (
        lambda s: (roll_back(s), (s.host / "checkpoint").write_bytes(b"x")),
        ("TAMPERED", "TAMPERED", "ROLLBACK", "ROLLBACK"),
    ),
    "rolled back, the host's log gone": (
        lambda s: (roll_back(s), shutil.rmtree(s.host)),
        ("INCOMPLETE", "INCOMPLETE", "ROLLBACK", "ROLLBACK"),
    ),
    "two cages' logs swapped": (swap, ("UNTRUSTED",) * 4),
    "the cage deleted": (
        lambda s: shutil.rmtree(s.log.parent),
        ("INCOMPLETE", "INCOMPLETE", "INCOMPLETE", "-"),
    ),
    "the log deleted": (
        lambda s: shutil.rmtree(s.log),
        ("INCOMPLETE", "INCOMPLETE", "INCOMPLETE", "-"),
    ),
    "a tombstone forged": (
        lambda s: forge_tombstone(s, FORGER),
        ("UNTRUSTED", "UNTRUSTED", "INCOMPLETE", "-"),
    ),
    "a tombstone forged, the log left": (
        lambda s: forge_tombstone(s, FORGER, keep=True),
        ("UNTRUSTED", "UNTRUSTED", "OK", "OK"),
    ),
    "both logs written anew": (lambda s: new_world(s, FORGER), ("UNTRUSTED",) * 4),
}
WITH_KEY: dict[str, tuple[Change, tuple[str, str, str, str]]] = {
    "nothing": (lambda s: None, ("OK",) * 4),
    "flip in a bundle": (lambda s: flip(s.log / "tile/entries/001"), ("TAMPERED",) * 4),
    "cut back and signed": (
        lambda s: s.rewrite(s.cage, s.entries(s.cage)[:400], s.key.seed),
        ("ROLLBACK",) * 4,
    ),
    "an entry changed, signed": (
        lambda s: s.rewrite(s.cage, changed(s.entries(s.cage)), s.key.seed),
        ("FORK",) * 4,
    ),
    "both logs written anew": (lambda s: new_world(s, s.key.seed), ("FORK",) * 4),
    "the host's log cut back": (
        lambda s: s.rewrite(HOST_LOG, s.entries(HOST_LOG)[:3], s.key.seed),
        ("ROLLBACK", "ROLLBACK", "OK", "OK"),
    ),
    # The host's key may destroy.  Who kept a checkpoint of the cage and may not read the host's log
    # is not told that.
    "a tombstone added": (
        lambda s: forge_tombstone(s, s.key.seed),
        ("DESTROYED", "DESTROYED", "INCOMPLETE", "-"),
    ),
}


def look(scene: Scene, change: Change) -> tuple[str, ...]:
    change(scene)
    try:
        return tuple(getattr(scene, door)() for door in ALL)
    finally:
        scene.restore()


@pytest.mark.parametrize("case", WITHOUT_KEY)
def test_an_attacker_without_the_key(scene: Scene, case: str) -> None:
    change, expected = WITHOUT_KEY[case]
    assert look(scene, change) == expected


@pytest.mark.parametrize("case", WITH_KEY)
def test_an_attacker_with_the_key(scene: Scene, case: str) -> None:
    change, expected = WITH_KEY[case]
    assert look(scene, change) == expected


def test_with_the_key_and_nothing_kept_there_is_nothing_to_tell_it_by(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The control: it is the pins that tell, and as long as it runs the daemon, which remembers
    what it published.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    new_world(scene, scene.key.seed)
    try:
        assert (scene.files(), scene.root()) == ("OK", "FORK")
    finally:
        scene.restore()


def test_both_logs_rolled_back_to_what_they_once_were_are_told_by_the_daemon_without_a_pin(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    roll_back(scene)
    scene.rewrite(HOST_LOG, scene.entries(HOST_LOG)[:3], scene.key.seed)
    try:
        assert scene.root() == "ROLLBACK"
    finally:
        scene.restore()
    assert scene.root() == "OK"


def test_all_logs_are_held_against_the_hosts(scene: Scene) -> None:
    def all_of(*words: str) -> tuple[int, dict[str, str]]:
        code, text = in_process(scene, ["verify", "--all", *words])
        return code, {log: report["verdict"] for log, report in json.loads(text)["logs"].items()}

    state = str(scene.akios.state)
    doors: tuple[tuple[str, ...], ...] = (
        (),
        ("--dir", state),
        ("--dir", state, "--vkey", str(scene.key.vkey(HOST_LOG))),
    )
    good = {HOST_LOG: "OK", scene.cage: "OK", scene.other: "OK"}
    for door in doors:
        assert all_of(*door) == (0, good)
    stranger = LogId("c-00000000000s")
    shutil.copytree(scene.log, scene.path(stranger))
    shutil.rmtree(scene.path(scene.other).parent)
    flip(scene.log / "tile/0/001")
    try:
        for door in doors:
            assert all_of(*door) == (
                1,
                {**good, scene.cage: "TAMPERED", scene.other: "INCOMPLETE", stranger: "UNTRUSTED"},
            )
    finally:
        scene.restore()
    assert scene.akios.ctl("ledger", "verify", "--all", uid=NOBODY).returncode == 125
    cages = scene.akios.state / "cages"
    cages.rename(cages.with_name("away"))
    try:
        for door in doors:
            assert all_of(*door) == (
                3,
                {**good, scene.cage: "INCOMPLETE", scene.other: "INCOMPLETE"},
            )
    finally:
        cages.with_name("away").rename(cages)


def test_an_exported_archive_verifies_elsewhere_with_the_hosts_key(
    scene: Scene, tmp_path: Path
) -> None:
    """By root, and by the owner, who may read no file; every byte of it is watched."""
    for uid in (0, NOBODY):
        out = scene.akios.base / f"out-{uid}" / "log.tar"
        out.parent.mkdir()
        os.chown(out.parent, uid, uid)
        env = {
            **os.environ,
            "XDG_STATE_HOME": str(scene.akios.base / ("user-state" if uid else "root-state")),
        }
        words = ("ledger", "export", scene.cage, "--format", "archive", "--out", out)
        done = scene.akios.ctl(*words, uid=uid, env=env)
        assert done.returncode == 0, done.stderr
        carried = tmp_path / f"{uid}.tar"
        shutil.copy(out, carried)
        vkey = str(scene.key.vkey(HOST_LOG))
        assert verdict(in_process(scene, ["verify", "--dir", str(carried), "--vkey", vkey])) == "OK"
        stranger = str(LedgerKey(scene.key.name, FORGER).vkey(HOST_LOG))
        assert (
            verdict(in_process(scene, ["verify", "--dir", str(carried), "--vkey", stranger]))
            == "UNTRUSTED"
        )
        for position in range(0, carried.stat().st_size, carried.stat().st_size // 60):
            flip(carried, position)
            assert in_process(scene, ["verify", "--dir", str(carried), "--vkey", vkey])[0] in (
                1,
                3,
                4,
            ), position
            flip(carried, position)


PACKED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "OK"),
    "a flipped byte": (lambda path: flip(path, path.stat().st_size // 2), "TAMPERED"),
    "cut short": (lambda path: os.truncate(path, 4000), "TAMPERED"),
    "a link": (into_link, "TAMPERED"),
    "gone": (lambda path: path.unlink(), "INCOMPLETE"),
}


@pytest.mark.parametrize("case", PACKED)
def test_a_packed_log_is_judged_alike_by_every_door(scene: Scene, case: str) -> None:
    packed = scene.log.with_name("audit.tar")
    pack_log(scene.log, packed, scene.key.vkey(scene.cage))
    shutil.rmtree(scene.log)
    change, expected = PACKED[case]
    change(packed)
    words = ["verify", scene.cage, "--dir", str(packed), "--host", str(scene.host)]
    try:
        files = verdict(in_process(scene, [*words, "--vkey", str(scene.key.vkey(HOST_LOG))]))
        assert (files, scene.root(), scene.user()) == (expected,) * 3
    finally:
        packed.with_name("elsewhere").unlink(missing_ok=True)
        scene.restore()
