"""An internet of one machine: a host's network, one cable, and behind it public and private
addresses and a resolver.

Two network namespaces joined by a pair of veth(4).  In the first the daemon runs, and whatever is a
control; in the second are the addresses of :data:`ADDRESSES`, upstreams that listen on them, and
the resolver of this machine's ``/etc/resolv.conf``, which answers as a test says.  Nothing leads
out of the two, and they end with the test's process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from akiosd.kernel.fds import Fd
from akiosd.kernel.netsock import SocketSpec, encode_inet_address, open_sockets

from tests.e2e.daemon import Daemon, die_with_parent
from tests.e2e.upstreams import Upstream

PUBLIC, OTHER_PUBLIC, PUBLIC_6 = "93.184.216.34", "151.101.1.69", "2606:2800:220:1::1"
PRIVATE, METADATA, METADATA_6 = "10.77.0.5", "169.254.169.254", "fd00:ec2::254"
ADDRESSES = (PUBLIC, OTHER_PUBLIC, PRIVATE, METADATA, PUBLIC_6, METADATA_6)
"""Of the internet."""
HOST, HOST_6 = "185.199.108.153", "2a04:4e42::1"
"""The host's own: public, as those of a machine in a data centre."""
_FAR, _FAR_6 = "185.199.108.154", "2a04:4e42::2"


class Resolver:
    """A name server: ``names`` leads each name to addresses, which are given in turn; all questions
    are kept.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._socket = sock
        threading.Thread(target=self._serve, daemon=True).start()

    def __setitem__(self, name: str, answers: str | list[str]) -> None:
        """``answers``: the address, or one for each time it is asked for, the last for ever."""
        self.names[name] = [[one] for one in ([answers] if isinstance(answers, str) else answers)]

    def _serve(self) -> None:
        while True:
            try:
                query, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            if not query:
                return  # shut down
            self._socket.sendto(self._answer(dns.message.from_wire(query)).to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(name)
        reply = dns.message.make_response(query)
        if name not in self.names:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return reply
        answers = self.names[name]
        given = (
            [one for one in answers[0] if (":" in one) == (kind == "AAAA")]
            if kind in ("A", "AAAA")
            else []
        )
        if kind == "A" and len(answers) > 1:
            answers.pop(0)
        if given:
            reply.answer.append(dns.rrset.from_text(question.name, 0, "IN", kind, *given))
        return reply


class Internet:
    """``with Internet() as net``: its namespaces, its resolver; upstreams are made by
    :meth:`listen`.
    """

    def __enter__(self) -> Internet:
        with contextlib.ExitStack() as stack:
            self._host, self._far = (stack.enter_context(_namespace()) for _ in range(2))
            self._wire()
            self.resolver = self._resolver(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def inside(self) -> list[str]:
        """The words before a command that is to run on the host."""
        return ["nsenter", f"--net=/proc/{self._host}/ns/net", "--"]

    def daemon(self, config: str = "", system_policy: str = "allow_widening: true\n") -> Daemon:
        """Not started."""
        return Daemon(config, system_policy, prefix=self.inside)

    def run(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """On the host, outside every cage."""
        return subprocess.run(
            [*self.inside, *command], capture_output=True, text=True, timeout=60, **more
        )

    def listen(self, address: str, port: int, *, on_host: bool = False) -> socket.socket:
        """A listening socket out there, or on the host itself, the caller's."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        spec = SocketSpec(family, socket.SOCK_STREAM, 0, encode_inet_address(address, port), 1024)
        return self._socket(self._host if on_host else self._far, spec)

    def upstream(self, address: str, port: int, *, on_host: bool = False, **more: Any) -> Upstream:
        """An upstream that listens there; enter it to serve."""
        return Upstream(listener=self.listen(address, port, on_host=on_host), **more)

    # ---- making it -------------------------------------------------------------------------------

    def _wire(self) -> None:
        ip(
            self._host,
            "link",
            "add",
            "akios0",
            "type",
            "veth",
            "peer",
            "name",
            "akios1",
            "netns",
            str(self._far),
        )
        for pid, device, four, six in (
            (self._host, "akios0", HOST, HOST_6),
            (self._far, "akios1", _FAR, _FAR_6),
        ):
            ip(pid, "link", "set", "lo", "up")
            ip(
                pid,
                "address",
                "add",
                f"{four}/31" if pid == self._far else f"{four}/32",
                "dev",
                device,
            )
            ip(pid, "address", "add", f"{six}/126", "dev", device, "nodad")
            ip(pid, "link", "set", device, "up")
        ip(self._host, "route", "add", "default", "dev", "akios0")
        ip(self._host, "-6", "route", "add", "default", "via", _FAR_6)
        ip(self._far, "route", "add", HOST, "dev", "akios1")
        for address in (*ADDRESSES, *_name_servers()):
            ip(
                self._far,
                "address",
                "add",
                address,
                "dev",
                "akios1",
                *(["nodad"] if ":" in address else []),
            )

    def _resolver(self, stack: contextlib.ExitStack) -> Resolver:
        [address, *_] = _name_servers()
        spec = SocketSpec(socket.AF_INET, socket.SOCK_DGRAM, 0, encode_inet_address(address, 53))
        sock = self._socket(self._far, spec)
        stack.callback(sock.close)
        stack.callback(_wake, sock)
        return Resolver(sock)

    def _socket(self, pid: int, spec: SocketSpec) -> socket.socket:
        with Fd(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as namespace:
            [number] = open_sockets(namespace.fileno(), [spec])
        sock = socket.socket(fileno=number)
        sock.setblocking(True)
        return sock


def ip(pid: int, *words: str) -> None:
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, (words, done.stderr)


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """The pid of a process that holds a network namespace of its own."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"\n", "unshare --net"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def _name_servers() -> Sequence[str]:
    """As resolv.conf(5) has them: the C library asks these, in every network."""
    lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    found = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    if not found or ":" in found[0] or found[0].startswith("127."):
        pytest.skip("/etc/resolv.conf names no server of another machine by IPv4")
    return found


def _wake(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
