"""What comes out of a cage is written below one directory, whatever the stream says."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from akiosctl.copy_in import Packing
from akiosctl.copy_out import Extraction, leads_inside
from akiosctl.skipped import MOST_KEPT
from akiosctl.tar_reader import TarReader
from akiosctl.tar_words import Named, read_words
from akiosctl.verbs.cp import open_directory, split
from akiosd.errors import AkiosError
from tests.unit.deep import dig, directory_for_deep_trees


def member(name: str, data: bytes = b"", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def directory(name: str) -> bytes:
    return member(name, type=tarfile.DIRTYPE, mode=0o755)


def extract(
    stream: bytes, into: Path, most: int = 1 << 20, name: str = "copy", protected: bool = False
) -> Extraction:
    fd = os.open(into, os.O_PATH | os.O_DIRECTORY)
    try:
        done = Extraction(fd, name, most, protected=protected)
        done.run(TarReader(io.BytesIO(stream + bytes(1024))))
    finally:
        os.close(fd)
    return done


def test_a_tree_is_written_with_its_modes(tmp_path: Path) -> None:
    stream = directory("d") + member("d/run", b"#!", mode=0o4755) + member("d/" + "n" * 150, b"x")
    done = extract(stream, tmp_path)
    assert (done.files, done.bytes, done.skipped.count) == (2, 3, 0)
    assert (tmp_path / "copy/run").stat().st_mode & 0o7777 == 0o755  # never set-user-ID
    assert (tmp_path / "copy" / ("n" * 150)).read_bytes() == b"x"


@pytest.mark.parametrize(
    "name", ["../evil", "d/../../evil", "/evil", "other/evil", "d//x", "d/./x"]
)
def test_a_path_that_leads_elsewhere_ends_the_copy(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    stream = directory("d") + member("placeholder", b"x").replace(
        b"placeholder".ljust(30, b"\0"), name.encode().ljust(30, b"\0"), 1
    )
    with pytest.raises(AkiosError):
        extract(stream, inner)
    assert sorted(os.listdir(tmp_path)) == ["in"]


def test_no_link_is_written_through(tmp_path: Path) -> None:
    inner, victim = tmp_path / "in", tmp_path / "victim"
    inner.mkdir()
    victim.mkdir()
    link = {"type": tarfile.SYMTYPE}
    stream = directory("d") + member("d/sub", linkname="real", **link) + directory("d/real")
    with pytest.raises(OSError):
        extract(stream + member("d/sub/file", b"x"), inner)
    assert not (inner / "copy/real/file").exists()
    deep = directory("d") + directory("d/real/deep")
    with pytest.raises(OSError):  # the link stands in the middle of the path
        extract(deep + member("d/sub/deep/file", b"x"), inner)
    assert os.listdir(inner / "copy/real/deep") == []
    done = extract(directory("d") + member("d/out", linkname="../../victim", **link), inner)
    assert [path for path, _ in done.skipped.first] == ["copy/out"]
    assert os.listdir(victim) == []


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S", b"x"])
def test_other_kinds_are_left_out(tmp_path: Path, kind: bytes) -> None:
    stream = directory("d") + member("d/odd", type=kind, linkname="d/x") + member("d/file", b"x")
    done = extract(stream, tmp_path)
    assert [path for path, _ in done.skipped.first] == ["copy/odd"]
    assert os.listdir(tmp_path / "copy") == ["file"]


def test_lengths_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = b"L", 1 << 40
    with pytest.raises(AkiosError, match="name is too long"):
        extract(huge.tobuf(tarfile.GNU_FORMAT), tmp_path)
    with pytest.raises(AkiosError, match="--most"):
        extract(member("file", b"x" * 2000), tmp_path, most=1999)
    with pytest.raises(AkiosError, match="in the middle"):
        extract(member("file", b"x" * 5000)[:1024], tmp_path)
    with pytest.raises(AkiosError, match="not send a tar archive"):
        extract(b"x" * 512, tmp_path)
    long = member("././@LongLink", b"d/a\0b\0", type=b"L") + member("d/a", b"x")
    with pytest.raises(AkiosError, match="NUL in a name"):
        extract(long, tmp_path)


def test_what_is_left_out_is_counted_and_only_the_first_is_kept(tmp_path: Path) -> None:
    odd = member("d/odd", type=tarfile.FIFOTYPE)
    done = extract(directory("d") + odd * (MOST_KEPT + 5), tmp_path)
    assert (done.skipped.count, len(done.skipped.first)) == (MOST_KEPT + 5, MOST_KEPT)
    name = member("././@LongLink", ("d" + f"/{'n' * 250}" * 20).encode() + b"\0", type=b"L")
    done = extract(directory("d") + name + member("d/x", b"x") + member("d/file", b"x"), tmp_path)
    ((_, why),) = done.skipped.first
    assert (why, done.files) == ("its path is too long", 1)


def test_names_that_programs_obey_are_written_only_when_that_was_said(tmp_path: Path) -> None:
    names = [".git/hooks/pre-commit", ".envrc", "sub/.GIT/config", "plain"]
    parts = [directory("d"), directory("d/.git"), directory("d/sub"), directory("d/sub/.GIT")]
    stream = b"".join(parts) + directory("d/.git/hooks")
    stream += b"".join(member(f"d/{name}", b"x") for name in names)
    done = extract(stream, tmp_path)
    assert done.files == 1 and {path for path, _ in done.skipped.first} == {
        *("copy/.git/hooks", "copy/.git/hooks/pre-commit", "copy/.envrc", "copy/sub/.GIT/config")
    }
    assert "--protected writes it" in done.skipped.first[0][1]
    for place, protected in ((tmp_path / "all", True), (tmp_path / ".git/hooks", False)):
        place.mkdir(parents=True)  # the second was named by whoever copies
        assert extract(stream, place, protected=protected).files == 4
    (tmp_path / "repo/.git").mkdir(parents=True)
    hooks = extract(
        directory("hooks") + member("hooks/x", b"x"), tmp_path / "repo/.git", name="hooks"
    )
    assert hooks.files == 0 and hooks.skipped.count == 2


def test_a_deep_tree_is_packed_as_far_as_paths_reach() -> None:
    with directory_for_deep_trees() as top:
        os.close(dig(top, sys.getrecursionlimit() + 1500, "d"))
        root = os.open(top, os.O_PATH)
        packing = Packing(io.BytesIO(), 1 << 20)
        packing.add(root, "d", "inside")
        packing.close()
        os.close(root)
    ((path, why),) = packing.skipped.first
    assert "too deep" in why and path.count("/") > sys.getrecursionlimit()


@pytest.mark.parametrize(
    ("parts", "target", "inside"),
    [
        (["c", "a"], "b", True),
        (["c", "d", "a"], "../b", True),
        (["c", "a"], "..", False),
        (["c", "a"], "../c/b", False),  # nobody says that it is called c where it comes to lie
        (["c", "a"], "/etc/passwd", False),
        (["c", "a"], "", False),
        (["c", "d", "a"], "../../x", False),
        (["c", "d", "a"], "x/../../../y", False),
        (["c", "a"], "d1/d2/up/../../b", False),  # up may lead to c itself
    ],
)
def test_where_a_link_leads(parts: list[str], target: str, inside: bool) -> None:
    assert leads_inside(parts, target) == inside


def test_what_is_packed_is_what_stands_there(tmp_path: Path) -> None:
    source = tmp_path / "s"
    (source / "d").mkdir(parents=True)
    (source / "d/file").write_text("text")
    os.symlink("/etc/passwd", source / "link")
    os.mkfifo(source / "fifo")
    stream = io.BytesIO()
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    packing = Packing(stream, 1 << 20)
    packing.add(fd, "s", "inside")
    packing.close()
    os.close(fd)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        found = {info.name: info for info in tar}
    assert set(found) == {"inside", "inside/d", "inside/d/file", "inside/link"}
    assert found["inside/link"].linkname == "/etc/passwd" and packing.bytes == 4
    assert [path for path, _ in packing.skipped.first] == ["inside/fifo"]


class Cutting(io.BytesIO):
    """Takes the archive; when it has the header of ``file``, that is cut to nothing."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def write(self, data: object) -> int:
        if b"inside/b" in bytes(data):  # type: ignore[call-overload]
            os.truncate(self.file, 0)
        return super().write(data)  # type: ignore[arg-type]


