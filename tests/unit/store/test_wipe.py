"""Erasure: what is overwritten before it is unlinked, what is never touched, and what refuses the
whole wipe.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import LedgerError
from akiosd.store import wipe as module
from akiosd.store.survey import Found, survey
from akiosd.store.wipe import How, Wiped, data_extents, plan_wipe, spared_by, wipe

SECRET = b"the agent's own words" * 100


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A second look at a file that survives its unlinking: what its blocks hold afterwards."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def test_every_file_is_zero_when_its_name_goes(tmp_path: Path) -> None:
    target = tmp_path / "cage"
    (target / "audit/tile").mkdir(parents=True)
    files = [target / "a", target / "audit/b", target / "audit/tile/c"]
    for path in files:
        path.write_bytes(SECRET)
    with opened(files[0]) as a, opened(files[1]) as b, opened(files[2]) as c:
        assert wipe(target) == Wiped(3, 3 * len(SECRET))
        for fd in (a, b, c):
            assert os.pread(fd, 1 << 20, 0) == bytes(len(SECRET))
    assert os.listdir(tmp_path) == []


def test_the_order_of_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "cage"
    target.mkdir()
    (target / "a").write_bytes(SECRET)
    calls: list[str] = []
    real_pwrite, real_fsync, real_unlink, real_rmdir = os.pwrite, os.fsync, os.unlink, os.rmdir

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        calls.append("zeros" if not any(data) else "random")
        return real_pwrite(fd, data, offset)

    def fsync(fd: int) -> None:
        calls.append("fsync " + os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path))
        real_fsync(fd)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)

    def unlink(path: str, dir_fd: int | None = None) -> None:
        calls.append("unlink")
        real_unlink(path, dir_fd=dir_fd)

    def rmdir(path: str, dir_fd: int | None = None) -> None:
        calls.append("rmdir")
        real_rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "rmdir", rmdir)
    wipe(target, How(passes=2))
    assert calls == [
        *["random", "fsync cage/a"] * 2,
        *["zeros", "fsync cage/a", "unlink", "fsync cage", "rmdir", "fsync ."],
    ]


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_file_without_content_costs_no_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """The control is the same file with one byte: random, sync, zeros, sync."""
    target = tmp_path / "cage"
    target.mkdir()
    (target / "a").write_bytes(content)
    with (target / "hole").open("wb") as file:
        file.truncate(1 << 20)
    node, calls = (target / "a").stat().st_ino, list[str]()
    real_pwrite, real_fsync = os.pwrite, os.fsync

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        calls.append("zeros" if bytes(data) == bytes(len(data)) else "random")
        return real_pwrite(fd, data, offset)

    def fsync(fd: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISDIR(status.st_mode):
            calls.append("sync" if status.st_ino == node else "sync of another")
        real_fsync(fd)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    assert wipe(target, random=lambda size: b"r" * size) == Wiped(2, len(content))
    assert calls == (["random", "sync", "zeros", "sync"] if content else [])
    assert not target.exists()


def test_random_bytes_are_drawn_for_every_byte_and_pass(tmp_path: Path) -> None:
    target = tmp_path / "cage"
    target.mkdir()
    (target / "a").write_bytes(bytes(3 << 20))
    drawn: list[int] = []

    def draw(count: int) -> bytes:
        drawn.append(count)
        return os.urandom(count)

    wipe(target, How(passes=3), draw)
    assert sum(drawn) == 3 * (3 << 20)
    assert max(drawn) <= 1 << 20  # a huge file is never held in memory


def test_fast_only_unlinks(tmp_path: Path) -> None:
    target = tmp_path / "cage"
    target.mkdir()
    (target / "a").write_bytes(SECRET)
    with opened(target / "a") as fd:
        assert wipe(target, How(fast=True)) == Wiped(1, 0)
        assert os.pread(fd, 1 << 20, 0) == SECRET
    assert not target.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "file").write_bytes(SECRET)
    target = tmp_path / "cage"
    target.mkdir()
    (target / "to-file").symlink_to(outside / "file")
    (target / "to-dir").symlink_to(outside)
    (target / "dangling").symlink_to("nowhere")
    os.mkfifo(target / "fifo")
    assert wipe(target) == Wiped(0, 0)
    assert not target.exists()
    assert (outside / "file").read_bytes() == SECRET and (outside / "below").is_dir()


def test_a_link_in_the_directorys_own_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_bytes(SECRET)
    (tmp_path / "cage").symlink_to("real")
    with pytest.raises(LedgerError, match="link"):
        wipe(tmp_path / "cage")
    assert (tmp_path / "real/file").read_bytes() == SECRET


def test_sparse_files_stay_sparse(tmp_path: Path) -> None:
    target = tmp_path / "cage"
    target.mkdir()
    with (target / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(SECRET)
    with opened(target / "sparse") as fd:
        done = wipe(target)
        assert os.pread(fd, len(SECRET), 1 << 30) == bytes(len(SECRET))
        assert os.fstat(fd).st_blocks * 512 < 1 << 20
    assert len(SECRET) <= done.bytes < 1 << 20


def test_a_hard_link_from_outside_keeps_its_content(tmp_path: Path) -> None:
    target = tmp_path / "cage"
    target.mkdir()
    (tmp_path / "outside").write_bytes(SECRET)
    os.link(tmp_path / "outside", target / "name")
    (target / "one").write_bytes(SECRET)
    os.link(target / "one", target / "two")
    with opened(target / "one") as fd:
        assert wipe(target) == Wiped(3, len(SECRET), spared=("name",))
        assert os.pread(fd, 1 << 20, 0) == bytes(len(SECRET))
    assert (tmp_path / "outside").read_bytes() == SECRET


def test_unreadable_files_and_directories_as_their_owner() -> None:
    """Root passes by permissions, so an ordinary user of the same code is asked."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    script = (
        "import os, sys; from pathlib import Path; from akiosd.store.wipe import wipe\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "base = Path(sys.argv[1]); target = base / 'cage'; (target / 'dir').mkdir(parents=True)\n"
        "(target / 'dir/file').write_bytes(b'secret'); fd = os.open(target / 'dir/file', os.O_RDONLY)\n"
        "(target / 'dir/file').chmod(0); (target / 'dir').chmod(0)\n"
        "print(wipe(target), os.pread(fd, 9, 0), os.listdir(base))"
    )
    base = Path(tempfile.mkdtemp())
    try:
        base.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", script, base], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (
            done.stdout.strip()
            == "Wiped(files=1, bytes=6, spared=()) b'\\x00\\x00\\x00\\x00\\x00\\x00' []"
        )
    finally:
        shutil.rmtree(base)


