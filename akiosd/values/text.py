"""Which characters of a text a person can see: the one rule that all printers of AKIOS follow.

Text of unknown origin may drive a terminal (control characters), read differently than it runs
(bidirectional overrides), or hold words that nobody sees (zero-width, tag and filler characters,
variation selectors). All of these are shown as escapes. Printable is what ``str.isprintable`` says:
the Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp and Zs, except the space, are not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

# Printable to Python and invisible all the same: Default_Ignorable_Code_Point of Unicode's
# DerivedCoreProperties.txt, as far as those are letters and marks; the Braille blank; a null
# notehead; the Khitan filler.
_INVISIBLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U0001d159\U000e0100-\U000e01ef"
)
_CONCEALED = re.compile(f"[{_INVISIBLE}]")
MAX_MARKS = 6
"""Combining marks on one letter; a pile of more covers the lines above."""


def is_plain(text: str) -> bool:
    """Whether ``text`` is one line of visible characters only."""
    return text.isprintable() and (
        text.isascii() or (_CONCEALED.search(text) is None and not _is_piled(text))
    )


def show(text: str, form: Callable[[str], str], keep: str = "") -> str:
    """``text`` with ``form(character)`` in place of each character that would not be seen, except
    those in ``keep``.
    """
    if is_plain(text):
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        marks = (
            marks + 1
            if not character.isascii() and unicodedata.category(character) in ("Mn", "Me")
            else 0
        )
        seen = (
            character.isprintable() and _CONCEALED.match(character) is None and marks <= MAX_MARKS
        )
        shown.append(character if seen or character in keep else form(character))
    return "".join(shown)


def as_bytes(character: str) -> str:
    """The character's bytes in UTF-8, such as ``\\xe2\\x80\\x8b``; for a byte that was no UTF-8,
    that byte.
    """
    handler = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", handler))


def as_code(character: str) -> str:
    """The character's number, such as ``\\x1b``, ``\\u200b`` or ``\\U000e0041``; for a byte that
    was no UTF-8, that byte.
    """
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _is_piled(text: str) -> bool:
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks > MAX_MARKS:
            return True
    return False
