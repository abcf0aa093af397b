"""Records as lines and as JSON, for ``events`` and ``ledger show``.  Everything of unknown origin is escaped."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from akiosd.values.records import AnyRecord, Unknown, decode_entry, escape

_HIDDEN = ("ts", "v", "kind")


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
    words = [f"{escape(str(name))}={_text(value)}" for name, value in fields.items()]
    return f"{_time(record.ts)}  {log}:{index}  {escape(kind) or '?'}  {' '.join(words)}".rstrip()


def record_json(log: str, index: int, entry: bytes) -> dict[str, Any]:
    """Plain values: the record under its kind's field names, bytes as escaped text."""
    record = read_record(entry)
    kind, fields = _parts(record)
    return {"log": log, "index": index, "ts": record.ts, "kind": kind, **{k: _plain(v) for k, v in fields.items()}}


def _parts(record: AnyRecord) -> tuple[str, dict[str, Any]]:
    if isinstance(record, Unknown):
        return record.kind, {k: v for k, v in record.fields.items() if k not in _HIDDEN}
    kind = str(record.__struct_config__.tag)
    defaults = {field.name: field.default for field in msgspec.structs.fields(record)}
    values = {name: getattr(record, name) for name in record.__struct_fields__ if name not in _HIDDEN}
    return kind, {name: value for name, value in values.items() if value != defaults[name]}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return escape(value)
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _text(value: Any) -> str:
    if isinstance(value, bytes | str):
        text = escape(value)
        return text if text and " " not in text else f"'{text}'"
    if isinstance(value, msgspec.Struct):
        return "{" + " ".join(f"{name}={_text(getattr(value, name))}" for name in value.__struct_fields__) + "}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + " ".join(f"{escape(str(key))}={_text(item)}" for key, item in value.items()) + "}"
    return str(value)


def _time(ts: int) -> str:
    seconds, rest = divmod(ts, 1_000_000_000)
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f".{rest // 1_000_000:03d}"
    except (OverflowError, ValueError, OSError):
        return str(ts)
