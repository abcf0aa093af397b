"""Check digits and plausible values.  python-stdnum and phonenumbers where they know the number."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import phonenumbers
from stdnum import bic, bitcoin, iban, imei, luhn, verhoeff
from stdnum.at import vnr
from stdnum.be import nn
from stdnum.ca import sin
from stdnum.ch import ssn as ch_ssn
from stdnum.es import dni, nie
from stdnum.eu import vat
from stdnum.fr import nif, nir
from stdnum.gb import nhs, utr
from stdnum.iso7064 import mod_11_10
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ein, rtn, ssn

from akiosd.redact.model import Check


def digits_of(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def stdnum(module: Any) -> Check:
    """A validator out of a python-stdnum module; separators it does not know are taken away."""

    def check(text: str) -> bool | None:
        return bool(module.is_valid(re.sub(r"[\s./\-–_]", "", text).upper()))

    return check


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


def same_digit(digits: str) -> bool:
    return len(set(digits)) <= 1


check_iban = stdnum(iban)
check_bic = stdnum(bic)
check_imei = stdnum(imei)
check_nir = stdnum(nir)
check_nif_fr = stdnum(nif)
check_nhs = stdnum(nhs)
check_utr = stdnum(utr)
check_ein = stdnum(ein)
check_vat = stdnum(vat)
check_dni = stdnum(dni)
check_nie = stdnum(nie)
check_codice_fiscale = stdnum(codicefiscale)
check_pesel = stdnum(pesel)
check_bsn = stdnum(bsn)
check_ahv = stdnum(ch_ssn)
check_be_nn = stdnum(nn)
check_sin = stdnum(sin)
check_vnr = stdnum(vnr)


def check_rtn(text: str) -> bool | None:
    return len(set(digits_of(text))) > 2 and bool(rtn.is_valid(digits_of(text)))


def check_hetu(text: str) -> bool | None:
    """The check character of the birth date and serial; python-stdnum does not know the signs added in 2023."""
    number = text[:6] + text[7:10]
    try:
        datetime.date(2000 + int(text[4:6]), int(text[2:4]), int(text[:2]))
    except ValueError:
        return False
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number) % 31] == text[10].upper() and int(text[7:10]) >= 2


def check_ssn(text: str) -> bool | None:
    """Separators must agree; the numbers the administration never gives out are refused."""
    separators = re.sub(r"[0-9]", "", text)
    if len(set(separators)) > 1:
        return False
    return bool(ssn.is_valid(digits_of(text)))


def check_ssn_plain(text: str) -> bool | None:
    """Nine digits alone are anything: valid only with a separator, otherwise possible."""
    if not ssn.is_valid(digits_of(text)):
        return False
    return True if "-" in text else None


def check_bitcoin(text: str) -> bool | None:
    return bool(bitcoin.is_valid(text)) or (text.startswith(("bc1p", "BC1P")) and bech32m(text.lower()))


def bech32m(address: str) -> bool:
    """The checksum of BIP 350 (taproot addresses)."""
    human, _, data = address.rpartition("1")
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    if not human or any(letter not in alphabet for letter in data):
        return False
    values = [ord(x) >> 5 for x in human] + [0] + [ord(x) & 31 for x in human] + [alphabet.index(x) for x in data]
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
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
_SCHEME_RES = tuple((re.compile(first), lengths) for first, lengths in _SCHEMES)


def check_card(text: str) -> bool | None:
    digits = digits_of(text)
    if same_digit(digits) or not luhn.is_valid(digits):
        return False
    return any(len(digits) in lengths and first.match(digits) for first, lengths in _SCHEME_RES)


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


def check_phone_international(text: str) -> bool | None:
    text = re.sub(r"^00", "+", text)
    if _phone(text, None, True):
        return True
    # Numbers kept for fiction are not in the tables of assigned ranges.
    return text.startswith("+1") and check_phone_us(text[2:].lstrip(" .-")) is True


_NANP = re.compile(r"1?([2-9][0-9]{2})([2-9][0-9]{2})[0-9]{4}")


def check_phone_us(text: str) -> bool | None:
    """An assigned number, or one of those kept for fiction (555-01xx), which people use as their own."""
    match = _NANP.fullmatch(digits_of(text))
    if not match or match[1][1:] == "11" or match[2][1:] == "11" or same_digit(match[0][-10:]):
        return False
    return match[2] == "555" or _phone(digits_of(text), "US", True)


def check_phone_labelled(text: str) -> bool | None:
    digits = digits_of(text)
    least = 9 if text == digits else 7
    return None if least <= len(digits) <= 12 and not same_digit(digits) else False


_ORDERS = ((2, 1, 0), (2, 0, 1), (0, 1, 2))


def check_date(text: str) -> bool | None:
    """A day that existed or will, written in any order; month names are taken as they are."""
    numbers = [int(x) for x in re.findall(r"[0-9]+", text)]
    if len(numbers) == 2:
        return None if 1 <= min(numbers) <= 31 else False
    if len(numbers) != 3:
        return False
    for order in _ORDERS:
        year, month, day = (numbers[i] for i in order)
        try:
            datetime.date(year + 1900 if year < 100 else year, month, day)
        except ValueError:
            continue
        if year < 100 or 1880 <= year <= 2100:
            return None
    return False


def check_itin(text: str) -> bool | None:
    """The ranges the IRS gives out since 2022 (python-stdnum has the older ones)."""
    group = int(digits_of(text)[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99


def check_nino(text: str) -> bool | None:
    prefix = re.sub(r"\s", "", text)[:2].upper()
    return False if prefix in ("BG", "GB", "NK", "KN", "NT", "TN", "ZZ") else None


def check_idnr(text: str) -> bool | None:
    """The check digit of § 139b AO.  How often a digit may repeat has changed since: only rows of one are refused."""
    digits = digits_of(text)
    return bool(mod_11_10.is_valid(digits)) and max(map(digits.count, digits)) <= 3


_VIN = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (*range(1, 9), *range(1, 6), 7, 9, *range(2, 10)), strict=True))


def check_vin(text: str) -> bool | None:
    """ISO 3779 with the check digit of 49 CFR 565; no library here has it."""
    text = text.upper()
    if text.isdigit() or text.isalpha():
        return False
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum((int(x) if x.isdigit() else _VIN[x]) * w for x, w in zip(text, weights, strict=True))
    return text[8] == "0123456789X"[total % 11]


def icao(text: str) -> bool:
    """The 7-3-1 check digit of ICAO 9303: the last character of ``text``."""
    values = [int(x, 36) for x in text[:-1].upper()]
    return text[-1].isdigit() and sum(v * (7, 3, 1)[i % 3] for i, v in enumerate(values)) % 10 == int(text[-1])


def check_de_id(text: str) -> bool | None:
    if not any(x.isdigit() for x in text):
        return False
    return icao(text) if len(text) == 10 else (icao(text) or None)


def check_uk_licence(text: str) -> bool | None:
    """Digits 6-11 hold the decade, month (+50 for women), day and year of birth."""
    if not re.fullmatch(r"[A-Za-z]+9*", text[:5]):
        return False
    month, day = int(text[6:8]) % 50, int(text[8:10])
    return None if 1 <= month <= 12 and int(text[6]) in (0, 1, 5, 6) and 1 <= day <= 31 else False


def check_npi(text: str) -> bool | None:
    digits = digits_of(text)
    return len(set(digits)) > 2 and bool(luhn.is_valid("80840" + digits))


def check_dea(text: str) -> bool | None:
    """Two letters and seven digits: (1+3+5) + 2(2+4+6) ends in the seventh (21 CFR 1301; none in the libraries)."""
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
    return bool(verhoeff.is_valid(text)) and text[-3:-1] in ("00", "01", "02", "10", "11", "12")


def check_bp(text: str) -> bool | None:
    numbers = [int(x) for x in re.findall(r"[0-9]+", text)]
    return None if len(numbers) >= 2 and 60 <= numbers[0] <= 260 and 30 <= numbers[1] <= 160 else False


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def secret(floor: float) -> Check:
    """Random enough to be a key: entropy at least ``floor`` bits, and not the name of something."""

    def check(text: str) -> bool | None:
        text = text.strip("\"'")
        if not any(x.isdigit() for x in text) or entropy(text) < floor:
            return False
        return None

    return check


_NAMES = re.compile(r"[A-Za-z_]+(?:[.(\[\]]|$)|.*(?:\$\{|\{\{|<[a-z]|\(\)|\*\*\*|xxx|%\(|\.\.\.)", re.I)


def check_password(text: str) -> bool | None:
    """A literal: not the name of a variable, a placeholder or a call."""
    return False if _NAMES.match(text) or "(" in text or same_digit(text) else None


def check_email(text: str) -> bool | None:
    local, _, domain = text.rpartition("@")
    if len(local) > 64 or len(domain) > 253 or ".." in text or local[0] in ".-" or local[-1] == ".":
        return False
    label = domain.rpartition(".")[2]
    # files of images and code are written name@2x.png, module@version.js
    return False if label.lower() in ("png", "jpg", "jpeg", "gif", "svg", "webp", "py", "js", "css", "html") else None


def check_ipv4(text: str) -> bool | None:
    """Not the addresses every machine has."""
    try:
        address = ipaddress.IPv4Address(text.partition("/")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or text.startswith("255.255."))


def check_ipv6(text: str) -> bool | None:
    """Not the machine itself, not a slice such as ``[1::2]``."""
    try:
        address = ipaddress.IPv6Address(text.partition("%")[0].partition("/")[0])
    except ValueError:
        return False
    return len(text) > 6 and not address.is_loopback and not address.is_unspecified


def check_mac(text: str) -> bool | None:
    digits = re.sub(r"[^0-9A-Fa-f]", "", text).lower()
    if len(set(re.sub(r"[0-9A-Fa-f]", "", text))) > 1:
        return False
    return False if digits in ("0" * 12, "f" * 12) else None


def check_coordinates(text: str) -> bool | None:
    numbers = [abs(float(x)) for x in re.findall(r"-?[0-9]+\.[0-9]+", text)][:2]
    if len(numbers) < 2:
        return None
    return None if numbers[0] <= 90 and numbers[1] <= 180 and numbers[0] + numbers[1] > 0 else False


def not_one_of(words: str) -> Check:
    """A name that does not begin with one of these ordinary words."""
    refused = frozenset(words.split())
    return lambda text: False if text.split()[0] in refused else None


def shorter_than(size: int) -> Check:
    return lambda text: None if len(text) < size else False


def needs_digit(text: str) -> bool | None:
    return None if any(x.isdigit() for x in text) else False


def all_of(*checks: Callable[[str], bool | None]) -> Check:
    def check(text: str) -> bool | None:
        verdicts = [one(text) for one in checks]
        return False if False in verdicts else (True if True in verdicts else None)

    return check


def check_jwt(text: str) -> bool | None:
    """The header decodes to a JSON object that names its algorithm (RFC 7515)."""
    head = text.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))
    except ValueError:
        return False
    return decoded.startswith(b"{") and (b'"alg"' in decoded or b'"typ"' in decoded)
