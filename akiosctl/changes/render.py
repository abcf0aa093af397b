"""Prints a comparison: a list, a unified diff of text files, counts, JSON.

Every name and every line comes from the agent. Names are quoted in C style as git quotes them; in
lines, characters that nobody would see are shown as escapes (:mod:`akiosd.values.text`), so that
nothing printed here can drive a terminal.
"""

from __future__ import annotations

import base64
import difflib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from akiosctl.changes.model import Change, ChangeKind, Diff, Entry, EntryType
from akiosctl.changes.walk import open_file
from akiosd.values.text import as_code, is_plain, show
from akiosd.values.units import format_size

MAX_TEXT_BYTES = 512 * 1024
# difflib is quadratic or worse on text made to be so; past this many differing lines a block is
# replaced as a whole.
_MAX_MATCHED_LINES = 1500
_CONTEXT = 3

_LETTERS = {
    ChangeKind.ADDED: "A",
    ChangeKind.MODIFIED: "M",
    ChangeKind.DELETED: "D",
    ChangeKind.MODE: "P",
    ChangeKind.TYPE: "T",
}
_ESCAPES = {
    7: "\\a",
    8: "\\b",
    9: "\\t",
    10: "\\n",
    11: "\\v",
    12: "\\f",
    13: "\\r",
    34: '\\"',
    92: "\\\\",
}
_SPECIAL = re.compile(r'([\t\n"\\])')
_QUOTED = '\t\n"\\'
_INO_MASK = (1 << 32) - 1


def quote_path(path: bytes) -> str:
    """A path for people and line-based tools: bare when harmless, else in double quotes with C
    escapes.
    """
    text = path.decode("utf-8", "surrogateescape")
    if is_plain(text) and not any(character in text for character in _QUOTED):
        return text
    pieces = (
        _in_c(piece) if piece in _QUOTED else show(piece, _in_c)
        for piece in _SPECIAL.split(text)
        if piece
    )
    return '"' + "".join(pieces) + '"'


def _in_c(character: str) -> str:
    raw = character.encode("utf-8", "surrogateescape")
    return "".join(_ESCAPES.get(byte) or f"\\{byte:03o}" for byte in raw)


def visible(line: str) -> str:
    """A line of foreign text with its control characters shown as ``\\x1b``; tab stays."""
    return show(line, as_code, keep="\t")


def find_renames(diff: Diff) -> dict[bytes, bytes]:
    """New path → old path, for showing only: a name that vanished and one that appeared with the
    same inode.

    overlayfs keeps the inode number of what it copied up, with marks of its own above the 32nd or
    the 56th bit. Ambiguous numbers give nothing.
    """
    gone: dict[tuple[str, int], list[bytes]] = {}
    for change in diff.changes:
        if change.kind is ChangeKind.DELETED and change.old is not None:
            gone.setdefault((change.old.type, change.old.ino & _INO_MASK), []).append(change.path)
    renames = {}
    for change in diff.changes:
        if change.kind is ChangeKind.ADDED and change.new is not None:
            sources = gone.pop((change.new.type, change.new.ino & _INO_MASK), [])
            if len(sources) == 1:
                renames[change.path] = sources[0]
    return renames


def render_list(diff: Diff, notes: dict[bytes, str] | None = None) -> Iterator[str]:
    """One line for each change: ``M path  (detail)``; ``notes`` adds a reason to a path (a refusal,
    a conflict).
    """
    renames = find_renames(diff)
    moved_away = set(renames.values())
    for change in diff.changes:
        if change.path in moved_away:
            continue
        letter, name = _LETTERS[change.kind], quote_path(change.path)
        if change.path in renames:
            letter, name = "R", f"{quote_path(renames[change.path])} -> {name}"
        if change.type is EntryType.DIRECTORY:
            name += "/"
        if change.new is not None and change.new.type is EntryType.SYMLINK:
            name += f" -> {quote_path(change.new.target)}"
        remarks = [
            remark for remark in (change.detail, (notes or {}).get(change.path, "")) if remark
        ]
        yield f"{letter} {name}" + (f"  ({'; '.join(dict.fromkeys(remarks))})" if remarks else "")


def render_stat(diff: Diff) -> str:
    """``3 added, 1 modified, 2 deleted, 1.5 MiB to write``."""
    counts = {kind: sum(change.kind is kind for change in diff.changes) for kind in ChangeKind}
    size = sum(
        change.size
        for change in diff.changes
        if change.type is EntryType.FILE
        and change.kind not in (ChangeKind.DELETED, ChangeKind.MODE)
    )
    names = {ChangeKind.MODE: "with a new mode", ChangeKind.TYPE: "of another type"}
    parts = [f"{count} {names.get(kind, kind.value)}" for kind, count in counts.items() if count]
    return ", ".join(parts) + f", {format_size(size)} to write" if parts else "no changes"


