"""A target for the pump's tests: a process that puts itself under a real filter, hands the listener
over and acts.

    python pump_target.py SOCKET_FD ACTION [ARGUMENT...]

The filter (seccomp(2), raw BPF) notifies the calls named in NOTIFIED and allows all others, so that
the hand-over by SCM_RIGHTS is never notified itself. Each action prints what its calls returned,
one line each, as errno or ``ok``.
"""

from __future__ import annotations

import array  # noqa: F401  (send_fds imports it, which must not happen under the filter)
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
SECCOMP = ctypes.CDLL("libseccomp.so.2")
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
NOTIFIED = ("fchmodat", "openat", "renameat2", "execve", "connect", "unlinkat", "sysinfo", "times")
FLAG_NEW_LISTENER = 1 << 3
FLAG_WAIT_KILLABLE_RECV = 1 << 5
AT_FDCWD = -100


def resolve(name: str) -> int:
    return int(SECCOMP.seccomp_syscall_resolve_name(name.encode()))


def encode_filter() -> bytes:
    """load nr; one jump for each notified call; allow; notify (bpf(4) of linux/filter.h)."""
    lines = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
    for place, name in enumerate(NOTIFIED):
        lines.append(struct.pack("=HBBI", 0x15, len(NOTIFIED) - place, 0, resolve(name)))
    lines.append(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000))
    lines.append(struct.pack("=HBBI", 0x06, 0, 0, 0x7FC00000))
    return b"".join(lines)


def install_filter(flags: int = FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV) -> int:
    """Returns the listener."""
    code = encode_filter()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(buffer))
    LIBC.prctl(38, 1, 0, 0, 0)
    fd = LIBC.syscall(resolve("seccomp"), 1, flags, program)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(fd)


def hand_over(
    connection: socket.socket, *, flags: int = FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV
) -> None:
    """Installs, sends the listener, and waits until the other side is ready to serve it."""
    listener = install_filter(flags)
    socket.send_fds(connection, [b"L"], [listener])
    os.close(listener)
    if not connection.recv(1):
        os._exit(0)


