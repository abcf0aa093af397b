"""What the three formats read of a record, and of the host it is from."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from akiosctl.siem.table import DENIED, Event, Row, path_of
from akiosd.values.ids import HOST_LOG

VENDOR, PRODUCT = "AKIOS", "AKIOS"
_WORDS = ("reason", "words", "why", "what", "error")
"""Fields that say in words what happened, of kinds that have one."""
_PORT = re.compile(r"\[?([^\]]*)\]?:([0-9]{1,5})")


class Source(msgspec.Struct, frozen=True):
    """Where the records come from: the host's name and the version of this program."""

    host: str
    version: str


def cage_of(event: Event) -> str:
    """The cage that a record is about; "" for the host itself."""
    log = str(event["log"])
    return str(event.get("cage", "")) or ("" if log == HOST_LOG else log)


def name_of(event: Event) -> str:
    """The record's name, which never comes again."""
    return f"{event['log']}:{event['index']}"


def target_of(event: Event) -> tuple[str, str, int]:
    """(name, address, port) on the network; "" and 0 for what the record does not say."""
    if event["kind"] == "syscall":
        found = _PORT.fullmatch(str(event.get("address", "")))
        known = found is not None and not str(event["address"]).startswith("unix:")
        return ("", found[1], int(found[2])) if known and found else ("", "", 0)
    return str(event.get("host", event.get("towards", ""))), "", int(event.get("port", 0))


def argv_of(event: Event) -> list[str]:
    """The command line of a record about a program."""
    return [str(word) for word in event.get("argv", ())]


def reason_of(event: Event) -> str:
    """Why, in words: of a denial its rule and what would allow it."""
    rule, hint = str(event.get("rule", "")), str(event.get("hint", ""))
    words = next((str(event[name]) for name in _WORDS if event.get(name)), "")
    return ": ".join(part for part in (rule, hint or words) if part)


def message_of(event: Event, row: Row) -> str:
    """What happened, as one line for people: of a denial first what was denied."""
    if row.action != DENIED or not (subject := _subject_of(event)):
        return ": ".join(part for part in (row.words, reason_of(event)) if part)
    rule, hint = event.get("rule"), event.get("hint")
    parts = [f"{subject} was denied ({row.words.removesuffix(' denied')})"]
    parts += [f"by the rule {rule}"] if rule else []
    parts += [f"what helps: {hint}"] if hint else []
    return "; ".join(parts)


def _subject_of(event: Event) -> str:
    name, address, port = target_of(event)
    host = name or (f"{address}:{port}" if address else "")
    return host or path_of(event) or str(event.get("name", ""))


def program_of(event: Event) -> str:
    """The file that is run, of a record about a program."""
    return path_of(event) or next(iter(argv_of(event)), "")


def rest_of(event: Event) -> dict[str, Any]:
    """The record's own fields: what no format has a name for is not lost."""
    return {name: value for name, value in event.items() if name not in ("log", "index", "ts")}
