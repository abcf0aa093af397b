"""Records as lines and as JSON, for ``events`` and ``ledger show``.  Everything of unknown origin
is escaped.
"""

from __future__ import annotations

import math
import re
import socket
import sys
import time
from functools import cache
from typing import Any

import msgspec

from akiosd.values.records import AnyRecord, KnownRecord, Unknown, decode_entry, escape

_QUOTED = re.compile(r"[ '=\[\]{}]")
HIDDEN = ("ts", "v", "kind")
_BINARY = ("salt", "policy_sha256", "public_key", "certified_by", "root")
SPECIAL = frozenset((*_BINARY, "roots", "address"))
"""Fields that are not written as they are."""
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16


def kinds() -> tuple[str, ...]:
    """Every kind of record there is."""
    return tuple(str(kind.__struct_config__.tag) for kind in KnownRecord.__args__)


def read_record(entry: bytes) -> AnyRecord:
    """An entry's record; bytes that are none become an ``Unknown`` that shows them."""
    try:
        return decode_entry(entry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Unknown(kind="", ts=0, fields={"entry": entry})


def record_line(log: str, index: int, entry: bytes) -> str:
    """``time  log:index  kind  name=value…``, one line, printable."""
    record = read_record(entry)
    kind, fields = _parts(record)
    words = [f"{escape(str(name))}={text_of(value)}" for name, value in fields.items()]
    return (
        f"{time_text(record.ts)}  {log}:{index}  {escape(kind) or '?'}  {' '.join(words)}".rstrip()
    )


def record_json(log: str, index: int, entry: bytes) -> dict[str, Any]:
    """Plain values: the record under its kind's field names, bytes as escaped text."""
    record = read_record(entry)
    kind, fields = _parts(record)
    plain = {str(name): plain_value(value) for name, value in fields.items()}
    where = {"log": log, "index": index, "ts": record.ts, "kind": kind}
    return {
        **where,
        **plain,
        **where,
    }  # in that order; an unknown record cannot say that it stands elsewhere


def _parts(record: AnyRecord) -> tuple[str, dict[str, Any]]:
    if isinstance(record, Unknown):
        return record.kind, {k: v for k, v in record.fields.items() if k not in HIDDEN}
    kind = str(record.__struct_config__.tag)
    defaults = _defaults(type(record))
    values = {
        name: getattr(record, name) for name in record.__struct_fields__ if name not in HIDDEN
    }
    return kind, {
        name: readable(name, value) for name, value in values.items() if value != defaults[name]
    }


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    # Looking fields up evaluates their annotations, which takes a hundred times as long as printing
    # a record.
    return {field.name: field.default for field in msgspec.structs.fields(kind)}


def readable(name: str, value: Any) -> Any:
    """Digests as hex and socket addresses as people write them; anything else as it is."""
    if name in _BINARY and isinstance(value, bytes):
        return value.hex()
    if name == "roots" and isinstance(value, tuple):
        return [(cage, size, root.hex()) for cage, size, root in value]
    if name == "address" and isinstance(value, bytes):
        return address_text(value)
    return value


def address_text(address: bytes) -> str:
    """A struct sockaddr (unix(7), ip(7), ipv6(7)) as text: ``unix:/path``, ``unix:@name``,
    ``192.0.2.1:443``.
    """
    family = int.from_bytes(address[:2], sys.byteorder)
    if family == _AF_UNIX:
        path = address[2:]
        if path[:1] == b"\0":
            return "unix:@" + escape(path[1:])
        return "unix:" + escape(path.split(b"\0", 1)[0])
    port = int.from_bytes(address[2:4], "big")
    if family == _AF_INET and len(address) >= 8:
        return f"{socket.inet_ntop(socket.AF_INET, address[4:8])}:{port}"
    if family == _AF_INET6 and len(address) >= 24:
        return f"[{socket.inet_ntop(socket.AF_INET6, address[8:24])}]:{port}"
    return ("netlink:" if family == _AF_NETLINK else f"family {family}:") + address[2:].hex()


def plain_value(value: Any) -> Any:
    """A field's value as plain values for JSON."""
    if isinstance(value, bytes):
        return escape(value)
    if isinstance(value, msgspec.Struct):
        return {name: plain_value(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if (
        value is None
        or isinstance(value, str | int)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return _show(value)


def _show(value: Any) -> str:
    """What JSON has no form for: other numbers, dates, extensions of msgpack (as their bytes)."""
    if isinstance(value, msgspec.msgpack.Ext):
        return f"ext({value.code} {bytes(value.data).hex()})"
    return escape(str(value))


def text_of(value: Any) -> str:
    """A field's value as text for a line."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes | str):
        text = escape(value)
        # Nothing in a value may look like the end of it, and a field behind it.
        return (
            text if text and _QUOTED.search(text) is None else "'" + text.replace("'", "\\'") + "'"
        )
    if isinstance(value, msgspec.Struct):
        return (
            "{"
            + " ".join(
                f"{name}={text_of(getattr(value, name))}" for name in value.__struct_fields__
            )
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + " ".join(text_of(item) for item in value) + "]"
    if isinstance(value, dict):
        return (
            "{"
            + " ".join(f"{escape(str(key))}={text_of(item)}" for key, item in value.items())
            + "}"
        )
    return _show(value)


def time_text(ts: int) -> str:
    """Unix time in ns as text."""
    seconds, rest = divmod(ts, 1_000_000_000)
    try:
        return (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
            + f".{rest // 1_000_000:03d}"
        )
    except (OverflowError, ValueError, OSError):
        return str(ts)