def test_a_file_that_is_cut_meanwhile_is_named_and_the_others_follow(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * (1 << 22))
    stream = Cutting(tmp_path / "b")
    fd = os.open(tmp_path.parent, os.O_PATH | os.O_DIRECTORY)
    packing = Packing(stream, 1 << 30)
    packing.add(fd, tmp_path.name, "inside")
    packing.close()
    os.close(fd)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        sizes = {info.name: info.size for info in tar if info.isfile()}
    assert sizes == {f"inside/{name}": 1 << 22 for name in "abc"}
    assert [path for path, _ in packing.skipped.first] == ["inside/b"]


def test_a_sparse_file_is_bounded_by_most(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 100)
    os.truncate(tmp_path / "small", 1 << 42)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(AkiosError, match="larger than --most"):
            Packing(io.BytesIO(), 1 << 20).add(fd, "small", "small")
        os.truncate(tmp_path / "small", 1 << 20)
        control = Packing(io.BytesIO(), 1 << 20)
        control.add(fd, "small", "small")
    finally:
        os.close(fd)
    assert control.files == 1


@pytest.mark.parametrize(
    ("line", "path", "why"),
    [
        ("d/a: b: Cannot open: Permission denied", "d/a: b", "no program in the cage may do that"),
        ("/x: Cannot open: No such file or directory", "/x", "it is not there"),
        ("d/x: Cannot write: No space left on device", "d/x", "the cage's disk is full"),
        ("d/x: file changed as we read it", "d/x", "it changed while it was copied"),
        ("d/x: File removed before we read it", "d/x", "it changed while it was copied"),
        ("d/x: File shrank by 1 byte; padding with zeros", "d/x", "it changed while it was copied"),
        (
            "d/x: File shrank by 9 bytes, padding with zeros",
            "d/x",
            "it changed while it was copied",
        ),
        ("d/x: Wrote only 512 of 10240 bytes", "d/x", "the cage's disk is full"),
        ("d/s: socket ignored", "d/s", "it is neither a file nor a directory"),
    ],
)
def test_what_tar_says_is_told_in_words_of_our_own(line: str, path: str, why: str) -> None:
    more = "/usr/bin/tar: Exiting with failure status due to previous errors"
    words = f"/usr/bin/tar: {line}\n/usr/bin/tar: {line}\n{more}\nanything: else\n"
    assert list(read_words(words)) == [Named(path, why)]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("work:/tmp/x", ("work", "/tmp/x")),
        ("work:x", ("work", "x")),
        ("./a:b", None),
        ("/a:b", None),
        ("file", None),
        (":x", None),
    ],
)
def test_which_of_both_is_in_a_cage(word: str, wanted: tuple[str, str] | None) -> None:
    assert split(word) == wanted


