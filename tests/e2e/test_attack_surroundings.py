"""What surrounds a run: network, terminal, environment, limits; and what agents may do, confined as
before.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import pty
import resource
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.e2e.attacks.programs import Programs, parse
from tests.e2e.daemon import NOBODY, Daemon

CALLERS = pytest.mark.parametrize("uid", [0, NOBODY])

# ---- network -------------------------------------------------------------------------------------

CONNECT = """
import errno, socket, sys
for word in sys.argv[1:]:
    kind, host, port = word.split(",")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as out:
        out.settimeout(5)
        try:
            out.connect((host, int(port)))
            print(word, "connected")
        except OSError as error:
            print(word, errno.errorcode.get(error.errno, "slow"))
"""

# Documentation addresses (RFC 5737, RFC 3849), the clouds' metadata service, private ranges,
# broadcast.
AWAY = [
    "tcp,192.0.2.1,443", "tcp,169.254.169.254,80", "tcp,10.0.0.1,22", "tcp,2001:db8::1,443", "tcp,fd00::1,80",
    "tcp,::ffff:192.0.2.1,80", "udp,192.0.2.1,53", "udp,8.8.8.8,53", "udp,2001:db8::1,53", "udp,224.0.0.1,5353",
    "udp,172.17.0.1,2375",
]  # fmt: skip


@CALLERS
def test_no_address_outside_has_a_route(daemon: Daemon, uid: int) -> None:
    """Connecting a datagram socket sends nothing: it only asks for a route, which is the control
    outside.
    """
    inside = daemon.run("python3", "-c", CONNECT, *AWAY, uid=uid)
    assert set(parse(inside.stdout).values()) == {"ENETUNREACH"}, inside.stdout
    assert len(inside.stdout.splitlines()) == len(AWAY)
    control = subprocess.run(
        [sys.executable, "-c", CONNECT, "udp,192.0.2.1,53"], capture_output=True, text=True
    )
    if "connected" not in control.stdout:
        pytest.skip("this machine has no default route itself")


@CALLERS
def test_servers_of_the_host_cannot_be_reached(daemon: Daemon, uid: int) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        words = [
            f"tcp,{host},{port}"
            for host in ("127.0.0.1", "127.0.0.53", "0.0.0.0", *own_addresses())
        ]
        control = subprocess.run(
            [sys.executable, "-c", CONNECT, *words], capture_output=True, text=True
        )
        assert set(parse(control.stdout).values()) == {"connected"}
        inside = daemon.run("python3", "-c", CONNECT, *words, uid=uid)
    assert set(parse(inside.stdout).values()) <= {"ECONNREFUSED", "ENETUNREACH"}, inside.stdout
    assert len(inside.stdout.splitlines()) == len(words)


def own_addresses() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 53))
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


@CALLERS
def test_servers_inside_cannot_be_reached_from_outside(daemon: Daemon, uid: int) -> None:
    script = (
        "import socket, sys\ns = socket.create_server(('0.0.0.0', 0))\nprint(s.getsockname()[1], flush=True)\n"
        "socket.create_connection(('127.0.0.1', s.getsockname()[1]))\nprint('own', flush=True)\nsys.stdin.readline()"
    )
    where = daemon.workspace(uid=uid)
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with daemon.popen(
        "run", "--workspace", where, "--", "python3", "-c", script, uid=uid, cwd=where, **piped
    ) as client:
        assert client.stdout is not None
        port = client.stdout.readline().strip()
        assert client.stdout.readline() == "own\n"
        word = f"tcp,127.0.0.1,{port}"
        control = subprocess.run(
            [sys.executable, "-c", CONNECT, word], capture_output=True, text=True
        )
        client.communicate("go\n", timeout=30)
    assert control.stdout == f"{word} ECONNREFUSED\n"


# ---- the caller's terminal and surroundings ------------------------------------------------------

ON_TERMINAL = """
import fcntl, os, sys, termios
print("tty", os.ttyname(0), os.fstat(0).st_dev, sorted(os.listdir("/dev/pts")))
for name in sys.argv[1:]:
    try:
        os.close(os.open(name, os.O_RDWR | os.O_NOCTTY))
        print("opened", name)
    except OSError:
        pass
for fd in (0, 1, 2, os.open("/dev/tty", os.O_RDWR)):
    for command in (termios.TIOCSTI, termios.TIOCSTI | 1 << 32):
        try:
            fcntl.ioctl(fd, command, b"x")
            print("typed", fd)
        except (OSError, OverflowError):
            pass
