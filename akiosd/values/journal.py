"""An event of akiosd's log as an entry of systemd's journal.

Sources: systemd's description of the journal's native protocol; systemd.journal-fields(7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

MESSAGE_IDS = {
    "ready": "7604745de7994a0ab0500a0def8b488c",
    "akiosd cannot start or go on": "e36bd17d24d040879f7cabaf739d3e62",
    "the settings could not be read again; the old ones hold": "2c69dc9b705940a3a623640fa458d1b9",
    "the disk is full: cages are paused until there is room": "ec16b6053aed49bdae09766b35b45667",
    "a gateway died": "2d47bb0b8d40481f80583c261e1c61e2",
    "a cage does not die": "dc60d625f5944cd69af4243a8d897d5d",
    "a cage is ended": "873eee3077be43e9912826c02ef2f521",
    "changes of a killed agent were kept": "c19f9f3fff5a44c0a93e0970abc8cc8c",
    "the clock jumped: nothing is destroyed by age for a day": "1f868871ca974779be0924bf500b3160",
    "peer refused": "cbe9b6c242ea4db38cc1d9734599f0a6",
    "a key is of no use": "e67d3360052040ffb1c672713b8f3610",
    "akiosd makes no progress and awaits the watchdog": "16399efb26734bd09ecb53bc2e48c666",
    "no cage can be made in advance": "045146c0d51d4dacb15b63c81ea2b6ac",
}
"""The text of an event → its identifier in the catalog (systemd/akios.catalog), for those that an
administrator will look up.  An identifier stays for ever; a changed meaning gets a new one.
"""

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
"""Of syslog(3)."""

_APART = ("event", "exception", "exc_info", "timestamp", "level", "part")
_ERROR = ("what", "where", "next")
_LONGEST = 32 << 10
_PREFIX = "AKIOS_"


def journal_entry(method: str, event: Mapping[str, object]) -> dict[str, str]:
    """The fields of one event: a line for people, and each of its values for searches."""
    text = str(event.get("event", ""))
    fields = {
        "MESSAGE": sentence(event),
        "PRIORITY": str(PRIORITIES.get(method, 6)),
        "SYSLOG_IDENTIFIER": "akiosd",
    }
    if text in MESSAGE_IDS:
        fields["MESSAGE_ID"] = MESSAGE_IDS[text]
    for key, value in event.items():
        if key not in ("event", "timestamp", "level", "exc_info"):
            fields[_PREFIX + _name(key)] = _text(value)
    return fields


def sentence(event: Mapping[str, object]) -> str:
    """One line: what happened, then its values; the parts of an error as errors are read."""
    text = str(event.get("event", ""))
    error = [str(event.get(key) or "") for key in _ERROR]
    if error[0]:
        text += f": {error[0]}"
    rest = [
        f"{key} {_text(value)}"
        for key, value in event.items()
        if key not in _APART and not (error[0] and key in _ERROR) and value not in ("", None)
    ]
    if error[0]:
        named = zip(_ERROR[1:], error[1:], strict=True)
        rest += [f"{key}: {value}" for key, value in named if value]
    if "exception" in event:
        rest.append("traceback in the field AKIOS_EXCEPTION")
    return f"{text} ({', '.join(rest)})" if rest else text


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """The datagram.  A value of several lines goes with its length, or each line after the first
    would be a field of its own.
    """
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")[:_LONGEST]
        if b"\n" in data:
            parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [name.encode(), b"=", data, b"\n"]
    return b"".join(parts)


def _name(key: str) -> str:
    """A field's name: capitals, digits and underscores, at most 64 of them with the prefix."""
    return "".join(one if one.isascii() and one.isalnum() else "_" for one in key.upper())[
        : 64 - len(_PREFIX)
    ]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
