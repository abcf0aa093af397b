"""The gateway as a process: names answered in real cages, what holds it, and that nothing of it
outlives its cage.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from akiosd.values.policy import Network, Policy
from tests.e2e import resources
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.hostile import Outcome, as_user, run
from tests.e2e.resources import wait_until

# An agent that does what it is told, line by line: a Python expression in, its value as JSON out.
OBEDIENT = r"""
import json, socket, struct, sys

def look(name, port=443):
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        return error.errno

def connect(family, kind, address, port):
    with socket.socket(family, kind) as sock:
        sock.settimeout(30)
        try:
            sock.connect((address, port))
            sock.send(b"x")
            return [0, sock.recv(10).decode()] if kind == socket.SOCK_STREAM else 0
        except OSError as error:
            return error.errno if error.errno is not None else "timeout"

def ask(query, stream=False):
    query = bytes.fromhex(query)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.connect(("127.0.0.1", 53))
        sock.sendall(struct.pack(">H", len(query)) + query if stream else query)
        return sock.recv(4096)[2 * stream:].hex()

print("up", flush=True)
for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""
# Networks are made by fours, so that up to three are there in advance of the pool.
SPARE = Counter({"net:[]": 3})
QUERY = (
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x06openai\x03com\x00\x00\x01\x00\x01"
)
RANGE = range(
    int.from_bytes(socket.inet_aton("198.18.0.1"), "big"),
    int.from_bytes(socket.inet_aton("198.20.0.0"), "big"),
)


@pytest.fixture(scope="module")
def private() -> Iterator[Daemon]:
    """A daemon whose administrator lets policies name sites; others count what it holds, too."""
    daemon = Daemon(system_policy="allow_widening: true\n")
    try:
        yield daemon.start()
    finally:
        daemon.close()


class Agent:
    """One obedient agent in a cage of the default policy."""

    def __init__(self, daemon: Daemon, client: subprocess.Popen[str]) -> None:
        self.daemon, self.client = daemon, client
        [info] = [
            one
            for one in json.loads(daemon.ctl("ps", "--json").stdout)
            if one["state"] == "running"
        ][-1:]
        self.cage = str(info["cage"])

    def do(self, expression: str) -> Any:
        assert self.client.stdin is not None and self.client.stdout is not None
        self.client.stdin.write(expression + "\n")
        self.client.stdin.flush()
        return json.loads(self.client.stdout.readline())

    def gateway(self) -> int:
        """The process of its gateway; 0 when there is none."""
        return gateways(self.daemon).get(self.cage, 0)


@contextmanager
def agent(daemon: Daemon) -> Iterator[Agent]:
    client = daemon.popen(
        "run",
        "--workspace",
        daemon.workspace(),
        "--",
        "python3",
        "-c",
        OBEDIENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=daemon.base,
    )
    with client:
        assert client.stdout is not None and client.stdout.readline() == "up\n"
        yield Agent(daemon, client)
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(60) == 0


def gateways(daemon: Daemon) -> dict[str, int]:
    """Cage → the process in its gateway's control group."""
    found = {}
    for path in resources.cgroups(daemon):
        if path.endswith("-gateway"):
            with contextlib.suppress(OSError):  # it is gone since it was listed
                for pid in Path(path, "cgroup.procs").read_text().split():
                    found[os.path.basename(path).removesuffix("-gateway")] = int(pid)
    return found


def alive(pid: int) -> bool:
    return pid in resources.processes()


def gateway_groups(daemon: Daemon, cage: str = "") -> set[str]:
    return {path for path in resources.cgroups(daemon) if path.endswith(f"{cage}-gateway")}


def zygote(daemon: Daemon) -> int:
    assert daemon.process is not None
    names = {
        pid: Path(f"/proc/{pid}/comm").read_text().strip()
        for pid in resources.descendants(daemon.process.pid)
    }
    [found] = [pid for pid, name in names.items() if name == "akios-zygote"]
    return found


def resolve(daemon: Daemon, names: list[str], network: Network) -> tuple[dict[str, Any], Outcome]:
    """What each name leads to in one cage of this policy."""
    workspace = daemon.workspace()
    (workspace / "agent.py").write_text(OBEDIENT)
    lines = "".join(f"look({name!r})\n" for name in names)
    (workspace / "lines").write_text(lines)
    outcome = run(
        daemon.socket,
        0,
        "cd /ws && python3 agent.py < lines",
        workspace,
        policy=Policy(network=network),
    )
    assert outcome.exit_code == 0, outcome
    return dict(zip(names, map(json.loads, outcome.output.splitlines()[1:]), strict=True)), outcome


def denials(daemon: Daemon, cage: str) -> list[dict[str, Any]]:
    return [record for record in daemon.events(cage) if record["kind"] == "net_denied"]


