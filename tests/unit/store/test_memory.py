"""Verifying takes no more memory for a longer log: from its directory, its archive, and over the
socket.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from akiosctl.client import Client
from akiosctl.hashing import HASHER
from akiosctl.socket_log import SocketFiles
from akiosd.daemon.requests.serve_logs import list_files, read_file
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.report import Report, Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.ledger.tiles import WIDTH
from akiosd.ledger.verify import verify_log
from akiosd.store.archive_log import pack_log
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck, open_log_files
from akiosd.store.log_dir import directory, publish_all
from akiosd.wire.messages import ListLogFiles, Message, ReadLogFile
from tests.unit.store.test_fsck import CAGE, KEY

MIB = 1 << 20
ROOM = 40 * MIB


def write(state: Path, bundles: int, entry_bytes: int) -> Path:
    state.mkdir()
    disk, edge = Directory(state), Edge()
    step = min(bundles, 4 if entry_bytes > 1000 else 20)
    for number in range(0, bundles, step):
        first, last = number * WIDTH, (number + step) * WIDTH
        entries = [i.to_bytes(8, "big").ljust(entry_bytes, b"x") for i in range(first, last)]
        publication = prepare(CAGE, edge, Batch.of(entries), HASHER)
        publish_all(disk, KEY, [publication], lambda heads: None)
        edge = publication.growth.edge
    disk.close()
    return state / directory(CAGE)


def over_the_socket(path: Path) -> Report:
    return verify_log(SocketFiles(InPlace(path), CAGE), KEY.vkey(CAGE), (), HASHER)


class InPlace(Client):
    """The daemon's answers, without a daemon between."""

    def __init__(self, path: Path) -> None:
        self._folder = path

    def call(
        self, message: Message, answer: type[Any], fds: Sequence[int] = ()
    ) -> tuple[Any, list[int]]:
        if isinstance(message, ReadLogFile):
            return read_file(self._folder, message.path, message.start), []
        assert isinstance(message, ListLogFiles)
        return list_files(self._folder, message.start), []


def verify(how: str, path: Path) -> Report:
    if how == "socket":
        return over_the_socket(path)
    return fsck(
        path if how == "directory" else path.with_name("audit.tar"), KEY.vkey(CAGE), hasher=HASHER
    )


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 MiB of entries."""
    log = write(tmp_path_factory.mktemp("big") / "state", 12, 24 * 1024)
    pack_log(log, log.with_name("audit.tar"), KEY.vkey(CAGE), HASHER)
    return log


SCRIPT = """
import resource, sys
from pathlib import Path
from tests.unit.store.test_memory import ROOM, verify
how, path = sys.argv[1], Path(sys.argv[2])
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
if how == "held":
    held = [file.read_bytes() for file in path.rglob("*") if file.is_file()]
else:
    print(verify(how, path).verdict)
"""


@pytest.mark.parametrize("how", ["directory", "archive", "socket", "held"])
def test_a_log_larger_than_memory_allows(big: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how, str(big)], capture_output=True, text=True
    )
    if how == "held":  # the control: holding it does not fit
        assert done.returncode == 1 and "MemoryError" in done.stderr, done
    else:
        assert (done.returncode, done.stdout) == (0, "OK\n"), done


@pytest.mark.parametrize("how", ["directory", "archive", "socket"])
def test_four_times_the_entries_take_the_same(tmp_path: Path, how: str) -> None:
    peaks = []
    for bundles in (60, 240):
        log = write(tmp_path / str(bundles), bundles, 24)
        if how == "archive":
            pack_log(log, log.with_name("audit.tar"), KEY.vkey(CAGE), HASHER)
        tracemalloc.start()
        assert verify(how, log).verdict is Verdict.OK
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A batch of leaf hashes is the most that is held at once; the longer log has 1.5 MiB more.
    assert peaks[1] < peaks[0] + 320 * 1024, peaks


def test_what_comes_over_the_socket_is_the_log(tmp_path: Path) -> None:
    log = write(tmp_path / "state", 260, 24)
    remote = SocketFiles(InPlace(log), CAGE)
    with open_log_files(log) as reader:
        assert sorted(remote.files()) == sorted(reader.files())
        for path in remote.files():
            if path != "checkpoint" and not path.startswith("tile/0/"):
                assert remote.read(path, MAX_BUNDLE_BYTES) == reader.read(path, MAX_BUNDLE_BYTES), (
                    path
                )
        for path in ("tile/0/000", "tile/0/259", "tile/0/100"):
            assert remote.read(path, MAX_BUNDLE_BYTES) == reader.read(path, MAX_BUNDLE_BYTES), path
