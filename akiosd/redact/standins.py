"""Chooses the values that stand for personal data: only values that nobody can hold.  One table:
kind → how, and its source.

For a kind that is not in the table a label stands, and also for a value whose kind has no room
left.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import phonenumbers
from stdnum import luhn
from stdnum.eu import vat
from stdnum.iso7064 import mod_11_10

from akiosd.redact import fictional_phones
from akiosd.redact.model import Check
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.shift_dates import moved
from akiosd.redact.validators import state

Noise = Iterator[int]
_LOWER, _UPPER, _DIGITS = "abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "0123456789"
_TRIES = 200
_CHECKS = {pattern.name: pattern.check for pattern in PATTERNS if pattern.check}


class Rule(NamedTuple):
    """How stand-ins of one kind are made.

    ``make`` returns a value spelled like the one it stands for, or "" when it can make none.
    ``same`` returns what is equal in all spellings of one value. ``poured``: the stand-in of
    another spelling has the same letters and digits in other places. ``exact``: the separators of
    its parts belong to the value.
    """

    family: str
    make: Callable[[str, Noise], str]
    same: Callable[[str], str]
    source: str
    poured: bool = False
    exact: bool = False


def bare(text: str) -> str:
    """Letters and digits in one case."""
    return "".join(x for x in unicodedata.normalize("NFKC", text) if x.isalnum()).upper()


def pour(characters: str, layout: str) -> str:
    """``characters`` in the places of the letters and digits of ``layout``, each in the case of the
    one that it replaces.
    """
    left = iter(characters)
    return "".join(_as(next(left), place) if place.isalnum() else place for place in layout)


def _as(character: str, place: str) -> str:
    return (
        character.lower()
        if place.islower()
        else character.upper()
        if place.isupper()
        else character
    )


def shaped(value: str, noise: Noise, kept: int = 0) -> str:
    """Digits for digits, letters for letters of the same case, everything else, and the first
    ``kept``, as it is.
    """
    return value[:kept] + "".join(_random(character, noise) for character in value[kept:])


def _random(character: str, noise: Noise) -> str:
    if character.isdigit():
        return _DIGITS[next(noise) % 10]
    if character.isalpha():
        letters = _UPPER if character.isupper() else _LOWER
        return letters[next(noise) % len(letters)]
    return character


def _number(noise: Noise, below: int) -> int:
    return int.from_bytes(bytes(next(noise) for _ in range(8)), "big") % below


# ---- mail, addresses
# -------------------------------------------------------------------------------


def _mail(value: str, noise: Noise) -> str:
    return f"user-{shaped('a0a0a0a0a0', noise)}@example.invalid"


_TEST_NETS = ("192.0.2", "198.51.100", "203.0.113")
_WELL_KNOWN = frozenset((*range(11), 20, 42, 50, 100, 101, 123, 200, 250, 254, 255))
_HOSTS = tuple(
    f"{net}.{host}" for net in _TEST_NETS for host in range(256) if host not in _WELL_KNOWN
)
_SUFFIX = re.compile(r"[/%].*", re.DOTALL)


def _ipv4(value: str, noise: Noise) -> str:
    suffix = _SUFFIX.search(value)
    return _HOSTS[_number(noise, len(_HOSTS))] + (suffix[0] if suffix else "")


def _ipv6(value: str, noise: Noise) -> str:
    suffix = _SUFFIX.search(value)
    groups = ":".join(f"{0x1000 + _number(noise, 0xF000):x}" for _ in range(6))
    return f"2001:db8:{groups}{suffix[0] if suffix else ''}"


def _same_ip(value: str) -> str:
    suffix = _SUFFIX.search(value)
    try:
        return str(ipaddress.ip_address(_SUFFIX.sub("", value))) + (suffix[0] if suffix else "")
    except ValueError:
        return value


def _mac(value: str, noise: Noise) -> str:
    return pour(f"00005e0053{next(noise):02x}", value) if len(bare(value)) == 12 else ""


# ---- telephones
# ------------------------------------------------------------------------------------

_REGIONS = {"PHONE_US": "US", "PHONE_UK": "GB", "PHONE_FR": "FR", "PHONE_DE": "DE"}
_HOME = {"PHONE_US": 1, "PHONE_UK": 44, "PHONE_FR": 33, "PHONE_DE": 49}
_EXTENSION = re.compile(r" ?(?:x|ext\.?) ?[0-9]{1,5}$")


class Phone(NamedTuple):
    """A phone number's country code, and the digits after it."""

    code: int
    national: str


