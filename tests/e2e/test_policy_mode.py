"""An akiosd without root: what its cages hold, each with the same done outside by the same uid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import BIN
from tests.e2e.models import Models
from tests.e2e.policy_mode import BECOME, PYTHON, PolicyModeDaemon, attempts
from tests.e2e.upstreams import Upstream

KEY = "sk-the-real-key-of-the-host"
CARD = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[Upstream]:
    with Upstream() as found:
        yield found


def settings_of(models: Models, site: Upstream) -> tuple[str, str]:
    """akiosd.yaml and the system policy of these tests."""
    config = (
        f"gateway:\n  providers: {{openai: {{upstream: '{models.url}'}}}}\n"
        f"  hosts: {{allowed.example: '127.0.0.1:{site.port}'}}\n"
        "  prices: {stand-in: {input: 1, output: 1}}\n"
    )
    return config, "network: {allowed_domains: [allowed.example]}\n"


def set_key(host: PolicyModeDaemon) -> None:
    done = host.ctl("keys", "set", "openai", input=KEY + "\n")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def host(models: Models, site: Upstream) -> Iterator[PolicyModeDaemon]:
    own = PolicyModeDaemon(*settings_of(models, site))
    try:
        own.start()
        set_key(own)
        yield own
    finally:
        own.close()


@pytest.fixture
def victim(host: PolicyModeDaemon) -> Iterator[int]:
    """A process of the same uid in no cage: its pid on this host."""
    process = host.spawn("sleep", "300")
    pid = 0
    try:
        wait_for(lambda: "sleep" in {name for _, name in host.processes()})
        (pid,) = [pid for pid, name in host.processes() if name == "sleep"]
        yield pid
    finally:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(30)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# ---- files ---------------------------------------------------------------------------------------

FILES = """
other, key, state, shown = sys.argv[1:]
def own(): open("mine").read(); open("mine", "a").write("x")
def home(): open(os.path.expanduser("~/x"), "w").write("x")
def temporary(): open(os.environ["TMPDIR"] + "/x", "w").write("x")
def program(): open("/usr/bin/env", "rb").read(1)
def listed(): open(shown).read()
def own_mode(): os.chmod("mine", 0o640); assert os.stat("mine").st_mode & 0o777 == 0o640
def own_time(): os.utime("mine", (1, 2)); assert os.stat("mine").st_mtime == 2
def unlisted(): open(other).read()
def read_key(): open(key).read()
def change(): open(other, "a").write("x")
def list_state(): os.listdir(state)
def move_key(): os.rename(key, key + ".x"); os.rename(key + ".x", key)
def link_key(): os.link(key, "linked"); os.unlink("linked")
def write_listed(): open(shown, "a").write("x")
def mode_of_key(): os.chmod(key, 0o600)
def time_of_key(): os.utime(key)
def mode_by_descriptor(): os.fchmod(os.open(shown, os.O_RDONLY), 0o644)
def mode_by_link(): os.symlink(key, "link"); os.chmod("link", 0o600)
def attribute(): os.setxattr(other, "user.x", b"x")
def watch(): call("inotify_add_watch", call("inotify_init1", 0), state.encode(), 0xfff)
"""
OPEN = ("own", "home", "temporary", "program", "listed", "own_mode", "own_time")
CLOSED = {
    **dict.fromkeys(("unlisted", "read_key", "change", "list_state", "move_key"), "EACCES"),
    "link_key": "EXDEV",
    "write_listed": "EACCES",
    **dict.fromkeys(("mode_of_key", "time_of_key", "mode_by_descriptor", "mode_by_link"), "EPERM"),
    **dict.fromkeys(("attribute", "watch"), "EPERM"),
}


def test_an_agent_has_the_files_of_its_list_and_no_others(host: PolicyModeDaemon) -> None:
    where = host.workspace("files")
    other, shown = host.base / "other", host.base / "shown"
    (where / "mine").write_text("mine")
    other.write_text("not for agents")
    shown.write_text("to be read")
    for path in (where / "mine", other, shown):
        os.chown(path, host.uid, host.uid)
    key = host.state / "keys" / "providers" / "openai"
    words = (other, key, host.state, shown)
    source = attempts(FILES, [*OPEN, *CLOSED])

    (where / "akios.yaml").write_text(f"version: 1\nfilesystem: {{read: [{shown}]}}\n")
    found = host.try_inside(source, *words, cwd=where)
    (where / "link").unlink(missing_ok=True)

    assert found == {**dict.fromkeys(OPEN, "ok"), **CLOSED}
    assert host.try_outside(source, *words, cwd=where) == dict.fromkeys((*OPEN, *CLOSED), "ok")


# ---- the network ---------------------------------------------------------------------------------

NETWORK = """
port, local, control = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def tcp(): return socket.create_connection(("127.0.0.1", port), 5)
def tcp_6(): socket.socket(socket.AF_INET6).connect(("::ffff:127.0.0.1", port))
def fast_open(): socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", port))
def fast_open_message(): socket.socket().sendmsg([b"x"], [], 0x20000000, ("127.0.0.1", port))
def mptcp(): socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(("127.0.0.1", port))
def listen(): socket.socket().listen()
def bind(): socket.socket().bind(("127.0.0.1", 0))
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
def udp_connected():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(("127.0.0.1", port)); one.send(b"x")
def udp_message():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.sendmsg([b"x"], [], 0, ("127.0.0.1", port))
def udp_after_dns():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(("127.0.0.1", 53)); one.sendmsg([b"x"], [], 0, ("127.0.0.1", port))
    time.sleep(0.2)
