"""Fences that a program makes for itself inside a cage: with Landlock and with seccomp they work,
with namespaces they are refused in words.

The same program does the same outside, which is the control; each denial is shown to be the inner
fence's by the same action before it stood.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from akiosd.kernel.probe import landlock_abi
from tests.e2e.daemon import NOBODY, Daemon

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]
needs_numbers = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the call numbers are those of x86_64"
)

# landlock(7) by number: every right of the kernel's version is handled; below the working directory
# all of them are allowed, below /usr reading and executing.  A child inherits it.
LANDLOCK = """
import ctypes, os, socket, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    done = libc.syscall(number, *words)
    assert done >= 0, (number, os.strerror(ctypes.get_errno()))
    return done
abi = call(444, None, 0, 1)
files = (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1
ports = 3 if abi >= 4 else 0
scoped = 3 if abi >= 6 else 0
size = 24 if abi >= 6 else 16 if abi >= 4 else 8
os.makedirs("inner", exist_ok=True)
server = socket.create_server(("127.0.0.1", 0))
def attempts():
    def tried(name, action):
        try:
            action()
            return f"{name} done"
        except OSError as error:
            return f"{name} {os.strerror(error.errno)}"
    yield tried("read", lambda: open("/usr/lib/os-release").close())
    yield tried("read", lambda: open("/etc/passwd").close())
    yield tried("write", lambda: open("inner/file", "w").close())
    yield tried("write", lambda: open("outer", "w").close())
    yield tried("list", lambda: os.listdir("/etc"))
    yield tried("make", lambda: os.mkdir(os.urandom(8).hex()))
    yield tried("truncate", lambda: os.truncate("kept", 0))
    yield tried("connect", lambda: socket.create_connection(server.getsockname()).close())
    ran = subprocess.run(["/usr/bin/env", "cat", "/etc/passwd"], capture_output=True)
    yield f"child {'done' if ran.returncode == 0 else 'refused'}"
open("kept", "w").write("kept")
print("before:", *attempts(), sep="\\n  ")
ruleset = call(444, struct.pack("<QQQ", files, ports, scoped), size, 0)
for path, rights in (("inner", files), ("/usr", 13)):
    place = os.open(path, os.O_PATH)
    call(445, ruleset, 1, struct.pack("<Qi", rights, place), 0)
assert libc.prctl(38, 1, 0, 0, 0) == 0
call(446, ruleset, 0)
print("after:", *attempts(), sep="\\n  ")
"""

# seccomp(2): a filter of the program's own answers EXDEV for mkdir and mkdirat; a child inherits it.
SECCOMP = """
import ctypes, errno, os, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def attempts():
    for name in ("one", "two"):
        try:
            os.mkdir(name + str(os.path.exists(name)))
            yield "made"
        except OSError as error:
            yield os.strerror(error.errno)
    ran = subprocess.run(["mkdir", "three"], capture_output=True)
    yield "child made" if ran.returncode == 0 else "child refused"
print(*attempts(), sep="\\n")
for name in ("oneFalse", "twoFalse", "three"):
    os.rmdir(name)
def code(op, jump_true, jump_false, k):
    return struct.pack("<HBBI", op, jump_true, jump_false, k)
program = b"".join((
    code(0x20, 0, 0, 0),            # load the number
    code(0x15, 1, 0, 83),           # mkdir
    code(0x15, 0, 1, 258),          # mkdirat
    code(0x06, 0, 0, 0x00050000 | errno.EXDEV),
    code(0x06, 0, 0, 0x7FFF0000),
))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.syscall(317, 1, 0, ctypes.byref(Program(len(program) // 8, program))) == 0
print(*attempts(), sep="\\n")
"""


def outside(source: str, where: Path) -> str:
    done = subprocess.run(
        ["/usr/bin/python3", "-c", source], cwd=where, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_numbers
@pytest.mark.parametrize("uid", CALLERS)
def test_a_ruleset_of_its_own_denies_what_it_says(daemon: Daemon, uid: int, tmp_path: Path) -> None:
    if landlock_abi() < 3:
        pytest.skip("the ruleset of this test needs Landlock ABI 3")
    done = daemon.run("/usr/bin/python3", "-c", LANDLOCK, uid=uid)
    assert done.returncode == 0, done.stderr
    before, after = (part.split("\n  ")[1:] for part in done.stdout.strip().split("after:"))
    refused = "Permission denied"
    assert [words.strip().partition(" ")[2] for words in before] == ["done"] * 9, before
    found = [words.partition(" ")[2] for words in after]
    ports = refused if landlock_abi() >= 4 else "done"
    assert found == ["done", refused, "done", *[refused] * 4, ports, "refused"]
    assert outside(LANDLOCK, tmp_path) == done.stdout, "the control"


@needs_numbers
@pytest.mark.parametrize("uid", CALLERS)
def test_a_filter_of_its_own_denies_what_it_says(daemon: Daemon, uid: int, tmp_path: Path) -> None:
    done = daemon.run("/usr/bin/python3", "-c", SECCOMP, uid=uid)
    assert done.returncode == 0, done.stderr
    refused = "Invalid cross-device link"
    assert done.stdout.splitlines() == ["made", "made", "child made", refused, refused,
                                        "child refused"]  # fmt: skip
    assert outside(SECCOMP, tmp_path) == done.stdout, "the control"


# As many rulesets, one on the other, as there is room for: the kernel has 16 layers (landlock(7)).
LAYERS = """
import ctypes, struct
libc, made = ctypes.CDLL(None, use_errno=True), 0
libc.prctl(38, 1, 0, 0, 0)
ruleset = libc.syscall(444, struct.pack("<Q", 1), 8, 0)
while libc.syscall(446, ruleset, 0) == 0:
    made += 1
print(made)
"""


@needs_numbers
def test_there_is_room_for_many_rulesets(daemon: Daemon, tmp_path: Path) -> None:
    """The cage takes two of the kernel's sixteen: its own, and the agent's signal scope."""
    assert outside(LAYERS, tmp_path) == "16\n", "the control"
    assert int(daemon.run("/usr/bin/python3", "-c", LAYERS).stdout) >= 13


NAMESPACES = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print("made" if libc.unshare(0x10000000 | 0x20000) == 0 else os.strerror(ctypes.get_errno()))
"""


def test_namespaces_of_its_own_are_refused_in_words(daemon: Daemon) -> None:
    """The line at the end of the run says what to do; outside the call is made."""
    control = subprocess.run([sys.executable, "-c", NAMESPACES], capture_output=True, text=True)
    assert control.stdout == "made\n"
    done = daemon.run("/usr/bin/python3", "-c", NAMESPACES)
    assert done.stdout == "Operation not permitted\n", done.stderr
    [line] = [line for line in done.stderr.splitlines() if "denied once: system calls" in line]
    assert "new namespaces cannot be made inside a cage" in line and "--no-sandbox" in line


def test_the_shell_of_a_fence_is_told_before_it_fails(daemon: Daemon) -> None:
    if not Path("/usr/bin/bwrap").exists():
        pytest.skip("bubblewrap is not installed")
    bwrap = ("bwrap", "--ro-bind", "/", "/", "true")
    assert subprocess.run(bwrap).returncode == 0, "the control"
    done = daemon.run(*bwrap)
    first, second, *_ = done.stderr.splitlines()
    assert first.startswith("akios: bwrap makes new namespaces") and done.returncode == 1
    assert second.startswith("bwrap: ")
    quiet = daemon.run(*bwrap, flags=["--quiet"])
    assert "akios:" not in quiet.stderr
