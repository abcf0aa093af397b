"""Runs in a cage, and as the control on a plain bind: does with files what could be noticed on the
other side.

A Python expression a line on standard input, its value as a line of JSON on standard output.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
held = {}
watch = [-1]
F_OFD_GETLK, F_OFD_SETLK = 36, 37
IN_ALL = 0xFFF
EVENTS = {
    0x1: "read",
    0x2: "written",
    0x4: "changed",
    0x8: "closed written",
    0x10: "closed",
    0x20: "opened",
}
SYS_FUTEX, FUTEX_WAIT, FUTEX_WAKE = 202, 0, 1
_LOCK = "hhqqi4x"


def said(work):
    """An empty text, or the name of the errno."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""


def opened(path):
    if path not in held:
        held[path] = os.eventfd(0) if path == "eventfd" else os.open(path, os.O_RDONLY)
    return held[path]


def flock(path):
    """ "An empty text when it is ours now."""
    return said(lambda: fcntl.flock(opened(path), fcntl.LOCK_EX | fcntl.LOCK_NB))


def ofd_lock(path):
    """A read lock, for which a file open for reading is enough."""
    wanted = struct.pack(_LOCK, fcntl.F_RDLCK, 0, 0, 0, 0)
    return said(lambda: fcntl.fcntl(opened(path), F_OFD_SETLK, wanted))


def ofd_seen(path):
    """Whether somebody else holds a lock."""
    answer = fcntl.fcntl(opened(path), F_OFD_GETLK, struct.pack(_LOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
    return struct.unpack(_LOCK, answer)[0] != fcntl.F_UNLCK


def let_go(path):
    os.close(held.pop(path))


def start_watching(path):
    watch[0] = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert watch[0] >= 0
    wd = libc.inotify_add_watch(watch[0], path.encode(), IN_ALL)
    return "" if wd >= 0 else errno.errorcode[ctypes.get_errno()]


def seen(path):
    """What was done with ``path`` since: the last of it by us, an opening, so that there is
    something to read.
    """
    os.close(os.open(path, os.O_RDONLY))
    data, at, found = os.read(watch[0], 1 << 16), 0, set()
    os.close(watch[0])
    while at < len(data):
        _wd, mask, _cookie, size = struct.unpack_from("iIII", data, at)
        found.add(EVENTS.get(mask, str(mask)))
        at += 16 + size
    return sorted(found)


def connect(path):
    def work():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)

    return said(work)


def read_fifo(path):
    """What is in it, "" where nobody is on the other side."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)


def futex(path, operation, value):
    """Wait on a word of the file, mapped for reading only, or wake those who do; what the kernel
    says.
    """
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, opened(path), 0)
    word = ctypes.c_uint.from_address(address).value
    timeout = struct.pack("qq", value, 0)
    if operation == "wait":
        done = libc.syscall(
            SYS_FUTEX, ctypes.c_void_p(address), FUTEX_WAIT, ctypes.c_uint(word), timeout, None, 0
        )
    else:
        done = libc.syscall(SYS_FUTEX, ctypes.c_void_p(address), FUTEX_WAKE, value, None, None, 0)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]


if __name__ == "__main__":
    print("up", flush=True)
    for line in sys.stdin:
        print(json.dumps(eval(line)), flush=True)
    os._exit(0)
