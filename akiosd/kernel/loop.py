"""Loop devices: an image file as a block device that goes away with its last user (loop(4))."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from akiosd.kernel.fds import Fd

# include/uapi/linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_GET_STATUS64 = 0x4C05
_AUTOCLEAR = 4
_READ_ONLY = 1
_INFO = struct.Struct("<QQQQQIIII64s64s32s2Q")
_CONFIG_TAIL = bytes(64)


def attach(image_fd: int, *, read_only: bool = False) -> tuple[Fd, str]:
    """Bind the image to a free device: (device, its path); the descriptor is the caller's.

    The device is released when its last user closes it. OSError EBUSY when the image is already
    bound: two devices on one image would corrupt it.
    """
    if find(image_fd) is not None:
        raise OSError(errno.EBUSY, "the image is bound to a loop device already")
    with Fd(os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)) as control:
        for _attempt in range(64):
            number = fcntl.ioctl(control.fileno(), _LOOP_CTL_GET_FREE)
            path = f"/dev/loop{number}"
            device = Fd(os.open(path, os.O_RDWR | os.O_CLOEXEC))
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
            return device, path
    raise OSError(errno.EBUSY, "no loop device is free")


def find(image_fd: int) -> str | None:
    """The path of the device that an image is bound to, found by its backing inode;
    None for none.
    """
    stat = os.fstat(image_fd)
    for name in os.listdir("/sys/block"):
        if not name.startswith("loop") or not os.path.exists(
            f"/sys/block/{name}/loop/backing_file"
        ):
            continue
        try:
            with Fd(os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)) as device:
                info = _INFO.unpack(
                    fcntl.ioctl(device.fileno(), _LOOP_GET_STATUS64, bytes(_INFO.size))
                )
        except OSError:
            continue  # released in between
        if (info[0], info[1]) == (stat.st_dev, stat.st_ino):
            return f"/dev/{name}"
    return None
