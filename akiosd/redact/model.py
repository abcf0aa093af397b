"""What a pattern is, and what a finding is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from akiosd.errors import AkiosError

Category = Literal["personal", "financial", "health", "digital", "communication", "location"]
CATEGORIES: tuple[Category, ...] = (
    "personal",
    "financial",
    "health",
    "digital",
    "communication",
    "location",
)

Check = Callable[[str], bool | None]
"""Takes the matched text.  True: valid.  False: not of this type.  None: it has the form, and
nothing can be checked.
"""

MAX_CHARACTERS = 16 << 20
"""The most characters one call takes; a longer text is refused, never passed unread."""


class RedactError(AkiosError):
    """Text that cannot be examined; it must not be passed on."""


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of personal data.

    ``regex`` is in the common subset of re2 and ``re``, without look-around; its first group, if it
    has one, is the value. ``yes`` are texts with a finding of this type, ``no`` texts without one.

    A ``weak`` form counts only near one of the ``context`` words, or, where ``lone`` is set, when
    it is the whole text and its check, if it has one, says that it is valid. ``loose`` edges may
    touch letters and digits.
    """

    name: str
    category: Category
    description: str
    regex: str
    yes: tuple[str, ...]
    no: tuple[str, ...]
    source: str
    check: Check | None = None
    trim: Callable[[str], int] | None = None
    """Returns how many characters of the match are the value, where the form alone cannot say."""
    context: tuple[str, ...] = ()
    weak: bool = False
    doubt: Callable[[str], bool] | None = None
    """Tells which values of a strong form need a context word, as those of a weak form do."""
    lone: bool = False
    fold: bool = False
    loose: bool = False
    joints: bytes = b""
    """Characters that join it to something longer, as in 1-2-3: a match is refused when one of
    these, followed by a digit or ``:``, is beside it.
    """
    priority: int = 50
    instead_of: tuple[str, ...] = ()
    """A match of one of these types that overlaps it does not count."""
    trigger: str = ""
    """What the block search looks for where a finding may be longer than the overlap of
    two blocks.
    """
    endless: str = ""
    """What more than 1,200 characters that may become a match look like, where that is not as
    ``regex`` begins.
    """


class Span(msgspec.Struct, frozen=True):
    """A finding: ``start`` and ``end`` are characters of the given text."""

    start: int
    end: int
    type: str
    category: Category
    confidence: float
    reason: str


class Result(msgspec.Struct, frozen=True):
    """What became of a text.

    ``text`` is safe to pass on; it is empty when ``blocked``. ``paths``, if any, say for each of
    ``spans`` in which text of a container it is; positions count from there.
    """

    text: str
    spans: tuple[Span, ...]
    blocked: bool = False
    paths: tuple[tuple[str | int, ...], ...] = ()

    def counts(self) -> dict[str, int]:
        """How many of each type: what the log may hold."""
        found: dict[str, int] = {}
        for span in self.spans:
            found[span.type] = found.get(span.type, 0) + 1
        return found
