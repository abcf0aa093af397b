"""The comparison against real overlay mounts, each in a mount namespace of its own that ends with
its process.
"""

from __future__ import annotations

import ctypes
import os
import random
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

NOBODY = 65534
ROOT = Path(__file__).parents[3]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts an overlay")


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("upper", ["same", "tmpfs"])
@pytest.mark.parametrize("scenario", [
    "everything", "restored_mtime", "swapped", "moved_over", "opaque", "untouched", "submount", "unreadable", "random",
])  # fmt: skip
def test_overlay(scenario: str, upper: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            sys.executable,
            __file__,
            scenario,
            upper,
            base,
        ]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


class Overlay:
    """A workspace of old files under an overlay with the options of a cage; ``inside`` is what the
    agent sees.
    """

    def __init__(self, base: Path, upper: str) -> None:
        self.base, self.workspace, self.inside = base, base / "workspace", base / "inside"
        self.layers = base / "layers"
        for path in (self.workspace, self.inside, self.layers):
            path.mkdir()
        if upper == "tmpfs":
            mount("tmpfs", self.layers, "tmpfs")
        (self.layers / "upper").mkdir()
        (self.layers / "work").mkdir()

    def start(self) -> None:
        # The files count as old once the clock of the file system has moved past the margin.
        probe = self.base / "probe"
        probe.touch()
        first = probe.stat().st_ctime_ns
        while probe.stat().st_ctime_ns < first + 60_000_000:
            probe.touch()
        self.started_ns = time.time_ns()
        options = (
            f"lowerdir={self.workspace},upperdir={self.layers}/upper,workdir={self.layers}/work"
        )
        mount(
            "overlay",
            self.inside,
            "overlay",
            options + ",redirect_dir=on,metacopy=off,index=off,xino=auto",
        )

    def fds(self) -> tuple[int, int]:
        return os.open(self.workspace, os.O_PATH | os.O_DIRECTORY), os.open(
            self.inside, os.O_PATH | os.O_DIRECTORY
        )


