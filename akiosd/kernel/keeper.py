"""TEMPORARY stand-in until the real one is merged."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from akiosd.kernel import scm_rights
from akiosd.kernel.fds import Fd

MOST_FDS = 16


class Keeper:
    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._sock = sock
        self._lock = trio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Keeper:
        for turn in range(200):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            try:
                sock.connect(str(path))
                return cls(trio.socket.from_stdlib_socket(sock))
            except OSError:
                sock.close()
                if turn == 0:
                    subprocess.Popen(
                        [
                            sys.executable,
                            str(Path(__file__).with_name("keeper_process.py")),
                            str(path),
                        ],
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                time.sleep(0.02)
        raise OSError("no keeper")

    async def _ask(self, data: bytes, fds: Sequence[int] = ()) -> None:
        async with self._lock:
            await scm_rights.send(self._sock, data, fds)
            await self._sock.recv(64)

    async def keep(self, name: str, fds: Sequence[int]) -> None:
        await self._ask(b"K" + name.encode(), fds)

    async def drop_all_of(self, cage: str) -> None:
        await self._ask(b"D" + cage.encode() + b"/")

    async def take_all(self) -> dict[str, list[Fd]]:
        found: dict[str, list[Fd]] = {}
        await scm_rights.send(self._sock, b"L")
        while True:
            data, fds, _ = await scm_rights.receive(self._sock, 4096, MOST_FDS)
            if not data.startswith(b"E"):
                return found
            found[data[1:].decode()] = [Fd(fd) for fd in fds]

    async def leave(self) -> None:
        await self._ask(b"Q")

    def close(self) -> None:
        self._sock.close()