@pytest.mark.parametrize("what", ["tmpfs", "bind of a directory", "bind of a file"])
def test_a_mount_refuses_the_whole_wipe(tmp_path: Path, what: str) -> None:
    """In a mount namespace of its own, gone with the process."""
    target = tmp_path / "cage"
    (target / "sub").mkdir(parents=True)
    (target / "file").write_bytes(SECRET)
    (target / "point").touch()
    mount = {
        "tmpfs": "mount -t tmpfs none $1/sub",
        "bind of a directory": "mount --bind $1 $1/sub",
        "bind of a file": "mount --bind $1/file $1/point",
    }[what]
    script = (
        f"{mount} || exit 77; exec $2 -c 'import sys, pathlib; from akiosd.store.wipe import wipe\n"
        + ('wipe(pathlib.Path(sys.argv[1]))\' "$1"')
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(target), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if os.geteuid() != 0 or done.returncode == 77:
        pytest.skip("needs root and mounts")
    assert "something is mounted there; nothing was wiped" in done.stderr
    assert (target / "file").read_bytes() == SECRET


def test_a_file_that_cannot_be_overwritten_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "cage"
    target.mkdir()
    for name in ("bad", "good"):
        (target / name).write_bytes(SECRET)
    bad = os.stat(target / "bad").st_ino
    real = os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(LedgerError, match="could not be overwritten: 1") as caught:
        wipe(target)
    assert caught.value.where == str(target / "bad")
    assert "ledger destroy" in caught.value.next
    assert os.listdir(target) == ["bad"]
    monkeypatch.undo()
    wipe(target)  # what a restart does
    assert not target.exists()


def test_a_wipe_stopped_anywhere_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    real = module._Run._do
    for stop_at in range(12):
        target = tmp_path / f"cage{stop_at}"
        (target / "d/e").mkdir(parents=True)
        for name in ("a", "d/b", "d/e/c"):
            (target / name).write_bytes(SECRET)
        left = stop_at

        def do(self: module._Run, step: module.Step) -> None:
            nonlocal left
            if left == 0:
                raise Stop
            left -= 1
            real(self, step)

        monkeypatch.setattr(module._Run, "_do", do)
        with pytest.raises(Stop):
            wipe(target)
        monkeypatch.setattr(module._Run, "_do", real)
        wipe(target)
        assert not target.exists()


def test_nothing_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert wipe(tmp_path / "none") == Wiped(0, 0)
    for how in (How(), How(passes=7), How(fast=True)):
        assert How.parse(str(how)) == how
    with pytest.raises(ValueError, match="passes"):
        How(passes=0)


NAMES = st.sampled_from(["a", "b", "c"])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    folders=st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=5),
    files=st.lists(
        st.tuples(st.sampled_from(["f", "g", "h", "i"]), st.integers(0, 5), st.integers(0, 9000)),
        max_size=9,
    ),
    fast=st.booleans(),
)
def test_any_tree_is_gone_and_every_block_zero(
    seed: int, folders: list[list[str]], files: list[tuple[str, int, int]], fast: bool
) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as base:
        target = Path(base) / "cage"
        target.mkdir()
        places = [target]
        for parts in folders:
            place = target.joinpath(*parts)
            place.mkdir(parents=True, exist_ok=True)
            places.append(place)
        fds: list[int] = []
        first: Path | None = None
        for name, where, size in files:
            path = places[where % len(places)] / name
            if path.exists() or path.is_symlink():
                continue
            if rng.random() < 0.2 and first is not None:
                os.link(first, path)
                continue
            first = first or path
            path.write_bytes(rng.randbytes(size))
            fds.append(os.open(path, os.O_RDONLY))
        try:
            done = wipe(target, How(fast=fast))
            assert os.listdir(base) == [] and done.spared == ()
            for fd in fds:
                assert fast or not any(os.pread(fd, 1 << 20, 0))
        finally:
            for fd in fds:
                os.close(fd)


