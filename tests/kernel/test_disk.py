"""The disk of a cage: sparse, bounded, and gone without a loop device when it is destroyed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from akiosd.kernel import disk, loop, mounts, syscalls
from akiosd.kernel.disk import Images, Slot
from akiosd.kernel.fds import Fd
from akiosd.values.units import MIB

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting an image needs root"),
    pytest.mark.skipif(
        not Path("/dev/loop-control").exists(), reason="this kernel has no loop devices"
    ),
]

SIZE = 48 * MIB


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    (tmp_path / "disk").mkdir()
    found = Images(tmp_path / "disk")
    yield found
    found.close()


@pytest.fixture
def slot(images: Images, tmp_path: Path) -> Iterator[Slot]:
    directory = tmp_path / "cage"
    directory.mkdir()
    found = images.create(directory, SIZE)
    try:
        yield found
    finally:
        found.destroy()


def device_of(image: Path) -> str | None:
    with Fd(os.open(image, os.O_RDONLY | os.O_CLOEXEC)) as fd:
        device = loop.find(fd.fileno())
    if device is None:
        return None
    with device:
        return os.readlink(f"/proc/self/fd/{device.fileno()}")


def has(slot: Slot, name: str) -> bool:
    return os.access(name, os.F_OK, dir_fd=slot.mount.fileno())


def fill(slot: Slot, name: str) -> int:
    """Bytes that fitted before the kernel said no."""
    written, block = 0, os.urandom(MIB)
    with Fd(
        os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=slot.mount.fileno())
    ) as fd:
        while True:
            try:
                written += os.write(fd.fileno(), block)
            except OSError as error:
                assert error.errno in (errno.ENOSPC, errno.EDQUOT)
                return written


def test_an_empty_disk_costs_almost_nothing(slot: Slot, tmp_path: Path) -> None:
    template = next((tmp_path / "disk").glob("template-*.img"))
    for image in (template, tmp_path / "cage" / "disk.img"):
        status = image.stat()
        assert status.st_size == SIZE and status.st_blocks * 512 < SIZE // 8, "it is sparse"
        assert status.st_mode & 0o077 == 0


def test_it_is_full_at_its_budget_and_says_so(slot: Slot) -> None:
    used, limit = slot.space()
    assert 0 <= used < limit <= SIZE
    written = fill(slot, "data")
    assert SIZE * 3 // 4 < written <= SIZE
    used, limit = slot.space()
    assert used == limit, "full is said as full"
    os.unlink("data", dir_fd=slot.mount.fileno())
    assert slot.space()[0] < limit // 4


def test_what_is_allowed_for_a_while_binds_also_root(slot: Slot) -> None:
    before = slot.space()
    for allowed in (4 << 20, 2 << 20):
        assert slot.allow(allowed)
        filled = fill(slot, f"{allowed}")
        assert allowed * 3 // 4 - (1 << 19) <= filled <= allowed
        assert slot.space()[0] < slot.space()[1], "no more than that was used"
    assert not slot.allow(1 << 40)
    assert fill(slot, "rest") > before[1] // 2, "the control"
    assert slot.space()[0] == slot.space()[1]


def test_whoever_goes_on_with_it_takes_back_what_was_allowed(
    slot: Slot, images: Images, tmp_path: Path
) -> None:
    assert slot.allow(2 << 20)
    other = images.reopen_in_use(slot.directory, slot.size)
    try:
        assert not other.allow(1 << 40)
        assert fill(other, "all") > 4 << 20
    finally:
        other.release()


def test_many_small_files_meet_the_budget_too(slot: Slot) -> None:
    top = slot.mount.fileno()
    os.mkdir("many", dir_fd=top)
    with pytest.raises(OSError) as caught:
        for number in range(200_000):
            os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, dir_fd=top))
    assert caught.value.errno == errno.ENOSPC


def test_nothing_of_it_is_in_the_hosts_mount_table(slot: Slot, tmp_path: Path) -> None:
    table = Path("/proc/self/mountinfo").read_text()
    device = device_of(tmp_path / "cage" / "disk.img")
    assert device is not None and f" {device} " not in table


def test_destroy_leaves_no_device_and_no_file(slot: Slot, tmp_path: Path) -> None:
    image = tmp_path / "cage" / "disk.img"
    with Fd(os.open(image, os.O_RDONLY | os.O_CLOEXEC)) as fd:
        assert device_of(image) is not None
        slot.destroy()
        assert loop.find(fd.fileno()) is None and not image.exists()
    assert slot.space() == (0, 0)
    slot.destroy()


def test_release_keeps_the_data_and_reopen_finds_it(
    slot: Slot, images: Images, tmp_path: Path
) -> None:
    os.mkdir("kept", dir_fd=slot.mount.fileno())
    slot.release()
    assert device_of(tmp_path / "cage" / "disk.img") is None
    again = images.reopen(tmp_path / "cage", SIZE)
    try:
        assert has(again, "kept")
    finally:
        again.release()


def test_one_image_is_never_on_two_devices(slot: Slot, images: Images, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        images.reopen(tmp_path / "cage", SIZE)
    assert caught.value.errno == errno.EBUSY
    with Fd(os.open(tmp_path / "cage" / "disk.img", os.O_RDWR | os.O_CLOEXEC)) as fd:
        with pytest.raises(OSError) as caught:
            loop.attach(fd.fileno())
    assert caught.value.errno == errno.EBUSY


def test_two_disks_share_nothing(images: Images, slot: Slot, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = images.create(tmp_path / "other", SIZE)
    try:
        os.mkdir("mine", dir_fd=slot.mount.fileno())
        assert has(slot, "mine") and not has(other, "mine")
        written = fill(slot, "data")
        assert written and other.space()[0] < SIZE // 4
    finally:
        other.destroy()


def test_a_cage_that_has_a_disk_gets_no_second_one(
    images: Images, slot: Slot, tmp_path: Path
) -> None:
    with pytest.raises(FileExistsError):
        images.create(tmp_path / "cage", SIZE)


def test_a_template_that_was_interrupted_is_made_again(tmp_path: Path) -> None:
    base = tmp_path / "disk"
    base.mkdir()
    (base / f"template-{SIZE}.new").write_bytes(b"half")
    images = Images(base)
    assert not list(base.glob("*.new"))
    (tmp_path / "cage").mkdir()
    images.create(tmp_path / "cage", SIZE).destroy()


def test_holes_and_data_are_copied_as_they_are(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(8 * MIB)
        for at in (0, MIB, 5 * MIB + 4096):
            file.seek(at)
            file.write(os.urandom(8192))
    disk._copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks + 64
    with pytest.raises(FileExistsError):
        disk._copy_sparse(source, target)


def test_what_was_removed_is_punched_out_of_a_shared_image(
    images: Images, slot: Slot, tmp_path: Path
) -> None:
    secret = os.urandom(8192).hex().encode()
    top = slot.mount.fileno()
    with Fd(os.open("secret", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=top)) as file:
        os.write(file.fileno(), secret)
        os.fsync(file.fileno())
    os.unlink("secret", dir_fd=top)
    image = tmp_path / "cage" / "disk.img"
    with Fd(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top)) as root:
        os.fsync(root.fileno())
        assert secret in image.read_bytes(), "the control: to unlink it is not enough"
        if not disk.punch_free(root.fileno()):
            pytest.skip("the file system of the temporary directory cannot punch holes")
    assert secret not in image.read_bytes()


def test_sizes_made_up_by_callers_leave_little(images: Images, tmp_path: Path) -> None:
    """Each size has a template of its own, and a caller may ask for any size below the limit."""
    for number in range(3 * disk.MAX_TEMPLATES):
        directory = tmp_path / f"cage-{number}"
        directory.mkdir()
        # One size is everybody's, and must not be made anew all the time.
        for size in (SIZE, SIZE + (number + 1) * MIB):
            images.create(directory, size).destroy()
        if number == 0:
            everybodys = (tmp_path / "disk" / f"template-{SIZE}.img").stat().st_ino
    left = sorted(path.name for path in (tmp_path / "disk").iterdir())
    assert len(left) == disk.MAX_TEMPLATES and f"template-{SIZE + number * MIB}.img" in left
    assert (tmp_path / "disk" / f"template-{SIZE}.img").stat().st_ino == everybodys


def test_disks_of_one_new_size_made_at_once(images: Images, tmp_path: Path) -> None:
    directories = [tmp_path / f"cage-{number}" for number in range(8)]
    for directory in directories:
        directory.mkdir()
    with ThreadPoolExecutor(8) as threads:
        slots = list(threads.map(lambda directory: images.create(directory, SIZE), directories))
    try:
        for slot in slots:
            slot.prepare(1000, 2000)
            assert has(slot, "home")
    finally:
        for slot in slots:
            slot.destroy()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == [f"template-{SIZE}.img"]


@pytest.fixture
def narrow() -> Iterator[Slot]:
    """A disk whose image lies in a file system with less room than the disk has."""
    with mounts.fs_mount("tmpfs", {"size": str(24 * MIB)}, 0) as below:
        # A path that the children of this process know, too; the mount itself has no name.
        base = Path(f"/proc/{os.getpid()}/fd/{below.fileno()}")
        for name in ("disk", "cage"):
            (base / name).mkdir()
        found = Images(base / "disk").create(base / "cage", SIZE)
        try:
            yield found
        finally:
            found.destroy()


def write(slot: Slot, name: str, mib: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    with Fd(os.open(name, flags, 0o600, dir_fd=slot.mount.fileno())) as fd:
        for _ in range(mib):
            assert os.write(fd.fileno(), os.urandom(MIB)) == MIB


def test_what_found_no_room_below_is_told_whoever_was_told_before(narrow: Slot) -> None:
    write(narrow, "fits", 4)
    narrow.sync()
    write(narrow, "does-not", 32)
    # As an agent may, who would then be the only one to know.
    with Fd(os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=narrow.mount.fileno())) as other:
        with pytest.raises(OSError):
            syscalls.syncfs(other.fileno())
    with pytest.raises(OSError) as told:
        narrow.sync()
    assert told.value.errno in (errno.EIO, errno.ENOSPC)


def test_control_with_room_below_nothing_is_told(slot: Slot) -> None:
    write(slot, "fits", 32)
    slot.sync()