def unix(): socket.socket(socket.AF_UNIX).connect(local)
def unix_abstract(): socket.socket(socket.AF_UNIX).connect("\\0akios-policy-mode-test")
def unix_datagram(): socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", local + ".dgram")
def unix_pair():
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", local + ".dgram")
def daemon(): socket.socket(socket.AF_UNIX).connect(control)
def netlink(): socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
def own_unix():
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(os.environ["TMPDIR"] + "/s"); server.listen(); client.connect(os.environ["TMPDIR"] + "/s")
        taken, _ = server.accept(); client.send(b"hi"); assert taken.recv(9) == b"hi"
def own_pair(): one, two = socket.socketpair(); one.send(b"x"); assert two.recv(1) == b"x"
"""
REFUSED = {
    "tcp": "ECONNREFUSED", "tcp_6": "ECONNREFUSED", "fast_open": "EPERM",
    "fast_open_message": "EPERM", "mptcp": "EPROTONOSUPPORT", "listen": "EINVAL", "bind": "EINVAL",
    "udp": "EPERM", "udp_connected": "ENETUNREACH", "udp_message": "ENOTCONN", "udp_after_dns": "ok",
    "unix": "EPERM", "unix_abstract": "EPERM", "unix_datagram": "ESOCKTNOSUPPORT",
    "unix_pair": "ESOCKTNOSUPPORT", "daemon": "EPERM", "netlink": "EAFNOSUPPORT",
}  # fmt: skip
OWN = ("own_unix", "own_pair")


def test_nothing_is_reached_but_the_gateway(host: PolicyModeDaemon) -> None:
    """``udp_after_dns`` is not refused: what was sent must not have arrived."""
    import socket

    where = host.workspace("network")
    local = str(host.base / "local")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        for one, name in ((unix, local), (datagrams, local + ".dgram")):
            one.bind(name)
            os.chmod(name, 0o777)
        unix.listen()
        abstract.bind("\0akios-policy-mode-test")
        abstract.listen()
        source = attempts(NETWORK, [*REFUSED, *OWN])
        words = (port, local, host.socket)

        found = host.try_inside(source, *words, cwd=where)

        assert found == {**REFUSED, **dict.fromkeys(OWN, "ok")}
        for one in (tcp, udp, unix, abstract, datagrams):
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1) if one.type == socket.SOCK_DGRAM else one.accept()
        control = host.try_outside(source, *words, cwd=where)
        assert control == {**dict.fromkeys((*REFUSED, *OWN), "ok"), "udp_after_dns": "ok"}
        assert udp.recv(9) == b"x" and datagrams.recv(9) == b"x" and tcp.accept() and unix.accept()


def test_names_outside_of_the_list_do_not_exist(host: PolicyModeDaemon) -> None:
    where = host.workspace("names")
    source = """