NODES = st.tuples(st.just(1), st.integers(1, 6))


@given(
    found=st.lists(
        st.builds(
            Found,
            path=st.lists(NAMES, min_size=1, max_size=4).map("/".join),
            kind=st.sampled_from(["file", "other", "dir"]),
            node=NODES,
            names=st.integers(1, 4),
        ),
        unique_by=lambda item: item.path,
    ),
    how=st.builds(How, fast=st.booleans()),
)
def test_the_plan(found: list[Found], how: How) -> None:
    steps = plan_wipe(found, how)
    spared = spared_by(found)
    overwritten = [step.node for step in steps if step.do == "overwrite"]
    assert len(set(overwritten)) == len(overwritten)  # an inode with two names is overwritten once
    assert not how.fast or not overwritten
    assert [s.path for s in steps if s.do == "unlink"] == [f.path for f in found if f.kind != "dir"]
    kinds = [step.do for step in steps]
    assert kinds == sorted(
        kinds, key={"overwrite": 0, "unlink": 1, "sync": 2, "remove": 2}.__getitem__
    )
    for item in found:
        outside = item.kind == "file" and item.names > sum(
            other.node == item.node for other in found
        )
        assert (item.path in spared) == outside
        if item.kind == "file" and not how.fast and not outside:
            assert item.node in overwritten
    removed = [step.path for step in steps if step.do == "remove"]
    for number, path in enumerate(removed):
        assert not any(later.startswith(path + "/") for later in removed[number + 1 :])
    with pytest.raises(LedgerError, match="mounted"):
        plan_wipe([*found, Found("m", "mount")], how)


def test_extents_cover_all_data(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for start in (0, 1 << 20, 5 << 20):
            file.seek(start)
            file.write(SECRET)
    with opened(path) as fd:
        extents = list(data_extents(fd, os.fstat(fd).st_size))
        for start in (0, 1 << 20, 5 << 20):
            assert any(first <= start and start + len(SECRET) <= end for first, end in extents)
    root = os.open(tmp_path, os.O_RDONLY)
    assert [item.path for item in survey(root)] == ["", "file"]
    os.close(root)
