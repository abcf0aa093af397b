"""``cp`` into and out of a cage in which a program swaps files, directories, links and FIFOs for each
other all the time: nothing outside what was named is written or read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.test_standing_cages import Standing

SECRET = "what the cage is not shown"
SWAPS = """
import os, sys
place, outside = sys.argv[1:]
os.makedirs(place, exist_ok=True)
os.chdir(place)

def make_file():
    with open("new", "wb") as file:
        file.write(b"inside" * 5000)

def make_sparse():
    with open("new", "wb") as file:
        file.truncate(1 << 22)

def make_directory():
    os.mkdir("new")
    for name in ("marker", "secret", "x"):
        open("new/" + name, "w").write("inside")

def make_hard():
    os.link("kept", "new")

makes = [make_file, make_sparse, make_directory, lambda: os.symlink(outside, "new"),
         lambda: os.symlink(outside + "/secret", "new"), lambda: os.symlink(outside + "/marker", "new"),
         lambda: os.mkfifo("new"), make_hard]
open("kept", "w").write("inside")
turn = 0
while True:
    for name in ("one", "two", "secret", "marker"):
        turn += 1
        try:
            makes[turn * 7 % len(makes)]()
            if os.path.isdir(name) and not os.path.islink(name):
                os.rename(name, f"old{turn}")
            os.rename("new", name)
            for old in os.listdir("."):
                if old.startswith("old"):
                    for inner in os.listdir(old):
                        os.unlink(old + "/" + inner)
                    os.rmdir(old)
        except OSError:
            try:
                os.unlink("new")
            except IsADirectoryError:
                os.rename("new", f"old{turn}")
            except OSError:
                pass
    if turn == 400:
        open("/tmp/swaps", "w").close()
"""


def look(directory: Path) -> dict[str, str]:
    return {one.name: one.read_text() for one in directory.iterdir()}


@pytest.mark.parametrize("uid", [NOBODY, 0])
def test_nothing_outside_is_touched_by_copies_amid_swaps(private: Daemon, uid: int) -> None:
    standing = Standing(private, "races", uid=uid)
    outside = private.workspace(uid=uid)
    for name, text in {"secret": SECRET, "marker": "as it was"}.items():
        (outside / name).write_text(text)
        os.chown(outside / name, uid, NOBODY if uid else 0)
    before = look(outside)
    output = standing.project / "data/output"
    (standing.project / "swaps.py").write_text(SWAPS)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for place in ("data/output/d", "/tmp/d"):
            running.append(standing.popen("python3", "swaps.py", place, str(outside)))
        assert wait_until(lambda: standing.run("test", "-e", "/tmp/swaps").returncode == 0)
        words = []
        for turn in range(8):
            # Out, to where the cage does not write, and to where it swaps what is written.
            words.append(standing.ctl("cp", "races:/tmp/d", str(standing.project / f"out{turn}")))
            words.append(standing.ctl("cp", "races:/tmp/d", str(output)))
            words.append(standing.ctl("cp", "races:/tmp/d/kept", str(output / "d/marker")))
            # In, from where it swaps what is read.
            words.append(standing.ctl("cp", str(output / "d"), f"races:/tmp/in{turn}"))
        found = standing.run("grep", "-rl", SECRET, "/tmp", "/var/tmp").stdout
    finally:
        for one in running:
            one.kill()
            one.wait()
        standing.ctl("cage", "down", "races", "--discard", "--fast")
    assert look(outside) == before
    assert found == ""
    for turn in range(8):
        out = standing.project / f"out{turn}"
        written = [one for one in out.rglob("*") if one.is_file() and not one.is_symlink()]
        assert all(SECRET not in one.read_text() for one in written)
        assert all(
            str(outside) not in os.readlink(one) for one in out.rglob("*") if one.is_symlink()
        )
    for done in words:
        assert done.returncode in (0, 1, 125), done
        assert "tar:" not in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert done.returncode != 125 or ("where:" in done.stderr and "next:" in done.stderr)
    assert {0, 1} & {done.returncode for done in words}, "some copies came to their end"


def test_who_follows_links_reads_the_secret(private: Daemon, tmp_path: Path) -> None:
    """The control: the same link, and a copy that follows it."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "d").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "d/secret")
    assert (shutil.copytree(tmp_path / "d", tmp_path / "e") / "secret").read_text() == SECRET


def test_copies_have_rows_of_their_own(private: Daemon) -> None:
    """Each copy is one program in the log, which says what was copied; the control is a tar that
    somebody runs.
    """
    standing = Standing(private, "rows")
    (standing.project / "given").write_text("x")
    try:
        assert standing.ctl("cp", "given", "rows:/tmp/").returncode == 0
        assert standing.ctl("cp", "given", "rows:data/output/name").returncode == 0
        assert standing.ctl("cp", "rows:/tmp/given", "back").returncode == 0
        missing = standing.ctl("cp", "given", "rows:/tmp/none/")
        assert standing.run("tar", "--version").returncode == 0
        told = json.loads(standing.ctl("timeline", "rows", "--json").stdout)
        drawn = standing.ctl("timeline", "rows").stdout
        page = standing.ctl("report", "rows", "--out", "page.html")
        assert page.returncode == 0, page.stderr
    finally:
        standing.ctl("cage", "down", "rows", "--discard", "--fast")
    assert "is not a directory in rows" in missing.stderr
    output = standing.project / "data/output"
    assert [one["copies"] for one in told["programs"]] == [
        *("in /tmp/", f"in {output}/name", "out /tmp/given", "in /tmp/none/", "")
    ]
    assert "cp in /tmp/" in drawn and "cp out /tmp/given" in drawn and "tar --version" in drawn
    assert "UNPACK" not in drawn and "exec /usr/bin/tar" not in drawn
    text = (standing.project / "page.html").read_text()
    assert "cp out /tmp/given" in text and "exec /usr/bin/tar" not in text


def test_what_the_cage_cannot_do_is_told_in_our_words(private: Daemon) -> None:
    standing = Standing(private, "words", "--disk", "32M")
    source = standing.project / "big"
    source.write_bytes(os.urandom(1 << 26))
    os.chown(source, NOBODY, NOBODY)
    try:
        tried = {
            "missing": ("words:/tmp/none", "there"),
            "nowhere": ("big", "words:/tmp/none/deeper/big"),
            "read-only": ("swap", "words:/usr/swap"),
            "full": ("big", "words:/tmp/big"),
        }
        (standing.project / "swap").write_text("x")
        os.chown(standing.project / "swap", NOBODY, NOBODY)
        said = {name: standing.ctl("cp", *words) for name, words in tried.items()}
        made = "mkdir -p /tmp/t; echo a >/tmp/t/a; echo b >/tmp/t/b; chmod 0 /tmp/t/b"
        assert standing.run("sh", "-c", made).returncode == 0
        partly = standing.ctl("cp", "--json", "words:/tmp/t", "t")
    finally:
        standing.ctl("cage", "down", "words", "--discard", "--fast")
    for name, done in said.items():
        assert done.returncode == 125 and "tar" not in done.stderr, (name, done.stderr)
        assert "where:" in done.stderr and "next:" in done.stderr
    assert "words:/tmp/none cannot be read: it is not there" in said["missing"].stderr
    assert "cannot be written: it is not there" in said["nowhere"].stderr
    assert "the cage's disk is full" in said["full"].stderr, said["full"].stderr
    report = json.loads(partly.stdout)
    assert (partly.returncode, report["files"]) == (1, 1)
    assert report["skipped"] == [{"path": "t/b", "why": "no program in the cage may do that"}]
