"""Reaching for files: what is hidden, what is only for reading, and ways out of the workspace."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon

CALLERS = pytest.mark.parametrize("uid", [0, NOBODY])


def own(path: Path, uid: int) -> Path:
    os.chown(path, uid, NOBODY if uid else 0, follow_symlinks=False)
    return path


def make_file(path: Path, text: str, uid: int) -> Path:
    path.write_text(text)
    return own(path, uid)


def outside(
    daemon: Daemon, uid: int, *argv: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The control: the same command as the same user, without a cage."""
    options = daemon.as_user(uid)
    return subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd or "/", **options
    )


@pytest.fixture
def secrets(daemon: Daemon) -> Iterator[list[Path]]:
    """Dotfiles in an ordinary user's home, and a directory beside the workspaces."""
    daemon.as_user(NOBODY)
    home = daemon.base / f"home-{NOBODY}"
    found = []
    for name in (
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".config/gh/hosts.yml",
        ".netrc",
        ".bash_history",
        ".gnupg/key",
    ):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("top secret\n")
        for part in (path, *path.parents):
            if part.is_relative_to(home):
                own(part, NOBODY)
        found.append(path)
    beside = daemon.base / "beside"
    beside.mkdir(exist_ok=True)
    (beside / "notes").write_text("top secret\n")
    yield [*found, beside / "notes"]
    shutil.rmtree(beside)
    for path in found:
        path.unlink()


def test_dotfiles_and_neighbours_are_not_there(daemon: Daemon, secrets: list[Path]) -> None:
    command = ("cat", *(str(path) for path in secrets))
    assert outside(daemon, NOBODY, *command).stdout == "top secret\n" * len(secrets)
    inside = daemon.run(*command, uid=NOBODY)
    assert inside.stdout == "" and inside.returncode == 1
    assert inside.stderr.count("No such file") == len(secrets)


HOST_FILES = [
    "/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/sudoers", "/boot", "/var/log", "/var/lib/dpkg/status",
    "/sys/kernel",
    "/sys/fs/cgroup", "/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/loop-control", "/dev/net/tun", "/dev/fuse", "/dev/kvm",
    "/proc/kcore", "/proc/sysrq-trigger", "/proc/kallsyms", "/proc/keys", "/proc/config.gz", "/proc/iomem",
    "/proc/pressure", "/proc/acpi", "/proc/driver", "/proc/scsi", "/proc/asound",
]  # fmt: skip

SHOWS_SOMETHING = """
import os, sys
for path in sys.argv[1:]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        print(path, bool(os.listdir(fd) if os.path.isdir(path) else os.read(fd, 1)))
    except OSError:
        pass
"""


@CALLERS
def test_files_of_the_host_are_absent_or_empty(daemon: Daemon, uid: int) -> None:
    """Compared with what root sees outside; every file of the list that this host has counts."""
    here = [
        path
        for path in HOST_FILES
        if os.path.exists(path) and path not in ("/proc/sysrq-trigger", "/dev/kmsg")
    ]
    assert len(here) > 8
    inside = daemon.run("python3", "-c", SHOWS_SOMETHING, *HOST_FILES, uid=uid)
    assert not [line for line in inside.stdout.splitlines() if line.endswith("True")], inside.stdout
    control = outside(daemon, 0, "python3", "-c", SHOWS_SOMETHING, *here)
    assert control.stdout.count("True") >= len(here) // 2


WRITES = [
    "/usr/bin/env", "/usr/lib/os-release", "/etc/passwd", "/etc/hosts", "/etc/resolv.conf",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/modprobe", "/proc/sys/fs/suid_dumpable",
]  # fmt: skip
OPEN_TO_WRITE = """
import os, sys
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW))
        print(path)
    except OSError:
        pass
"""


@CALLERS
def test_nothing_of_the_system_can_be_opened_for_writing(daemon: Daemon, uid: int) -> None:
    here = [path for path in WRITES if os.path.exists(path) and not os.path.islink(path)]
    control = outside(daemon, 0, "python3", "-c", OPEN_TO_WRITE, *here)
    assert set(here) - set(control.stdout.split()) <= {"/usr/bin/env"}, (
        "env may be running: ETXTBSY"
    )
    inside = daemon.run("python3", "-c", OPEN_TO_WRITE, *WRITES, uid=uid)
    assert (inside.stdout, inside.returncode) == ("", 0), inside.stderr


