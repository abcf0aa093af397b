"""msgpack (github.com/msgpack/msgpack, spec.md) for plain values, small and quick to import.

The run path speaks the protocol with this: importing msgspec costs several times what bare Python
costs to start.  The types are those the protocol uses: None, bool, int, float, str, bytes, list or
tuple, dict.
"""

from __future__ import annotations

from struct import Struct

from akiosd.errors import ProtocolError

_MAX_DEPTH = 32
_FIXED = {
    0xCC: Struct(">B"),
    0xCD: Struct(">H"),
    0xCE: Struct(">I"),
    0xCF: Struct(">Q"),
    0xD0: Struct(">b"),
    0xD1: Struct(">h"),
    0xD2: Struct(">i"),
    0xD3: Struct(">q"),
    0xCA: Struct(">f"),
    0xCB: Struct(">d"),
}
# type byte → (what follows, width of its length)
_SIZED = {
    **{0xC4 + n: ("bin", 1 << n) for n in range(3)},
    **{0xD9 + n: ("str", 1 << n) for n in range(3)},
    **{0xDC + n: ("array", 2 << n) for n in range(2)},
    **{0xDE + n: ("map", 2 << n) for n in range(2)},
}


class Packed(bytes):
    """Bytes that are msgpack already; :func:`pack` copies them as they are."""


def pack(value: object) -> bytes:
    """A plain value as msgpack.  Raises TypeError for other types, OverflowError beyond 64 bits."""
    out = bytearray()
    _pack(value, out)
    return bytes(out)


def _pack(value: object, out: bytearray) -> None:
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _pack_int(value, out)
    elif isinstance(value, float):
        out.append(0xCB)
        out += _FIXED[0xCB].pack(value)
    elif isinstance(value, Packed):
        out += value
    elif isinstance(value, bytes):
        _pack_head(len(value), 0xC4, (1, 2, 4), out)
        out += value
    elif isinstance(value, str):
        data = value.encode()
        _pack_short(len(data), 0xA0, 32, 0xD9, (1, 2, 4), out)
        out += data
    elif isinstance(value, list | tuple):
        _pack_short(len(value), 0x90, 16, 0xDC, (2, 4), out)
        for item in value:
            _pack(item, out)
    elif isinstance(value, dict):
        _pack_short(len(value), 0x80, 16, 0xDE, (2, 4), out)
        for key, item in value.items():
            _pack(key, out)
            _pack(item, out)
    else:
        raise TypeError(f"{type(value).__name__} is not a plain value")


def _pack_int(value: int, out: bytearray) -> None:
    if -32 <= value < 128:
        out.append(value & 0xFF)
        return
    if value >= 0:
        kinds = ((0xCC, 8), (0xCD, 16), (0xCE, 32), (0xCF, 64))
    else:
        kinds = ((0xD0, 7), (0xD1, 15), (0xD2, 31), (0xD3, 63))
    for code, bits in kinds:
        if -(1 << bits) <= value < 1 << bits:
            out.append(code)
            out += _FIXED[code].pack(value)
            return
    raise OverflowError(f"{value} does not fit 64 bits")


def _pack_short(
    length: int, short: int, below: int, code: int, widths: tuple[int, ...], out: bytearray
) -> None:
    if length < below:
        out.append(short | length)
    else:
        _pack_head(length, code, widths, out)


def _pack_head(length: int, code: int, widths: tuple[int, ...], out: bytearray) -> None:
    for step, width in enumerate(widths):
        if length < 1 << (8 * width):
            out.append(code + step)
            out += length.to_bytes(width, "big")
            return
    raise OverflowError(f"{length} items are too many")


def unpack(data: bytes) -> object:
    """The one value in ``data``.  Raises :class:`ProtocolError` for anything else, and beyond 32
    levels.
    """
    try:
        value, end = _unpack(data, 0, _MAX_DEPTH)
    except (IndexError, ValueError, TypeError) as error:
        raise ProtocolError("akiosd's answer cannot be read", str(error)) from None
    if end != len(data):
        raise ProtocolError("akiosd's answer is longer than an answer can be")
    return value


def _unpack(data: bytes, at: int, depth: int) -> tuple[object, int]:
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 0x100, at
    if code < 0x90:
        return _unpack_map(data, at, code & 15, depth)
    if code < 0xA0:
        return _unpack_array(data, at, code & 15, depth)
    if code < 0xC0:
        raw, at = _take(data, at, code & 31)
        return raw.decode(), at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if code in _FIXED:
        raw, at = _take(data, at, _FIXED[code].size)
        return _FIXED[code].unpack(raw)[0], at
    if code not in _SIZED:
        raise ValueError(f"type {code:#x} is not used here")
    kind, width = _SIZED[code]
    raw, at = _take(data, at, width)
    length = int.from_bytes(raw, "big")
    if kind == "map":
        return _unpack_map(data, at, length, depth)
    if kind == "array":
        return _unpack_array(data, at, length, depth)
    raw, at = _take(data, at, length)
    return (raw if kind == "bin" else raw.decode()), at


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    end = at + length
    if end > len(data):
        raise ValueError("a message was cut short")
    return data[at:end], end


def _unpack_array(data: bytes, at: int, length: int, depth: int) -> tuple[list[object], int]:
    if not depth or length > len(data):
        raise ValueError("nested too deeply, or too long")
    items = []
    for _ in range(length):
        item, at = _unpack(data, at, depth - 1)
        items.append(item)
    return items, at


def _unpack_map(data: bytes, at: int, length: int, depth: int) -> tuple[dict[object, object], int]:
    if not depth or length > len(data):
        raise ValueError("nested too deeply, or too long")
    items = {}
    for _ in range(length):
        key, at = _unpack(data, at, depth - 1)
        items[key], at = _unpack(data, at, depth - 1)
    return items, at
