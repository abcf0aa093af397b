"""Numbers that states and their offices give to persons and their vehicles, and dates."""

from __future__ import annotations

import datetime
import re

from stdnum import imei
from stdnum.be import nn
from stdnum.ca import sin
from stdnum.ch import ssn as ch_ssn
from stdnum.es import dni, nie
from stdnum.fr import nif, nir
from stdnum.gb import utr
from stdnum.iso7064 import mod_11_10
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn

from akiosd.redact.validators.common import digits_of, stdnum

check_imei = stdnum(imei)
check_nir = stdnum(nir)
check_nif_fr = stdnum(nif)
check_utr = stdnum(utr)
check_dni = stdnum(dni)
check_nie = stdnum(nie)
check_codice_fiscale = stdnum(codicefiscale)
check_pesel = stdnum(pesel)
check_bsn = stdnum(bsn)
check_ahv = stdnum(ch_ssn)
check_be_nn = stdnum(nn)
check_sin = stdnum(sin)


def check_hetu(text: str) -> bool | None:
    """The check character of the birth date and serial; python-stdnum does not know the signs added
    in 2023.
    """
    number = text[:6] + text[7:10]
    try:
        datetime.date(2000 + int(text[4:6]), int(text[2:4]), int(text[:2]))
    except ValueError:
        return False
    return (
        "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number) % 31] == text[10].upper()
        and int(text[7:10]) >= 2
    )


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
    """False for the prefixes that are not given out."""
    prefix = re.sub(r"\s", "", text)[:2].upper()
    return False if prefix in ("BG", "GB", "NK", "KN", "NT", "TN", "ZZ") else None


def check_idnr(text: str) -> bool | None:
    """The check digit of § 139b AO.  How often one of the first ten digits may occur has changed
    since.

    Three times is the most that was ever allowed; the check digit is not counted.
    """
    digits = digits_of(text)
    return bool(mod_11_10.is_valid(digits)) and max(map(digits[:-1].count, digits[:-1])) <= 3


_VIN = dict(
    zip("ABCDEFGHJKLMNPRSTUVWXYZ", (*range(1, 9), *range(1, 6), 7, 9, *range(2, 10)), strict=True)
)


def check_vin(text: str) -> bool | None:
    """ISO 3779 with the check digit of 49 CFR 565; no library here has it."""
    text = text.upper()
    if text.isdigit() or text.isalpha():
        return False
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(
        (int(x) if x.isdigit() else _VIN[x]) * w for x, w in zip(text, weights, strict=True)
    )
    return text[8] == "0123456789X"[total % 11]


def icao(text: str) -> bool:
    """The 7-3-1 check digit of ICAO 9303: the last character of ``text``."""
    values = [int(x, 36) for x in text[:-1].upper()]
    return text[-1].isdigit() and sum(
        v * (7, 3, 1)[i % 3] for i, v in enumerate(values)
    ) % 10 == int(text[-1])


def check_de_id(text: str) -> bool | None:
    """False without a digit; with ten characters what the ICAO 9303 check digit says.

    With fewer, True where the last is a right check digit, else None: they need not have one.
    """
    if not any(x.isdigit() for x in text):
        return False
    return icao(text) if len(text) == 10 else (icao(text) or None)


def check_uk_licence(text: str) -> bool | None:
    """Digits 6-11 hold the decade, month (+50 for women), day and year of birth."""
    if not re.fullmatch(r"[A-Za-z]+9*", text[:5]):
        return False
    month, day = int(text[6:8]) % 50, int(text[8:10])
    return None if 1 <= month <= 12 and int(text[6]) in (0, 1, 5, 6) and 1 <= day <= 31 else False
