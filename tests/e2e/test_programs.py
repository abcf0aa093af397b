"""Ordinary programs find an ordinary machine inside, whoever starts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]


def need(program: str) -> None:
    if shutil.which(program, path="/usr/bin:/bin") is None:
        pytest.skip(f"{program} is not installed")


def python(daemon: Daemon, uid: int, source: str, cwd: Path | None = None) -> str:
    """Run a Python program inside; its output.  It must end with 0 and print ``fine`` last."""
    done = daemon.run(
        "/usr/bin/python3", "-c", textwrap.dedent(source) + "\nprint('fine')", uid=uid, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("fine\n"), done.stdout
    return str(done.stdout)


def shell(daemon: Daemon, uid: int, script: str, cwd: Path | None = None) -> str:
    done = daemon.run("bash", "-euc", script, uid=uid, cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return str(done.stdout)


@pytest.mark.parametrize("uid", CALLERS)
def test_who_and_where_the_agent_is(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    out = shell(
        daemon,
        uid,
        'id -u; id -un; whoami; pwd; echo "$HOME"; getent passwd "$(id -un)" | cut -d: -f6',
        where,
    )
    number, name, again, here, home, entry = out.splitlines()
    assert (number, here) == ("1000", str(where))
    assert name == again != "root"
    assert home == entry


@pytest.mark.parametrize("uid", CALLERS)
def test_places_to_write(daemon: Daemon, uid: int) -> None:
    shell(
        daemon,
        uid,
        """
        for place in /tmp "$HOME" /dev/shm .; do
            echo words > "$place/file"; test "$(cat "$place/file")" = words
            mkdir "$place/d"; mv "$place/file" "$place/d/"
        done
        touch /var/tmp/seen; test -e /tmp/seen
        mktemp; mktemp -d; echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/null
        """,
    )


@pytest.mark.parametrize("uid", CALLERS)
def test_threads_subprocesses_and_pools(daemon: Daemon, uid: int) -> None:
    python(
        daemon,
        uid,
        """
        import concurrent.futures, multiprocessing, subprocess, threading
        seen = []
        threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(50)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert sorted(seen) == list(range(50))
        assert subprocess.run(["tr", "a-z", "A-Z"], input=b"abc", capture_output=True).stdout == b"ABC"
        assert subprocess.run("exit 3", shell=True).returncode == 3
        for way in ("fork", "spawn", "forkserver"):
            with multiprocessing.get_context(way).Pool(2) as pool:
                assert pool.map(abs, range(-5, 0)) == [5, 4, 3, 2, 1]
        with concurrent.futures.ProcessPoolExecutor(2) as executor:
            assert sum(executor.map(abs, range(-3, 3))) == 9
        queue = multiprocessing.Queue(); queue.put(b"x" * 100_000); assert len(queue.get()) == 100_000
        """,
    )


@pytest.mark.parametrize("uid", CALLERS)
def test_files_of_every_kind(daemon: Daemon, uid: int) -> None:
    python(
        daemon,
        uid,
        """
        import fcntl, mmap, os, sqlite3, tempfile
        with open("big", "w+b") as file:
            file.seek(5 << 32); file.write(b"end"); file.flush()
            assert os.fstat(file.fileno()).st_size == (5 << 32) + 3
            file.seek(5 << 32); assert file.read() == b"end"
            os.truncate("big", 4096); fcntl.lockf(file, fcntl.LOCK_EX); fcntl.flock(file, fcntl.LOCK_EX)
            with mmap.mmap(file.fileno(), 4096) as area:
                area[:5] = b"words"; area.flush()
            assert os.pread(file.fileno(), 5, 0) == b"words"
            os.posix_fallocate(file.fileno(), 0, 1 << 20); os.fsync(file.fileno())
        with sqlite3.connect("base.db") as base:
            base.execute("pragma journal_mode=wal"); base.execute("create table t (n)")
            base.executemany("insert into t values (?)", [(n,) for n in range(1000)])
        assert sqlite3.connect("base.db").execute("select sum(n) from t").fetchone() == (499500,)
        os.symlink("big", "link"); os.link("big", "second"); os.mkfifo("pipe"); os.chmod("big", 0o600)
        os.utime("big", (1, 2)); assert os.stat("second").st_mtime == 2; assert os.stat("big").st_nlink == 2
        os.makedirs("a/b/c"); os.rename("a/b", "moved"); assert os.listdir("moved") == ["c"]
        with tempfile.TemporaryFile() as file:
            file.write(b"x"); os.memfd_create("memory")
        os.setxattr("big", "user.word", b"value"); assert os.getxattr("big", "user.word") == b"value"
        watch = os.open(".", os.O_RDONLY | os.O_DIRECTORY); fcntl.fcntl(watch, fcntl.F_GETFD)
        """,
    )


@pytest.mark.parametrize("uid", CALLERS)
def test_sockets_servers_and_event_loops(daemon: Daemon, uid: int) -> None:
    python(
        daemon,
        uid,
        """
        import asyncio, http.server, socket, threading, urllib.request
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        open("page", "w").write("hello")
        assert urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/page").read() == b"hello"
        assert urllib.request.urlopen(f"http://localhost:{server.server_port}/page").read() == b"hello"
        async def main():
            async def answer(reader, writer):
                writer.write((await reader.readline()).upper()); writer.close()
            for kind in ("tcp", "unix"):
                if kind == "tcp":
                    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
                    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
                else:
                    listening = await asyncio.start_unix_server(answer, "/tmp/socket")
                    reader, writer = await asyncio.open_unix_connection("/tmp/socket")
                writer.write(b"word\\n"); assert await reader.readline() == b"WORD\\n"
                writer.close(); listening.close()
            child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            assert (await child.communicate(b"through"))[0] == b"through"
            await asyncio.to_thread(lambda: None)
        asyncio.run(main())
        one, two = socket.socketpair(); one.send(b"x"); assert two.recv(1) == b"x"
        with socket.socket(socket.AF_INET6) as six:
            six.bind(("::1", 0)); six.listen()
        with socket.socket(socket.AF_UNIX) as named:
            named.bind("\\0abstract inside"); named.listen()
        """,
    )


@pytest.mark.parametrize("uid", CALLERS)
def test_signals_timers_and_limits(daemon: Daemon, uid: int) -> None:
    python(
        daemon,
        uid,
        """
        import os, resource, select, signal, time
        got = []
        signal.signal(signal.SIGALRM, lambda *_: got.append("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.01)
        signal.pause(); assert got == ["alarm"]
        child = os.fork()
        if child == 0:
            os.setsid(); signal.pause()
        os.kill(child, signal.SIGTERM); assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
        epoll = select.epoll(); read, write = os.pipe(); epoll.register(read, select.EPOLLIN); os.write(write, b"x")
        assert epoll.poll()[0][0] == read
        resource.getrusage(resource.RUSAGE_SELF); resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        os.nice(1); os.sched_yield(); os.sched_getaffinity(0); os.getloadavg(); time.clock_gettime(time.CLOCK_MONOTONIC)
        assert os.cpu_count() >= 1; os.urandom(16); os.getrandom(16); assert os.getpid() < 100
        import locale; locale.setlocale(locale.LC_ALL, "C.UTF-8"); assert "é".encode() == b"\\xc3\\xa9"
        import zoneinfo, datetime; datetime.datetime.now().astimezone()
        """,
    )


@pytest.mark.parametrize("uid", CALLERS)
def test_tools_for_looking(daemon: Daemon, uid: int) -> None:
    for program in ("ps", "top", "less"):
        need(program)
    out = shell(
        daemon,
        uid,
        """
        ps -ef; ps aux | wc -l; top -bn1 | head -3; echo text | less; locale; date; uname -a; df . > /dev/null; free
        ls -la / /etc /usr/bin > /dev/null; stat .; which bash; env | sort; nproc; uptime || true; groups; tty || true
        du -s .; find . -type f; xargs --version; sleep 0; timeout 5 true; yes | head -1; seq 3 | sort -r | tail -1
        man nothing-of-this-name > /dev/null 2>&1 || test $? -ne 139
        """,
    )
    assert "bash" in out


@pytest.mark.parametrize("uid", CALLERS)
def test_git_looks_and_commits(daemon: Daemon, uid: int) -> None:
    need("git")
    where = daemon.workspace(uid=uid)
    user = daemon.as_user(uid)
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b"]
    (where / "file").write_text("one\n")
    os.chown(where / "file", uid, -1)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=where, check=True, **user)
    out = shell(
        daemon,
        uid,
        """
        git status --short; echo two >> file; git -c user.name=B -c user.email=b@b commit -qam second
        git log --format=%s; git diff HEAD~1 --stat; git fsck; git gc -q; git checkout -qb branch; git stash list
        """,
        where,
    )
    assert out.startswith("second\nfirst\n")
    before = subprocess.run(
        [*git, "log", "--format=%s"], cwd=where, check=True, capture_output=True, text=True, **user
    )
    assert before.stdout == "first\n"
    done = daemon.ctl("commit", uid=uid, cwd=where)
    assert done.returncode == 0, done.stderr
    after = subprocess.run(
        [*git, "log", "--format=%s"], cwd=where, check=True, capture_output=True, text=True, **user
    )
    assert after.stdout == "second\nfirst\n"
    subprocess.run([*git, "fsck"], cwd=where, check=True, capture_output=True, **user)


@pytest.mark.parametrize("uid", CALLERS)
def test_node_and_npm(daemon: Daemon, uid: int) -> None:
    need("node")
    need("npm")
    out = shell(
        daemon,
        uid,
        """
        node -e 'const fs = require("fs"); fs.writeFileSync("made", "x"); require("child_process").execSync("true");
                 new (require("worker_threads").Worker)("1", {eval: true}).on("exit", () =>
                 require("http").createServer().listen(0, "127.0.0.1", function () {
                 console.log("up"); this.close() }))'
        npm --version
        """,
    )
    assert out.startswith("up\n") and out.splitlines()[1][0].isdigit()


@pytest.mark.parametrize("uid", CALLERS)
def test_a_compiler(daemon: Daemon, uid: int) -> None:
    need("gcc")
    source = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d\\n", getuid()); return 5; }'
    where = daemon.workspace(uid=uid)
    (where / "main.c").write_text(source)
    assert shell(daemon, uid, "gcc -O1 -o main main.c; ./main || echo $?", where) == "1000\n5\n"


@pytest.mark.parametrize("uid", CALLERS)
def test_ssh_reads_its_configuration(daemon: Daemon, uid: int) -> None:
    need("ssh")
    out = shell(
        daemon,
        uid,
        "ssh -G somewhere | head -3; ssh-keygen -q -t ed25519 -N '' -f key; cat key.pub",
    )
    assert "ssh-ed25519" in out


def make_wheel(where: Path) -> Path:
    """The smallest wheel that pip installs (PEP 427)."""
    path = where / "tiny_words-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_words.py", "WORD = 'found'\n")
        info = "tiny_words-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-words\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(
            f"{info}/RECORD",
            f"tiny_words.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        )
    return path


def interpreter(uid: int) -> str:
    """One with ensurepip that this user may execute."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    return str(base) if uid == 0 and base.exists() else "/usr/bin/python3"


@pytest.mark.parametrize("uid", CALLERS)
def test_a_projects_venv_with_its_own_pytest(daemon: Daemon, uid: int) -> None:
    """The venv is made outside and seen inside; pytest runs in it, and pip installs a wheel into
    it.
    """
    where = daemon.workspace(uid=uid)
    user = daemon.as_user(uid)
    made = subprocess.run(
        [interpreter(uid), "-m", "venv", ".venv"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
        **user,
    )
    if made.returncode != 0:
        pytest.skip(f"this Python makes no venv: {made.stdout.strip()[:80]}")
    site = next((where / ".venv" / "lib").glob("python3*")) / "site-packages"
    source = Path(pytest.__file__).parent.parent
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        if (source / name).is_dir():
            shutil.copytree(source / name, site / name)
    shutil.copy(source / "py.py", site)
    make_wheel(where)
    (where / "test_own.py").write_text(
        "import sys\ndef test_venv():\n    assert '.venv' in sys.prefix\n"
    )
    subprocess.run(["chown", "-R", f"{uid}:{NOBODY}", where], check=True)
    out = shell(daemon, uid, ".venv/bin/python -m pytest -q -p no:cacheprovider test_own.py", where)
    assert "1 passed" in out
    by_name = daemon.run(
        ".venv/bin/python", "-c", "import sys; print(sys.prefix)", uid=uid, cwd=where
    )
    assert by_name.stdout == f"{where}/.venv\n", by_name.stderr
    out = shell(
        daemon,
        uid,
        """
        .venv/bin/python -m pip --version
        .venv/bin/python -m pip install -q --no-index --disable-pip-version-check tiny_words-1.0-py3-none-any.whl
        .venv/bin/python -c 'import tiny_words; print(tiny_words.WORD)'
        """,
        where,
    )
    assert out.endswith("found\n")
    assert not (site / "tiny_words.py").exists()


@pytest.mark.parametrize("uid", CALLERS)
def test_a_venv_made_inside(daemon: Daemon, uid: int) -> None:
    done = daemon.run("/usr/bin/python3", "-m", "venv", "--without-pip", "made", uid=uid)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_version_manager_on_the_path(daemon: Daemon) -> None:
    """A pyenv shim is a shell script that asks pyenv; inside stands the Python it would choose."""
    shim = shutil.which("python3")
    if shim is None or "shims" not in shim:
        pytest.skip("python3 here is no pyenv shim")
    where = daemon.workspace()
    outside = subprocess.run(
        [shim, "-c", "import sys; print(sys.base_prefix)"],
        capture_output=True,
        text=True,
        cwd=where,
    )
    inside = daemon.run("python3", "-c", "import sys; print(sys.base_prefix)", cwd=where)
    assert inside.stdout == outside.stdout != "", inside.stderr
    below = daemon.run(
        "bash",
        "-c",
        "python3 -c 'import sys, ssl, sqlite3; print(sys.base_prefix)'; pip --version",
        cwd=where,
    )
    assert below.stdout.startswith(outside.stdout), below.stderr
    assert "pip" in below.stdout, below.stderr


def test_cargo(daemon: Daemon) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    done = daemon.run("cargo", "--version")
    assert done.returncode == 0 and done.stdout.startswith("cargo "), done.stderr
    built = daemon.run(
        "sh",
        "-c",
        "cargo init -q --vcs none --name own . && cargo build -q --offline && target/debug/own",
    )
    assert built.stdout == "Hello, world!\n", built.stderr


def test_files_of_root_in_a_users_workspace(daemon: Daemon) -> None:
    """They look like root's, are read and not written, and a directory of one's own still gives
    them up.
    """
    where = daemon.workspace(uid=NOBODY)
    (where / "of-root").write_text("kept\n")
    (where / "of-root").chmod(0o644)
    (where / "secret").write_text("hidden\n")
    (where / "secret").chmod(0o600)
    (where / "closed").mkdir(0o700)
    out = shell(
        daemon,
        NOBODY,
        """
        stat -c '%u %a' of-root; cat of-root
        if echo more >> of-root 2> /dev/null; then echo written; fi
        if cat secret 2> /dev/null; then echo read; fi
        if ls closed 2> /dev/null; then echo listed; fi
        if chmod 666 of-root 2> /dev/null; then echo changed; fi
        mv of-root moved; rm -f secret; ls
        """,
        where,
    )
    assert out == "0 644\nkept\nclosed\nmoved\n"
    assert sorted(path.name for path in where.iterdir()) == ["closed", "of-root", "secret"]


def test_an_agent_starts_the_tools_that_local_bin_links_to(daemon: Daemon) -> None:
    """The control: a program of no known tool beside them is not found."""
    options = daemon.as_user(NOBODY)
    home = Path(options["env"]["HOME"])
    venv = home / ".local/share/pipx/venvs/greet"
    for directory in (venv / "bin", home / ".local/bin"):
        directory.mkdir(parents=True, exist_ok=True)
    shutil.chown(home / ".local", NOBODY)  # the user's own programs keep their state there
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for program in (venv / "bin/greet", home / ".local/bin/unknown"):
        program.write_text("#!/usr/bin/python3\nprint('hello')\n")
        program.chmod(0o755)
    link = home / ".local/bin/greet"
    link.unlink(missing_ok=True)
    link.symlink_to(venv / "bin/greet")
    env = options["env"] | {"PATH": f"{home}/.local/bin:/usr/bin:/bin"}
    done = daemon.run("sh", "-c", "greet; unknown", uid=NOBODY, env=env)
    assert (done.returncode, done.stdout) == (127, "hello\n"), done.stderr
    assert daemon.run(home / ".local/bin/unknown", uid=NOBODY, env=env).stdout == "hello\n"
