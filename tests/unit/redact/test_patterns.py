"""Every pattern finds its examples and leaves what only looks like them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from akiosd.redact.engine import OVERLAP, Engine
from akiosd.redact.model import CATEGORIES, Pattern, RedactError
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.re2_search import Finder, folded, latin

ENGINE = Engine()


def types(text: str) -> list[str]:
    return [span.type for span in ENGINE.find(text)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_examples(pattern: Pattern) -> None:
    for text in pattern.yes:
        assert pattern.name in types(text), text
    for text in pattern.no:
        assert pattern.name not in types(text), text


def test_both_ways_to_the_matches_agree() -> None:
    """The binding's own search, and what is used where a version of it has none."""
    text = " ".join(text for pattern in PATTERNS for text in pattern.yes).encode(
        "latin-1", "replace"
    )
    for pattern in PATTERNS:
        direct, other = Finder(latin(folded(pattern))), Finder(latin(folded(pattern)))
        assert direct.search != other._with_objects
        other.search = other._with_objects
        assert list(direct.spans(text, 3, len(text) - 3)) == list(
            other.spans(text, 3, len(text) - 3)
        )


def test_there_are_44_names_in_six_categories() -> None:
    names = [pattern.name for pattern in PATTERNS]
    assert len(set(names)) == len(names) >= 44
    assert {pattern.category for pattern in PATTERNS} == set(CATEGORIES)
    for pattern in PATTERNS:
        assert pattern.yes and pattern.no and pattern.description and pattern.source, pattern.name
        assert not pattern.weak or pattern.context or pattern.lone, (
            f"{pattern.name} could never be found"
        )


@pytest.mark.parametrize("pattern", ENGINE.patterns, ids=lambda p: p.name)
def test_no_pattern_matches_a_wall(pattern: Pattern) -> None:
    """Every set of characters says so: that what is masked is never looked into rests on it."""
    import re._parser as sre

    def sets(nodes: Any) -> Iterator[str]:
        for op, value in nodes:
            name = str(op)
            assert name not in ("ANY", "NOT_LITERAL", "ASSERT"), name
            if name == "IN":
                yield str([(str(op), str(v)) for op, v in value])
                assert (str(value[0][0]) == "NEGATE") == any(
                    v == 0 for o, v in value if str(o) == "LITERAL"
                ), value
            elif name == "LITERAL":
                assert value != 0
            elif name == "BRANCH":
                for branch in value[1]:
                    yield from sets(branch)
            elif name in ("SUBPATTERN", "MAX_REPEAT", "MIN_REPEAT"):
                yield from sets(value[-1])

    list(sets(sre.parse(pattern.regex)))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_what_is_longer_than_the_overlap_of_blocks_has_a_trigger(pattern: Pattern) -> None:
    import re._parser as sre

    assert pattern.trigger or sre.parse(pattern.regex).getwidth()[1] < OVERLAP


# A number of a type with a check digit, and a digit of it to change.
CHECKED = [
    ("CREDIT_CARD", "4012888888881881"),
    ("CREDIT_CARD", "378282246310005"),
    ("IBAN", "DE89370400440532013000"),
    ("IBAN", "GB82WEST12345698765432"),
    ("US_ROUTING_NUMBER", "121000358"),
    ("UK_NHS", "9434765919"),
    ("US_NPI", "1245319599"),
    ("US_DEA", "BB1388568"),
    ("FR_NIR", "295109912611193"),
    ("DE_TAX_ID", "36574261809"),
    ("DE_HEALTH_INSURANCE", "A123456780"),
    ("DE_PENSION_INSURANCE", "65070803A019"),
    ("VIN", "1HGCM82633A004352"),
    ("IMEI", "490154203237518"),
    ("PL_PESEL", "44051401458"),
    ("CA_SIN", "130692544"),
    ("CH_AHV", "7569217076985"),
    ("EU_VAT", "DE136695976"),
]


@pytest.mark.parametrize(("name", "number"), CHECKED)
def test_a_wrong_check_digit_is_not_that_type(name: str, number: str) -> None:
    assert name in types(number)
    for wrong in range(10):
        changed = number[:-1] + str(wrong)
        if changed != number:
            assert name not in types(changed), changed


def test_context_must_be_near() -> None:
    assert types("routing 121000358 here") == ["US_ROUTING_NUMBER"]
    assert types("routing" + " word" * 20 + " 121000358 here") == []


def test_a_value_of_the_project_is_left() -> None:
    assert Engine(allow_values=["Test@Example.com"]).find("mail test@example.com") == []


def test_switches_take_names_and_categories() -> None:
    assert Engine(disable=["email"]).find("mail test@example.com") == []
    assert Engine(disable=["personal"]).find("mail test@example.com") == []
    with pytest.raises(RedactError, match="NOPE"):
        Engine(disable=["nope"])


def test_the_higher_priority_wins_an_overlap() -> None:
    assert types("postgres://ada:s3cretpw@db.example.org/x") == ["URL_PASSWORD"]
    assert types("Authorization: Bearer sk-ant-api03-R2D2c3po4life_abcdefghij-klmnopqrstuv") == [
        "ANTHROPIC_KEY"
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mail ada\u200b@exam\u00adple.org now", "ada\u200b@exam\u00adple.org"),
        ("card ４０１２８８８８８８８８１８８１.", "４０１２８８８８８８８８１８８１"),
        ("card 4012\u20118888\u20118888\u20111881.", "4012\u20118888\u20118888\u20111881"),
        (
            "iban DE89\u00a03704\u202f0044\u20090532 0130 00.",
            "DE89\u00a03704\u202f0044\u20090532 0130 00",
        ),
        ("q=ada%40example.org&x", "ada%40example.org"),
        ('{"m": "ada\\u0040example.org"}', "ada\\u0040example.org"),
        ("ada&#64;example.org", "ada&#64;example.org"),
        ("ada&commat;example.org", "ada&commat;example.org"),
        ("line\\nada@example.org\\n", "ada@example.org"),
    ],
)
def test_disguises_are_undone_and_offsets_map_back(text: str, value: str) -> None:
    (span,) = ENGINE.find(text)
    assert text[span.start : span.end] == value


def test_one_layer_of_base64_is_read() -> None:
    text = "data TXkgY2FyZCBpcyA0MDEyODg4ODg4ODgxODgxIGFuZCBtb3Jl end"
    (span,) = ENGINE.find(text)
    assert (
        span.type == "CREDIT_CARD" and span.reason == "inside base64" and text[span.end :] == " end"
    )