def mount(source: str, target: Path, kind: str, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 4096 if kind == "none" else 0
    if (
        libc.mount(
            source.encode(), bytes(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
        )
        != 0
    ):
        raise OSError(ctypes.get_errno(), f"mount {kind} on {target}")


def tree(root: Path) -> dict[bytes, tuple[object, ...]]:
    found: dict[bytes, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in directories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            is_link = stat.S_ISLNK(status.st_mode)
            content = os.readlink(path) if is_link else None
            if stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(root))] = (
                0 if is_link else status.st_mode,
                content,
            )
    return found


def check(overlay: Overlay, expected: set[str] | None = None) -> None:
    """The fast and the thorough comparison agree, the workspace is as it was, and a commit makes it
    the view.
    """
    from akiosctl.changes import Rules, commit, compare, make_plan

    workspace, view = overlay.fds()
    before = tree(overlay.workspace)
    fast = compare(workspace, view, started_ns=overlay.started_ns)
    thorough = compare(workspace, view)
    # Listing a directory may move the ctime that overlayfs shows for it, so only what people see is
    # compared.
    kinds = [
        [(c.kind, c.path, c.size, c.detail) for c in diff.changes] for diff in (fast, thorough)
    ]
    assert kinds[0] == kinds[1]
    if expected is not None:
        assert {os.fsdecode(change.path) for change in fast.changes} == expected
    assert tree(overlay.workspace) == before
    wanted = tree(overlay.inside)
    plan = make_plan(fast, Rules())
    assert not plan.blocked, (plan.refusals, plan.conflicts)
    report = commit(workspace, view, plan)
    assert report.failure is None and report.kept == b"", report
    assert tree(overlay.workspace) == wanted


def everything(overlay: Overlay) -> None:
    lower = overlay.workspace
    for name in ("d/a", "d/sub/b", "keep/x", "gone/y", "f", "linked", "mode"):
        (lower / name).parent.mkdir(parents=True, exist_ok=True)
        (lower / name).write_text(name)
    os.link(lower / "linked", lower / "linked-too")
    overlay.start()
    inside = overlay.inside
    (inside / "d").rename(inside / "renamed")
    (inside / "renamed/sub/b").write_text("changed below a renamed directory")
    (inside / "f").rename(inside / "g\n\udcff")
    (inside / "gone/y").unlink()
    (inside / "gone").rmdir()
    (inside / "mode").chmod(0o700)
    (inside / "linked").write_text("only one name changes")
    (inside / "new").mkdir()
    (inside / "new/one").write_text("1")
    os.link(inside / "new/one", inside / "new/two")
    os.link(inside / "keep/x", inside / "x-too")
    check(overlay)
    assert (lower / "new/one").samefile(lower / "new/two")
    assert (lower / "keep/x").samefile(lower / "x-too")
    assert (lower / "linked-too").read_text() == "linked"


def restored_mtime(overlay: Overlay) -> None:
    path = overlay.workspace / "d/f"
    path.parent.mkdir()
    path.write_text("aaaa")
    overlay.start()
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    (overlay.inside / "d/f").write_text("bbbb")
    os.utime(overlay.inside / "d/f", ns=times)
    parent = (overlay.workspace / "d").stat()
    os.utime(overlay.inside / "d", ns=(parent.st_atime_ns, parent.st_mtime_ns))
    check(overlay, {"d/f"})


def swapped(overlay: Overlay) -> None:
    """Two old files with one stamp and one size change places, alone and inside directories."""
    names = ("one", "two", "p/f", "q/f")
    for index, name in enumerate(names):
        (overlay.workspace / name).parent.mkdir(exist_ok=True)
        (overlay.workspace / name).write_text(str(index))
    for name in names:
        os.utime(overlay.workspace / name, ns=(10**9, 10**9))
    overlay.start()
    for one, two in (("one", "two"), ("p", "q")):
        (overlay.inside / one).rename(overlay.inside / "t")
        (overlay.inside / two).rename(overlay.inside / one)
        (overlay.inside / "t").rename(overlay.inside / two)
    check(overlay, set(names))


def moved_over(overlay: Overlay) -> None:
    """An old directory takes the name of an old file, a file that of a directory: each needs the
    other's place.
    """
    for name in ("d/f", "d/sub/g", "file", "e/h"):
        (overlay.workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay.workspace / name).write_text(name)
    overlay.start()
    (overlay.inside / "file").rename(overlay.inside / "t")
    (overlay.inside / "d").rename(overlay.inside / "file")
    (overlay.inside / "t").rename(overlay.inside / "d")
    (overlay.inside / "e").rename(overlay.inside / "file/e")
    check(overlay)


def opaque(overlay: Overlay) -> None:
    (overlay.workspace / "d").mkdir()
    for name in ("a", "b"):
        (overlay.workspace / "d" / name).write_text(name)
    overlay.start()
    for name in ("a", "b"):
        (overlay.inside / "d" / name).unlink()
    (overlay.inside / "d").rmdir()
    (overlay.inside / "d").mkdir()
    (overlay.inside / "d/a").write_text("a")
    check(overlay, {"d/b"})


def untouched(overlay: Overlay) -> None:
    """What the agent did not touch is not even listed; what it did, is."""
    from akiosctl.changes import walk

    for name in ("quiet/deep/f", "busy/deep/f"):
        (overlay.workspace / name).parent.mkdir(parents=True)
        (overlay.workspace / name).write_text("f")
    overlay.start()
    (overlay.inside / "busy/deep/f").write_text("changed")
    listed: list[bytes] = []
    real = walk._Comparison.list_names

    def listing(self: walk._Comparison, root_fd: int, path: bytes) -> frozenset[bytes]:
        listed.append(path)
        return real(self, root_fd, path)

    walk._Comparison.list_names = listing  # type: ignore[method-assign]
    workspace, view = overlay.fds()
    diff = walk.compare(workspace, view, started_ns=overlay.started_ns)
    assert [change.path for change in diff.changes] == [b"busy/deep/f"]
    assert set(listed) == {b"", b"busy", b"busy/deep"}, listed


def submount(overlay: Overlay) -> None:
    """A file system mounted in the workspace is no change by itself, and what the agent did there
    is refused.
    """
    from akiosctl.changes import Rules, compare, make_plan

    for name in ("mounted", "touched"):
        (overlay.workspace / name).mkdir()
    overlay.start()
    for name in ("mounted", "touched"):
        mount("tmpfs", overlay.workspace / name, "tmpfs", "mode=0755")
        (overlay.workspace / name / "theirs").write_text("theirs")
    (overlay.inside / "touched/mine").write_text("mine")
    workspace, view = overlay.fds()
    plan = make_plan(compare(workspace, view, started_ns=overlay.started_ns), Rules())
    assert [(r.path, r.reason) for r in plan.refusals] == [
        (b"touched", "another file system is mounted here")
    ]


def unreadable(overlay: Overlay) -> None:
    """Others' closed directories and files in a workspace, at work all the time, are no change; the
    agent's work is.

    The control: of such a directory and file that the agent did change, nothing can be told, and
    the commit is refused.
    """
    from akiosctl.changes import Rules, compare, make_plan

    lower, inside = overlay.workspace, overlay.inside
    os.chown(lower, NOBODY, NOBODY)
    for name in ("database", "keys", "touched"):
        (lower / name).mkdir(mode=0o700)
        (lower / name / "file").write_text("1")
    for name in ("secret", "log", "read", "forged", "gone"):
        (lower / name).write_text("1")
        (lower / name).chmod(0o600)
    overlay.start()
    (lower / "database" / "more").write_text("2")
    (lower / "log").write_text("2")
    (lower / "new-of-theirs").mkdir(mode=0o700)
    (inside / "touched" / "mine").write_text("agent")
    (inside / "read").write_text("2")
    times = (lower / "forged").stat()
    (inside / "forged").write_text("2")
    os.utime(inside / "forged", ns=(times.st_atime_ns, times.st_mtime_ns))
    (inside / "gone").unlink()
    (inside / "mine").write_text("agent")
    workspace, view = overlay.fds()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    diff = compare(workspace, view, started_ns=overlay.started_ns)
    found = {change.path: change.problem for change in diff.changes}
    closed = "cannot be read with your permissions"
    assert found == {
        b"forged": closed,
        b"gone": "",
        b"mine": "",
        b"read": closed,
        b"touched": closed,
    }
    assert {refusal.path for refusal in make_plan(diff, Rules()).refusals} == {
        b"forged",
        b"read",
        b"touched",
    }


def random_work(overlay: Overlay) -> None:
    """Hundreds of random steps of an agent; the seed is fixed, so a failure comes back."""
    chance = random.Random(7)
    names = [f"{a}/{b}" for a in "pqr" for b in "xyz"] + list("pqruv")

    def step(root: Path) -> None:
        one, two = root / chance.choice(names), root / chance.choice(names)
        action = chance.choice(
            ["write", "write", "mkdir", "rename", "unlink", "link", "symlink", "chmod"]
        )
        try:
            match action:
                case "write":
                    one.write_text(chance.choice(["", "aaaa", "bbbb"]))
                    os.utime(one, ns=(10**9, 10**9))
                case "mkdir":
                    one.mkdir()
                case "rename":
                    one.rename(two)
                case "unlink":
                    one.rmdir() if one.is_dir() and not one.is_symlink() else one.unlink()
                case "link":
                    os.link(one, two)
                case "symlink":
                    two.symlink_to("x")
                case "chmod":
                    os.chmod(one, chance.choice([0o600, 0o755, 0o700]), follow_symlinks=True)
        except OSError:
            pass

    for _ in range(150):
        step(overlay.workspace)
    overlay.start()
    for _ in range(150):
        step(overlay.inside)
    check(overlay)


def main() -> None:
    from akiosctl.changes import walk

    walk._PROOF_MARGIN_NS = 20_000_000
    scenario, upper, base = sys.argv[1:]
    scenarios = {
        function.__name__: function
        for function in (
            everything,
            restored_mtime,
            swapped,
            moved_over,
            opaque,
            untouched,
            submount,
            unreadable,
        )
    }
    scenarios["random"] = random_work
    scenarios[scenario](Overlay(Path(base), upper))


if __name__ == "__main__":
    main()
