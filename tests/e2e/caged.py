"""An agent in a cage that does what a test tells it, by a policy of the test's own."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from akiosctl.client import Client
from akiosctl.prepare_run import make_bind
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.policy import Filesystem, Limits, Network, Policy
from akiosd.wire.messages import Bind, Ended, Run, Started
from tests.e2e.daemon import Daemon

SOURCE = Path(__file__).with_name("attacks") / "obedient.py"


class Caged:
    """``do(expression)``: a Python expression of the agent's (:data:`SOURCE`), and its value."""

    def __init__(self, daemon: Daemon, client: Client, cage: str, fds: list[int]) -> None:
        self.daemon, self.cage = daemon, cage
        self._client = client
        self._stdin, self._stdout = os.fdopen(fds[0], "w"), os.fdopen(fds[1], "r")
        self._stderr = fds[2]
        assert self._stdout.readline() == "up\n", os.read(self._stderr, 1 << 16)

    def tell(self, expression: str) -> None:
        self._stdin.write(expression + "\n")
        self._stdin.flush()

    def hear(self) -> Any:
        return json.loads(self._stdout.readline())

    def do(self, expression: str) -> Any:
        self.tell(expression)
        return self.hear()

    def end(self) -> Ended:
        """Let the agent end, and wait until its cage has."""
        self._stdin.close()
        ended = self._client.receive().message
        assert isinstance(ended, Ended), ended
        return ended

    def close(self) -> None:
        self._stdin.close()
        self._stdout.close()
        os.close(self._stderr)
        self._client.close()

    def records(self, *kinds: str) -> list[dict[str, Any]]:
        return [
            record
            for record in self.daemon.events(self.cage)
            if not kinds or record["kind"] in kinds
        ]

    def denials(self) -> Counter[tuple[str, str, str]]:
        """(protocol, rule, host) → how many."""
        found: Counter[tuple[str, str, str]] = Counter()
        for record in self.records("net_denied"):
            found[record["protocol"], record["rule"], record.get("host", "")] += record.get(
                "count", 1
            )
        return found


@contextmanager
def caged(
    daemon: Daemon,
    network: Network | None = None,
    source: Path = SOURCE,
    files: Sequence[Path] = (),
    **more: Any,
) -> Iterator[Caged]:
    """A cage under ``network`` and the limits of ``more``; stopped when the block ends early.

    ``source``: what the agent obeys with; ``files``: trees and files that it sees, read-only.
    """
    read = tuple(str(path) for path in files)
    policy = Policy(
        network=network or Network(), limits=Limits(**more), filesystem=Filesystem(read=read)
    )
    where = os.fsencode(daemon.workspace())
    command = ("python3", "-c", source.read_text())
    request = Run(
        policy=policy,
        argv=tuple(map(str.encode, command)),
        command=b"/usr/bin/python3",
        cwd=where,
        workspace=where,
        home=b"/home/agent",
        user_name="agent",
        env={b"PATH": b"/usr/bin:/bin"},
    )
    with Client(str(daemon.socket)) as client:
        fds = [os.open(where, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        try:
            binds = [
                make_bind(str(path), os.open(path, os.O_PATH | os.O_CLOEXEC), "read", "", fds)
                for path in files
            ]
            client.send(
                msgspec.structs.replace(request, binds=tuple(Bind(**bind) for bind in binds)), fds
            )
            started = client.receive()
        finally:
            close_fds(fds)
        assert isinstance(started.message, Started), started.message
        one = Caged(daemon, client, started.message.cage, started.fds)
        try:
            yield one
        finally:
            one.close()


def question(name: str, kind: int = 1) -> str:
    """A DNS query in hex; ``name`` is cut at its dots and otherwise sent as it is."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("latin-1").split(b"."))
    return (
        b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"
    ).hex()
