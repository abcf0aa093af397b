"""The names of cages for a shell that completes them: quickly, and quiet where that fails.

It imports nothing heavy.  Each line is a name, a tab, and what people know the cage by.
"""

from __future__ import annotations

import os
import signal

from akiosctl.client import PlainClient
from akiosctl.render import quote_command
from akiosd.errors import AkiosError

_PATIENCE_S = 2
"""Nobody waits longer for a tab; a daemon that is stopped answers never."""
_MOST = 200
_LONGEST = 60


def print_cages(path: str, which: str) -> int:
    """The cages of the caller at the daemon of ``path``: all, those that run (``running``), or
    those whose changes wait (``changes``); the newest first.
    """
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.alarm(_PATIENCE_S)
    try:
        cages = _list(path)
    except (AkiosError, OSError):
        return 0
    newest = sorted(cages, key=lambda cage: -int(str(cage.get("order", 0))))
    shown = [cage for cage in newest if _is_meant(cage, which)]
    if shown:
        print("last\tthe newest of this directory")
    for cage in shown[:_MOST]:
        argv = cage.get("argv", ())
        words = quote_command(argv) if isinstance(argv, list | tuple) else ""
        for name in (cage.get("name"), cage.get("cage")):
            if name:
                print(f"{name}\t{_state(cage)}: {words[:_LONGEST]}")
    return 0


def _list(path: str) -> list[dict[str, object]]:
    client = PlainClient(path)
    try:
        found: list[dict[str, object]] = []
        more = True
        while more and len(found) < 10 * _MOST:
            client.request("list", {"after": found[-1]["cage"]} if found else {})
            reply, _ = client.receive()
            cages = reply.get("cages", [])
            found += cages
            more = bool(reply.get("more")) and bool(cages)
        return found
    finally:
        client.close()


def _is_meant(cage: dict[str, object], which: str) -> bool:
    if which == "running":
        return not cage.get("ended_ns")
    return which != "changes" or bool(cage.get("changes"))


def _state(cage: dict[str, object]) -> str:
    if not cage.get("ended_ns"):
        return "runs"
    return "changes wait" if cage.get("changes") else "ended"