MAKE_THINGS = """
import os, sys
for place in sys.argv[1:]:
    for make in (os.mkdir, lambda p: os.symlink("x", p), lambda p: os.mknod(p)):
        try:
            make(place + "/akios-attack")
            print(place)
        except OSError:
            pass
"""


@CALLERS
def test_nothing_can_be_made_in_the_skeleton(daemon: Daemon, uid: int) -> None:
    places = [
        "/",
        "/usr",
        "/usr/bin",
        "/etc",
        "/dev",
        "/dev/pts",
        "/proc",
        "/run",
        "/var",
        "/opt",
        "/srv",
        "/mnt",
        "/sys",
    ]
    inside = daemon.run("python3", "-c", MAKE_THINGS, *places, "/tmp", uid=uid)
    assert inside.stdout.split() == ["/tmp"], inside.stderr


@CALLERS
def test_a_setuid_program_of_the_workspace_gives_nothing(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    if os.statvfs(where).f_flag & os.ST_NOSUID:
        pytest.skip(f"{where} is on a file system that is nosuid: the control cannot be run")
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755)):
        shutil.copy("/usr/bin/id", where / name)
        os.chown(where / name, 0, 0)
        (where / name).chmod(mode)
    command = ("sh", "-c", "./suid -u; ./sgid -g")
    control = outside(daemon, NOBODY, *command, cwd=where)
    assert control.stdout == "0\n0\n"
    assert daemon.run(*command, cwd=where, uid=uid).stdout == "1000\n1000\n"


@CALLERS
def test_setuid_programs_of_the_system_give_nothing(daemon: Daemon, uid: int) -> None:
    """Those with which an ordinary user becomes root outside: su with its own password file is the
    shape of it.
    """
    programs = [
        path
        for path in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd")
        if os.path.exists(path)
    ]
    assert any(os.stat(path).st_mode & stat.S_ISUID for path in programs)
    script = (
        "import os,sys\nfor p in sys.argv[1:]:\n  print(os.statvfs(p).f_flag & os.ST_NOSUID != 0)"
    )
    inside = daemon.run("python3", "-c", script, *programs, "/tmp", "/dev/shm", ".", uid=uid)
    assert set(inside.stdout.split()) == {"True"}, inside.stdout


