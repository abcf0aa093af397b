"""Cards, accounts, wallets, traders."""

from __future__ import annotations

import re
from functools import lru_cache

from stdnum import bic, bitcoin, iban
from stdnum.eu import vat
from stdnum.us import ein, rtn

from akiosd.redact.validators.common import (
    bare,
    digits_of,
    has_luhn_digit,
    same_digit,
    stdnum,
)

# Lengths of the IBAN registry (ISO 13616) by country.
_IBAN_LENGTHS = """15 NO|16 BE|18 DK FO GL FI NL SD|19 MK SI|20 AT BA EE KZ LT LU MN XK|21 CH HR LI LV
|22 BG BH CR DE GB GE IE ME RS VA|23 AE GI IL IQ OM SO TL|24 AD CZ ES MD PK RO SA SE SK TN VG|25 LY PT ST|26 IS TR
|27 FR GR IT MC MR SM BI DJ|28 AL AZ BY CY DO GT HU LB NI PL SV|29 BR EG PS QA UA|30 JO KW MU YE|31 MT SC|32 LC|33 RU"""


_IBAN = {code: int(row.split()[0]) for row in _IBAN_LENGTHS.split("|") for code in row.split()[1:]}


def iban_length(text: str) -> int:
    """How much of ``text`` the country's IBAN takes, separators included."""
    wanted = _IBAN.get(text[:2].upper(), 0)
    for place, character in enumerate(text):
        wanted -= character.isalnum()
        if wanted == 0:
            return place + 1
    return len(text)


@lru_cache(1024)
def check_iban(text: str) -> bool | None:
    """ISO 13616: the remainder first, then the form of the country; new banks are in no list."""
    number = bare(text)
    if int("".join(str(int(x, 36)) for x in number[4:] + number[:4])) % 97 != 1:
        return False
    return bool(iban.is_valid(number, check_country=False))


check_bic = stdnum(bic)
check_ein = stdnum(ein)


# Digits and letters after the country (VIES, structure of VAT numbers).
_VAT_LENGTHS = """AT 9|BE 9 10|BG 9 10|CY 9|CZ 8 9 10|DE 9|DK 8|EE 9|EL 9|ES 9|FI 8|FR 11|HR 11|HU 8|IE 8 9|IT 11
|LT 9 12|LU 8|LV 11|MT 8|NL 12|PL 10|PT 9|RO 2 3 4 5 6 7 8 9 10|SE 12|SI 8|SK 10"""
_VAT = {row.split()[0]: frozenset(map(int, row.split()[1:])) for row in _VAT_LENGTHS.split("|")}


def check_vat(text: str) -> bool | None:
    """Length and check digit of a European VAT number."""
    number = bare(text)
    return len(number) - 2 in _VAT.get(number[:2], ()) and bool(vat.is_valid(number))


def check_rtn(text: str) -> bool | None:
    """The checksum of an ABA routing number."""
    return len(set(digits_of(text))) > 2 and bool(rtn.is_valid(digits_of(text)))


def check_bitcoin(text: str) -> bool | None:
    """The checksum of an address: Base58Check, Bech32 (BIP 173), Bech32m (BIP 350)."""
    return bool(bitcoin.is_valid(text)) or (
        text.startswith(("bc1p", "BC1P")) and bech32m(text.lower())
    )


def bech32m(address: str) -> bool:
    """The checksum of BIP 350 (taproot addresses)."""
    human, _, data = address.rpartition("1")
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    if not human or any(letter not in alphabet for letter in data):
        return False
    values = (
        [ord(x) >> 5 for x in human]
        + [0]
        + [ord(x) & 31 for x in human]
        + [alphabet.index(x) for x in data]
    )
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(
            (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
        ):
            if top >> bit & 1:
                remainder ^= generator
    return remainder == 0x2BC830A3


# ISO/IEC 7812 ranges of the schemes: (first digits, lengths).
_SCHEMES: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"4", (13, 16, 19)),
    (r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", (16,)),
    (r"3[47]", (15,)),
    (r"3(?:0[0-5]|095|6|8|9)", (14, 16, 19)),
    (r"6011|64[4-9]|65|622", (16, 17, 18, 19)),
    (r"62|81", (16, 17, 18, 19)),
    (r"35(?:2[89]|[3-8])|1800|2131", (15, 16, 17, 18, 19)),
    (r"5018|50[0-9]{2}|5[6-8]|6[0-9]", (12, 13, 14, 15, 16, 17, 18, 19)),
    (r"1(?:220|8)|2(?:014|149)", (15,)),
    (r"220[0-4]", (16, 17, 18, 19)),
)


_SCHEMES_BY_LENGTH = {
    length: re.compile("|".join(first for first, lengths in _SCHEMES if length in lengths))
    for length in sorted({length for _, lengths in _SCHEMES for length in lengths})
}


def check_card(text: str) -> bool | None:
    """Prefix and length of a card scheme, and the Luhn digit."""
    digits = digits_of(text)
    schemes = _SCHEMES_BY_LENGTH.get(len(digits))
    if schemes is None or schemes.match(digits) is None:
        return False
    return not same_digit(digits) and has_luhn_digit(digits)
