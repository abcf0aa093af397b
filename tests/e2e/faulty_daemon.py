"""akiosd with faults: parts of it raise what nobody foresaw, where a file says so.

    python faulty_daemon.py DIRECTORY AKIOSD ARGUMENT...

A part is a key of :data:`PARTS`; it fails while there is a file of that name in ``DIRECTORY``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from akiosd.daemon import main
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.ledger.commit import Committer
from akiosd.daemon.requests import run_requests
from akiosd.daemon.sockets import serve_clients

PARTS: dict[str, tuple[Any, str]] = {
    "program": (Cage, "kill_program"),
    "told": (run_requests, "_tell_begun"),
    "connection": (serve_clients._Connection, "_read"),
    "left": (run_requests.RunRequests, "_finish_output"),
    "watch": (Cage, "_watch_system"),
    "accept": (serve_clients, "_accept"),
    "commit": (Committer, "_register"),
    "list": (Registry, "list_page"),
}


def failing(part: Callable[..., Any], mark: Path) -> Callable[..., Any]:
    def instead(*arguments: Any) -> Any:
        if mark.exists():
            raise ValueError(f"a fault of {mark.name}")
        return part(*arguments)

    return instead


def failing_accept(accept: Callable[..., Any], mark: Path) -> Callable[..., Any]:
    """It waits in accept(2): the client that comes next finds out."""

    async def instead(listener: Any, server: Any, nursery: Any) -> None:
        while True:
            sock, _ = await listener.socket.accept()
            if mark.exists():
                raise ValueError("a fault of accept")
            nursery.start_soon(
                serve_clients.guarded, "a connection", lambda: None, server.connection, sock
            )

    return instead


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    for name, (owner, attribute) in PARTS.items():
        make = failing_accept if name == "accept" else failing
        setattr(owner, attribute, make(getattr(owner, attribute), directory / name))
    sys.exit(main.main(sys.argv[3:]))