print("end", flush=True)
"""


@CALLERS
def test_the_terminal_is_the_cages_own(daemon: Daemon, uid: int) -> None:
    """The caller's terminal is not in the cage, and nothing can be typed into the one that is."""
    # The second one, so that its number is not that of the only terminal in the cage.
    held = [*pty.openpty(), *pty.openpty()]
    theirs = os.ttyname(held[3])
    os.chmod(theirs, 0o666)
    where = daemon.workspace(uid=uid)
    argv = ["run", "-t", "--workspace", str(where), "--", "python3", "-c", ON_TERMINAL, theirs]
    text, own_device, name = on_a_terminal(daemon, argv, where, uid)
    inside = [
        line for line in text.splitlines() if line.startswith(("tty", "opened", "typed", "end"))
    ]
    try:
        assert [line.split()[0] for line in inside] == ["tty", "end"], text
        assert inside[0].split()[2] != str(own_device)
        assert inside[0].split(" ", 3)[3] == "['0', 'ptmx']"
        assert name != theirs
        os.close(os.open(theirs, os.O_RDWR | os.O_NOCTTY))
    finally:
        for fd in held:
            os.close(fd)


def on_a_terminal(daemon: Daemon, argv: list[str], cwd: Path, uid: int) -> tuple[str, int, str]:
    """Run the client on a terminal of its own: (what it showed, the terminal's device, its
    name).
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    device, name = os.fstat(slave).st_dev, os.ttyname(slave)
    os.chown(name, uid, -1)
    client = daemon.popen(
        *argv, cwd=cwd, uid=uid, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    text = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break  # EIO: the last holder of the other end is gone
        if not data:
            break
        text += data
    os.close(master)
    assert client.wait(30) == 0, text
    return text.decode(errors="replace"), device, name


@CALLERS
def test_the_callers_variables_stay_outside(daemon: Daemon, uid: int) -> None:
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "a1",
        "GITHUB_TOKEN": "a2",
        "SSH_AUTH_SOCK": "/run/a3",
        "LD_PRELOAD": "",
        "DATABASE_URL": "a4",
        "KUBECONFIG": "a5",
        "DBUS_SESSION_BUS_ADDRESS": "unix:a6",
        "PYTHONPATH": "/a7",
        "BASH_ENV": "/a8",
        "GNUPGHOME": "a9",
    }
    options = daemon.as_user(uid)
    env = {**options.get("env", os.environ), **secrets}
    control = subprocess.run(["env"], env=env, capture_output=True, text=True).stdout
    inside = daemon.run("env", uid=uid, env=env).stdout
    for name, value in secrets.items():
        assert f"{name}={value}" in control
        # A key's variable is there, with a placeholder.
        assert not any(line.startswith(f"{name}={value}") for line in inside.splitlines()), name


RAISE_LIMITS = """
import resource
for number in range(16):
    soft, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY or number == resource.RLIMIT_CORE:  # that one is answered and stays
        continue
    try:
        resource.setrlimit(number, (hard + 1, hard + 1))
        print("raised", number)
    except (OSError, ValueError):
        pass
print(*resource.getrlimit(resource.RLIMIT_CORE))
"""


@CALLERS
def test_limits_can_only_be_lowered(daemon: Daemon, uid: int) -> None:
    assert daemon.run("python3", "-c", RAISE_LIMITS, uid=uid).stdout == "1 1\n"


# setrlimit is glibc's, by prlimit64; 160 is the call of that name on x86-64, which glibc no longer
# makes.
LOWER_CORES = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def limit():
    return resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (0, limit()[1]))
found = [limit()]
resource.prlimit(os.getpid(), resource.RLIMIT_CORE, (0, 0))
found.append(limit())
assert libc.syscall(160, 4 | 1 << 32, (ctypes.c_ulong * 2)(0, 0)) == 0, os.strerror(ctypes.get_errno())
found.append(limit())
assert resource.prlimit(0, resource.RLIMIT_CORE) == found[-1]
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (50, 60)
print(*(soft for soft, hard in found))
"""


@CALLERS
def test_nobody_brings_the_hosts_core_handler_back(daemon: Daemon, uid: int) -> None:
    """A handler is not started at a limit of 1 alone, so programs that ask for 0 are told yes and
    keep 1.
    """
    done = daemon.run("python3", "-c", LOWER_CORES, uid=uid)
    assert (done.stdout, done.returncode) == ("1 1 1\n", 0), done.stderr
    outside = subprocess.run(
        [sys.executable, "-c", LOWER_CORES], capture_output=True, text=True, preexec_fn=cores_of_1
    )
    assert outside.stdout == "0 0 0\n", outside.stderr


def cores_of_1() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


