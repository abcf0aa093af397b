"""User namespaces made by the launcher: the maps are those that were asked for, and nothing runs in
them.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from akiosd.kernel import pidfd, userns
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import Launcher
from akiosd.kernel.userns import IdMap
from akiosd.policy.compile.identity import cage_map, caller_map, reverse, system_map
from akiosd.values.ids import Lines
from tests.kernel.launcher_harness import children, needs_root

pytestmark = needs_root

HOST_ID, DISPLAY = 1_900_000_000, 1 << 31
_NS_GET_OWNER_UID = 0xB704  # include/uapi/linux/nsfs.h
_NS_GET_NSTYPE = 0xB703


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    before = children()
    found = Launcher()
    await found.start()
    try:
        yield found
    finally:
        with trio.CancelScope(shield=True):
            await found.close()
    assert children() == before


def lines_of(text: str) -> Lines:
    return tuple(
        (int(a), int(b), int(c)) for a, b, c in (line.split() for line in text.splitlines())
    )


async def read_maps(namespace: Fd) -> tuple[Lines, Lines]:
    """Seen from here, by a child that enters the namespace."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write_end)
            set_ns(namespace.fileno())
            os.read(read_end, 1)
        finally:
            os._exit(0)
    os.close(read_end)
    try:
        while os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user"):
            await trio.sleep(0.001)
        return tuple(
            lines_of(Path(f"/proc/{pid}/{name}").read_text()) for name in ("uid_map", "gid_map")
        )  # type: ignore[return-value]
    finally:
        os.close(write_end)
        os.waitpid(pid, 0)


def set_ns(fd: int) -> None:
    import ctypes

    assert ctypes.CDLL(None, use_errno=True).setns(fd, 0x10000000) == 0


MAPS = {
    "a cage": cage_map(1000, HOST_ID, DISPLAY),
    "root inside": cage_map(0, HOST_ID, DISPLAY),
    "a caller": caller_map(1001, 1000, HOST_ID, DISPLAY),
    "a caller who is root": caller_map(0, 1000, HOST_ID, DISPLAY),
    "the system": system_map(DISPLAY),
    "back": reverse(caller_map(1001, 1000, HOST_ID, DISPLAY)),
}


@pytest.mark.parametrize("name", MAPS)
async def test_the_maps_are_read_back(launcher: Launcher, name: str) -> None:
    gids = cage_map(100, HOST_ID, DISPLAY)
    with await userns.create(launcher, IdMap(MAPS[name], gids)) as namespace:
        assert fcntl.ioctl(namespace.fileno(), _NS_GET_NSTYPE) == 0x10000000
        assert await read_maps(namespace) == (MAPS[name], gids)


async def test_the_holder_is_gone_when_the_namespace_is_there(launcher: Launcher) -> None:
    before = children()
    with await userns.create(launcher, IdMap(system_map(DISPLAY), system_map(DISPLAY))):
        assert children() == before


async def test_a_map_the_kernel_refuses_leaves_nothing(launcher: Launcher) -> None:
    before = children()
    overlapping = ((0, 100_000, 10), (5, 200_000, 10))
    with pytest.raises(OSError):
        await userns.create(launcher, IdMap(overlapping, overlapping))
    assert children() == before


@pytest.mark.parametrize("owner", [0, HOST_ID])
async def test_the_owner_is_who_was_asked_for(launcher: Launcher, owner: int) -> None:
    """The kernel charges the owner for what is used inside; see
    tests/e2e/test_attack_shared_numbers.py.
    """
    ids = IdMap(system_map(DISPLAY), system_map(DISPLAY))
    with await userns.create(launcher, ids, owner) as namespace:
        answer = fcntl.ioctl(namespace.fileno(), _NS_GET_OWNER_UID, struct.pack("I", 77))
        assert struct.unpack("I", answer) == (owner,)
    status = Path(f"/proc/{launcher._pid}/status").read_text()
    assert "\nUid:\t0\t0\t0\t0\n" in status, "the launcher is root again"
    sets = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    assert sets["CapEff"] == sets["CapPrm"]


async def test_two_namespaces_are_two(launcher: Launcher) -> None:
    ids = IdMap(system_map(DISPLAY), system_map(DISPLAY))
    with await userns.create(launcher, ids) as one, await userns.create(launcher, ids) as other:
        assert os.fstat(one.fileno()).st_ino != os.fstat(other.fileno()).st_ino


async def test_a_holder_has_no_descriptor_and_dies_when_it_is_told(launcher: Launcher) -> None:
    pid, holder = await launcher.clone_userns()
    with holder:
        with trio.fail_after(10):
            while os.listdir(f"/proc/{pid}/fd"):
                await trio.sleep(0.001)
        pidfd.send_signal(holder.fileno(), 9)
        await pidfd.wait_exit(holder.fileno())
    assert not Path(f"/proc/{pid}").exists()
