"""What was found once in a cage is found everywhere in it: later, and before in the same text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known, is_distinctive
from akiosd.redact.model import RedactError
from akiosd.redact.normalise import View
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor, Remembering
from akiosd.redact.stream import StreamRedactor
from tests.unit.redact.texts import TEXTS

ENGINE = Engine()
SECRET = "hunter22!"
KEY = bytes(range(32))


def cage() -> Redactor:
    return Redactor(ENGINE, "mask", known=Known())


def streamed(redactor: Redactor, text: str, cuts: list[int]) -> str:
    channel = StreamRedactor(redactor)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return "".join(channel.push(text[a:b]) for a, b in itertools.pairwise(places)) + channel.flush()


def test_the_second_occurrence_and_one_before_the_first() -> None:
    text = f"try {SECRET} first\npassword: {SECRET}\nlog in with {SECRET}."
    assert Redactor(ENGINE, "mask").redact(text).text.count(SECRET) == 2, (
        "the control: without a memory they stay"
    )
    redactor = cage()
    assert (
        redactor.redact(text).text
        == "try [PASSWORD] first\npassword: [PASSWORD]\nlog in with [PASSWORD]."
    )
    assert (
        redactor.redact(f"and then {SECRET}, in another text").text
        == "and then [PASSWORD], in another text"
    )
    assert cage().redact(f"log in with {SECRET}").text == f"log in with {SECRET}", (
        "the control: another cage"
    )


@pytest.mark.parametrize(
    ("first", "then", "safe"),
    [
        ("password: Xk9$mm2p", "it was xK9$MM2P!", "it was [PASSWORD]!"),
        (
            "password: Xk9$mm2p",
            "xXk9$mm2p and Xk9$mm2pq are others",
            "xXk9$mm2p and Xk9$mm2pq are others",
        ),
        ("api_key: f3a9c1b27d8e4056a1b2", "k\\u003df3a9c1b27d8e4056a1b2", "k\\u003d[API_KEY]"),
        ("account number 945456787654", "pay 9454 5678 7654 now", "pay [BANK_ACCOUNT] now"),
        ("account number 945456787654", "pay 19454 5678 7654 now", "pay 19454 5678 7654 now"),
        ("my name is Grace Hopper", "then grace hopper came", "then [LABELLED_NAME] came"),
        ("postgres://admin:s3cr3tPw@db.example/app", "psql with s3cr3tPw", "psql with [PASSWORD]"),
        ("account 12345678", "12345678 is a row", "12345678 is a row"),
    ],
)
def test_spellings(first: str, then: str, safe: str) -> None:
    redactor = cage()
    assert redactor.redact(first).spans
    assert redactor.redact(then).text == safe


COMMON = [
    "1234",
    "123456",
    "1234567",
    "0000000",
    "abc123",
    "kubernetes",
    "swordfishes",
    "A1B2",
    "hello",
    "v1.2.3",
]


@pytest.mark.parametrize("value", COMMON)
def test_what_is_short_or_common_is_not_remembered(value: str) -> None:
    assert not is_distinctive(value)
    known = Known()
    assert (
        known.learn(value, "PASSWORD", "digital", False) == b""
        and known.places(value.encode()) == []
    )


@pytest.mark.parametrize(
    "value", [SECRET, "tr0ub4dor", "078051121", "Ada Lovelace", "correct horse battery staple"]
)
def test_what_is_distinctive_is(value: str) -> None:
    assert is_distinctive(value)


def test_letters_that_the_plain_form_does_not_tell_apart() -> None:
    redactor, value = cage(), "Иван Петров"
    assert redactor.known is not None
    redactor.known.learn(value, "PERSON_NAME", "personal", False)
    assert redactor.redact(f"от {value}, {value.upper()}").text == "от [PERSON_NAME], [PERSON_NAME]"
    assert redactor.redact("от Олег Сидоров").text == "от Олег Сидоров"
    assert redactor.redact("от Олег Петров").text == "от Олег Петров", (
        "the control: the same in the plain form"
    )
    assert View("Олег Петров").data == View(value).data


def test_the_memory_is_bounded_and_a_full_one_refuses() -> None:
    redactor = Redactor(ENGINE, "mask", known=Known(most=50))
    for number in range(50):
        redactor.redact(f"password: pw-{number}-x{number:04d}")
    assert (
        redactor.redact("password: pw-7-x0007, mail ada@example.org").text
        == "password: [PASSWORD], mail [EMAIL]"
    )
    assert redactor.redact("call +1 415 555 0132").text == "call [PHONE_INTERNATIONAL]", (
        "found by its form again"
    )
    with pytest.raises(RedactError, match="50 different pieces of personal data"):
        redactor.redact("password: oneT00many")


def test_thousands_are_found_and_none_is_lost() -> None:
    known = Known()
    values = [f"pw-{number * 7919}-x{number:05d}" for number in range(9000)]
    for number, value in enumerate(values):
        known.learn(value, "PASSWORD", "digital", False)
        if number % 500 == 0:
            assert known.places(f"a {value} b".encode())
    text = " and ".join(values)
    assert [text[p.start : p.end] for p in known.places(text.encode())] == values


def test_a_text_that_was_read_is_read_again_when_more_is_known() -> None:
    for mode in ("mask", "pseudonym"):
        redactor = Remembering(ENGINE, mode, Pseudonyms(KEY), known=Known())
        assert SECRET in redactor.read(f"log in with {SECRET}").text
        assert SECRET not in redactor.read(f'{{"password": "{SECRET}"}}').text
        assert SECRET not in redactor.read(f"log in with {SECRET}").text
        assert redactor.has(SECRET)


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_redacting_twice_changes_nothing(text: str) -> None:
    redactor = cage()
    once = redactor.redact(f"{text} {text}").text
    assert redactor.redact(once).text == once


PIECES = st.lists(
    st.sampled_from(
        [
            f"password: {SECRET}",
            SECRET,
            f"x {SECRET}",
            f"{SECRET}x",
            "account number 945456787654",
            "9454 5678 7654",
            "945456787654",
            "my name is Grace Hopper",
            "Grace Hopper",
            " ",
            "\n",
            ", ",
            "ssn ",
            "078051121",
            "Иван Петров",
            "token: ",
            "f3a9c1b27d8e4056a1b2",
            "\\u0068unter22!",
            "hunter",
            "22!",
            "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
        ]
    )
    | TEXTS,
    max_size=12,
).map("".join)


@settings(max_examples=120, deadline=None)
@given(PIECES, st.lists(st.integers(0, 500), max_size=10), st.booleans())
def test_a_stream_gives_the_same_however_it_is_cut(
    text: str, cuts: list[int], before: bool
) -> None:
    def redactor() -> Redactor:
        made = cage()
        if before:
            made.redact(f"password: {SECRET} ssn 078051121")
        return made

    text += " and so on" * 10
    whole = streamed(redactor(), text, [])
    assert streamed(redactor(), text, cuts) == whole
    assert streamed(redactor(), text, list(range(len(text)))) == whole


@pytest.mark.parametrize("cuts", [[], [30], list(range(99))])
def test_a_stream_knows_what_it_has_found(cuts: list[int]) -> None:
    more = " and so on" * 30
    text = f"before {SECRET}, password: {SECRET}, after {SECRET}.{more}"
    assert (
        streamed(cage(), text, cuts)
        == f"before {SECRET}, password: [PASSWORD], after [PASSWORD].{more}"
    )
