"""``without_loops.py COMMAND...``: execute a command to whose processes the kernel refuses loop
devices.

A filter answers the request for a free device (LOOP_CTL_GET_FREE, loop(4)) with ENODEV, as a kernel
without them, or a container that may not use them, would in one way or another.
"""

import errno
import os
import struct
import sys

from akiosd.kernel import seccomp, syscalls

_LOOP_CTL_GET_FREE = 0x4C82
# linux/bpf_common.h, linux/seccomp.h: load a word of seccomp_data, compare, return.
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NR, _REQUEST = 0, 24
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refuse_loops() -> None:
    program = b"".join(
        struct.pack("<HBBI", *line)
        for line in (
            (_LOAD, 0, 0, _NR),
            (_EQUAL, 0, 3, seccomp.resolve("ioctl")),
            (_LOAD, 0, 0, _REQUEST),
            (_EQUAL, 0, 1, _LOOP_CTL_GET_FREE),
            (_RETURN, 0, 0, _ERRNO | errno.ENODEV),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    syscalls.load_filter(program)


if __name__ == "__main__":
    refuse_loops()
    os.execvp(sys.argv[1], sys.argv[1:])