def call(name: str, *args: object) -> str:
    numbers = [ctypes.c_void_p(a) if isinstance(a, int) else a for a in args]
    result = LIBC.syscall(resolve(name), *numbers)
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def address_of(view: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def page_before_hole(content: bytes) -> int:
    """The address of `content`, which ends exactly where an unmapped page begins."""
    view = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    base = address_of(view)
    LIBC.munmap(ctypes.c_void_p(base + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE))
    ctypes.memmove(base + mmap.PAGESIZE - len(content), content, len(content))
    globals().setdefault("_kept", []).append(view)
    return base + mmap.PAGESIZE - len(content)


def action_strings(place: str) -> None:
    print(call("fchmodat", AT_FDCWD, os.fsencode(place), 0o600))
    print(call("fchmodat", AT_FDCWD, page_before_hole(b"/edge\0"), 0o600))
    print(call("fchmodat", AT_FDCWD, page_before_hole(b"/no-end"), 0o600))
    print(call("fchmodat", AT_FDCWD, 8, 0o600))
    print(call("fchmodat", AT_FDCWD, 0, 0o600))
    print(call("fchmodat", AT_FDCWD, b"", 0o600))
    print(call("fchmodat", AT_FDCWD, b"/" + b"x" * 300, 0o600))
    print(call("fchmodat", AT_FDCWD, b"/" + b"y" * 4094, 0o600))
    print(call("fchmodat", AT_FDCWD, b"/" + b"z" * 5000, 0o600))
    print(call("renameat2", AT_FDCWD, b"/from\n\xff", AT_FDCWD, b"/to", 0))
    view = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    view[mmap.PAGESIZE - 3 : mmap.PAGESIZE + 8] = b"/over-edge\0"
    print(call("fchmodat", AT_FDCWD, address_of(view) + mmap.PAGESIZE - 3, 0o600))


def execve(argv: list[bytes | None], pointers: int | None = None) -> str:
    vector = (ctypes.c_char_p * len(argv))(*argv)
    where = ctypes.addressof(vector) if pointers is None else pointers
    return call("execve", b"/no/such/program", where, 0)


def action_argv() -> None:
    print(execve([b"one", b"", b"three \xff", None]))
    print(execve([None]))
    print(call("execve", b"/no/such/program", 0, 0))
    print(call("execve", b"/no/such/program", 8, 0))
    print(execve([b"%d" % n for n in range(80)] + [None]))
    print(execve([b"a" * 3000, b"b" * 3000, None]))
    kept = ctypes.create_string_buffer(b"only")
    print(execve([], page_before_hole(struct.pack("=QQ", ctypes.addressof(kept), 0))))
    print(execve([], page_before_hole(struct.pack("=Q", ctypes.addressof(kept)))))
    print(execve([], page_before_hole(struct.pack("=QQQ", ctypes.addressof(kept), 8, 0))))


def action_sockaddr() -> None:
    plain = struct.pack(
        "=H2s4s8x", socket.AF_INET, (9).to_bytes(2, "big"), socket.inet_aton("127.0.0.1")
    )
    print(call("connect", 99, plain, len(plain)))
    print(call("connect", 99, plain, 0))
    print(call("connect", 99, page_before_hole(plain), 64))
    print(call("connect", 99, 8, 16))
    print(call("connect", 99, b"x" * 200, 200))
    print(call("connect", 99, plain, 0x1_0000_0010))


def action_repeat(path: str, times: str) -> None:
    """Prints the first answer and how many were the same."""
    answers = [call("fchmodat", AT_FDCWD, os.fsencode(path), 0o600) for _ in range(int(times))]
    print(answers[0], answers.count(answers[0]))


def action_sequence(times: str) -> None:
    for n in range(int(times)):
        call("fchmodat", AT_FDCWD, b"/sequence/%d" % n, 0o600)
    print("done")


def action_numbered(times: str) -> None:
    """Two threads; each call is made up to three times, every fifth of them with a mode that is
    denied.  Prints how many got another answer than the one they must get.
    """
    wrong = [0, 0]

    def work(name: int) -> None:
        for n in range(int(times)):
            denied = n % 5 == 0
            for _ in range(1 + n % 3):
                got = call("fchmodat", AT_FDCWD, b"/numbered/%d/%d" % (name, n), 0o600 | denied)
                wrong[name] += got != ("EACCES" if denied else "ENOENT")

    workers = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("wrong", *wrong)


def action_numbers() -> None:
    buffer = ctypes.create_string_buffer(4096)
    print(call("sysinfo", buffer))
    print(call("times", buffer))
    print(call("openat", AT_FDCWD, b"/dev/null", os.O_RDONLY, 0))
    print(call("openat", AT_FDCWD, b"/dev/null", os.O_WRONLY, 0))
    print(call("openat", AT_FDCWD, b"/dev/null", os.O_RDWR | os.O_APPEND, 0))


def action_threads(threads: str, times: str) -> None:
    def work(name: int) -> None:
        for n in range(int(times)):
            call("fchmodat", AT_FDCWD, b"/thread/%d/%d" % (name, n), 0o600)

    workers = [threading.Thread(target=work, args=(name,)) for name in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("done")


def action_interrupted(times: str) -> None:
    """Calls under a timer that interrupts them; without WAIT_KILLABLE_RECV a notification may be
    taken back.
    """
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for n in range(int(times)):
        call("fchmodat", AT_FDCWD, b"/interrupted/%d" % n, 0o600)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("done")


def action_held(path: str) -> None:
    """One call whose path lies in a page that whoever gets the userfaultfd(2) descriptor holds
    back.
    """
    view = mmap.mmap(-1, mmap.PAGESIZE)
    held = LIBC.syscall(resolve("userfaultfd"), os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(held, 0xC018AA3F, struct.pack("=QQQ", 0xAA, 0, 0))
    register = struct.pack("=QQQQ", address_of(view), mmap.PAGESIZE, 1, 0)
    fcntl.ioctl(held, 0xC020AA00, register)
    socket.send_fds(CONNECTION, [b"U"], [held])
    os.close(held)
    print(call("fchmodat", AT_FDCWD, address_of(view), 0o600), path)


def action_many(count: str) -> None:
    """Not under a filter itself: forks `count` children, each under its own, which make one call
    and exit.
    """
    children = []
    for n in range(int(count)):
        pid = os.fork()
        if pid == 0:
            listener = install_filter()
            socket.send_fds(CONNECTION, [b"L"], [listener])
            os.close(listener)
            call("fchmodat", AT_FDCWD, b"/child/%d" % n, 0o600)
            os._exit(0)
        children.append(pid)
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
    print("failed", failed)


def main() -> None:
    action = globals()[f"action_{sys.argv[2]}"]
    if sys.argv[2] != "many":
        flags = FLAG_NEW_LISTENER | (0 if sys.argv[2] == "interrupted" else FLAG_WAIT_KILLABLE_RECV)
        hand_over(CONNECTION, flags=flags)
    action(*sys.argv[3:])
    sys.stdout.flush()


if __name__ == "__main__":
    CONNECTION = socket.socket(fileno=int(sys.argv[1]))
    main()
