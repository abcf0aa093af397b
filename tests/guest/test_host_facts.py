"""What the other tests in this directory stand on: the guest offers every mechanism that AKIOS asks
of a host.
"""

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP2_SUPER_MAGIC = 0x63677270  # statfs(2), linux/magic.h
SYS_LANDLOCK_CREATE_RULESET = (
    444  # the same number on every architecture that Linux numbers uniformly
)
LANDLOCK_CREATE_RULESET_VERSION = 1  # landlock_create_ruleset(2)

libc = ctypes.CDLL(None, use_errno=True)


class StatFs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_byte * 256)]


def file_system_magic(path: Path) -> int:
    buffer = StatFs()
    assert libc.statfs(os.fsencode(path), ctypes.byref(buffer)) == 0, os.strerror(
        ctypes.get_errno()
    )
    return int(buffer.f_type)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Path]:
    """A pool image as akiosd makes it where the state file system has no project quota, mounted;
    yields its root.
    """
    image, target = tmp_path / "pool", tmp_path / "mounted"
    target.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", image)
    run("mount", "-o", "loop,prjquota", image, target)
    yield target
    run("umount", target)


def test_runs_as_root() -> None:
    assert os.geteuid() == 0


def test_time_passes_as_fast_as_on_the_host() -> None:
    """The clock chip is QEMU's and goes by the host's clock; the guest's own counts by itself."""
    chip = Path("/sys/class/rtc/rtc0/since_epoch")

    def beat(after: int) -> tuple[int, float]:
        while (now := int(chip.read_text())) <= after:
            pass
        return now, time.monotonic()

    first, begun = beat(int(chip.read_text()))
    last, ended = beat(first + 5)
    assert 0.7 < (ended - begun) / (last - first) < 1.4


def test_cgroups_are_unified_with_the_controllers_of_a_cage() -> None:
    assert file_system_magic(CGROUP_ROOT) == CGROUP2_SUPER_MAGIC
    assert {"memory", "pids", "cpu"} <= set(
        (CGROUP_ROOT / "cgroup.controllers").read_text().split()
    )


def test_own_cgroup_is_delegated() -> None:
    own = Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/")
    assert {"memory", "pids", "cpu"} <= set(
        (CGROUP_ROOT / own / "cgroup.controllers").read_text().split()
    )


def test_a_limit_binds() -> None:
    leaf = CGROUP_ROOT / "akios-facts"
    leaf.mkdir()
    try:
        (leaf / "pids.max").write_text("1")
        child = subprocess.run(
            ["sh", "-c", f"echo 0 >{leaf}/cgroup.procs && (true)"], capture_output=True
        )
        assert child.returncode != 0
        assert "max 0" not in (leaf / "pids.events").read_text()
    finally:
        leaf.rmdir()


def test_landlock_knows_network_rules() -> None:
    abi = libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    assert abi >= 4


def test_overlay_mounts_with_the_options_of_a_workspace(tmp_path: Path) -> None:
    # tmp_path is on the guest's ext4; an upper layer needs a file system with xattrs and d_type.
    lower, upper, work, view = (tmp_path / name for name in ("lower", "upper", "work", "view"))
    for path in (lower / "a", upper, work, view):
        path.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=on,metacopy=off,index=off,xino=auto"
    run("mount", "-t", "overlay", "akios", "-o", options, view)
    try:
        (view / "a").rename(view / "b")
        assert (lower / "a").is_dir()
        assert not (view / "a").exists()
    finally:
        run("umount", view)


def test_project_quota_stops_a_writer_who_is_not_privileged(pool: Path) -> None:
    cage = pool / "cage"
    cage.mkdir()
    os.chown(cage, 1000, 1000)
    run("chattr", "-p", "7", "+P", cage)
    run("setquota", "-P", "7", "0", "1024", "0", "0", pool)
    fill = [
        "setpriv",
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "dd",
        "if=/dev/zero",
        "bs=64K",
        "of=fill",
    ]
    done = subprocess.run([*fill, "count=64"], cwd=cage, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Disk quota exceeded" in done.stderr or "No space left" in done.stderr
    assert (cage / "fill").stat().st_size <= 1024 * 1024


def test_swap_is_off_so_that_memory_limits_are_limits() -> None:
    assert len(Path("/proc/swaps").read_text().splitlines()) == 1
