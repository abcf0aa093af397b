"""The ruleset in the kernel: a child confines itself and tries; needs no privilege."""

import ctypes
import errno
import os
import stat
import struct

import msgspec
import pytest
from akiosd.policy.compile.landlock import FLOOR_ABI, SCRATCH, LandlockView, compile_landlock
from akiosd.values.policy import DEFAULT_POLICY, Filesystem, Policy
from akiosd.values.syscalls import NEW_NUMBERS

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, SIGKILL = 1, 38, 9
libc = ctypes.CDLL(None, use_errno=True)


def landlock(call, *args):
    result = libc.syscall(ctypes.c_long(NEW_NUMBERS[f"landlock_{call}"]), *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), call)
    return result


def kernel_abi():
    try:
        return landlock("create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


pytestmark = pytest.mark.skipif(kernel_abi() < FLOOR_ABI, reason="needs Landlock, ABI 2 or newer")


def confine(spec):
    attr = struct.pack("<QQQ", spec.handled_fs, 0, spec.scoped)[: spec.attr_size]
    ruleset = landlock("create_ruleset", attr, ctypes.c_size_t(len(attr)), ctypes.c_uint(0))
    for rule in spec.rules:
        try:
            fd = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            assert rule.optional
            continue
        landlock(
            "add_rule",
            ruleset,
            ctypes.c_int(1),
            struct.pack("<Qi", rule.access, fd),
            ctypes.c_uint(0),
        )
        os.close(fd)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    landlock("restrict_self", ruleset, ctypes.c_uint(0))


def run(body, spec):
    """``body`` in a child, confined unless ``spec`` is None → its result."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            if spec is not None:
                confine(spec)
            os.write(write, msgspec.msgpack.encode(body()))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return msgspec.msgpack.decode(data)


def attempt(action, *args):
    try:
        action(*args)
    except OSError as error:
        return error.errno
    return 0


@pytest.fixture
def places(tmp_path):
    for name in ("workspace/a", "workspace/b", "home", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside/secret").write_text("s")
    (tmp_path / "workspace/a/file").write_text("f")
    return tmp_path


def ruleset(places, abi, workspace="cow"):
    """The cage's own, but for the scratch directories: the test's files lie below one of them."""
    view = LandlockView(os.fsencode(places / "workspace"), os.fsencode(places / "home"))
    spec = compile_landlock(Policy(filesystem=Filesystem(workspace=workspace)), view, abi)
    return msgspec.structs.replace(
        spec, rules=tuple(rule for rule in spec.rules if rule.path not in SCRATCH)
    )


def attempts(places):
    """What an agent tries; reads of an outside file, never a write that could leave the test's
    directory.
    """
    workspace = places / "workspace"
    return {
        "read outside": attempt((places / "outside/secret").read_text),
        "write outside": attempt((places / "outside/new").write_text, "x"),
        "link outside in": attempt(os.link, places / "outside/secret", workspace / "link"),
        "write": attempt((workspace / "new").write_text, "x"),
        "truncate": attempt(os.truncate, workspace / "new", 0),
        "rename between directories": attempt(
            os.rename, workspace / "a/file", workspace / "b/file"
        ),
        "make a fifo": attempt(os.mkfifo, workspace / "fifo"),
        "make a device": attempt(
            os.mknod, workspace / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3)
        ),
        "read /usr": attempt(os.listdir, "/usr/bin"),
        "write /dev/null": attempt(open, "/dev/null", "wb"),
        "write own comm": attempt(open, "/proc/self/comm", "wb"),
        "run": attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    }


def test_a_cow_workspace(places):
    outcome = run(lambda: attempts(places), ruleset(places, kernel_abi()))
    refused = {
        name for name, err in outcome.items() if err in (errno.EACCES, errno.EXDEV, errno.EPERM)
    }
    assert refused == {"read outside", "write outside", "link outside in", "make a device"}
    assert {name for name, err in outcome.items() if err} == refused


def test_the_floor_abi_refuses_the_same(places):
    outcome = run(lambda: attempts(places), ruleset(places, FLOOR_ABI))
    assert {name for name, err in outcome.items() if err} == {
        "read outside",
        "write outside",
        "link outside in",
        "make a device",
    }


def test_a_read_only_workspace(places):
    outcome = run(lambda: attempts(places), ruleset(places, kernel_abi(), workspace="ro"))
    for name in ("write", "rename between directories", "make a fifo"):
        assert outcome[name] == errno.EACCES, name
    assert outcome["read /usr"] == 0


def test_outside_without_the_ruleset_the_same_actions_succeed(places):
    outcome = run(lambda: attempts(places), None)
    allowed = {name for name, err in outcome.items() if not err}
    assert allowed >= set(outcome) - {"make a device"}


def test_the_default_view_needs_no_path_that_is_missing_here(places):
    spec = compile_landlock(
        DEFAULT_POLICY,
        LandlockView(os.fsencode(places / "workspace"), os.fsencode(places / "home")),
        kernel_abi(),
    )
    assert run(lambda: attempt(os.listdir, "/"), spec) == 0
