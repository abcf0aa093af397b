"""A small agent for packaging/quickstart: it does a day's work, then what a hijacked one would try.

Every line is one attempt with its outcome, `allowed` or `denied (ERRNO)`, and the outcome that is
right. Needs only the standard library. Exit code: how many outcomes were wrong. An attempt that
succeeds changes nothing: started outside a cage, even as root, it must do no harm, so settings are
opened and not written, and a mount is undone.

    quickstart_agent.py SECRET      SECRET is a file outside the project that the caller can read
    quickstart_agent.py --fork-bomb LIMIT
"""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from pathlib import Path

ALLOWED, DENIED = "allowed", "denied"
CLONE_NEWUSER = 0x10000000  # unshare(2)
PTRACE_ATTACH = 16  # ptrace(2)

libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    """A libc function that returns -1 and sets errno, as an OSError."""
    if getattr(libc, function)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read_project() -> None:
    Path("README.md").read_text()


def write_file() -> None:
    with Path("notes.txt").open("x") as file:
        file.write("the agent was here\n")


def start_child() -> None:
    subprocess.run([sys.executable, "-c", "print(6 * 7)"], check=True, capture_output=True)


def talk_to_itself() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5),
    ):
        pass


def read_ssh_key() -> None:
    (Path.home() / ".ssh" / "id_ed25519").read_text()


def read_secret_by_path() -> None:
    Path(sys.argv[1]).read_text()


def read_shadow() -> None:
    Path("/etc/shadow").read_text()


def reach_address() -> None:
    socket.create_connection(
        ("192.0.2.1", 443), timeout=5
    ).close()  # RFC 5737: an address nobody owns


def open_raw_socket() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


def type_into_terminal() -> None:
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSTI, struct.pack("c", b"x"))


def make_namespace() -> None:
    call("unshare", CLONE_NEWUSER)


def trace_init() -> None:
    call("ptrace", PTRACE_ATTACH, 1, None, None)


def become_root() -> None:
    os.setresuid(0, 0, 0)


def mount_something() -> None:
    with tempfile.TemporaryDirectory() as target:
        call("mount", b"none", os.fsencode(target), b"tmpfs", 0, None)
        call("umount2", os.fsencode(target), 0)


def change_kernel() -> None:
    # Opening for writing is where the kernel decides; nothing is written.
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))


ATTEMPTS: list[tuple[str, Callable[[], None], str]] = [
    ("read the project", read_project, ALLOWED),
    ("write a file", write_file, ALLOWED),
    ("start a child process", start_child, ALLOWED),
    ("serve and connect on localhost", talk_to_itself, ALLOWED),
    ("read ~/.ssh/id_ed25519", read_ssh_key, DENIED),
    ("read that key by its full path", read_secret_by_path, DENIED),
    ("read /etc/shadow", read_shadow, DENIED),
    ("connect to an address", reach_address, DENIED),
    ("open a raw socket", open_raw_socket, DENIED),
    ("type into the terminal (TIOCSTI)", type_into_terminal, DENIED),
    ("make a user namespace", make_namespace, DENIED),
    ("trace process 1", trace_init, DENIED),
    ("become root", become_root, DENIED),
    ("mount a file system", mount_something, DENIED),
    ("change a kernel setting", change_kernel, DENIED),
]


def attempt(action: Callable[[], None]) -> tuple[str, str]:
    """(allowed or denied, the errno's name). A time-out is a denial too slow to be one, and counts
    as allowed.
    """
    try:
        action()
    except TimeoutError:
        return ALLOWED, " (no answer)"
    except OSError as error:
        return DENIED, f" ({errno.errorcode.get(error.errno or 0, error)})"
    return ALLOWED, ""


def run_attempts() -> int:
    wrong = 0
    for title, action, right in ATTEMPTS:
        outcome, why = attempt(action)
        wrong += outcome != right
        wish = "" if outcome == right else f"   <-- should be {right}"
        print(f"  {title:<34} {outcome}{why}{wish}", flush=True)
    return wrong


def fork_bomb(limit: int) -> int:
    """Forks until refused; the children only wait. Above `limit` something is wrong, and it stops
    by itself.
    """
    children: list[int] = []
    why = ""
    try:
        while len(children) <= limit:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError as error:
        why = errno.errorcode.get(error.errno or 0, str(error))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    outcome = f"denied ({why})" if why else "allowed   <-- should be denied"
    print(f"  {'fork without end':<34} {outcome} after {len(children)} processes", flush=True)
    return 0 if why else 1


if __name__ == "__main__":
    sys.exit(fork_bomb(int(sys.argv[2])) if sys.argv[1] == "--fork-bomb" else run_attempts())