def in_range(addresses: Any) -> bool:
    return isinstance(addresses, list) and all(
        int.from_bytes(socket.inet_aton(a), "big") in RANGE for a in addresses
    )


class TestNames:
    def test_by_the_policy(self, private: Daemon) -> None:
        network = Network(
            allowed_domains=("example.com", "*.wild.org"), passthrough=("pinned.example",)
        )
        allowed = [
            "example.com",
            "EXAMPLE.Com",
            "example.com.",
            "a.wild.org",
            "b.c.wild.org",
            "pinned.example",
        ]
        denied = ["denied.test", "wild.org", "www.example.com", "com", "example.com.evil.test"]
        found, outcome = resolve(
            private, [*allowed, "api.openai.com", "api.x.ai", *denied], network
        )
        assert all(
            in_range(found[name]) and len(found[name]) == 1
            for name in [*allowed, "api.openai.com", "api.x.ai"]
        )
        assert found["example.com"] == found["EXAMPLE.Com"] == found["example.com."], (
            "one name, one address"
        )
        apart = {
            name: found[name][0]
            for name in ["example.com", *allowed[3:], "api.openai.com", "api.x.ai"]
        }
        assert len(set(apart.values())) == len(apart)
        assert {name: found[name] for name in denied} == dict.fromkeys(denied, socket.EAI_NONAME)
        told = denials(private, outcome.cage)
        assert {record["host"] for record in told} == set(denied)
        lines = {f"network: {{allowed_domains: [{record['host']}]}}" for record in told}
        assert {record["hint"].partition(" in ")[0] for record in told} == lines

    def test_where_nothing_is_allowed_every_denial_is_explained(self, private: Daemon) -> None:
        found, outcome = resolve(
            private, ["api.openai.com", "example.com", "localhost"], Network(llm=False)
        )
        assert found["api.openai.com"] == found["example.com"] == socket.EAI_NONAME
        assert "127.0.0.1" in found["localhost"]
        assert {record["host"] for record in denials(private, outcome.cage)} == {
            "api.openai.com",
            "example.com",
        }

    def test_by_datagram_and_by_stream(self, private: Daemon) -> None:
        with agent(private) as one:
            by_datagram, by_stream = (
                one.do(f"ask({QUERY.hex()!r}, {stream})") for stream in (False, True)
            )
            assert by_datagram == by_stream and in_range(one.do("look('api.openai.com')"))
            assert bytes.fromhex(by_datagram)[-4:] == socket.inet_aton(
                one.do("look('api.openai.com')")[0]
            )


class TestDirectAddresses:
    """Nothing leaves a cage but by a name; the same calls outside are the control."""

    @pytest.fixture
    def listening(self) -> Iterator[tuple[int, int, int]]:
        """Ports of the host's loopback on which something listens: TCP, TCP of IPv6, UDP."""
        with (
            socket.socket() as four,
            socket.socket(socket.AF_INET6) as six,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
        ):
            four.bind(("127.0.0.1", 0))
            six.bind(("::1", 0))
            udp.bind(("127.0.0.1", 0))
            four.listen()
            six.listen()
            yield four.getsockname()[1], six.getsockname()[1], udp.getsockname()[1]

    def test_the_hosts_own_are_others(
        self, private: Daemon, listening: tuple[int, int, int]
    ) -> None:
        four, six, udp = listening
        socket.create_connection(("127.0.0.1", four)).close()
        socket.create_connection(("::1", six)).close()
        with socket.socket(type=socket.SOCK_DGRAM) as control:
            control.connect(("127.0.0.1", udp))
            control.send(b"x")
        with agent(private) as one:
            assert (
                one.do(f"connect(socket.AF_INET, socket.SOCK_STREAM, '127.0.0.1', {four})")
                == errno.ECONNREFUSED
            )
            assert (
                one.do(f"connect(socket.AF_INET6, socket.SOCK_STREAM, '::1', {six})")
                == errno.ECONNREFUSED
            )

    @pytest.mark.parametrize(
        ("family", "address"),
        [("AF_INET", "192.0.2.1"), ("AF_INET", "169.254.169.254"), ("AF_INET", "10.0.0.1"), ("AF_INET", "198.20.0.1"),
         ("AF_INET6", "2001:db8::1"), ("AF_INET6", "fd00::1")],
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
    def test_no_route_leads_out(
        self, private: Daemon, family: str, address: str, kind: str
    ) -> None:
        with agent(private) as one:
            got = one.do(f"connect(socket.{family}, socket.{kind}, {address!r}, 443)")
        assert got == errno.ENETUNREACH, "the kernel says no at once; nothing is waited for"

    def test_an_address_that_stands_for_no_name_is_closed_and_recorded(
        self, private: Daemon
    ) -> None:
        with agent(private) as one:
            for address in ("198.18.200.200", "198.19.255.254", "127.0.0.1"):
                got = one.do(f"connect(socket.AF_INET, socket.SOCK_STREAM, {address!r}, 443)")
                assert got in ([0, ""], errno.ECONNRESET)
        assert [record["host"] for record in denials(private, one.cage)] == [
            "198.18.200.200",
            "198.19.255.254",
            "127.0.0.1",
        ]

    def test_a_port_that_nobody_named_is_refused(self, private: Daemon) -> None:
        with agent(private) as one:
            address = one.do("look('api.openai.com')")[0]
            assert (
                one.do(f"connect(socket.AF_INET, socket.SOCK_STREAM, {address!r}, 22)")
                == errno.ECONNREFUSED
            )
            assert one.do(f"connect(socket.AF_INET, socket.SOCK_DGRAM, {address!r}, 443)") in (
                0,
                errno.ECONNREFUSED,
            )


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def attempt(uid: int, work: Callable[[], None]) -> int:
    """The errno with which the kernel refuses ``work`` to a process of this uid; 0 when it does
    not.
    """

    def inner() -> int:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        try:
            work()
        except OSError as error:
            return error.errno or -1
        return 0

    return as_user(0, inner)


def ptrace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, pid, 0, 0) < 0:  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "ptrace")


