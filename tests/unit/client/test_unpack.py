"""The program that unpacks a copy in a cage: each file is there whole, or as it was."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from akiosctl.tar_words import read_words
from akiosctl.verbs.cp import UNPACK

MARK = ".akios-whole"
BIG = b"new" * 100_000


def packed(files: Mapping[str, bytes | None], mark: str = MARK) -> bytes:
    """``None`` is a directory."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in {**files, mark: b""}.items():
            info = tarfile.TarInfo(name)
            info.mode = 0o644 if data is not None else 0o755
            info.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return stream.getvalue()


def begin(target: Path, last: str) -> subprocess.Popen[bytes]:
    words = [target, target.parent, target.name, last, MARK]
    return subprocess.Popen(
        ["/bin/sh", "-c", UNPACK, "sh", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    )  # fmt: skip


def unpack(target: Path, last: str, stream: bytes) -> tuple[int, str]:
    with begin(target, last) as program:
        _, said = program.communicate(stream, timeout=30)
    return program.returncode, said.decode()


def look(place: Path) -> dict[str, str]:
    return {
        str(one.relative_to(place)): one.read_text()[:3]
        for one in place.rglob("*")
        if one.is_file()
    }


TREE = {"d": None, "d/a": BIG, "d/sub": None, "d/sub/-x\n": BIG, "d/last": BIG}


def made(place: Path) -> Path:
    (place / "d/sub").mkdir(parents=True)
    for name in ("d/a", "d/sub/-x\n", "d/kept"):
        (place / name).write_text("old")
    return place


def test_a_directory_goes_into_one_that_is_there(tmp_path: Path) -> None:
    place = made(tmp_path)
    before = (place / "d/a").stat().st_ino
    assert unpack(place, "d", packed(TREE)) == (0, "")
    new = {"d/a", "d/sub/-x\n", "d/last"}
    assert look(place) == {"d/kept": "old", **dict.fromkeys(new, "new")}
    assert (place / "d/a").stat().st_ino != before  # it took the place of the other
    assert {(place / name).stat().st_nlink for name in new} == {1}


def test_in_the_midst_nothing_has_changed(tmp_path: Path) -> None:
    """Whether its input ends early, or it is killed."""
    place = made(tmp_path)
    old = look(place)
    stream = packed(TREE)
    code, _ = unpack(place, "d", stream[: len(BIG) + 5000])
    assert code and look(place) == old
    code, _ = unpack(place, "d", packed(TREE, "no-mark"))
    assert code and look(place) == old
    with begin(place, "d") as program:
        assert program.stdin is not None and program.stdout is not None
        assert program.stdout.readline() == b"directory whole\n"
        program.stdin.write(stream[: len(BIG) + 5000])
        program.stdin.flush()
        (part,) = place.glob(".akios-*")
        assert {name: text for name, text in look(place).items() if name[0] == "d"} == old
        program.terminate()
        program.stdin.close()
    assert look(place) == old and not part.exists()


def test_what_stands_in_its_way_is_told_and_the_rest_is_done(tmp_path: Path) -> None:
    place = tmp_path
    (place / "d/a").mkdir(parents=True)
    (place / "d/sub").write_text("old")
    (place / "d/last").symlink_to("a")
    code, said = unpack(place, "d", packed(TREE))
    assert code == 1
    assert {named.path: named.why for named in read_words(said.replace("-x\n", "-x"))} == {
        "d/a": "something of another kind is there",
        "d/sub": "something of another kind is there",
        "d/sub/-x": "what it lies in is no directory",
    }
    assert look(place) == {"d/sub": "old", "d/last": "new"}
    code, said = unpack(place, "d", packed({"d": BIG}))
    assert code == 1 and "d: Cannot open: File exists" in said
    assert [one for one in os.listdir(place) if one != "d"] == []


def test_a_directory_takes_no_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("old")
    code, said = unpack(tmp_path, "d", packed(TREE))
    assert code == 1 and look(tmp_path) == {"d": "old"}, said
    (named,) = read_words(said)
    assert named.path == "d"
