"""Labelled cases of numbers with check digits, computed here from the published rules and with no
library.

The patterns were not fitted to them: numbers, spellings and sentences come from this file and a
seed alone, and the seed was changed after what the first run showed was mended: Belgian banks that
are in no list, a few types taken for another.  A negative is the same number in the same sentence
with its check digit changed.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Iterator
from typing import NamedTuple

LETTERS = string.ascii_uppercase
Pick = random.Random


class Case(NamedTuple):
    type: str
    text: str
    value: str
    valid: bool


def digits(pick: Pick, count: int, first: str = "123456789") -> str:
    return pick.choice(first) + "".join(pick.choice(string.digits) for _ in range(count - 1))


def groups(text: str, sizes: list[int], glue: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return glue.join([*parts, text[at:]] if at < len(text) else parts)


def luhn(body: str) -> str:
    """ISO/IEC 7812-1 annex B."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def weighted(body: str, weights: tuple[int, ...]) -> int:
    return sum(int(d) * w for d, w in zip(body, weights, strict=True))


def card(pick: Pick) -> str:
    prefix, size = pick.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            ("36", 14),
            ("3528", 16),
            ("62", 16),
            ("6304", 16),
        ]
    )
    body = prefix + "".join(pick.choice(string.digits) for _ in range(size - 1 - len(prefix)))
    number = body + luhn(body)
    sizes = {14: [4, 6, 4], 15: [4, 6, 5], 16: [4, 4, 4, 4]}[size]
    return pick.choice([number, groups(number, sizes, " "), groups(number, sizes, "-")])


def mod97(text: str) -> int:
    return int("".join(str(int(c, 36)) for c in text)) % 97


