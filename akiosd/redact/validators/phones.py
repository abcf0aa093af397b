"""Phone numbers of the numbering plans."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

from akiosd.redact.model import Check
from akiosd.redact.validators.common import digits_of, same_digit


@lru_cache(4096)
def _phone(text: str, region: str | None, strict: bool) -> bool:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return False
    if strict:
        return phonenumbers.is_valid_number(number)
    return phonenumbers.is_possible_number(number)


def phone(region: str, shortest: int = 10) -> Check:
    """Valid in that region's numbering plan; not a row of digits in order."""

    def check(text: str) -> bool | None:
        digits = digits_of(text)
        if len(digits) < shortest or digits in "01234567890123456789" or len(set(digits)) < 4:
            return False
        return _phone(text, region, True)

    return check


_phone_de = phone("DE", 9)


def check_phone_de(text: str) -> bool | None:
    """Nine digits only where the area code is one of the four cities with two digits."""
    digits = digits_of(text)
    return (len(digits) > 9 or digits.startswith(("030", "040", "069", "089"))) and _phone_de(text)


_GROUP = re.compile(r"[ .+/-]+[0-9]+$")


def international_length(text: str) -> int:
    """How much of ``text`` is a number: what follows it after a blank may be another."""
    size = len(text)
    for _ in range(3):
        if check_phone_international(text[:size]):
            return size
        group = _GROUP.search(text[:size])
        if group is None or group.start() < 8:
            break
        size = group.start()
    return len(text)


_ZEROS = re.compile(r"^00 ?")
_DECIMAL = re.compile(r"\+[0-9]+\.[0-9]{1,3}")


@lru_cache(1024)
def check_phone_international(text: str) -> bool | None:
    """Not a decimal number with its sign."""
    if _DECIMAL.fullmatch(text):
        return False
    text = _ZEROS.sub("+", text)
    text = text[:1] + text[1:].replace("+", " ")
    if _phone(text, None, True):
        return True
    # Numbers kept for fiction are not in the tables of assigned ranges.
    return text.startswith("+1") and check_phone_us(text[2:].lstrip(" .-")) is True


_EXTENSION = re.compile(r" ?(?:x|ext\.?) ?[0-9]{1,5}$")
_NANP = re.compile(r"1?([2-9][0-9]{2})([2-9][0-9]{2})[0-9]{4}")


def check_phone_us(text: str) -> bool | None:
    """An assigned number, or one of those reserved for fiction (555-01xx), which people use as if
    they were theirs.
    """
    text = _EXTENSION.sub("", text)
    match = _NANP.fullmatch(digits_of(text))
    if not match or match[1][1:] == "11" or match[2][1:] == "11" or same_digit(match[0][-10:]):
        return False
    return match[2] == "555" or _phone(digits_of(text), "US", True)


def check_phone_labelled(text: str) -> bool | None:
    """False unless there are 7 to 12 digits, at least 9 where nothing separates them."""
    digits = digits_of(text)
    least = 9 if text == digits else 7
    return None if least <= len(digits) <= 12 and not same_digit(digits) else False