def to_json(diff: Diff, notes: dict[bytes, str] | None = None) -> list[dict[str, Any]]:
    """The changes as plain values.  ``path`` is for reading; ``path_base64`` is exact."""
    renames = find_renames(diff)
    rows = []
    for change in diff.changes:
        row: dict[str, Any] = {
            "kind": change.kind.value,
            **_json_path("path", change.path),
            "type": change.type.value,
        }
        row.update(size=change.size, mode=f"{change.mode:04o}")
        if change.new is not None and change.new.type is EntryType.SYMLINK:
            row.update(_json_path("target", change.new.target))
        if change.path in renames:
            row.update(_json_path("renamed_from", renames[change.path]))
        if change.detail:
            row["detail"] = change.detail
        if notes and change.path in notes:
            row["refused"] = notes[change.path]
        rows.append(row)
    return rows


def _json_path(key: str, path: bytes) -> dict[str, str]:
    return {key: quote_path(path), key + "_base64": base64.b64encode(path).decode("ascii")}


def render_patch(workspace_fd: int, view_fd: int, change: Change) -> Iterator[str]:
    """The unified diff of one change, line by line without line ends; a note instead for what is
    not text.

    Reads at most MAX_TEXT_BYTES of each side.  Both fds stay the caller's.
    """
    name = quote_path(change.path)
    old, new = change.old, change.new
    if change.problem or EntryType.DIRECTORY in {entry.type for entry in (old, new) if entry}:
        return
    yield f"--- {'a/' + name if old else '/dev/null'}"
    yield f"+++ {'b/' + name if new else '/dev/null'}"
    if old and new and old.mode != new.mode and new.type is EntryType.FILE:
        yield f"mode {old.mode:04o} -> {new.mode:04o}"
    if change.kind is ChangeKind.MODE:
        return
    try:
        before, after = _text(workspace_fd, change.path, old), _text(view_fd, change.path, new)
    except OSError as error:
        yield f"(cannot be read: {error.strerror})"
        return
    if before is None or after is None:
        sizes = [format_size(entry.size) if entry else "nothing" for entry in (old, new)]
        yield f"(not shown as text: {sizes[0]} became {sizes[1]})"
        return
    yield from unified(before, after)


def _text(root_fd: int, path: bytes, entry: Entry | None) -> list[str] | None:
    """The lines of one side; ``None`` when it is binary, too long or no file.  A symlink is one
    line.
    """
    if entry is None:
        return []
    if entry.type is EntryType.SYMLINK:
        return ["link to " + quote_path(entry.target)]
    if entry.type is not EntryType.FILE or entry.size > MAX_TEXT_BYTES:
        return None
    fd = open_file(root_fd, path)
    try:
        data = os.pread(fd, MAX_TEXT_BYTES + 1, 0)
    finally:
        os.close(fd)
    if b"\0" in data or len(data) > MAX_TEXT_BYTES:
        return None
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if lines[-1] == "":
        lines.pop()
    elif lines:
        lines[-1] += "\n"
    return lines


def unified(before: list[str], after: list[str]) -> Iterator[str]:
    """Hunks of a unified diff.  A line that ends with ``\\n`` is a last line without line end in
    its file.
    """
    operations = _opcodes(before, after)
    for group in _grouped(operations):
        first, last = group[0], group[-1]
        yield f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@"
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                yield from _prefixed(" ", before[start:end])
            else:
                yield from _prefixed("-", before[start:end])
                yield from _prefixed("+", after[new_start:new_end])


_Opcode = tuple[str, int, int, int, int]


def _opcodes(before: list[str], after: list[str]) -> list[_Opcode]:
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old_end, new_end = len(before) - tail, len(after) - tail
    found: list[_Opcode] = [("equal", 0, head, 0, head)] if head else []
    if max(old_end - head, new_end - head) <= _MAX_MATCHED_LINES:
        matcher = difflib.SequenceMatcher(None, before[head:old_end], after[head:new_end])
        found += [
            (t, a + head, b + head, c + head, d + head) for t, a, b, c, d in matcher.get_opcodes()
        ]
    elif old_end > head or new_end > head:
        found.append(("replace", head, old_end, head, new_end))
    if tail:
        found.append(("equal", old_end, len(before), new_end, len(after)))
    return found


def _grouped(operations: list[_Opcode]) -> Iterator[list[_Opcode]]:
    """Cut the operations into hunks with at most _CONTEXT equal lines around each difference."""
    group: list[_Opcode] = []
    for index, (tag, start, end, new_start, new_end) in enumerate(operations):
        if tag != "equal":
            group.append((tag, start, end, new_start, new_end))
            continue
        is_last = index == len(operations) - 1
        keep = min(_CONTEXT, end - start)
        if group and not is_last and end - start <= 2 * _CONTEXT:
            group.append((tag, start, end, new_start, new_end))
            continue
        if group:
            yield [*group, (tag, start, start + keep, new_start, new_start + keep)]
        group = [] if is_last else [(tag, end - keep, end, new_end - keep, new_end)]
    if group:
        yield group


def _span(start: int, end: int) -> str:
    length = end - start
    return f"{start + 1 if length else start},{length}" if length != 1 else f"{start + 1}"


def _prefixed(prefix: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield prefix + visible(line.removesuffix("\n"))
        if line.endswith("\n"):
            yield "\\ No newline at end of file"