@pytest.fixture(scope="module")
def pair(private: Daemon) -> Iterator[tuple[Agent, Agent]]:
    """Two cages whose gateways run."""
    with agent(private) as one:
        assert in_range(one.do("look('api.openai.com')"))
        with agent(private) as other:
            assert in_range(other.do("look('api.openai.com')"))
            yield one, other


class TestConfinement:
    def test_it_has_no_privilege(self, private: Daemon, pair: tuple[Agent, Agent]) -> None:
        found = [status_of(one.gateway()) for one in pair]
        for status in found:
            assert {
                status[name].strip("0")
                for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
            } == {""}
            assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"]) == ("1", "2", "")
            assert len(set(status["Uid"].split() + status["Gid"].split())) == 1
        uids = {int(status["Uid"].split()[0]) for status in found}
        assert len(uids) == 2 and all(uid in resources.CAGED for uid in uids)
        assert private.process is not None
        caged = resources.caged_processes_of(private) - {one.gateway() for one in pair}
        assert caged and not uids & {resources.processes()[pid][1] for pid in caged}, (
            "never the agent's own"
        )

    def test_its_zygote_keeps_only_what_it_needs(self, private: Daemon) -> None:
        status = status_of(zygote(private))
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0b111 << 5, (
            "kill, setgid, setuid"
        )
        assert (status["CapBnd"].strip("0"), status["NoNewPrivs"], status["Threads"]) == (
            "",
            "1",
            "1",
        )

    def test_it_holds_nothing_of_others(self, private: Daemon, pair: tuple[Agent, Agent]) -> None:
        for one in pair:
            found = resources.descriptors(one.gateway())
            assert set(found) <= {
                "file",
                "socket:[]",
                "anon_inode:[eventpoll]",
                "anon_inode:[eventfd]",
                "pipe:[]",
            }, found
            links = {
                os.readlink(f"/proc/{one.gateway()}/fd/{fd}")
                for fd in os.listdir(f"/proc/{one.gateway()}/fd")
            }
            files = {link for link in links if link.startswith("/")}
            assert files <= {"/dev/null", str(private.log)}, files

    def test_others_cannot_touch_it(self, private: Daemon, pair: tuple[Agent, Agent]) -> None:
        victim, other = (one.gateway() for one in pair)
        own, foreign = (int(status_of(pid)["Uid"].split()[0]) for pid in (victim, other))
        control = subprocess.Popen(
            ["sleep", "100"], user=foreign, group=foreign, extra_groups=[], stdin=subprocess.DEVNULL
        )
        try:
            assert attempt(foreign, lambda: os.kill(control.pid, 0)) == 0, "the control"
            assert attempt(foreign, lambda: ptrace(control.pid)) == 0, "the control"
            for uid in (foreign, NOBODY):
                assert attempt(uid, lambda: ptrace(victim)) == errno.EPERM
                assert attempt(uid, lambda: os.kill(victim, 0)) == errno.EPERM
            # Not even its own uid: it is not dumpable.
            for uid in (own, foreign):
                assert attempt(uid, lambda: ptrace(victim)) == errno.EPERM
                assert (
                    attempt(uid, lambda: os.close(os.open(f"/proc/{victim}/mem", os.O_RDONLY)))
                    == errno.EACCES
                )
                assert (
                    attempt(uid, lambda: os.close(os.open(f"/proc/{victim}/fd/3", os.O_RDONLY)))
                    == errno.EACCES
                )
        finally:
            control.kill()
            control.wait()

    def test_a_caged_agent_does_not_see_it(
        self, private: Daemon, pair: tuple[Agent, Agent]
    ) -> None:
        assert (
            pair[0].do(
                "sorted(name for name in __import__('os').listdir('/proc') if name.isdigit())"
            )
            != []
        )
        seen = pair[0].do(
            "[open(f'/proc/{n}/comm').read() for n in __import__('os').listdir('/proc') if n.isdigit()]"
        )
        assert not [name for name in seen if name.startswith("gw-")]

    def test_it_is_in_groups_of_its_own(self, private: Daemon, pair: tuple[Agent, Agent]) -> None:
        groups = [Path(f"/proc/{one.gateway()}/cgroup").read_text() for one in pair]
        for one, text in zip(pair, groups, strict=True):
            assert f"/{one.cage}-gateway\n" in text
        limits = [
            Path(group, name).read_text().strip()
            for group in gateway_groups(private)
            for name in ("memory.max", "memory.limit_in_bytes")
            if Path(group, name).exists()
        ]
        if not limits:
            pytest.skip("this host has no memory controller")
        assert set(limits) == {str(512 << 20)}