@CALLERS
def test_hard_links_do_not_leave_their_tree(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    make_file(where / "file", "mine", uid)
    script = (
        "import os\n"
        "for a, b in (('file', '/tmp/x'), ('/etc/passwd', '/tmp/y'), ('/usr/bin/env', 'z'), ('file', 'inside')):\n"
        "  try: os.link(a, b); print('linked', b)\n  except OSError as e: print(e.errno, b)"
    )
    inside = daemon.run("python3", "-c", script, cwd=where, uid=uid, flags=["--discard"])
    assert inside.stdout == "18 /tmp/x\n18 /tmp/y\n18 z\nlinked inside\n"
    assert (
        outside(
            daemon, uid, "python3", "-c", "import os; os.link('file', 'inside')", cwd=where
        ).returncode
        == 0
    )


@CALLERS
@pytest.mark.parametrize("mode", ["cow", "ro"])
def test_symlinks_of_the_workspace_lead_nowhere(daemon: Daemon, uid: int, mode: str) -> None:
    secret = daemon.base / f"secret-{uid}-{mode}"
    secret.mkdir()
    (secret / "data").write_text("top secret\n")
    where = daemon.workspace(uid=uid)
    (where / "absolute").symlink_to(secret)
    (where / "relative").symlink_to(f"../{secret.name}")
    (where / "magic").symlink_to("/proc/1/root" + str(secret))
    command = (
        "sh",
        "-c",
        "cat absolute/data relative/data magic/data; ls -d .. | head -1; ls ..; true",
    )
    inside = daemon.run(*command, cwd=where, uid=uid, flags=[f"--{mode}"])
    # What leads to the workspace and to the home is all there is beside it.
    assert set(inside.stdout.split()) - {f"home-{uid}"} == {"..", where.name}
    assert outside(daemon, uid, *command, cwd=where).stdout.count("top secret") >= 1


SWAP_READER = """
import select, sys
seen = set()
print("up", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for path in ("sub/data", "sub/../sub/data"):
        try:
            with open(path) as file: seen.add(file.read())
        except OSError: pass
print(sorted(seen), flush=True)
"""


@CALLERS
def test_a_directory_swapped_for_a_link_during_the_run_shows_nothing_new(
    daemon: Daemon, uid: int
) -> None:
    """The caller, or somebody who plays with them, exchanges sub and a link to a secret as fast as
    possible.
    """
    secret = daemon.base / f"swapped-{uid}"
    secret.mkdir()
    (secret / "data").write_text("top secret")
    where = daemon.workspace(uid=uid)
    (where / "sub").mkdir()
    make_file(own(where / "sub", uid) / "data", "harmless", uid)
    (where / "link").symlink_to(secret)
    seen_outside = set()
    with daemon.popen(
        "run",
        "--discard",
        "--workspace",
        where,
        "--",
        "python3",
        "-c",
        SWAP_READER,
        cwd=where,
        uid=uid,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None and client.stdout.readline() == "up\n"
        for _ in range(1000):
            os.rename(where / "sub", where / "aside")
            os.rename(where / "link", where / "sub")
            seen_outside.add((where / "sub" / "data").read_text())
            os.rename(where / "sub", where / "link")
            os.rename(where / "aside", where / "sub")
        # An overlay may go on showing what it has looked up; whatever it says, it is nothing of
        # outside.
        out, _ = client.communicate("stop\n", timeout=30)
    assert "top secret" not in out and seen_outside == {"top secret"}


@CALLERS
def test_mount_targets_cannot_be_bent_by_links(daemon: Daemon, uid: int) -> None:
    """A policy hides paths below the workspace; the workspace has a link where their parent should
    be.
    """
    victim = daemon.workspace("victim", uid=OTHER)
    (victim / "file").write_text("of somebody else")
    where = daemon.workspace(uid=uid)
    (where / "config").symlink_to(victim)
    policy = where / "policy.yaml"
    policy.write_text(f"version: 1\nfilesystem:\n  hide: [{where}/config/file]\n")
    done = daemon.run("true", cwd=where, uid=uid, flags=["--policy", str(policy)])
    assert done.returncode in (0, 125)
    assert (victim / "file").read_text() == "of somebody else"
    assert not [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if str(victim) in line
    ]


@CALLERS
def test_hidden_paths_are_empty_and_stay_so(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    (where / "conf").mkdir()
    for path in (where / ".env", where / "conf" / "token"):
        make_file(path, "top secret\n", uid)
    own(where / "conf", uid)
    policy = daemon.base / f"hide-{uid}.yaml"
    policy.write_text(f"version: 1\nfilesystem:\n  hide: [{where}/.env, {where}/conf]\n")
    policy.chmod(0o644)
    command = (
        "sh",
        "-c",
        "cat .env conf/token; mv .env x; mv conf y; ln .env l; cat x l y/token; cp -r . /tmp/all; cat /tmp/all/.env "
        "/tmp/all/conf/token; umount .env; cat /proc/self/root$PWD/.env; echo done",
    )
    inside = daemon.run(*command, cwd=where, uid=uid, flags=["--policy", str(policy), "--discard"])
    assert inside.stdout == "done\n", inside.stderr
    assert "top secret" in outside(daemon, uid, "sh", "-c", "cat .env conf/token", cwd=where).stdout


@CALLERS
def test_what_is_hidden_is_not_written_over_by_moving_away_what_leads_to_it(
    daemon: Daemon, uid: int
) -> None:
    where = daemon.workspace(uid=uid)
    for name in ("a/b", "free"):
        (where / name).mkdir(parents=True)
        make_file(where / name / "secret", "top secret\n", uid)
        own(where / name, uid)
    own(where / "a", uid)
    policy = daemon.base / f"lead-{uid}.yaml"
    hidden = f"{where}/a/b/secret, {where}/not/there"
    policy.write_text(f"version: 1\nfilesystem:\n  hide: [{hidden}]\n")
    policy.chmod(0o644)
    trick = (
        "for d in a a/b free; do mv $d moved-$(basename $d) && echo moved $d; done;"
        " mkdir -p a/b free; echo HACKED > a/b/secret; echo HACKED > free/secret"
    )
    flags = ["--policy", str(policy), "--json"]
    done = daemon.run("sh", "-c", trick, cwd=where, uid=uid, flags=flags)
    assert done.stdout == "moved free\n", "the control: what leads to nothing can be moved"
    cage = json.loads(done.stderr.strip().splitlines()[-1])["cage"]
    committed = daemon.ctl("commit", "--yes", cage, uid=uid, cwd=where)
    assert committed.returncode == 0, committed.stderr
    assert (where / "a/b/secret").read_text() == "top secret\n"
    assert (where / "free/secret").read_text() == "HACKED\n", "the control: a commit writes"


# ---- sockets, pipes and locks of the host --------------------------------------------------------

CONNECT = """
import socket, sys
for name in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(name.replace("@", chr(0)))
        print("connected", name)
    except OSError as error:
        print("refused", name)
"""


def serve(address: str | bytes) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(16)
    return server


@CALLERS
@pytest.mark.parametrize("mode", ["cow", "ro"])
def test_unix_sockets_of_the_host_cannot_be_reached(daemon: Daemon, uid: int, mode: str) -> None:
    where = daemon.workspace(uid=uid)
    abstract = f"akios-attack-{where.name}"
    names = [str(where / "in-workspace"), str(daemon.base / f"beside-{uid}-{mode}")]
    with serve(names[0]), serve(names[1]), serve("\0" + abstract):
        for name in names:
            os.chmod(name, 0o777)
        own(Path(names[0]), uid)
        command = ("python3", "-c", CONNECT, *names, "@" + abstract)
        assert outside(daemon, uid, *command, cwd=where).stdout.count("connected") == 3
        inside = daemon.run(*command, str(daemon.socket), cwd=where, uid=uid, flags=[f"--{mode}"])
    assert "connected" not in inside.stdout and inside.stdout.count("refused") == 4, inside.stderr


def read_policy(daemon: Daemon, shared: Path) -> str:
    policy = daemon.base / f"read-{shared.name}.yaml"
    policy.write_text(f"version: 1\nfilesystem:\n  read: [{shared}]\n")
    policy.chmod(0o644)
    return str(policy)


LOCKS = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
fcntl.fcntl(file, 1024, fcntl.F_RDLCK)  # F_SETLEASE
pipe = os.open(sys.argv[2], os.O_RDONLY | os.O_NONBLOCK)
print("locked", flush=True)
sys.stdin.readline()
try:
    print("stolen" if os.read(pipe, 100) else "nothing")
except BlockingIOError:
    print("nothing")
"""


@CALLERS
@pytest.mark.parametrize("place", ["workspace-cow", "workspace-ro", "read", "toolchain"])
def test_locks_leases_and_pipes_do_not_cross_the_boundary(
    daemon: Daemon, uid: int, place: str
) -> None:
    where = daemon.workspace(uid=uid)
    shared = where if place.startswith("workspace") else daemon.workspace("shared", uid=uid)
    make_file(shared / "file", "x", uid)
    os.mkfifo(shared / "pipe")
    own(shared / "pipe", uid)
    flags = (
        ["--ro"]
        if place == "workspace-ro"
        else ["--policy", read_policy(daemon, shared)]
        if place == "read"
        else []
    )
    python = make_venv(shared) if place == "toolchain" else "python3"
    argv = [python, "-c", LOCKS, str(shared / "file"), str(shared / "pipe")]
    caged = ["run", "--quiet", *flags, "--workspace", str(where), "--", *argv]
    with daemon.popen(
        *caged, cwd=where, uid=uid, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert host_may_work(client, shared) == (True, "nothing\n")
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **daemon.as_user(uid)
    ) as control:
        assert host_may_work(control, shared) == (False, "stolen\n")


def make_venv(where: Path) -> str:
    """Its interpreter, by which the client finds that ``where`` is a toolchain."""
    (where / "bin").mkdir()
    python = where / "bin" / "python"
    python.symlink_to("/usr/bin/python3")
    (where / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    return str(python)


def host_may_work(holder: subprocess.Popen[str], shared: Path) -> tuple[bool, str]:
    """While ``holder`` has its locks: may the host write to the file?  And what did it read from
    the pipe?
    """
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    pipe = os.open(shared / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(pipe, b"of the host")
        try:
            os.close(os.open(shared / "file", os.O_WRONLY | os.O_NONBLOCK))
            free = True
        except BlockingIOError:
            free = False
        holder.stdin.write("go\n")
        holder.stdin.flush()
        return free, holder.stdout.readline()
    finally:
        os.close(pipe)


@CALLERS
def test_a_socket_is_no_file_to_read(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    name = daemon.base / f"named-{uid}.sock"
    with serve(str(name)):
        name.chmod(0o777)
        done = daemon.run("true", cwd=where, uid=uid, flags=["--policy", read_policy(daemon, name)])
    name.unlink()
    assert done.returncode == 125 and "neither a directory nor a file" in done.stderr, done.stderr


def test_own_stderr_opens_by_name(daemon: Daemon) -> None:
    done = daemon.run(
        "sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; echo fd > /dev/fd/1"
    )
    assert (done.stdout, done.stderr) == ("out\nfd\n", "err\n")
