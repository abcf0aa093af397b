"""Records as lines of the Common Event Format, version 0 (Micro Focus ArcSight, "Implementing
ArcSight Common Event Format", revision 26).

In the header a backslash and a bar are escaped, in the extension a backslash and an equals sign,
and there ends of lines are written as ``\\n`` and ``\\r``.
"""

from __future__ import annotations

import json
from typing import Any

from akiosctl.siem.facts import (
    PRODUCT,
    VENDOR,
    Source,
    argv_of,
    cage_of,
    name_of,
    program_of,
    reason_of,
    rest_of,
    target_of,
)
from akiosctl.siem.table import FILE, PROCESS, Event, Row, path_of, row_of, variant_of

_MILLISECOND = 1_000_000
_SEVERITIES = {1: 1, 2: 3, 3: 6, 4: 8}
"""Of OCSF → 0 to 10."""
_MOST_BYTES = 1023
"""What a reader must take of one text (``msg``, ``request`` and the paths)."""


def to_cef(event: Event, source: Source) -> str | None:
    """The line, without its end; None for a record that is left out."""
    row = row_of(event)
    if row is None:
        return None
    code = f"{event['kind']} {variant_of(event)}".strip().replace(" ", ".")
    severity = str(_SEVERITIES[row.severity])
    header = ("0", VENDOR, PRODUCT, source.version, code, row.words, severity)
    fields = _common(event, row, source) | _of_network(event)
    pairs = (f"{key}={escape_value(str(v))}" for key, v in fields.items() if v not in ("", None))
    return "CEF:" + "|".join(map(escape_header, header)) + "|" + " ".join(pairs)


def escape_header(text: str) -> str:
    """A field of the header: it cannot hold an end of line."""
    text = _shown(text).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("\r", " ").replace("\n", " ")


def escape_value(text: str) -> str:
    """A value of the extension, which is cut where readers need not take more."""
    text = _shown(text).encode()[:_MOST_BYTES].decode(errors="ignore")
    text = text.replace("\\", "\\\\").replace("=", "\\=")
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _shown(text: str) -> str:
    """What drives a terminal, ends a line for some readers, or is half a character, as Python
    writes it.
    """
    if text.isprintable():
        return text
    signs = (c if c.isprintable() or c in "\r\n" else ascii(c)[1:-1] for c in text)
    return "".join(signs)


def _common(event: Event, row: Row, source: Source) -> dict[str, Any]:
    cage, path = cage_of(event), path_of(event) if row.ocsf == FILE else ""
    return {
        "rt": event["ts"] // _MILLISECOND,
        "dvchost": source.host,
        "externalId": name_of(event),
        "act": row.action,
        "outcome": row.outcome,
        "cnt": event.get("count"),
        "suid": event.get("uid"),
        "spid": event.get("pid"),
        "sproc": (" ".join(argv_of(event)) or program_of(event)) if row.ocsf == PROCESS else "",
        "filePath": path,
        "fname": path.rpartition("/")[2],
        "reason": event.get("rule"),
        "msg": reason_of(event),
        "cs1Label": "cage" if cage else "",
        "cs1": cage,
        "cs2Label": "record",
        "cs2": json.dumps(rest_of(event)),
    }


def _of_network(event: Event) -> dict[str, Any]:
    name, address, port = target_of(event)
    spent = event["kind"] == "llm_call"
    return {
        "dhost": name,
        "dst": address if ":" not in address else "",
        "c6a3Label": "Destination IPv6 Address" if ":" in address else "",
        "c6a3": address if ":" in address else "",
        "dpt": port or "",
        "app": event.get("protocol"),
        "requestMethod": event.get("method"),
        "request": event.get("path") if event.get("method") else "",
        "in": event.get("bytes_in"),
        "out": event.get("bytes_out"),
        "cn1Label": "usdMicro" if spent else "",
        "cn1": event.get("usd_micro", 0) if spent else "",
    }
