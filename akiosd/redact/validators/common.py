"""Parts from which checks are made."""

from __future__ import annotations

import re
from typing import Any

from akiosd.redact.model import Check

_NOT_DIGITS = re.compile(r"[^0-9]+")
_DIGIT = re.compile("[0-9]")
_SEPARATORS = re.compile(r"[\s./\-–_]+")


def digits_of(text: str) -> str:
    """Only the digits of ``text``."""
    return _NOT_DIGITS.sub("", text)


def bare(text: str) -> str:
    """``text`` in capitals, without separators."""
    return _SEPARATORS.sub("", text).upper()


def stdnum(module: Any) -> Check:
    """A validator out of a python-stdnum module; separators it does not know are taken away."""

    def check(text: str) -> bool | None:
        return bool(module.is_valid(bare(text)))

    return check


def same_digit(digits: str) -> bool:
    """Whether all digits are the same."""
    return len(set(digits)) <= 1


_TWICE = dict(zip("0123456789", (0, 2, 4, 6, 8, 1, 3, 5, 7, 9), strict=True))


def has_luhn_digit(digits: str) -> bool:
    """Whether the last of ``digits``, at least one, checks the others (ISO/IEC 7812-1)."""
    once, twice = digits[::-2], digits[-2::-2]
    return (sum(map(int, once)) + sum(map(_TWICE.__getitem__, twice))) % 10 == 0


def not_one_of(words: str) -> Check:
    """A name that does not begin with one of these ordinary words."""
    refused = frozenset(words.split())
    return lambda text: False if text.split()[0] in refused else None


def check_company(text: str) -> bool | None:
    """Not the article of a sentence, not the holder of a copyright."""
    first = text.split(None, 1)[0].lower()
    return (
        False
        if first in ("the", "this", "a", "an") or first.startswith(("copyright", "(c)", "©"))
        else None
    )


def needs_digit(text: str) -> bool | None:
    """A check that refuses texts without a digit, and leaves others unchecked."""
    return None if _DIGIT.search(text) else False


def all_of(*checks: Check) -> Check:
    """A check that refuses what one of ``checks`` refuses, and confirms what one confirms and none
    refuses.
    """

    def check(text: str) -> bool | None:
        verdicts = [one(text) for one in checks]
        return False if False in verdicts else (True if True in verdicts else None)

    return check
