"""A stream gives what the whole text gives, however it is cut."""

from __future__ import annotations

import itertools

import pytest
from akiosd.redact.engine import Engine
from akiosd.redact.model import Pattern
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.pseudonyms import Pseudonyms, StreamRestorer
from akiosd.redact.redactor import Redactor
from akiosd.redact.stream import StreamRedactor
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.redact.texts import LISTS, TEXTS, VALUES

ENGINE = Engine()
MASK = Redactor(ENGINE, "mask")
KEY = bytes(range(32))


def streamed(redactor: Redactor, chunks: list[str]) -> tuple[str, StreamRedactor]:
    channel = StreamRedactor(redactor)
    return "".join(map(channel.push, chunks)) + channel.flush(), channel


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_every_split_of_every_example(pattern: Pattern) -> None:
    for text in (*pattern.yes, *pattern.no):
        whole = MASK.redact(text)
        for at in range(len(text) + 1):
            safe, channel = streamed(MASK, [text[:at], text[at:]])
            assert safe == whole.text, (text[:at], text[at:])
            assert tuple(channel.spans) == whole.spans
        assert streamed(MASK, list(text))[0] == whole.text


@settings(max_examples=150, deadline=None)
@given(TEXTS | LISTS, st.lists(st.integers(0, 400), max_size=8))
def test_split_invariance(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    chunks = [text[a:b] for a, b in itertools.pairwise(places)]
    whole = MASK.redact(text)
    safe, channel = streamed(MASK, chunks)
    assert safe == whole.text and tuple(channel.spans) == whole.spans


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.lists(st.integers(0, 400), max_size=8))
def test_stand_ins_that_come_back_stay_in_pieces_too(
    first: str, then: str, cuts: list[int]
) -> None:
    redactor = Redactor(ENGINE, "pseudonym", Pseudonyms(KEY))
    text = redactor.redact(first).text + then + redactor.redact(first).text
    whole = redactor.redact(text)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    safe, channel = streamed(redactor, [text[a:b] for a, b in itertools.pairwise(places)])
    assert safe == whole.text and tuple(channel.spans) == whole.spans


def test_ten_thousand_stand_ins_are_taken_back() -> None:
    """One by one for each place of the text would take minutes."""
    pseudonyms = Pseudonyms(KEY)
    given = [pseudonyms.give(f"ada{n}@example.org", "EMAIL") for n in range(10_000)]
    text = " und é ".join(given) * 3
    assert (
        pseudonyms.restore(text) == " und é ".join(f"ada{n}@example.org" for n in range(10_000)) * 3
    )


@pytest.mark.parametrize("gap", [" ", ", "])
@pytest.mark.parametrize("value", [*VALUES[:6], "12 34", "ssn 078-05-1123", "account 12345678"])
def test_a_list_passes_one_by_one(value: str, gap: str) -> None:
    text = gap.join([value] * 300)
    channel, safe, most = StreamRedactor(MASK), "", 0
    for at in range(0, len(text), 16):
        safe += channel.push(text[at : at + 16])
        most = max(most, channel.held)
    assert safe + channel.flush() == MASK.redact(text).text
    assert most <= 400


def test_prose_is_passed_on_word_by_word() -> None:
    channel = StreamRedactor(MASK)
    prose = "the quick brown fox jumps over the lazy dog and then it sleeps in the warm sun all day"
    for word in prose.split():
        channel.push(word + " ")
        assert channel.held <= 8


def test_channels_do_not_mix() -> None:
    channels = [StreamRedactor(MASK) for _ in range(50)]
    texts = [f"user {n} wrote ada{n}@example.org today" for n in range(50)]
    safe = [""] * 50
    for at in range(0, 60, 3):
        for n, channel in enumerate(channels):
            safe[n] += channel.push(texts[n][at : at + 3])
    for n, channel in enumerate(channels):
        assert safe[n] + channel.flush() == f"user {n} wrote [EMAIL] today"


def test_block_ends_a_stream() -> None:
    safe, channel = streamed(
        Redactor(ENGINE, "block"), ["hello there, ", "mail ada@example.org ", "and more"]
    )
    assert channel.blocked and "ada" not in safe and "more" not in safe


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=40))
def test_a_reply_is_restored_however_it_is_cut(sizes: list[int]) -> None:
    pseudonyms = Pseudonyms(KEY)
    text = "Write to ada@example.org or call +1 415 555 0132, card 4012888888881881."
    reply = Redactor(ENGINE, "pseudonym", pseudonyms).redact(text).text
    assert "ada@" not in reply and "0132" not in reply and "4012888888881881" not in reply
    restorer, safe, at = StreamRestorer(pseudonyms), "", 0
    for size in sizes:
        safe += restorer.push(reply[at : at + size])
        at += size
    assert safe + restorer.push(reply[at:]) + restorer.flush() == text


def test_context_reaches_over_a_weak_finding_in_pieces_too() -> None:
    text = "twitter: @grace_htwitter: @grace_h"
    assert streamed(MASK, list(text))[0] == MASK.redact(text).text
