"""Loop devices: an image file as a block device that goes away with its last user (loop(4))."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from akiosd.kernel import mounts
from akiosd.kernel.fds import Fd

# include/uapi/linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_GET_STATUS64 = 0x4C05
_AUTOCLEAR = 4
_READ_ONLY = 1
_INFO = struct.Struct("<QQQQQIIII64s64s32s2Q")
_CONFIG_TAIL = bytes(64)
_NODE_ATTRS = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC


def attach(image_fd: int, *, read_only: bool = False) -> tuple[Fd, str]:
    """Bind the image to a free device: (device, a path that leads to it while the descriptor is
    open); the descriptor is the caller's.

    The device is released when its last user closes it. OSError EBUSY when the image is already
    bound: two devices on one image would corrupt it.
    """
    if find(image_fd) is not None:
        raise OSError(errno.EBUSY, "the image is bound to a loop device already")
    with _open_node("loop-control", os.O_RDWR) as control:
        for _attempt in range(64):
            number = fcntl.ioctl(control.fileno(), _LOOP_CTL_GET_FREE)
            device = _open_node(f"loop{number}", os.O_RDWR)
            flags = _AUTOCLEAR | (_READ_ONLY if read_only else 0)
            info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
            try:
                fcntl.ioctl(
                    device.fileno(),
                    _LOOP_CONFIGURE,
                    struct.pack("<II", image_fd, 0) + info + _CONFIG_TAIL,
                )
            except OSError as error:
                device.close()
                if error.errno != errno.EBUSY:
                    raise
                continue  # somebody else was faster
            return device, f"/proc/self/fd/{device.fileno()}"
    raise OSError(errno.EBUSY, "no loop device is free")


def find(image_fd: int) -> Fd | None:
    """The device that an image is bound to, found by its backing inode, open and the
    caller's; None for none.
    """
    stat = os.fstat(image_fd)
    for name in os.listdir("/sys/block"):
        if not name.startswith("loop") or not os.path.exists(
            f"/sys/block/{name}/loop/backing_file"
        ):
            continue
        try:
            device = _open_node(name, os.O_RDONLY)
        except OSError:
            continue  # released in between
        try:
            info = _INFO.unpack(fcntl.ioctl(device.fileno(), _LOOP_GET_STATUS64, bytes(_INFO.size)))
        except OSError:
            device.close()
            continue
        if (info[0], info[1]) == (stat.st_dev, stat.st_ino):
            return device
        device.close()
    return None


def check() -> None:
    """Raise OSError, naming what is missing, when this process cannot use loop devices."""
    with _open_node("loop-control", os.O_RDWR) as control:
        number = fcntl.ioctl(control.fileno(), _LOOP_CTL_GET_FREE)
    _open_node(f"loop{number}", os.O_RDWR).close()


def _open_node(name: str, flags: int) -> Fd:
    """Open a device by its name in ``/dev``.

    A container's ``/dev`` holds what was there when it was made, or less, while the kernel makes
    loop devices as they are asked for: what is missing is opened in the kernel's own list
    (devtmpfs), from a mount that nobody else sees.  Whether we may is still decided by the kernel,
    at the open.
    """
    try:
        return Fd(os.open(f"/dev/{name}", flags | os.O_CLOEXEC))
    except FileNotFoundError as missing:
        try:
            nodes = mounts.fs_mount("devtmpfs", {}, _NODE_ATTRS)
        except OSError:
            raise missing from None
        with nodes:
            return Fd(os.open(name, flags | os.O_CLOEXEC, dir_fd=nodes.fileno()))