@lru_cache(4096)
def read_phone(value: str, kind: str) -> Phone | None:
    """The parts of a phone number; None when its country cannot be told."""
    text = re.sub(r"^00 ?", "+", _EXTENSION.sub("", value.strip()))
    try:
        found = phonenumbers.parse(text[:1] + text[1:].replace("+", " "), _REGIONS.get(kind))
    except phonenumbers.NumberParseException:
        return None
    return Phone(found.country_code or 0, phonenumbers.national_significant_number(found))


def _same_phone(value: str, kind: str) -> str:
    found, extension = read_phone(value, kind), _EXTENSION.search(value)
    plain = f"+{found.code}{found.national}" if found else bare(_EXTENSION.sub("", value))
    return plain + (extension[0] if extension else "")


def _phone(value: str, noise: Noise, kind: str) -> str:
    read = read_phone(value, kind)
    number = fictional_phones.national(read.code, read.national, noise) if read else ""
    return laid_out(value, kind, number) if number else ""


def laid_out(value: str, kind: str, number: str) -> str:
    """The national ``number`` as ``value`` is written."""
    read, extension = read_phone(value, kind), _EXTENSION.search(value)
    if read is None:
        return ""
    plain = _EXTENSION.sub("", value)
    digits = [place for place, character in enumerate(plain) if character.isdigit()]
    if len(number) == len(read.national) and "".join(plain[place] for place in digits).endswith(
        read.national
    ):
        made = list(plain)
        for place, digit in zip(digits[-len(number) :], number, strict=True):
            made[place] = digit
        plain = "".join(made)
    elif plain.lstrip().startswith(("+", "00")) or read.code != _HOME.get(kind):
        plain = f"+{read.code} {number}"
    else:
        plain = fictional_phones.TRUNK.get(read.code, "") + number
    return plain + (extension[0] if extension else "")


def phone_spellings(phone: Phone) -> tuple[str, ...]:
    """In how many ways the digits of a number are written."""
    code, number = str(phone.code), phone.national
    trunk = fictional_phones.TRUNK.get(phone.code, "")
    home = (trunk + number, code + trunk + number) if trunk else (number,)
    return (code + number, "00" + code + number, *home)


# ---- numbers with check digits
# ---------------------------------------------------------------------

_KEPT = {"IBAN": 2, "EU_VAT": 2, "CREDIT_CARD": 1, "CARD_NUMBER": 1, "BITCOIN_ADDRESS": 3}
"""How many characters tell the country or the scheme, and are kept."""
CHECKED = (
    "CREDIT_CARD", "CARD_NUMBER", "IBAN", "EU_VAT", "UK_NHS", "US_NPI", "US_DEA",
    "US_ROUTING_NUMBER", "UK_UTR", "FR_NIR", "FR_TAX_ID", "DE_TAX_ID", "DE_HEALTH_INSURANCE",
    "DE_PENSION_INSURANCE", "ES_NIF", "IT_FISCAL_CODE", "PL_PESEL", "NL_BSN", "CA_SIN", "CH_AHV",
    "BE_NN", "FI_HETU", "IMEI", "BITCOIN_ADDRESS",
)  # fmt: skip
"""Kinds whose every number has check digits: with a wrong one it is nobody's."""
_WIDER: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("CREDIT_CARD", "CARD_NUMBER", "CA_SIN", "IMEI", "US_NPI"), luhn.is_valid),
    "DE_TAX_ID": mod_11_10.is_valid, "EU_VAT": vat.is_valid,
}  # fmt: skip
"""What says of more numbers that they are right than what finds them in texts."""
_BY_SIZE: dict[int, tuple[str, ...]] = {
    9: ("CA_SIN", "NL_BSN", "US_ROUTING_NUMBER"), 10: ("UK_NHS", "US_NPI", "UK_UTR"),
    11: ("DE_TAX_ID", "PL_PESEL", "BE_NN"), 13: ("FR_TAX_ID", "CH_AHV"), 15: ("FR_NIR", "IMEI"),
}  # fmt: skip
"""Kinds that the same digits may be taken for."""


