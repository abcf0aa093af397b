"""The daemon's own log: structlog to stderr, for people on a terminal, one JSON object a line
elsewhere.

Where stderr is systemd's journal, events go to it with their fields; what it does not take goes to
stderr, with its priority before it (sd-daemon(3)).  Bytes and control characters of unknown origin
are escaped before any renderer sees them.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog

from akiosd.daemon.base.log_limit import WINDOW_S, Damper
from akiosd.values.journal import PRIORITIES, encode_entry, journal_entry
from akiosd.values.records import escape

Level = Literal["debug", "info", "warning", "error"]

JOURNAL = "/run/systemd/journal/socket"


def configure_log(level: Level = "info", stream: TextIO | None = None) -> None:
    """Set the whole process's logging up; call once, before the first line."""
    out = stream if stream is not None else sys.stderr
    people = out.isatty()
    # Where rich is installed, a pretty traceback would print the values of all variables, keys
    # among them.
    renderer: Any = structlog.dev.ConsoleRenderer(
        colors="NO_COLOR" not in os.environ, exception_formatter=structlog.dev.plain_traceback
    )
    if not people:
        renderer = structlog.processors.JSONRenderer(sort_keys=False)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        Damp(time.monotonic),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if people else "iso", utc=not people),
    ]
    if not people:
        processors.append(structlog.processors.format_exc_info)
    processors.append(escape_values)
    journal = not people and is_journal(out)
    processors += [ToJournal(), renderer, prefix_priority] if journal else [renderer]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=stream is None,
    )


def get_log(name: str) -> Any:
    """A logger whose lines carry ``part=name``."""
    return structlog.get_logger(part=name)


def is_journal(stream: TextIO) -> bool:
    """Whether ``stream`` leads to systemd's journal: ``JOURNAL_STREAM`` has its device and inode
    (systemd.exec(5)).
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


class ToJournal:
    """A structlog processor that sends each event to the journal, with its fields.

    It never waits; what the journal does not take is given on, to be written to stderr.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def __call__(self, _logger: Any, method: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            self._socket.sendto(encode_entry(journal_entry(method, event)), self._path)
        except OSError:
            return event
        raise structlog.DropEvent


class Damp:
    """A structlog processor that limits how many lines of one kind are written in a minute and
    counts the rest.

    A kind is the text of the line; a source is the uid or cage that the line names. What akiosd did
    by itself (``info``) is always written. See :mod:`akiosd.daemon.base.log_limit`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._damper = clock, Damper()

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if method == "info":
            return event
        source = str(event.get("uid", event.get("cage", "")))
        found = self._damper.judge(
            f"{event.get('part')}: {event.get('event')}", source, self._clock()
        )
        if not found.written:
            raise structlog.DropEvent
        if found.left_out:
            event["left_out_before"] = found.left_out
        if found.last:
            event["more"] = f"counted, not written, for up to {WINDOW_S:.0f} s"
        return event


def escape_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """structlog processor: every text in the event becomes one printable line; tracebacks keep
    their lines.
    """
    return {
        key: value if key in ("exception", "exc_info") else _escaped(value)
        for key, value in event.items()
    }


def _escaped(value: Any) -> Any:
    if isinstance(value, bytes | str):
        return escape(value)
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return escape(str(value))


def prefix_priority(_logger: Any, method: str, line: str) -> str:
    """structlog processor after the renderer: ``<6>`` and the like, which the journal takes as the
    priority.
    """
    return f"<{PRIORITIES.get(method, 6)}>{line}"
