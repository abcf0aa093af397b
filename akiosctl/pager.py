"""Long output goes through a pager, page by page, when a person reads it on a terminal.

``$PAGER``, else less(1) with ``-FRX``: at once where it fits on the screen, with our colours, and
left on the screen afterwards.  What it is given was escaped by the printers and by ``fence.py``
before, so no text can drive it; ``LESSSECURE=1`` takes away what it could start or write (less(1),
SECURITY).  Nothing of this happens with ``--no-pager``, ``--json``, ``--follow``, or in a pipe.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import click

from akiosctl import render

PAGED = frozenset(
    (
        *("ps", "logs", "budget", "diff", "events", "why", "schema", "timeline"),
        *("ledger show", "ledger stats", "policy explain", "protect scan", "protect patterns"),
    )
)
"""The verbs whose output may be longer than a screen."""
_OPTIONS = "FRX"


def choose_pager(environment: Mapping[str, str], less: str | None) -> tuple[list[str], bool]:
    """(command, whether it shows colours); no command: none is wanted, or there is none.

    ``less`` is the path of that program.  ``PAGER`` is a shell's command line, as for man(1).
    """
    said = environment.get("PAGER")
    if environment.get("TERM", "dumb") == "dumb" or said in ("", "cat"):
        return [], False
    options = environment.get("LESS")
    shows = options is None or "R" in options
    if said is None:
        return ([less], shows) if less else ([], False)
    return ["/bin/sh", "-c", said], shows and os.path.basename(said.split()[0]) == "less"


def paged(callback: Callable[..., Any], verb: str) -> Callable[..., Any]:
    """The same verb, through a pager where somebody may want to turn pages."""
    if verb not in PAGED:
        return callback

    @functools.wraps(callback)
    def through_pager(*arguments: Any, **options: Any) -> Any:
        given = click.get_current_context().obj
        as_json = getattr(given, "as_json", False) or options.get("as_json")
        at_once = as_json or options.get("follow") or not getattr(given, "pages", True)
        command, colours = choose_pager(os.environ, shutil.which("less"))
        if at_once or not command or not os.isatty(1):
            return callback(*arguments, **options)
        with _pages(command, colours):
            return callback(*arguments, **options)

    return through_pager


@contextmanager
def _pages(command: list[str], colours: bool) -> Iterator[None]:
    """What is written to the terminal inside goes to the pager, which is left when the reader
    leaves it.
    """
    _flush()
    screens = [fd for fd in (1, 2) if os.isatty(fd)]
    kept = {fd: os.dup(fd) for fd in screens}
    environment = {"LESS": _OPTIONS, **os.environ, "LESSSECURE": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    for fd in screens:
        os.dup2(process.stdin.fileno(), fd)
    process.stdin.close()
    render.SCREENS.update(dict.fromkeys(screens, colours))
    try:
        with suppress(BrokenPipeError):  # the reader has seen enough
            yield
    finally:
        # Ctrl-C is the pager's now.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        _leave(kept)
        render.SCREENS.clear()
        process.wait()
        signal.signal(signal.SIGINT, before)


def _leave(kept: dict[int, int]) -> None:
    try:
        _flush()
    except BrokenPipeError:
        # What nobody wanted to see must not come out on the terminal now.
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for fd in kept:
            os.dup2(nowhere, fd)
        os.close(nowhere)
        _flush()
    for fd, copy in kept.items():
        os.dup2(copy, fd)
        os.close(copy)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