def is_held(text: str, kind: str) -> bool:
    """Whether somebody may hold ``text`` as a number of this kind, or of another kind that looks
    the same.
    """
    check, plain = _CHECKS[kind], bare(text)
    if check(text) is not False or (kind in _WIDER and _passes(_WIDER[kind], plain)):
        return True
    if kind == "IBAN":
        return _remainder(plain) == 1
    if not plain.isdigit():
        return False
    others: list[Check] = [_CHECKS[name] for name in _BY_SIZE.get(len(plain), ()) if name != kind]
    if len(plain) == 9:
        others.append(state.check_ssn)
    elif len(plain) == 10:
        others.append(_may_be_phone)
    elif 12 <= len(plain) <= 19:
        others.append(_CHECKS["CREDIT_CARD"])
    return any(other(plain) is True for other in others)


def _may_be_phone(digits: str) -> bool | None:
    """In North America areas begin with 2 to 9."""
    return digits[0] > "1"


def _passes(check: Callable[[str], object], text: str) -> bool:
    return text.isascii() and bool(check(text))


def _remainder(iban: str) -> int:
    return int("".join(str(int(x, 36)) for x in iban[4:] + iban[:4])) % 97


def _unchecked(value: str, noise: Noise, kind: str) -> str:
    """As ``value`` is shaped, with check digits that are wrong."""
    if not value.isascii():
        return ""
    for _ in range(_TRIES):
        found = _apart(shaped(value, noise, _KEPT.get(kind, 0)))
        if not is_held(found, kind):
            return found
    return ""


def _apart(text: str) -> str:
    """Nine digits that are no SSN, ten that are no telephone number; what else there is
    as it is.
    """
    plain = bare(text)
    if len(plain) == 9 and plain.isdigit():
        return pour(f"9{plain[1:3]}{int(plain[3]) % 5}{plain[4:]}", text)
    if len(plain) == 10 and plain.isdigit():
        return pour(f"{int(plain[0]) % 2}{plain[1:]}", text)
    return text


def _ssn(value: str, noise: Noise) -> str:
    """Areas above 899 are not given out as SSNs, groups below 50 not as ITINs."""
    if len(bare(value)) != 9:
        return ""
    return pour(
        f"9{_number(noise, 100):02}{1 + _number(noise, 49):02}{1 + _number(noise, 9999):04}", value
    )


def _nino(value: str, noise: Noise) -> str:
    return (
        pour(f"QQ{_number(noise, 10**6):06}{'ABCD'[next(noise) % 4]}", value)
        if len(bare(value)) == 9
        else ""
    )


# ---- secrets
# ---------------------------------------------------------------------------------------

# What a key begins with is kept: programs look at it.
_PREFIX = re.compile(
    r"(?:sk-ant-|sk-proj-|sk-or-v1-|sk-|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|[prs]k_(?:live|test)_|AIza|ya29\.|AKIA"
    r"|ASIA|SG\.|npm_)"
)
# Where a model writes JSON these come back spelled in another way.
_ESCAPED = re.compile(r"""["\\\x00-\x1f\x7f]|[^\x00-\x7f]""")
_LONG = 16
"""Letters and digits: of fewer, at random, another secret may be made."""
_MOST = 200


def _secret(value: str, noise: Noise, kind: str) -> str:
    prefix = _PREFIX.match(value)
    kept = prefix.end() if prefix else 0
    if len(bare(value[kept:])) < _LONG or len(value) > _MOST or _ESCAPED.search(value):
        # Without brackets: it may stand in a URL before a host.
        # A letter at the end: what stands behind the value may be a digit, and would be a part of a
        # number.
        return f"{kind}_{bytes(next(noise) for _ in range(5)).hex()}{'abcdef'[next(noise) % 6]}"
    return shaped(value, noise, kept)


