"""Checks names that git keeps and uses without checking: those of files in its index, and of its
references.

``git restore .`` and ``git checkout -- .`` write where the index says. Git checks a name when it
comes into an index, never when it reads one, so an index that an agent wrote could put a file into
``.git/hooks``, or outside of the workspace. The format is that of gitformat-index(5). Pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from akiosctl.changes.names import fold

MAGIC = b"DIRC"
ACTIVE = re.compile(rb"[$`]")
"""git-check-ref-format(1) lets a name of a reference hold what a shell expands in a prompt that
shows it.
"""
_PACKED = re.compile(rb"(?m)^[0-9a-f]{40,64} refs/.*[$`]")
_STAT = 40
_HASHES = (20, 32)  # bytes of SHA-1 and SHA-256; which of them, only the repository says
_EXTENDED, _NAME_LENGTH = 0x4000, 0x0FFF
_UNREADABLE = "it is an index of git's that cannot be read"


def object_to_head(data: bytes) -> str:
    """What speaks against a file HEAD, or ""."""
    return _shown(data.startswith(b"ref:") and ACTIVE.search(data[:4096]))


def object_to_packed(data: bytes) -> str:
    """What speaks against a file packed-refs, or ""."""
    return _shown(_PACKED.search(data))


def _shown(bad: object) -> str:
    return (
        "a prompt that shows the name of a reference in it may run what is in that name"
        if bad
        else ""
    )


# Version 4 shortens names by the one before, so a short file can hold endless ones.
_MAX_NAME, _MAX_NAMES = 4096, 64 << 20
# What is ASCII and holds none of these in front of a component need not be looked at closely.
_SUSPECT = re.compile(rb"(?i)(?:\A|[/\\])(?:[./\\]|git~1|\Z)")


class _BadIndexError(Exception):
    """Not an index with this hash."""


def find_objection(data: bytes) -> str:
    """What speaks against an index or a shared index (it begins with ``MAGIC``), or ""."""
    readings = 0
    for hash_size in _HASHES:
        is_safe = True
        try:
            for name in _names(data, hash_size):
                is_safe = is_safe and _is_safe(name)
        except (_BadIndexError, struct.error, IndexError):
            continue
        readings += 1
        if not is_safe:
            return (
                "git would write what it names where git itself allows nothing (.git, or out of the"
                " workspace)"
            )
    return "" if readings else _UNREADABLE


def _is_safe(name: bytes) -> bool:
    """As verify_path() of git has it, for every kind of file system.  A directory's entry ends in a
    slash.
    """
    if name.isascii() and _SUSPECT.search(name) is None:
        return True
    parts = name.removesuffix(b"/").split(b"/") if name else []
    inner = name.replace(b"\\", b"/").split(b"/")
    return not any(part in (b"", b".", b"..") for part in parts) and all(
        fold(part) != ".git" for part in inner
    )


def _names(data: bytes, hash_size: int) -> Iterator[bytes]:
    _, version, count = struct.unpack_from(">4sII", data)
    if version not in (2, 3, 4):
        raise _BadIndexError
    at, name, starts, total = 12, b"", [], 0
    for _ in range(count):
        # In version 4 a block of the offset table begins with a name that owes nothing to the one
        # before.
        start, before = at, len(name)
        at += _STAT + hash_size
        (flags,) = struct.unpack_from(">H", data, at)
        at += 2
        if flags & _EXTENDED:
            if version == 2:
                raise _BadIndexError
            at += 2
        stripped = before
        if version == 4:
            stripped, at = _varint(data, at)
            if stripped > before:
                raise _BadIndexError
        end = data.find(b"\0", at)
        if end < 0:
            raise _BadIndexError
        name = name[: before - stripped] + data[at:end] if version == 4 else data[at:end]
        if flags & _NAME_LENGTH != min(len(name), _NAME_LENGTH):
            raise _BadIndexError
        total += len(name)
        if len(name) > _MAX_NAME or total > _MAX_NAMES:
            raise _BadIndexError
        at = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        starts.append((start, stripped == before))
        yield name
    _check_extensions(data, at, len(data) - hash_size, starts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """decode_varint() of git's varint.c."""
    byte = data[at]
    value = byte & 127
    while byte & 128:
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 127)
    return value, at + 1


def _check_extensions(data: bytes, at: int, end: int, starts: list[tuple[int, bool]]) -> None:
    """The table of offsets, by which git reads with several threads, must lead to the
    same entries.
    """
    while at < end:
        signature, size = struct.unpack_from(">4sI", data, at)
        body = data[at + 8 : at + 8 + size]
        at += 8 + size
        if signature == b"IEOT":
            entry = 0
            for offset, count in struct.iter_unpack(">II", body[4:]):
                if entry >= len(starts) or starts[entry] != (offset, True):
                    raise _BadIndexError
                entry += count
            if entry != len(starts):
                raise _BadIndexError
    if at != end:
        raise _BadIndexError