def test_a_link_on_the_way_is_told_and_not_followed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    os.symlink(real, tmp_path / "link")
    with pytest.raises(AkiosError) as caught:
        open_directory(str(tmp_path / "link"))
    assert caught.value.next.endswith(str(real))
    os.close(open_directory(str(real)))  # the control


def old(place: Path, mode: int = 0o644) -> Path:
    place.write_bytes(b"as it was")
    place.chmod(mode)
    return place


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    """Without the bits that would give what a cage says the rights of the file's owner."""
    there = old(tmp_path / "copy", 0o4750)
    before = there.stat().st_ino
    with there.open("rb") as open_before:
        extract(member("a", b"new", mode=0o666), tmp_path)
        assert open_before.read() == b"as it was"
    assert there.read_bytes() == b"new" and there.stat().st_mode & 0o7777 == 0o750
    assert there.stat().st_ino != before and os.listdir(tmp_path) == ["copy"]


def test_what_has_another_name_is_written_to_in_its_place(tmp_path: Path) -> None:
    there = old(tmp_path / "copy")
    os.link(there, tmp_path / "second")
    extract(member("a", b"new"), tmp_path)
    assert (tmp_path / "second").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["copy", "second"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_stream_that_ends_early_leaves_what_was_there(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        old(tmp_path / "copy")
    cut = member("a", b"x" * 2000)[:1024]
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(AkiosError):
            Extraction(fd, "copy", 1 << 20).run(TarReader(io.BytesIO(cut)))
    finally:
        os.close(fd)
    assert os.listdir(tmp_path) == (["copy"] if is_there else [])
    assert not is_there or (tmp_path / "copy").read_bytes() == b"as it was"
