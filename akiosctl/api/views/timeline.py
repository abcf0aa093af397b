"""Records of a log from its end backwards, and what its first ones say of the cage."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from akiosctl.api.problems import Refusal
from akiosctl.client import Client, DaemonError
from akiosctl.record_forms import Form
from akiosctl.records_text import read_record
from akiosd.kernel.scm_rights import close_fds
from akiosd.ledger.note import Checkpoint, NoteError, parse_note
from akiosd.values.ids import HOST_LOG
from akiosd.values.records import Birth
from akiosd.wire.messages import LedgerInfo, LedgerReply, LogEntries, ReadLog

MOST_LOOKED_AT = 200_000
"""Records that one request passes over in search of notable ones."""
_AT_ONCE = 2_000
_HEAD = 64
_KIND = b"\xa4kind"
_DENIED = b"\xa7verdict\xa6denied"
_BULK = (b"\xa7syscall", b"\xa9file_used")


class Page(msgspec.Struct, frozen=True):
    """``records`` are JSON, the newest first; ``next`` as in :class:`CageView`."""

    records: list[msgspec.Raw]
    next: int | None


def is_notable(entry: bytes) -> bool:
    """Not one of the many calls and files that nobody denied."""
    bulk = any(entry.find(_KIND + kind, 1, 24) > 0 for kind in _BULK)
    return not bulk or _DENIED in entry


def read_state(client: Client, log: str) -> tuple[LedgerReply, int]:
    """What akiosd says of a log, and how many records it has.  A 404 for one that may not be
    read.
    """
    cage = "" if log == HOST_LOG else log
    try:
        reply, fds = client.call(LedgerInfo(cage=cage), LedgerReply)
    except DaemonError as error:
        raise Refusal(HTTPStatus.NOT_FOUND, error.what, log, error.next) from None
    close_fds(fds)
    return reply, max(reply.size, _size_on_disk(reply.checkpoint))


def _size_on_disk(note: bytes) -> int:
    try:
        return Checkpoint.parse(parse_note(note).text).size if note else 0
    except NoteError:
        return 0


def read_back(
    client: Client, log: str, before: int, limit: int, wanted: Callable[[bytes], bool]
) -> Page:
    """At most ``limit`` records in front of the number ``before``."""
    form, found = Form(as_json=True), list[str]()
    stop, looked_at = before, 0
    while stop > 0 and len(found) < limit and looked_at < MOST_LOOKED_AT:
        first, entries = _read(client, log, max(0, stop - _AT_ONCE), stop)
        for index in reversed(range(len(entries))):
            if wanted(entries[index]):
                found += form.lines(log, first + index, [entries[index]])
            stop, looked_at = first + index, looked_at + 1
            if len(found) == limit:
                break
        if not entries:  # pruned
            stop = 0
    return Page([msgspec.Raw(line.encode()) for line in found], stop or None)


def _read(client: Client, log: str, start: int, stop: int) -> tuple[int, list[bytes]]:
    """Entries and the number of the first; the answers are bounded, so more than one may be
    needed.
    """
    cage = "" if log == HOST_LOG else log
    first, entries = start, list[bytes]()
    while start < stop:
        reply, _ = client.call(ReadLog(cage=cage, start=start, stop=stop), LogEntries)
        if not reply.entries:
            break
        if not entries:
            first = reply.start
        entries += reply.entries
        start = reply.start + len(reply.entries)
    return first, entries[: max(0, stop - first)]


def find_birth(client: Client, log: str) -> Birth | None:
    """The record of a cage's birth, which is among the first; None where those were pruned."""
    _, entries = _read(client, log, 0, _HEAD)
    records = (read_record(entry) for entry in entries)
    return next((one for one in records if isinstance(one, Birth)), None)
