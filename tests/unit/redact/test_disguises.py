"""Personal data in other clothes: what people, encoders and mail programs make of it."""

from __future__ import annotations

import base64
import itertools
from urllib.parse import quote

import pytest
from akiosd.redact.engine import Engine
from akiosd.redact.redactor import Redactor
from akiosd.redact.stream import StreamRedactor

MASK = Redactor(Engine(), "mask")
MAIL = "ada.lovelace@example.org"
CARD = "4012888888881881"
IBAN = "DE89370400440532013000"


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def every(form: str, text: str = MAIL) -> str:
    return "".join(form.format(ord(c)) for c in text)


WHOLE = {
    "zero width": ("ada\u200b.love\u200dlace@exa\ufeffmple.org", "EMAIL"),
    "zero width in a card": ("4\u200b012888\u2060888881881", "CREDIT_CARD"),
    "direction marks": ("ada.lovelace\u202a@example.org", "EMAIL"),
    "full width": (full_width(MAIL), "EMAIL"),
    "full width IBAN": (full_width(IBAN), "IBAN"),
    "full width key": (
        full_width("sk-ant-api03-R2D2c3po4life_abcdefghij-klmnopqrstuv"),
        "ANTHROPIC_KEY",
    ),
    "bold letters": (
        "".join(chr(0x1D41A + ord(c) - 97) if c.isalpha() else c for c in MAIL),
        "EMAIL",
    ),
    "bold digits": ("".join(chr(0x1D7CE + int(c)) for c in CARD), "CREDIT_CARD"),
    "raised digits": ("".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(c)] for c in CARD), "CREDIT_CARD"),
    "arabic digits": ("".join(chr(0x660 + int(c)) for c in CARD), "CREDIT_CARD"),
    "ideographic dot": ("ada@example。org", "EMAIL"),
    "cyrillic letters": ("аdа@exаmple.org", "EMAIL"),
    "another alphabet": ("иван@пример.рф", "EMAIL"),
    "no-break spaces": ("4012\u00a08888\u202f8888\u20091881", "CREDIT_CARD"),
    "tabs": ("4012\t8888\t8888\t1881", "CREDIT_CARD"),
    "the end of a line": ("4012 8888\r\n8888 1881", "CREDIT_CARD"),
    "plus signs of a form": ("4012+8888+8888+1881", "CREDIT_CARD"),
    "JSON": (every("\\u{:04x}"), "EMAIL"),
    "JSON twice": ("ada.lovelace\\\\u0040example.org", "EMAIL"),
    "JSON in JSON in JSON": ("ada.lovelace\\\\\\\\u0040example.org", "EMAIL"),
    "C": (every("\\x{:02x}"), "EMAIL"),
    "Python": (every("\\U{:08x}"), "EMAIL"),
    "JavaScript": (every("\\u{{{:x}}}"), "EMAIL"),
    "percent": (every("%{:02X}"), "EMAIL"),
    "percent twice": (quote(every("%{:02x}"), safe=""), "EMAIL"),
    "percent thrice": ("ada%252540example%25252Eorg", "EMAIL"),
    "percent in a card": ("4012%208888%208888%201881", "CREDIT_CARD"),
    "HTML": (every("&#{};"), "EMAIL"),
    "HTML, hexadecimal": (every("&#x{:X};"), "EMAIL"),
    "HTML with zeros": ("ada&#00064;example&period;org", "EMAIL"),
    "HTML without an end": ("ada&#64example.org", "EMAIL"),
    "HTML twice": ("ada&amp;#64;example.org", "EMAIL"),
    "base64": (base64.b64encode(MAIL.encode()).decode(), "EMAIL"),
    "base64 without padding": (
        base64.b64encode(f"to {MAIL}".encode()).decode().rstrip("="),
        "EMAIL",
    ),
    "base64 for URLs": (base64.urlsafe_b64encode(f"ü~~~ {MAIL} ???>>>".encode()).decode(), "EMAIL"),
    "base64 of a number": (base64.b64encode(CARD.encode()).decode(), "CREDIT_CARD"),
    "short base64": (base64.b64encode(b"ssn 078-05-1123").decode(), "US_SSN"),
    "IBAN in pairs": ("DE 89 37 04 00 44 05 32 01 30 00", "IBAN"),
    "IBAN in lines": ("DE89 3704 0044\n0532 0130 00", "IBAN"),
    "IBAN with dots": ("DE89.3704.0044.0532.0130.00", "IBAN"),
    "phone in brackets": ("+44(0)2079460958", "PHONE_INTERNATIONAL"),
    "phone with an extension": ("+1 415 555 0132x44", "PHONE_INTERNATIONAL"),
    "phone of a form": ("%2B44+20+7946+0958", "PHONE_INTERNATIONAL"),
    "phone with dots": ("020.7946.0958", "PHONE_UK"),
    "Unicode dashes": ("415–555–0132", "PHONE_US"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_all_of_it_is_masked(name: str) -> None:
    text, kind = WHOLE[name]
    for before, after in (("", ""), ("see ", " there"), ('{"x": "', '"}')):
        assert MASK.redact(f"{before}{text}{after}").text == f"{before}[{kind}]{after}"
        channel = StreamRedactor(MASK)
        safe = "".join(map(channel.push, f"{before}{text}{after}")) + channel.flush()
        assert safe == f"{before}[{kind}]{after}"


@pytest.mark.parametrize("dash", "‐‑‒–—−﹣－")
def test_dashes(dash: str) -> None:
    assert MASK.redact(f"ssn 078{dash}05{dash}1123.").text == "ssn [US_SSN]."


@pytest.mark.parametrize("width", [64, 76])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n", "\n    "])
def test_base64_in_lines(width: int, end: str) -> None:
    """Wherever in its line the address begins, nothing readable of it is left."""
    for place in range(100, 100 + width):
        body = base64.b64encode(
            (b"lorem ipsum dolor " * 20)[:place] + b" bob@lovelace.org " + b"sit amet " * 20
        ).decode()
        text = end.join(body[at : at + width] for at in range(0, len(body), width))
        safe = MASK.redact(text).text
        assert "[EMAIL]" in safe
        left = "".join(safe.replace("\\n", "\n").replace("[EMAIL]", "").split())
        assert body[(place + 1) // 3 * 4 + 4 : (place + 16) // 3 * 4 - 4] not in left
        channel, cuts = (
            StreamRedactor(MASK),
            sorted({0, *range(place % 7, len(text), 37), len(text)}),
        )
        assert (
            "".join(channel.push(text[a:b]) for a, b in itertools.pairwise(cuts)) + channel.flush()
            == safe
        )