def _hexadecimal(value: str, noise: Noise) -> str:
    return value[:2] + "".join(f"{next(noise) % 16:x}" for _ in value[2:])


SECRETS = (
    "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "GITHUB_TOKEN", "GITLAB_TOKEN", "SLACK_TOKEN", "STRIPE_KEY",
    "GOOGLE_KEY", "OPENAI_KEY", "ANTHROPIC_KEY", "SERVICE_KEY", "API_KEY", "JWT", "PRIVATE_KEY",
    "URL_PASSWORD", "BEARER_TOKEN", "SESSION_COOKIE", "PASSWORD", "PASSPHRASE",
)  # fmt: skip


# ---- the table
# -------------------------------------------------------------------------------------

_PHONES = ("PHONE_INTERNATIONAL", "PHONE_US", "PHONE_UK", "PHONE_FR", "PHONE_DE", "PHONE_LABELLED")


def _one_space(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _label(value: str, noise: Noise, kind: str) -> str:
    return label(kind, noise)


def label(kind: str, noise: Noise, digits: int = 6) -> str:
    """Numbers are taken at random from many: one that a model makes up stands for nothing."""
    least = 10 ** (digits - 1)
    return f"[{kind}_{least + _number(noise, 9 * least)}]"


def _date(days: int, value: str, noise: Noise) -> str:
    return moved(value, days)


def rules(days: int) -> dict[str, Rule]:
    """The table.  ``days`` is the number of days by which this cage moves dates."""
    table = {
        "EMAIL": Rule(
            "EMAIL", _mail, _one_space, "RFC 2606 § 2, RFC 6761 § 6.4: .invalid never exists"
        ),
        "IPV4": Rule("IPV4", _ipv4, _same_ip, "RFC 5737: TEST-NET-1, 2, 3", exact=True),
        "IPV6": Rule("IPV6", _ipv6, _same_ip, "RFC 3849: 2001:db8::/32 is documentation"),
        "MAC_ADDRESS": Rule(
            "MAC", _mac, bare, "RFC 9542 § 2.1.2: 00-00-5E-00-53-xx is documentation", poured=True
        ),
        "BIRTH_DATE": Rule(
            "BIRTH_DATE", partial(_date, days), _one_space, "one shift a cage", exact=True
        ),
        "UK_NINO": Rule("NINO", _nino, bare, "HMRC NIM39110: no prefix has a Q", poured=True),
        "ETHEREUM_ADDRESS": Rule("ETHEREUM", _hexadecimal, str.lower, "random, 160 bits"),
    }
    for kind in ("US_SSN", "US_SSN_PLAIN", "US_ITIN"):
        source = "SSA, randomisation of 2011: no area 900 to 999; IRS, ITIN: groups from 50"
        table[kind] = Rule("SSN", _ssn, bare, source, poured=True)
    for kind in _PHONES:
        make, same = partial(_phone, kind=kind), partial(_same_phone, kind=kind)
        table[kind] = Rule(
            "PHONE",
            make,
            same,
            "regulators' numbers for fiction: akiosd/redact/fictional_phones.py",
        )
    for kind in CHECKED:
        make, family = partial(_unchecked, kind=kind), "CARD" if kind == "CARD_NUMBER" else kind
        family = "CARD" if kind == "CREDIT_CARD" else family
        coin = kind == "BITCOIN_ADDRESS"
        table[kind] = Rule(
            family, make, str if coin else bare, "check digits that are wrong", poured=not coin
        )
    for kind in SECRETS:
        table[kind] = Rule(
            kind, partial(_secret, kind=kind), str, "random, 10^16 of its form at least, or a name"
        )
    return table


_FAMILIES = {"PERSON_NAME": "NAME", "LABELLED_NAME": "NAME", "EMERGENCY_CONTACT": "NAME"}
"""Kinds of which one value may be found as any."""


def rule_of(table: dict[str, Rule], kind: str) -> Rule:
    """The rule of a kind; a kind that is not in the table has a label."""
    if kind in table:
        return table[kind]
    family = _FAMILIES.get(kind, kind)
    return Rule(
        family, partial(_label, kind=family), _one_space, "a label: no such values are kept"
    )
