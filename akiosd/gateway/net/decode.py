"""Undoes Content-Encoding within bounds, so that a small body cannot become an endless one (RFC
9110 §8.4).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from akiosd.errors import AkiosError

_PIECE = 64 << 10
_RATIO = 200
"""A decoded body may be at most this many times as large as the encoded one."""
_FREE = 1 << 20
"""Up to this many decoded bytes the ratio is not checked."""


class BadEncodingError(AkiosError):
    """The body is not encoded as its header says (``status`` 400), or in a way that is not
    supported (``status`` 415).
    """

    NEXT = "send the body without Content-Encoding"

    def __init__(self, what: str, status: int = 400) -> None:
        super().__init__(what, "content-encoding")
        self.status = status


class TooLargeError(AkiosError):
    """A body is above its bound, as sent or decoded."""

    NEXT = "send it in smaller parts"


class Decoder:
    """Decodes gzip or deflate.

    ``name`` is the coding, ``limit`` the bound on decoded bytes. :meth:`push` and :meth:`finish`
    raise :class:`BadEncodingError`, and :class:`TooLargeError` beyond ``limit`` or beyond 200 times
    the input.
    """

    def __init__(self, name: bytes, limit: int) -> None:
        self._name, self._limit = name, limit
        self._taken = self._given = 0
        self._inflate = (
            zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if name != b"deflate" else None
        )

    def push(self, data: bytes) -> Iterator[bytes]:
        """Decode ``data``; yields pieces of at most 64 KiB."""
        self._taken += len(data)
        if self._inflate is None and data:
            # "deflate" is zlib (RFC 1950), but some send bare deflate (RFC 1951).
            self._inflate = zlib.decompressobj(
                wbits=zlib.MAX_WBITS if data[0] & 15 == 8 else -zlib.MAX_WBITS
            )
        while data and self._inflate is not None:
            if self._inflate.eof:
                self._inflate = self._next_member()
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error:
                raise BadEncodingError(
                    f"the body is not in {self._name.decode()}, as its Content-Encoding says"
                ) from None
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            self._given += len(piece)
            self._check()
            if piece:
                yield piece

    def _next_member(self) -> zlib._Decompress:
        if self._name == b"deflate":
            raise BadEncodingError("there are bytes after the end of the deflate body")
        return zlib.decompressobj(
            wbits=zlib.MAX_WBITS | 16
        )  # RFC 1952 §2.2: members follow each other

    def _check(self) -> None:
        if self._given > self._limit:
            raise TooLargeError(f"the decoded body is larger than {self._limit} bytes", "body")
        if self._given > _FREE and self._given > _RATIO * self._taken:
            raise TooLargeError(
                f"the body grows more than {_RATIO} times when it is decoded",
                "body",
                "send it without Content-Encoding",
            )

    def finish(self) -> None:
        """The body has ended.  Raises :class:`BadEncodingError` when it was cut short."""
        if self._inflate is not None and not self._inflate.eof:
            raise BadEncodingError(f"the {self._name.decode()} body is cut short")


def decoder(encoding: bytes, limit: int) -> Decoder | None:
    """The decoder for a Content-Encoding header; None when there is nothing to undo.

    ``limit`` bounds the decoded bytes. Raises :class:`BadEncodingError` (415) for several codings,
    or an unknown one.
    """
    names = [
        name
        for word in encoding.lower().split(b",")
        if (name := word.strip()) not in (b"", b"identity")
    ]
    if not names:
        return None
    if len(names) > 1 or names[0] not in (b"gzip", b"x-gzip", b"deflate"):
        raise BadEncodingError("AKIOS cannot read this Content-Encoding", 415)
    return Decoder(names[0], limit)