def bban(pick: Pick, country: str) -> str:
    """The account of a country, with its own check digits where it has some."""
    if country == "DE":
        return digits(pick, 8) + digits(pick, 10, string.digits)
    if country == "GB":
        return "".join(pick.choice(LETTERS) for _ in range(4)) + digits(pick, 14, string.digits)
    if country == "NL":
        while True:
            account = digits(pick, 10, "0")
            if weighted(account, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0:
                return "INGB" + account
    if country == "FR":
        bank, branch, account = digits(pick, 5), digits(pick, 5), digits(pick, 11)
        key = 97 - (89 * int(bank) + 15 * int(branch) + 3 * int(account)) % 97
        return f"{bank}{branch}{account}{key:02d}"
    if country == "BE":
        body = digits(pick, 10)
        return f"{body}{int(body) % 97 or 97:02d}"
    if country == "ES":
        bank, account = digits(pick, 8), digits(pick, 10, string.digits)
        weights = (1, 2, 4, 8, 5, 10, 9, 7, 3, 6)
        keys = [11 - weighted(part, weights) % 11 for part in ("00" + bank, account)]
        return bank + "".join(str({10: 1, 11: 0}.get(key, key)) for key in keys) + account
    return {
        "AT": digits(pick, 16),
        "CH": digits(pick, 17),
        "DK": digits(pick, 14),
        "SE": digits(pick, 20),
    }[country]


def iban(pick: Pick) -> str:
    country = pick.choice(["DE", "GB", "NL", "FR", "BE", "ES", "AT", "CH"])
    account = bban(pick, country)
    number = f"{country}{98 - mod97(account + country + '00'):02d}{account}"
    spaced = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    return pick.choice([number, spaced, spaced.replace(" ", "\u00a0"), number.lower()])


def routing(pick: Pick) -> str:
    body = pick.choice(["01", "02", "04", "06", "11", "12", "25", "31"]) + digits(
        pick, 6, string.digits
    )
    return body + str(-weighted(body, (3, 7, 1, 3, 7, 1, 3, 7)) % 10)


def nhs(pick: Pick) -> str:
    while True:
        body = digits(pick, 9)
        key = 11 - weighted(body, tuple(range(10, 1, -1))) % 11
        if key != 10:
            number = body + str(key % 11)
            return pick.choice(
                [number, groups(number, [3, 3, 4], " "), groups(number, [3, 3, 4], "-")]
            )


def npi(pick: Pick) -> str:
    body = digits(pick, 9, "12")
    return body + luhn("80840" + body)


def dea(pick: Pick) -> str:
    body = digits(pick, 6)
    total = weighted(body, (1, 2, 1, 2, 1, 2))
    return pick.choice("ABFM") + pick.choice(LETTERS) + body + str(total % 10)


def nir(pick: Pick) -> str:
    birth = f"{pick.choice('12')}{pick.randint(30, 99)}{pick.randint(1, 12):02d}"
    body = f"{birth}{pick.randint(1, 19):02d}{pick.randint(1, 800):03d}{pick.randint(1, 990):03d}"
    number = f"{body}{97 - int(body) % 97:02d}"
    return pick.choice([number, groups(number, [1, 2, 2, 2, 3, 3, 2], " ")])


def tax_id_de(pick: Pick) -> str:
    """§ 139b AO: of the first ten digits one is there twice, the others once at most."""
    ten = pick.sample(string.digits, 9)
    ten.insert(pick.randrange(1, 10), pick.choice(ten))
    if ten[0] == "0":
        return tax_id_de(pick)
    product = 10
    for digit in ten:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    number = "".join(ten) + str((11 - product) % 10)
    return pick.choice([number, groups(number, [2, 3, 3, 3], " ")])


def kvnr(pick: Pick) -> str:
    letter, body = pick.choice(LETTERS), digits(pick, 8)
    plain = f"{ord(letter) - 64:02d}{body}"
    total = sum(
        (int(d) * w - 1) % 9 + 1 if int(d) * w else 0
        for d, w in zip(plain, (1, 2) * 5, strict=True)
    )
    return f"{letter}{body}{total % 10}"


def vin(pick: Pick) -> str:
    alphabet = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    numbers = [*range(10), *range(1, 9), 1, 2, 3, 4, 5, 7, 9, *range(2, 10)]
    values = dict(zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", numbers, strict=True))
    body = [pick.choice(alphabet) for _ in range(13)] + list(digits(pick, 4, string.digits))
    body[0] = pick.choice("123JWZ")
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    rest = sum(values[c] * w for c, w in zip(body, weights, strict=True)) % 11
    body[8] = "X" if rest == 10 else str(rest)
    return "".join(body)


def imei(pick: Pick) -> str:
    body = pick.choice(["35", "86", "01"]) + digits(pick, 12, string.digits)
    return body + luhn(body)


def pesel(pick: Pick) -> str:
    body = f"{pick.randint(40, 99)}{pick.randint(1, 12):02d}{pick.randint(1, 28):02d}{digits(pick, 4, string.digits)}"
    return body + str(-weighted(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def sin_ca(pick: Pick) -> str:
    body = digits(pick, 8, "1234567")
    return pick.choice([" ", "-"]).join([body[:3], body[3:6], body[6:] + luhn(body)])


def ahv(pick: Pick) -> str:
    body = "756" + digits(pick, 9, string.digits)
    number = body + str(-weighted(body, (1, 3) * 6) % 10)
    return pick.choice([number, groups(number, [3, 4, 4, 2], ".")])


def hetu(pick: Pick) -> str:
    day = f"{pick.randint(1, 28):02d}{pick.randint(1, 12):02d}{pick.randint(30, 99)}"
    serial = f"{pick.randint(2, 899):03d}"
    return f"{day}-{serial}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(day + serial) % 31]}"


def dni(pick: Pick) -> str:
    number = digits(pick, 8)
    return number + pick.choice(["", "-"]) + "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


def bsn(pick: Pick) -> str:
    while True:
        body = digits(pick, 8)
        key = weighted(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
        if key < 10:
            return body + str(key)


def bitcoin(pick: Pick) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    payload = bytes([pick.choice([0, 5])]) + pick.randbytes(20)
    whole = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(whole), ""
    while number:
        number, rest = divmod(number, 58)
        text = alphabet[rest] + text
    return "1" * (len(whole) - len(whole.lstrip(b"\0"))) + text


ANY = (
    "{}", "Here it is: {}.", "({})", "I paid with {} yesterday, please check", 'value="{}"', "old\t{}\tnew",
    "{}, thanks!",
)  # fmt: skip
TYPES: dict[str, tuple[Callable[[Pick], str], tuple[str, ...]]] = {
    "CREDIT_CARD": (card, ANY),
    "IBAN": (iban, ANY),
    "BITCOIN_ADDRESS": (bitcoin, ANY),
    "VIN": (vin, ANY),
    "FR_NIR": (nir, ANY),
    "US_DEA": (dea, ANY),
    "CH_AHV": (ahv, ANY),
    "FI_HETU": (hetu, ANY),
    "US_ROUTING_NUMBER": (
        routing,
        ("{}", "the bank's routing number, {}", "ABA {}", "Wire to {} please"),
    ),
    "UK_NHS": (nhs, ("{}", "her NHS number is {}", "NHS no. {}", "{} is the patient")),
    "US_NPI": (npi, ("the provider (NPI {})", "npi={}", "National provider identifier: {}")),
    "DE_TAX_ID": (tax_id_de, ("Meine Steuer-ID lautet {}", "IdNr {}", "Identifikationsnummer: {}")),
    "DE_HEALTH_INSURANCE": (kvnr, ("{}", "Krankenkasse, Nummer {}", "KVNR {}")),
    "IMEI": (imei, ("the handset's IMEI is {}", "IMEI: {}", "device {}")),
    "PL_PESEL": (pesel, ("PESEL: {}", "numer pesel {}", "mój PESEL to {}")),
    "CA_SIN": (sin_ca, ("my social insurance number: {}", "SIN {}", "NAS: {}")),
    "ES_NIF": (dni, ("mi DNI es {}", "NIF: {}", "identidad {}")),
    "NL_BSN": (bsn, ("mijn BSN is {}", "burgerservicenummer: {}")),
}


def spoiled(pick: Pick, value: str) -> str:
    """``value`` with another last letter or digit; of its kind."""
    places = [at for at, character in enumerate(value) if character.isalnum()]
    at = (
        places[8]
        if len(places) == 17 and value[0].isalnum() and value.isalnum() and value.isupper()
        else places[-1]
    )
    kind = (
        string.digits
        if value[at].isdigit()
        else LETTERS
        if value[at].isupper()
        else string.ascii_lowercase
    )
    other = pick.choice([c for c in kind if c != value[at]])
    return value[:at] + other + value[at + 1 :]


def cases(count: int = 150, seed: int = 77) -> Iterator[Case]:
    """``count`` of each type, and as many spoiled."""
    pick = random.Random(seed)
    for name, (make, sentences) in TYPES.items():
        for _ in range(count):
            value, sentence = make(pick), pick.choice(sentences)
            wrong = spoiled(pick, value)
            yield Case(name, sentence.format(value), value, True)
            yield Case(name, sentence.format(wrong), wrong, False)