class TestItsLife:
    def test_it_is_made_when_it_is_needed(self, private: Daemon) -> None:
        with agent(private) as one:
            assert one.gateway() == 0
            one.do("look('api.openai.com')")
            assert one.gateway()

    def test_killed_it_is_made_again_and_keeps_the_addresses(self, private: Daemon) -> None:
        with agent(private) as one:
            before = {
                name: one.do(f"look({name!r})")
                for name in ("api.x.ai", "api.openai.com", "api.mistral.ai")
            }
            for _ in range(2):
                pid = one.gateway()
                os.kill(pid, signal.SIGKILL)
                assert wait_until(lambda pid=pid: not alive(pid))  # type: ignore[misc]
                assert {name: one.do(f"look({name!r})") for name in reversed(before)} == before
                assert one.gateway() not in (0, pid)
        failures = [
            record["what"]
            for record in private.events(one.cage)
            if record["kind"] == "gateway_failed"
        ]
        assert failures == ["it was killed by signal 9"] * 2

    def test_its_zygote_killed_both_are_made_again(self, private: Daemon) -> None:
        with agent(private) as one:
            address = one.do("look('api.openai.com')")
            gateway, old = one.gateway(), zygote(private)
            os.kill(old, signal.SIGKILL)
            assert wait_until(lambda: not alive(gateway)), "it does not outlive its zygote"
            assert one.do("look('api.openai.com')") == address
            assert zygote(private) != old
        assert "gateway_failed" in {record["kind"] for record in private.events(one.cage)}

    def test_with_the_cage_it_is_gone(self, private: Daemon) -> None:
        assert private.process is not None
        held = resources.rest(private)
        with agent(private) as one:
            one.do("look('api.openai.com')")
            pid = one.gateway()
            assert pid and gateway_groups(private, one.cage)
        assert wait_until(lambda: not alive(pid) and not gateway_groups(private, one.cage))
        daemon = private.process.pid
        assert wait_until(lambda: not resources.descriptors(daemon) - held - SPARE), (
            resources.descriptors(daemon) - held
        )

    def test_a_stopped_one_does_not_hold_up_the_end(self, private: Daemon) -> None:
        """It neither answers nor leaves: the cage ends all the same, and it is killed."""
        with agent(private) as one:
            one.do("look('api.openai.com')")
            pid = one.gateway()
            os.kill(pid, signal.SIGSTOP)
        assert wait_until(lambda: not alive(pid) and not gateway_groups(private, one.cage))
        assert private.events(one.cage)[-1]["kind"] == "end"

    def test_what_it_saw_last_is_in_the_log(self, private: Daemon) -> None:
        """The agent is dead a moment after its last question: the denial is on record, with every
        repetition.
        """
        found, outcome = resolve(private, ["denied.test"] * 40, Network())
        assert found == {"denied.test": socket.EAI_NONAME}
        told = denials(private, outcome.cage)
        assert sum(record.get("count", 1) for record in told) >= 80, "A and AAAA of each"
        assert len(told) < 10, "equal ones are folded"

    def test_nothing_outlives_a_killed_daemon(self) -> None:
        daemon = Daemon("restart: {come_back_s: 0}\n").start()
        try:
            with pytest.raises(BaseException), agent(daemon) as one:  # noqa: B017  the client loses its daemon
                one.do("look('api.openai.com')")
                ours = {one.gateway(), zygote(daemon)}
                assert 0 not in ours
                daemon.stop(signal.SIGKILL)
                assert wait_until(lambda: not any(map(alive, ours)))
                raise KeyboardInterrupt
            assert gateway_groups(daemon), "the next daemon removes them"
            daemon.start()
            assert not gateway_groups(daemon)
            with agent(daemon) as one:
                assert in_range(one.do("look('api.openai.com')"))
        finally:
            daemon.close()