import socket
for name in ("allowed.example", "denied.example", "api.openai.com"):
    try:
        print(name, socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror as error:
        print(name, error.errno == socket.EAI_NONAME)
"""
    done = host.report(*PYTHON, source, cwd=where)
    records = [one for one in host.events(done["cage"]) if one["kind"] == "net_denied"]
    assert {(one["protocol"], one["host"]) for one in records} == {("dns", "denied.example")}
    assert done["exit_code"] == 0


def test_unmodified_programs_speak_through_the_gateway(
    host: PolicyModeDaemon, models: Models, site: Upstream
) -> None:
    """curl, urllib, asyncio and git, without a proxy's variable; a model's API under TLS."""
    where = host.workspace("programs")
    source = f"""
import asyncio, json, os, subprocess, urllib.request
assert not any("proxy" in name.lower() for name in os.environ)
print("urllib", urllib.request.urlopen("http://allowed.example/a").read().decode())
async def ask():
    reader, writer = await asyncio.open_connection("allowed.example", 80)
    writer.write(b"GET /b HTTP/1.1\\r\\nHost: allowed.example\\r\\nConnection: close\\r\\n\\r\\n")
    return (await reader.read()).split(b"\\r\\n\\r\\n")[1].decode()
print("asyncio", asyncio.run(ask()))
print("curl", subprocess.run(["curl", "-sS", "http://allowed.example/c"], capture_output=True, text=True).stdout)
subprocess.run(["git", "ls-remote", "http://allowed.example/repo.git"], capture_output=True)
body = {{"model": "stand-in", "max_tokens": 50, "messages": [{{"role": "user", "content": "My card: {CARD}"}}]}}
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", json.dumps(body).encode(),
    {{"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}})
print("model", json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
"""
    before = len(site.requests)
    done = host.run(*PYTHON, source, cwd=where, flags=["--json"])

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stderr.strip().splitlines()[-1])
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert [said[name] for name in ("urllib", "asyncio", "curl")] == ["ok"] * 3
    targets = [one.target for one in site.requests[before:]]
    assert targets[:3] == ["/a", "/b", "/c"] and targets[3].startswith("/repo.git/info/refs")
    sent = models.received[-1]
    assert KEY.encode() in sent.everything() and CARD.encode() not in sent.body
    assert CARD in said["model"], "the agent reads what it wrote"
    assert report["usage"]["usd_micro"] > 0
    kinds = {one["kind"] for one in host.events(report["cage"])}
    assert {"birth", "started", "syscall", "net_request", "llm_call", "redaction", "end"} <= kinds
    assert host.ctl("ledger", "verify").returncode == 0


SPENDS = """
import json, os, time, urllib.error, urllib.request
def ask(text):
    body = {"model": "stand-in", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request("https://api.openai.com/v1/chat/completions",
        json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request).status
for number in range(20):
    try:
        print(ask(f"question {number}"), flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
        time.sleep(60)
"""


def test_a_budget_ends_its_cage(host: PolicyModeDaemon, models: Models) -> None:
    where = host.workspace("budget")
    (where / "akios.yaml").write_text("version: 1\nbudget: {usd: $0.004}\n")
    before = len(models.received)
    done = host.run(*PYTHON, SPENDS, cwd=where, flags=["--json"])
    report = json.loads(done.stderr.strip().splitlines()[-1])
    assert (report["kind"], done.returncode) == ("budget", 137)
    # The last answer may come with the end.
    paid, asked = done.stdout.split().count("200"), len(models.received) - before
    assert paid and asked - paid in (0, 1) and asked < 20
    # The stand-in bills 1,030 tokens for any call, more than a short question can have.
    assert 0 < report["usage"]["usd_micro"] < 4_000 + 1_030


# ---- other processes of the same uid -------------------------------------------------------------

PROCESSES = """
pid = int(sys.argv[1])
SYS = {"pidfd_open": 434, "pidfd_getfd": 438, "ptrace": 101, "kcmp": 312, "ioprio_set": 251}
def number(name, *arguments):
    result = libc.syscall(SYS[name], *map(ctypes.c_long, arguments))
    if result < 0: raise OSError(ctypes.get_errno(), name)
    return result
def kill(): os.kill(pid, 0)
def kill_by_descriptor(): signal.pidfd_send_signal(os.pidfd_open(pid), 0)
def queue(): call("sigqueue", pid, 0, 0)
def limit(): resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))
def nice(): os.setpriority(os.PRIO_PROCESS, pid, 19)
def nice_of_user(): os.setpriority(os.PRIO_USER, 0, 19)
def processors(): os.sched_setaffinity(pid, os.sched_getaffinity(pid))
def scheduler(): os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
def disk_priority(): number("ioprio_set", 1, pid, 2 << 13 | 7)
def trace(): number("ptrace", 0x4206, pid, 0, 0)
def read_memory(): open(f"/proc/{pid}/mem", "rb")
def environment(): open(f"/proc/{pid}/environ", "rb").read()
def descriptors(): os.readlink(f"/proc/{pid}/fd/0")
def first_to_die(): open(f"/proc/{pid}/oom_score_adj", "w").write("900")
def dump_more(): open(f"/proc/{pid}/coredump_filter", "w").write("0x33")
def owner_of_signals():
    one, two = socket.socketpair(); fcntl.fcntl(one, fcntl.F_SETOWN, pid)
"""
OTHERS = {
    **dict.fromkeys(("kill", "kill_by_descriptor", "queue", "limit", "nice"), "EPERM"),
    **dict.fromkeys(("nice_of_user", "processors", "scheduler", "disk_priority"), "EPERM"),
    **dict.fromkeys(("trace", "owner_of_signals"), "EPERM"),
    **dict.fromkeys(("read_memory", "environment", "descriptors"), "EACCES"),
    **dict.fromkeys(("first_to_die", "dump_more"), "EACCES"),
}


@pytest.mark.parametrize("whose", ["akiosd", "init", "agent", "gateway", "victim"])
def test_an_agent_can_do_nothing_to_others_of_its_uid(
    host: PolicyModeDaemon, victim: int, whose: str
) -> None:
    where = host.workspace("others")
    source = attempts(PROCESSES, [*OTHERS])
    with CageThatWaits(host) as other:
        daemon = next(pid for pid, name in host.processes() if name == "akiosd")
        pid = {"victim": victim, "akiosd": daemon, **other}[whose]
        found = host.try_inside(source, host.pid_inside(pid), cwd=where)
        assert found == OTHERS
        assert Path(f"/proc/{pid}").exists()
    if whose == "victim":
        control = host.try_outside(source, host.pid_inside(victim), cwd=where)
        assert control == dict.fromkeys(OTHERS, "ok")


class CageThatWaits:
    """pids of another cage's init, agent and gateway; it waits until it is read from."""

    def __init__(self, host: PolicyModeDaemon) -> None:
        self._host = host

    def __enter__(self) -> dict[str, int]:
        source = (
            "import socket; socket.gethostbyname('allowed.example'); print(1, flush=True); input()"
        )
        self._process = self._host.popen(
            "run", "--workspace", self._host.workspace("waits"), "--", *PYTHON, source,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stdout.readline() == b"1\n"
        names = {}
        for pid, name in self._host.processes():
            if name in ("akios-init",) or name.startswith("gw-"):
                names["init" if name == "akios-init" else "gateway"] = pid
        names["agent"] = _children(names["init"])[0]
        return names

    def __exit__(self, *_: object) -> None:
        self._process.communicate(b"\n", timeout=30)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


LEAVES = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(300)
        os._exit(0)
print(os.getpid(), flush=True)
"""


def test_the_end_of_an_agent_is_the_end_of_all_it_started(host: PolicyModeDaemon) -> None:
    before = {pid for pid, _ in host.processes()}
    done = host.run(*PYTHON, LEAVES, cwd=host.workspace("leaves"))
    assert done.returncode == 0, done.stderr
    left = [
        one for one in host.processes() if one[0] not in before and one[1].startswith("python3")
    ]
    assert left == []


def test_an_agent_that_signals_everybody_reaches_its_own(
    host: PolicyModeDaemon, victim: int
) -> None:
    source = "import os, signal; os.kill(-1, signal.SIGKILL); print('alive')"
    with CageThatWaits(host) as other:
        done = host.run(*PYTHON, source, cwd=host.workspace("everybody"))
        assert "alive" in done.stdout and done.returncode == 0
        assert all(Path(f"/proc/{pid}").exists() for pid in (*other.values(), victim))
    # The control: outside of a cage it reaches another process of the uid.
    host.outside("kill", "-KILL", str(host.pid_inside(victim)), cwd=host.base)
    wait_for(lambda: not _is_alive(victim))


def test_the_rest_of_a_cage_is_ended_whose_init_was_killed(host: PolicyModeDaemon) -> None:
    before = {pid for pid, _ in host.processes()}
    process = host.popen(
        "run", "--workspace", host.workspace("init"), "--", *PYTHON,
        "import os, time\nif os.fork() == 0:\n os.setsid(); os.fork()\nprint(1, flush=True)\ntime.sleep(300)",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == [b"1\n"] * 3
    mine = [one for one in host.processes() if one[0] not in before]
    agents = {pid for pid, name in mine if name == "python3"} - {process.pid}
    (init,) = [pid for pid, name in mine if name == "akios-init"]
    assert len(agents) >= 3

    os.kill(init, signal.SIGKILL)

    wait_for(lambda: not any(_is_alive(pid) for pid in agents))
    assert process.wait(30) == 125 or process.returncode >= 1
    assert host.run("/bin/true", cwd=host.workspace("after")).returncode == 0


def test_cages_end_with_their_akiosd() -> None:
    own = PolicyModeDaemon()
    try:
        own.start()
        process = own.popen(
            "run", "--workspace", own.workspace("ends"), "--", *PYTHON,
            "import os, time\nif os.fork() == 0: os.setsid()\nprint(1, flush=True)\ntime.sleep(300)",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        mine = {
            pid for pid, name in own.processes() if name in ("akios-init",) or name == "python3"
        } - {process.pid}
        own.stop(signal.SIGKILL)
        wait_for(lambda: not any(_is_alive(pid) for pid in mine))
        process.wait(30)
    finally:
        own.close()


DEEP = """
import os, sys, time
for where in (os.environ["HOME"], os.environ["TMPDIR"]):
    os.chdir(where)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
print("deep", flush=True)
time.sleep(300)
"""


def test_trees_deeper_than_python_recurses_hurt_nobody() -> None:
    own = PolicyModeDaemon()
    try:
        own.start()
        process = own.popen(
            *("run", "--workspace", own.workspace("deep"), "--", *PYTHON, DEEP),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with process:
            assert process.stdout is not None and process.stdout.readline() == b"deep\n"
            told = own.ctl("doctor")
            assert "disk use of" in told.stdout, told.stderr
            own.stop(signal.SIGKILL)
        # Its log is kept, and what the agent had is not.
        assert list(own.state.glob("cages/*/files"))
        own.start()
        wait_for(lambda: not list(own.state.glob("cages/*/files")))
        wait_for(lambda: bool(list(own.state.glob("cages/*/audit"))))
        (told,) = json.loads(own.ctl("ps", "--all", "--json").stdout)
        assert not told["changes"], "what was written stands in the workspace, and waits for nobody"
        assert own.run("/bin/true", cwd=own.workspace("after")).returncode == 0
    finally:
        own.close()


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- limits, posture, words ----------------------------------------------------------------------

LIMITS = """
def more_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
def core(): resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
def memory(): bytearray(600 << 20)
def little(): bytearray(50 << 20)
"""


def test_an_agent_raises_no_limit(host: PolicyModeDaemon) -> None:
    where = host.workspace("limits")
    (where / "akios.yaml").write_text("version: 1\nlimits: {memory: 512M}\n")
    source = attempts(LIMITS, ["more_files", "core", "memory", "little"])
    found = host.try_inside(source, cwd=where)
    assert found == {
        "more_files": "ValueError",
        "core": "ok",
        "memory": "MemoryError",
        "little": "ok",
    }
    control = host.try_outside(attempts(LIMITS, ["memory", "little"]), cwd=where)
    assert control == {"memory": "ok", "little": "ok"}


def test_posture_says_line_by_line_who_enforces(host: PolicyModeDaemon) -> None:
    done = host.report("/bin/true", cwd=host.workspace("posture"))
    birth = next(one for one in host.events(done["cage"]) if one["kind"] == "birth")
    assert birth["degraded"] is True
    lines = {one["layer"]: (one["status"], one["detail"]) for one in birth["posture"]}
    for name in ("landlock", "seccomp", "network", "capabilities"):
        assert lines[name][0] == "enforced" and "by " in lines[name][1]
    for name in ("identity", "view", "namespaces", "memory", "pids", "cpu", "disk", "workspace"):
        assert lines[name][0] == "degraded" and lines[name][1].startswith("not held: ")
    doctor = host.ctl("doctor").stdout
    assert "not held: the agent has akiosd's own uid" in doctor and "by the kernel: ABI" in doctor


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("filesystem: {workspace: cow}", "needs an overlay"),
        ("filesystem: {hide: [/usr/share/doc]}", "needs mounts"),
        ("identity: {mode: root}", "needs a user namespace"),
    ],
)
def test_what_the_mode_has_not_is_refused_in_words(
    host: PolicyModeDaemon, policy: str, words: str
) -> None:
    where = host.workspace("refused")
    (where / "akios.yaml").write_text(f"version: 1\n{policy}\n")
    done = host.run("/bin/true", cwd=where)
    assert done.returncode == 125 and words in done.stderr and "policy mode" in done.stderr


def test_a_workspace_around_akiosd_itself_is_refused(host: PolicyModeDaemon) -> None:
    above = host.base / "run"
    done = host.run("/bin/true", cwd=above)
    assert done.returncode == 125 and "where akiosd keeps its own files" in done.stderr


def test_the_mode_is_never_chosen_by_itself() -> None:
    plain = subprocess.run([*BECOME, BIN / "akiosd"], capture_output=True, text=True, cwd="/")
    assert plain.returncode == 1 and "akiosd --policy-mode" in plain.stderr
    as_root = subprocess.run([BIN / "akiosd", "--policy-mode"], capture_output=True, text=True)
    assert as_root.returncode == 1 and "is root" in as_root.stderr


def test_a_standing_cage_is_refused_in_words(host: PolicyModeDaemon) -> None:
    where = host.workspace()
    refused = host.ctl("cage", "up", "work", "--allow-degraded", cwd=where)
    assert refused.returncode == 125
    assert "a standing cage cannot have workspace: rw-direct" in refused.stderr
    assert "runs in policy mode, start each program with" in refused.stderr
    refused = host.ctl("cage", "up", "work", "--allow-degraded", "--mode", "ro", cwd=where)
    assert refused.returncode == 125
    assert "a standing cage needs namespaces that end with it" in refused.stderr
    # The control: what it names instead works.
    assert host.ctl("run", "--allow-degraded", "--", "true", cwd=where).returncode == 0
