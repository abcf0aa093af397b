"""Numbers and measurements of patients and prescribers."""

from __future__ import annotations

import re

from stdnum import luhn, verhoeff
from stdnum.gb import nhs

from akiosd.redact.validators.common import digits_of, same_digit, stdnum

_valid_nhs = stdnum(nhs)


def check_nhs(text: str) -> bool | None:
    """Valid by its check digit, and not the row of all digits, which is that too."""
    return digits_of(text) != "0123456789" and _valid_nhs(text)


def check_npi(text: str) -> bool | None:
    """The check digit of a National Provider Identifier (Luhn with the prefix 80840)."""
    digits = digits_of(text)
    return len(set(digits)) > 2 and bool(luhn.is_valid("80840" + digits))


def check_dea(text: str) -> bool | None:
    """Two letters and seven digits: (1+3+5) + 2(2+4+6) ends in the seventh (21 CFR 1301; none in
    the libraries).
    """
    d = [int(x) for x in text[2:]]
    return (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6] and not same_digit(text[2:])


def check_kvnr(text: str) -> bool | None:
    """§ 290 SGB V: the letter as two digits, then weights 1 and 2, digit sums."""
    number = f"{ord(text[0].upper()) - 64:02d}{text[1:9]}"
    total = sum(sum(divmod(int(x) * (1 + i % 2), 10)) for i, x in enumerate(number))
    return total % 10 == int(text[9])


def check_rvnr(text: str) -> bool | None:
    """VKVV § 2: area, birth date, letter, serial, check digit."""
    text = text.replace(" ", "").upper()
    if not (1 <= int(text[2:4]) % 50 <= 31 and 1 <= int(text[4:6]) <= 12):
        return False
    number = f"{text[:8]}{ord(text[8]) - 64:02d}{text[9:11]}"
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    total = sum(sum(divmod(int(x) * w, 10)) for x, w in zip(number, weights, strict=True))
    return total % 10 == int(text[11])


def check_snomed(text: str) -> bool | None:
    """The check digit of a SNOMED CT identifier (Verhoeff)."""
    return bool(verhoeff.is_valid(text)) and text[-3:-1] in ("00", "01", "02", "10", "11", "12")


def check_bp(text: str) -> bool | None:
    """False where systolic or diastolic mmHg cannot be a person's."""
    numbers = [int(x) for x in re.findall(r"[0-9]+", text)]
    return (
        None if len(numbers) >= 2 and 60 <= numbers[0] <= 260 and 30 <= numbers[1] <= 160 else False
    )
