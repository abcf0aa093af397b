"""Why a command "was not found" that is there: execve(2) says ENOENT also of the interpreter it
names.
"""

from __future__ import annotations

import os
import struct

_HEAD = 4096
_PT_INTERP = 3
_HEADER, _ENTRY = struct.Struct("<32xQ14xHH"), struct.Struct("<I4xQ16xQ")


def explain_missing(command: str) -> str:
    """A sentence about the interpreter of the file ``command``, "" where nothing is to be said.

    Read as the user, and bounded: it may be anybody's.
    """
    try:
        fd = os.open(command, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        head = os.pread(fd, _HEAD, 0)
    except OSError:
        return ""
    finally:
        os.close(fd)
    interpreter = _shebang(head) or _elf_interpreter(head)
    if not interpreter:
        return ""
    shown = os.fsdecode(interpreter)
    there = "is not shown inside the cage" if os.path.exists(interpreter) else "is not on this host"
    if interpreter.endswith(b"\r"):
        there = "is not there: the line ends as on Windows, with a carriage return"
    return f"{command} needs {shown}, which {there}"


def _shebang(head: bytes) -> bytes:
    """The program after ``#!`` (execve(2)); "" for what is no script."""
    if not head.startswith(b"#!"):
        return b""
    # Blanks end the name; a carriage return belongs to it.
    return head[2:].partition(b"\n")[0].strip(b" \t").replace(b"\t", b" ").partition(b" ")[0]


def _elf_interpreter(head: bytes) -> bytes:
    """The dynamic loader of a 64-bit program (elf(5)); "" for what has none within the first
    page.
    """
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return b""
    offset, size, count = _HEADER.unpack_from(head)
    for index in range(min(count, 64)):
        at = offset + index * size
        if at + _ENTRY.size > len(head):
            return b""
        kind, start, length = _ENTRY.unpack_from(head, at)
        if kind == _PT_INTERP:
            return (
                head[start : start + length].rstrip(b"\0") if start + length <= len(head) else b""
            )
    return b""