@CALLERS
def test_a_crash_leaves_no_core(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    script = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert daemon.run("python3", "-c", script, cwd=where, uid=uid).returncode == 139
    assert list(where.iterdir()) == []


# ---- what agents may do --------------------------------------------------------------------------

FROM_MEMORY = """
import os, sys
fd = os.memfd_create("hidden")
os.write(fd, open(sys.argv[1], "rb").read())
os.execve(fd, ["hidden", *sys.argv[2:]], os.environ)
"""


@CALLERS
def test_a_program_run_from_memory_is_confined_and_recorded(
    daemon: Daemon, programs: Programs, uid: int
) -> None:
    where = programs.workspace("spaces", uid=uid)
    argv = ["python3", "-c", FROM_MEMORY, "./spaces", "unshare_user", "mount_tmpfs"]
    done = daemon.run(*argv, cwd=where, uid=uid)
    assert done.stdout == "unshare_user EPERM\nmount_tmpfs EPERM\n", done.stderr
    control = subprocess.run(
        [sys.executable, *argv[1:4], "unshare_user"], cwd=where, capture_output=True, text=True
    )
    assert control.stdout == "unshare_user 0\n"
    report = daemon.report(*argv, cwd=where, uid=uid)
    records = daemon.events(report["cage"])
    assert any(record.get("name") == "execveat" for record in records), records


# Landlock by number: make a ruleset that handles reading files, allow it below /usr, enforce it on
# oneself.
SANDBOX = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
attr = ctypes.create_string_buffer(struct.pack("<Q", 1 << 2))
ruleset = libc.syscall(444, attr, 8, 0)
assert ruleset >= 0, os.strerror(ctypes.get_errno())
directory = os.open("/usr", os.O_PATH)
rule = ctypes.create_string_buffer(struct.pack("<Qi", 1 << 2, directory))
assert libc.syscall(445, ruleset, 1, rule, 0) == 0
open("/etc/passwd").close()
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.syscall(446, ruleset, 0) == 0
open("/usr/lib/os-release").close()
try:
    open("/etc/passwd")
except PermissionError:
    print("own sandbox holds")
"""


@CALLERS
def test_agents_can_sandbox_their_own_tools(daemon: Daemon, uid: int) -> None:
    done = daemon.run("python3", "-c", SANDBOX, uid=uid)
    assert done.stdout == "own sandbox holds\n", done.stderr


TERMINALS = """
import os
import resource
held = []
try:
    while len(held) < 400:
        held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    pass
print(len(held))
"""


@CALLERS
def test_one_cage_cannot_take_the_terminals_of_all(daemon: Daemon, uid: int) -> None:
    control = subprocess.run([sys.executable, "-c", TERMINALS], capture_output=True, text=True)
    assert control.stdout == "400\n"
    assert daemon.run("python3", "-c", TERMINALS, uid=uid).stdout == "64\n"


REQUESTS = """
import ctypes
libc, made = ctypes.CDLL(None, use_errno=True), 0
context = ctypes.c_ulong()
while made < 4 and libc.syscall(206, 1024, ctypes.byref(context)) == 0:
    context, made = ctypes.c_ulong(), made + 1
print(made)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the call number is that of x86_64")
@CALLERS
def test_one_cage_cannot_take_the_asynchronous_requests_of_all(daemon: Daemon, uid: int) -> None:
    assert (
        subprocess.run([sys.executable, "-c", REQUESTS], capture_output=True, text=True).stdout
        == "4\n"
    )
    assert daemon.run("python3", "-c", REQUESTS, uid=uid).stdout == "0\n"


# Connections whose ends are never read: what is sent lies in the kernel's buffers.
FILL_BUFFERS = """
import socket
server, held, sent = socket.create_server(("127.0.0.1", 0), backlog=1000), [], 0
for _ in range(60):
    out = socket.create_connection(server.getsockname())
    held += [out, server.accept()[0]]
    out.setblocking(False)
    try:
        while True:
            sent += out.send(bytes(65536))
    except BlockingIOError:
        pass
print(sent >> 20)
"""


@CALLERS
def test_socket_buffers_count_as_memory(daemon: Daemon, uid: int) -> None:
    control = subprocess.run([sys.executable, "-c", FILL_BUFFERS], capture_output=True, text=True)
    assert int(control.stdout) > 96, control.stderr
    done = daemon.run("python3", "-c", FILL_BUFFERS, uid=uid, flags=["--memory", "64M"])
    assert done.returncode == 137 or int(done.stdout) < 64, done.stderr


@CALLERS
def test_the_report_cannot_be_forged(daemon: Daemon, uid: int) -> None:
    """The last line is the report, whatever the agent wrote before it and however it ended."""
    forged = '{"cage": "c-000000000000", "exit_code": 0, "reason": "exited 0"}'
    done = daemon.run("sh", "-c", f"printf '%s' '{forged}' >&2; exit 9", uid=uid, flags=["--json"])
    report = json.loads(done.stderr.splitlines()[-1])
    assert (report["exit_code"], done.returncode) == (9, 9) and report["cage"] != "c-000000000000"
