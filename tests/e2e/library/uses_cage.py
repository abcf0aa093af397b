"""Uses a cage as a program of a user's does; run in its project, with AKIOS_SOCKET set."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

from akiosctl import Cage, CageError, CageFileError, Done, ProgramFailed, ProgramTimeout

Path("kept.txt").write_text("old\n")
with Cage(budget="0.50", memory="512M") as cage:
    name = cage.name

    done = cage.run("sh", "-c", "cat; echo err >&2; exit 3", input=b"given" * 50_000)
    assert (done.exit_code, done.kind, done.reason) == (3, "exited", ""), done
    assert done.stderr == b"err\n", done
    assert done.stdout == b"given" * 50_000
    assert os.geteuid() != 0 and cage.run("id", "-u").text.strip() != "0"

    # Output comes while the program runs: it waits for what is written because of it.
    seen = b""
    for stream, data in cage.stream(
        "sh", "-c", "echo first; while [ ! -e go ]; do :; done; echo last"
    ):
        assert stream == "stdout"
        if not seen:
            cage.write("go", b"")
        seen += data
    assert seen == b"first\nlast\n", seen

    # Text and paths are taken as they come.
    cage.write(Path("sub.py"), "import sys\nprint('é', sys.stdin.read())\nsys.exit(2)\n")
    done = cage.run(Path("/usr/bin/python3"), Path("sub.py"), input="give it é")
    assert isinstance(done, Done) and done.text == "é give it é\n" and done.exit_code == 2
    assert cage.run("sh", "-c", "echo é >&2").error_text == "é\n"
    told = cage.stream("sh", "-c", "cat; echo $WHO", input="in ", env={"WHO": "me"})
    assert b"".join(data for _, data in told) == b"in me\n"
    cage.run("rm", "sub.py")

    cage.write("made.bin", bytes(range(256)) * 1000)
    assert cage.read("made.bin") == bytes(range(256)) * 1000
    assert not Path("made.bin").exists()  # it is in the cage
    cage.write("dir x/ü 名.txt", "deep")
    assert cage.read("dir x/ü 名.txt") == b"deep"
    for wrong, name, number in (
        (lambda: cage.read("ü 名"), "ü 名 cannot be read", errno.ENOENT),
        (lambda: cage.write("/usr/x", b"x"), "/usr/x cannot be written", errno.EROFS),
        (lambda: cage.write("/tmp", b"x"), "/tmp cannot be written", errno.EISDIR),
        (lambda: cage.write("made.bin/x", b"x"), "made.bin/x cannot be written", errno.ENOTDIR),
        (lambda: cage.read("made.bin", most=10), "made.bin is larger", errno.EFBIG),
    ):
        try:
            wrong()
        except CageFileError as error:
            assert error.what.startswith(name) and error.errno == number, error
            assert error.where and error.next and "dd" not in error.what, error
        else:
            raise AssertionError("it was read or written")
    cage.run("rm", "-r", "dir x")
    Path("mine").mkdir()
    Path("mine/a").write_text("a")
    assert cage.copy_in("mine", "/tmp/theirs") == 1
    assert cage.copy_out("/tmp/theirs", "back") == 1 and Path("back/a").read_text() == "a"

    started = time.monotonic()
    for begins, printed in (("echo before", b"before\n"), ("exec >/dev/null 2>&1", b"")):
        try:
            cage.run("sh", "-c", f"{begins}; sleep 1000", timeout=2)
        except ProgramTimeout as timeout:
            assert timeout.done.stdout == printed and "2 s" in timeout.what
        else:
            raise AssertionError("it ended")
    # It was killed, as the log says too.
    ends = (event for event in cage.events(follow=True) if event["kind"] == "program_ended")
    assert any(event.get("exit_code") == 137 for event in ends)

    try:
        cage.run("curl", "-sf", "http://evil.example/", check=True)
    except ProgramFailed as failed:
        assert failed.done.exit_code and failed.rule == "network.allowed_domains", failed.denials
        assert "evil.example" in failed.denials[0].subjects and failed.hint, failed.denials
    else:
        raise AssertionError("it was allowed")
    # What comes at once finds its denial counted in that record, and is told all the same.
    try:
        cage.run("curl", "-sf", "http://evil.example/", check=True)
    except ProgramFailed as failed:
        assert failed.rule == "network.allowed_domains", failed.denials
    else:
        raise AssertionError("it was allowed")
    # What failed for another reason is not told of that; what waited too long is told of its own.
    time.sleep(3)
    try:
        cage.run("sh", "-c", "echo its own words >&2; false", check=True)
    except ProgramFailed as failed:
        assert failed.rule == "" and "said: its own words" in failed.what, failed.denials
        assert "its own words" not in failed.next
    else:
        raise AssertionError("it succeeded")
    assert [one.rule for one in cage.denials()] == ["network.allowed_domains"]
    try:
        cage.run("sh", "-c", "curl -sf http://other.example/; sleep 1000", timeout=3)
    except ProgramTimeout as slow:
        assert slow.rule == "network.allowed_domains", slow.denials
        assert slow.denials[0].subjects == ("other.example",) and slow.next == slow.hint
    else:
        raise AssertionError("it ended")

    spent = cage.budget()
    assert (spent.limit_usd, spent.usd, spent.calls) == (0.5, 0, 0)
    kinds = [event["kind"] for event in cage.events()]
    assert kinds.count("program_started") >= 8 and "net_denied" in kinds
    for event in cage.events(follow=True):  # it has all that was, and goes on
        if event["kind"] == "net_denied":
            break
    cage.run("sh", "-c", "echo new > kept.txt; rm -r go made.bin")
    assert [(change.path, change.kind) for change in cage.diff()] == [("kept.txt", "modified")]
    assert Path("kept.txt").read_text() == "old\n"
    assert cage.commit() == 1 and Path("kept.txt").read_text() == "new\n"
    for use in (lambda: cage.run("true"), lambda: cage.read("kept.txt"), cage.budget,
                lambda: cage.write("f", "x"), lambda: cage.copy_in("kept.txt", "f")):  # fmt: skip
        try:
            use()
        except CageError as error:
            assert error.what.startswith("commit() has ended this cage") and error.next, error
        else:
            raise AssertionError("it ran in a cage that is down")
    assert cage.diff() == [] and cage.commit() == 0  # no change waits any more

# A cage that a limit ends is asked at once, while it is ending.
for _ in range(3):
    with Cage(memory="64M") as small:
        small.write("left", "x")
        small.run("python3", "-c", "x = bytearray(400 << 20)")
        until = time.monotonic() + 30
        while not small.why_down():
            assert time.monotonic() < until
        assert "memory" in small.why_down()
        try:
            small.run("true")
        except CageError as error:
            assert error.what.startswith("the cage has ended: memory limit 64 MiB"), error
            assert "Cage(memory=…)" in error.next and "akiosctl" not in error.next, error
        else:
            raise AssertionError("it ran in a cage that is down")
        assert [change.path for change in small.diff()] == ["left"]
        small.discard()

# What does not fit leaves what was there, also what has two names and is written to in place.
with Cage(disk="16M") as full:
    full.write("f", "old")
    full.write("two", b"old" * (2 << 20))
    full.run("ln", "two", "names", check=True)
    for name, size in (("f", 40), ("new", 40), ("two", 9)):
        try:
            full.write(name, bytes(size << 20))
        except CageFileError as error:
            assert error.errno in (errno.ENOSPC, errno.EDQUOT), error
            assert error.what == f"{name} cannot be written: the cage's disk is full", error
        else:
            raise AssertionError("it was written")
    assert full.read("f") == b"old" and full.read("names") == b"old" * (2 << 20)
    assert sorted(change.path for change in full.diff()) == ["f", "names", "two"]

with Cage(keep=True) as kept:
    kept.run("sh", "-c", "echo lost > kept.txt")
    kept.discard()
    assert kept.diff() == []
assert Path("kept.txt").read_text() == "new\n"
assert "anyio" not in sys.modules and "trio" not in sys.modules
sys.stdout.write(f"{name} {kept.name} {kept.id}")
