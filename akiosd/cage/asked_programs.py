"""Remembers by their tokens which programs of a standing cage were asked for, those that ended too.

The last MOST are kept, by the time at which their tokens were made.  A token that is not among them
and older than one that was dropped may have been: nobody knows, so nothing is begun by it.
"""

from __future__ import annotations

import hashlib

import msgspec

from akiosd.values.program_token import made_ns

MOST = 1024
_DIGEST_BYTES, _LONGEST = 16, 64


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """``digest`` is of the token, which may be of any length; ``made_ns`` CLOCK_MONOTONIC."""

    digest: bytes = b""
    number: int = 0
    made_ns: int = 0


class AskedState(msgspec.Struct, frozen=True, kw_only=True):
    """``dropped_ns``: when the youngest token was made of those that are not kept any more."""

    kept: tuple[Asked, ...] = ()
    dropped_ns: int = 0


_NONE = AskedState()


class AskedPrograms:
    """Those of one cage."""

    def __init__(self, before: AskedState = _NONE) -> None:
        self._kept = {one.digest: one for one in before.kept}
        self._dropped_ns = before.dropped_ns

    @property
    def state(self) -> AskedState:
        """What :class:`AskedPrograms` is made of again."""
        return AskedState(kept=tuple(self._kept.values()), dropped_ns=self._dropped_ns)

    def add(self, token: bytes, number: int, now_ns: int) -> None:
        """A program was asked for.  A token that does not say when it was made, or says that it
        will be, was made ``now_ns``.
        """
        made = min(made_ns(token) or now_ns, now_ns)
        digest = _digest(token)
        self._kept[digest] = Asked(digest, number, made)
        if len(self._kept) > MOST:
            oldest = min(self._kept.values(), key=lambda one: one.made_ns)
            del self._kept[oldest.digest]
            self._dropped_ns = max(self._dropped_ns, oldest.made_ns)

    def find(self, token: bytes) -> int:
        """The number of the program, 0 where none is known."""
        one = self._kept.get(_digest(token))
        return one.number if one is not None else 0

    def may_be_dropped(self, token: bytes) -> bool:
        """Whether one that is not known may have been asked for all the same."""
        return 0 < made_ns(token) <= self._dropped_ns and not self.find(token)


def shorten(token: bytes) -> bytes:
    """What is kept of a token with a program, in memory that is written again and again."""
    return token if len(token) <= _LONGEST else hashlib.sha256(token).digest()


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(shorten(token)).digest()[:_DIGEST_BYTES]
