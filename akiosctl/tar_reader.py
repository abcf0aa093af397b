"""Reads a tar stream that somebody in a cage made: the plain old form (tar(1), ``--format=gnu``)
with directories, files and links, and nothing else; every length is bounded before it is read.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from akiosd.errors import AkiosError

Kind = Literal["file", "directory", "link", "other"]

_BLOCK = 512
_MOST_NAME = 1 << 16
_LONG_NAME, _LONG_LINK = b"L", b"K"
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
}


class Member(NamedTuple):
    """One entry: its path as it stands there, and for a link where that leads."""

    path: str
    kind: Kind
    mode: int
    size: int
    target: str


class TarReader:
    """Iterate over the members; :meth:`read` is the content of the last one, as far as it was not
    read, and what is left of it is passed over.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        name = link = ""
        while (info := self._header()) is not None:
            if info.type in (_LONG_NAME, _LONG_LINK):
                text = self._long_text(info.size)
                name, link = (text, link) if info.type == _LONG_NAME else (name, text)
                continue
            kind = _KINDS.get(info.type, "other")
            self._begin(info.size if kind in ("file", "other") else 0)
            yield Member(
                name or info.name, kind, info.mode & 0o777, self._left, link or info.linkname
            )
            name = link = ""
            while self.read(1 << 20):
                pass

    def read(self, most: int) -> bytes:
        """At most so many bytes of the member; empty at its end."""
        if not self._left:
            self._take(self._padding)
            self._padding = 0
            return b""
        data = self._take(min(most, self._left))
        self._left -= len(data)
        return data

    def _header(self) -> tarfile.TarInfo | None:
        block = self._stream.read(_BLOCK)
        if not block.strip(b"\0"):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _bad(str(error)) from None
        if info.size < 0:
            raise _bad("a size is negative")
        return info

    def _begin(self, size: int) -> None:
        self._left, self._padding = size, -size % _BLOCK

    def _long_text(self, size: int) -> str:
        if size > _MOST_NAME:
            raise _bad("a name is too long")
        self._begin(size)
        text = self._take(size)
        self._left = 0
        self.read(0)
        text = text.rstrip(b"\0")
        if b"\0" in text:
            raise _bad("there is a NUL in a name")
        return text.decode("utf-8", "surrogateescape")

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size) if size else b""
        if len(data) != size:
            raise _bad("it ends in the middle")
        return data


def _bad(why: str) -> AkiosError:
    return AkiosError(
        f"the cage did not send a tar archive: {why}",
        "cp",
        "inside the cage, copy the file to data/output; you then find it in data/output of your"
        " project",
    )
