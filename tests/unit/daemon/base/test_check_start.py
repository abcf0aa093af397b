"""``akiosd --check`` finds what a start refuses: each line of the table is refused by both."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from akiosd.daemon.base import check_start, host_faults
from akiosd.daemon.base.check_start import describe_state, find_refusals
from akiosd.daemon.base.config import Config
from akiosd.daemon.base.directories import make_runtime, make_state
from akiosd.daemon.base.exposed_keys import refuse_exposed_keys
from akiosd.daemon.base.host_faults import in_words, is_fault
from akiosd.daemon.base.uids import CageUids
from akiosd.daemon.sockets.serve_clients import open_unix_listener
from akiosd.errors import AkiosError
from akiosd.kernel import cgroup, probe
from akiosd.store.durable import Directory
from akiosd.store.keys import load_key, make_key
from akiosd.store.lock import StateLock


class Place:
    """A state directory with keys, a runtime directory, and their configuration."""

    def __init__(self, base: Path) -> None:
        self.state, self.run = base / "state", base / "run"
        make_state(self.state)
        make_runtime(self.run)
        disk = Directory(self.state)
        make_key(disk, os.urandom)
        disk.close()
        (self.state / "lock").touch()
        self.provider = self.state / "keys" / "providers" / "openai"
        self.provider.parent.mkdir(mode=0o700)
        self.config = msgspec.structs.replace(
            Config(), state_dir=str(self.state), runtime_dir=str(self.run)
        )

    def start(self) -> None:
        """What a start does before it serves, in its order."""
        probe.refuse_old_kernel()
        make_state(self.state)
        refuse_exposed_keys(self.state)
        make_runtime(self.run)
        disk = Directory(self.state)
        try:
            load_key(disk)
        finally:
            disk.close()
        CageUids(self.state / "next-uid", 1, 2)
        cgroup.find_layout(Path("/proc/self/mountinfo").read_text())
        trio.run(self._listen)

    async def _listen(self) -> None:
        for name in ("control.sock", "events.sock"):
            await (await open_unix_listener(str(self.run / name))).aclose()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def damage_key(place: Place) -> None:
    (place.state / "keys/ledger.key").write_bytes(b"PRIVATE+KEY+x")


def replace_run(place: Place) -> None:
    for name in place.run.iterdir():
        name.unlink()
    place.run.rmdir()
    place.run.touch()


def lengthen_run(place: Place) -> None:
    place.run = place.run / ("long" * 25)
    place.config = msgspec.structs.replace(place.config, runtime_dir=str(place.run))


# What is wrong → what is said of it.
WRONG: dict[str, tuple[Callable[[Place], object], str]] = {
    "key readable by others": (
        lambda place: (place.state / "keys/ledger.key").chmod(0o644),
        r"users other than root may reach a private key \(mode 0644\)",
    ),
    "directory of keys open": (
        lambda place: (place.state / "keys").chmod(0o750),
        r"users other than root may reach a private key \(mode 0750\)",
    ),
    "provider's key readable": (
        lambda place: (place.provider.touch(), place.provider.chmod(0o640)),
        "mode 0640",
    ),
    "link among the keys": (
        lambda place: place.provider.symlink_to("/etc/hostname"),
        "there is a symbolic link among the private keys",
    ),
    "damaged key": (damage_key, "the signing key is damaged"),
    "counter of ids": (lambda place: (place.state / "next-uid").write_text("x"), "holds no number"),
    "state that others write": (lambda place: place.state.chmod(0o777), "users other than root"),
    "sockets that others make": (lambda place: place.run.chmod(0o777), "users other than root"),
    "a file for the runtime directory": (replace_run, "it is not a directory"),
    "a path too long for a socket": (lengthen_run, "the kernel takes 107"),
    "a file for the socket": (
        lambda place: ((place.run / "events.sock").unlink(), (place.run / "events.sock").touch()),
        "another file is where the socket would be",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), WRONG.values(), ids=WRONG)
def test_what_a_start_refuses_is_found_before(
    place: Place, spoil: Callable[[Place], object], says: str
) -> None:
    assert list(find_refusals(place.config)) == [], "control"
    place.start()
    spoil(place)
    with pytest.raises(AkiosError, match=says) as refused:
        place.start()
    assert str(refused.value) in [str(found) for found in find_refusals(place.config)]


def test_a_socket_that_is_served_is_found_unless_by_who_has_the_state(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place.run / "control.sock"))
        server.listen(0)
        with pytest.raises(AkiosError, match="another akiosd serves this socket"):
            place.start()
        (found,) = find_refusals(place.config)
        assert found.what == "another akiosd serves this socket"
        lock = StateLock(place.state)
        try:
            assert list(find_refusals(place.config)) == []
            assert describe_state(place.state) == f"in use by akiosd, process {os.getpid()}"
        finally:
            lock.release()
    # What a dead daemon left is in nobody's way.
    assert list(find_refusals(place.config)) == [] and describe_state(place.state) == "OK"
    place.start()


@contextmanager
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As statvfs(2) says of a file system that is mounted so; mounting one needs more than a unit
    test has.
    """
    real = os.statvfs("/")

    class Numbers:
        f_flag = real.f_flag | os.ST_RDONLY

    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda path: Numbers)
        yield


def test_a_read_only_file_system_is_named(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = msgspec.structs.replace(place.config, state_dir=str(tmp_path / "no" / "state"))
    assert list(find_refusals(absent)) == []
    with read_only(monkeypatch):
        told = [error.what for error in find_refusals(place.config)]
        assert told == ["its file system is mounted read-only"] * 2
        told = [error.what for error in find_refusals(absent)]
        assert told[0] == "it cannot be made: Read-only file system"


def test_every_provider_whose_key_is_no_key_is_named(place: Place) -> None:
    place.provider.write_bytes(b"\xff\n")
    place.provider.chmod(0o600)
    (found,) = find_refusals(place.config)
    assert "key of openai" in found.what


def test_an_old_kernel_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_start.probe, "kernel_version", lambda: (5, 18))
    assert [error.next for error in find_refusals(place.config)] == ["run a newer kernel"]


def test_faults_of_the_host_are_told_in_words_and_others_keep_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "relative")
    assert is_fault(full) and not is_fault(OSError(errno.EBADF, "x")) and not is_fault(KeyError())
    told = in_words(full, tmp_path)
    assert (told.what, told.where) == ("No space left on device", str(tmp_path))

    class Numbers:
        f_files, f_favail = 4096, 0

    monkeypatch.setattr(host_faults.os, "statvfs", lambda path: Numbers)
    assert "all 4096 inodes of its file system are used" in in_words(full, tmp_path).what
    mine = AkiosError("a", "b", "c")
    assert in_words(mine, tmp_path) is mine
