"""What is written to a file of a cage is there whole, or the file is as it was; what kept it from
being written is told in plain words.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from akiosctl.library.aio import AsyncCage
from akiosctl.library.cage import Cage
from akiosctl.library.file_words import read_reason
from akiosctl.library.files import WRITE, place_of
from akiosctl.library.program import Program
from akiosctl.programs import NulError, program_request

LARGEST = 1 << 16
NO_DATA: Any = None
NUMBER: Any = 5


@pytest.fixture
def cage(tmp_path: Path) -> Cage:
    """Nobody is behind its socket: whoever asks for something raises GoneError."""
    made = Cage(socket=str(tmp_path / "nobody"))
    made.id, made.name, made.workspace = "c-1", "n", "/w"
    return made


@pytest.mark.parametrize("data", [NO_DATA, NUMBER, ["a"]])
def test_a_wrong_type_is_told_before_anything_is_begun(cage: Cage, data: Any) -> None:
    with pytest.raises(TypeError, match="bytes or str are wanted"):
        cage.write("f", data)
    later = AsyncCage()
    later.cage = cage
    with pytest.raises(TypeError, match="bytes or str are wanted"):
        anyio.run(later.write, "f", data)
    if data is NO_DATA:
        return  # a program without input
    with pytest.raises(TypeError, match="bytes or str are wanted"):
        cage.run("cat", input=data)
    with pytest.raises(TypeError, match="bytes or str are wanted"):
        next(cage.stream("cat", input=data))

    async def use() -> None:
        with pytest.raises(TypeError, match="bytes or str are wanted"):
            await later.run("cat", input=data)
        with pytest.raises(TypeError, match="bytes or str are wanted"):
            async for _ in later.stream("cat", input=data):
                pass

    anyio.run(use)


@pytest.mark.parametrize(
    "use",
    [
        lambda cage: Cage("a\0b"),
        lambda cage: Cage(policy="a\0b"),
        lambda cage: cage.write("a\0b", "x"),
        lambda cage: cage.read("a\0b"),
        lambda cage: cage.copy_in("a\0b", "x"),
        lambda cage: cage.copy_in("a", "x\0b"),
        lambda cage: cage.copy_out("a\0b", "x"),
        lambda cage: cage.copy_out("a", "x\0b"),
        lambda cage: cage.run("true", cwd="a\0b"),
        lambda cage: cage.run("echo", "a\0b"),
        lambda cage: cage.run("env", env={"A": "a\0b"}),
    ],
)
def test_a_nul_is_told_with_what_holds_it(cage: Cage, use: Callable[[Cage], object]) -> None:
    with pytest.raises(NulError) as told:
        use(cage)
    assert "holds a NUL byte, which is not allowed: " in told.value.what
    assert told.value.what.endswith("\\x00b")
    assert told.value.next == "leave the NUL byte out"


def test_a_directory_is_below_the_project() -> None:
    asked = program_request("c-1", "/w", ["/bin/true"], "sub/../other", {})
    assert asked["cwd"] == b"/w/other"
    assert place_of("/w", "ü/../a b") == ("/w/a b", "ü/../a b")
    assert place_of("/w", "/tmp/x") == ("/tmp/x", "/tmp/x")


def write(place: Path, data: bytes, size: int | None = None) -> subprocess.CompletedProcess[bytes]:
    """As in a cage where no file may be larger than LARGEST; ``size`` is how much is to come."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG, instead of an end
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))

    told = str(len(data) if size is None else size)
    return subprocess.run(
        ["/bin/sh", "-c", WRITE, "sh", place, told],
        input=data, capture_output=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        preexec_fn=limit, restore_signals=False, timeout=30, check=False,
    )  # fmt: skip


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert write(file, b"old").returncode == 0 and file.read_bytes() == b"old"
    file.chmod(0o640)
    full = write(file, bytes(2 * LARGEST))
    reason = read_reason(full.stderr.decode(), full.returncode, str(tmp_path), True)
    assert full.returncode and reason.errno == errno.EFBIG, full.stderr
    cut = write(file, b"par", size=4)
    assert cut.returncode and b"not all of it came" in cut.stderr
    assert file.read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]
    assert write(file, b"new").returncode == 0 and file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["f"]


def test_what_has_two_names_keeps_them(tmp_path: Path) -> None:
    file, other = tmp_path / "f", tmp_path / "other"
    file.write_bytes(b"much that is old")
    os.link(file, other)
    assert write(file, bytes(2 * LARGEST)).returncode
    assert write(file, b"par", size=4).returncode
    assert other.read_bytes() == b"much that is old"
    assert write(file, b"new").returncode == 0
    assert other.read_bytes() == b"new" and other.samefile(file)
    assert sorted(os.listdir(tmp_path)) == ["f", "other"]


def test_missing_directories_are_made_and_a_link_is_followed(tmp_path: Path) -> None:
    deep = tmp_path / "dir x" / "-n" / "ü 名\n.txt"
    assert write(deep, b"x").returncode == 0 and deep.read_bytes() == b"x"
    link = tmp_path / "link"
    link.symlink_to(deep)
    assert write(link, b"y").returncode == 0 and deep.read_bytes() == b"y" and link.is_symlink()


def test_why_it_failed_is_an_errno(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    tried = {
        "d": errno.EISDIR,
        "f/x": errno.ENOTDIR,
        "f/x/y": errno.ENOTDIR,
        "loop": errno.ELOOP,
        "n" * 300: errno.ENAMETOOLONG,
    }
    for name, number in tried.items():
        done = write(tmp_path / name, b"x")
        reason = read_reason(done.stderr.decode(), done.returncode, str(tmp_path), True)
        assert done.returncode and reason.errno == number, (name, done.stderr)
        assert "/" not in reason.why and "\\" not in reason.why and reason.next, reason


def test_words_of_a_cage_that_are_no_reason_are_escaped() -> None:
    told = read_reason("dd: failed to open '/x': \x1b[2Jfine\n", 1, "/d", False)
    assert told.errno == 0 and "\\x1b[2Jfine" in told.why and "ls -la /d" in told.next
    assert read_reason("", 137, "", False).why.endswith("ended with status 137")
    nexts = {
        read_reason(f"dd: 'x': {words}\n", 1, "/d", False).next
        for words in ("No such file or directory", "Read-only file system", "Is a directory",
                      "No space left on device", "Permission denied")
    }  # fmt: skip
    assert len(nexts) == 5


def test_a_program_is_not_given_what_is_no_data() -> None:
    program = object.__new__(Program)
    with pytest.raises(TypeError, match="bytes or str are wanted"):
        program.give(NUMBER)
