"""What checks are made of."""

from __future__ import annotations

import re
from typing import Any

from akiosd.redact.model import Check

_NOT_DIGITS = re.compile(r"[^0-9]+")
_DIGIT = re.compile("[0-9]")
_SEPARATORS = re.compile(r"[\s./\-–_]+")


def digits_of(text: str) -> str:
    return _NOT_DIGITS.sub("", text)


def bare(text: str) -> str:
    """In capitals and without separators."""
    return _SEPARATORS.sub("", text).upper()


def stdnum(module: Any) -> Check:
    """A validator out of a python-stdnum module; separators it does not know are taken away."""

    def check(text: str) -> bool | None:
        return bool(module.is_valid(bare(text)))

    return check


def same_digit(digits: str) -> bool:
    return len(set(digits)) <= 1


def not_one_of(words: str) -> Check:
    """A name that does not begin with one of these ordinary words."""
    refused = frozenset(words.split())
    return lambda text: False if text.split()[0] in refused else None


def check_company(text: str) -> bool | None:
    """Not the article of a sentence, not the holder of a copyright."""
    first = text.split(None, 1)[0].lower()
    return False if first in ("the", "this", "a", "an") or first.startswith(("copyright", "(c)", "©")) else None


def needs_digit(text: str) -> bool | None:
    return None if _DIGIT.search(text) else False


def all_of(*checks: Check) -> Check:
    def check(text: str) -> bool | None:
        verdicts = [one(text) for one in checks]
        return False if False in verdicts else (True if True in verdicts else None)

    return check
