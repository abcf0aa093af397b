"""What decides which patterns are searched for: it leaves none out, and costs little on any text."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.redact.candidates import Candidate
from akiosd.redact.engine import Engine
from akiosd.redact.first_pass import AROUND, DIGITS, GAP, NUMBERS, FirstPass
from akiosd.redact.model import Pattern
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.re2_search import Choice, Finder, folded, latin
from akiosd.redact.redactor import Redactor
from akiosd.redact.rescan import BESIDE
from akiosd.redact.safe_cut import Tail, before
from akiosd.redact.stream import StreamRedactor
from tests.unit.redact.digit_chains import Chain, beside_chain, chain_of

ENGINE = Engine()
FIRST = FirstPass(PATTERNS, {})
REGEXES = [latin(pattern.trigger or folded(pattern)) for pattern in PATTERNS]
FINDERS = [Finder(regex) for regex in REGEXES]
SEEN = [i for i, p in enumerate(PATTERNS) if (p.trigger or p.regex).isascii()]


def matching(data: bytes) -> set[int]:
    """Which patterns match, asked one by one."""
    return {i for i, one in enumerate(FINDERS) if any(one.spans(data, 0, len(data)))}


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_it_leaves_out_no_example(pattern: Pattern) -> None:
    for text in pattern.yes:
        for beside in ("", " x " * 40, "12 ", "(7) "):
            data = latin_of(f"{beside}{text}{beside[::-1]}")
            assert matching(data) <= set(FIRST.matching(data).places), text


def latin_of(text: str) -> bytes:
    return text.encode("latin-1", "replace")


@given(st.data())
def test_it_leaves_out_no_match(data: st.DataObject) -> None:
    """Matches of a pattern's own expression, with whatever stands beside them."""
    place = data.draw(st.sampled_from(SEEN))
    regex = PATTERNS[place].trigger or PATTERNS[place].regex
    text = data.draw(st.from_regex(re.compile(regex, re.ASCII), fullmatch=True))
    beside = st.text(st.sampled_from("0123456789 -./()+:ab\n"), max_size=12)
    whole = latin_of(data.draw(beside) + text + data.draw(beside))
    assert matching(whole) <= set(FIRST.matching(whole).places)


def test_what_is_a_chain() -> None:
    assert chain_of(r"\b\d{3}[- .]\d{2}[- .]\d{4}\b") == Chain(9, 0, 1, 0)
    assert chain_of(r"(?:\(\d{3}\) ?|\d{3}-)\d{4}(?: ?x\d{1,5})?") == Chain(7, 1, 2, 0)
    assert chain_of(r"account:? ?(\d{6,17})") == Chain(6, 2, 0, 0)
    assert chain_of(r"\d[^0-9]{9}\d") is None and chain_of(r"[A-Z0-9]{9}") is None
    assert chain_of(r"(?:\d{12}|[A-Z]{9})") is None  # one branch has none
    assert chain_of(r"\d\d*[ ]*\d") is None  # any distance
    assert beside_chain(r"\(?\d{5}\)?") == 1 and beside_chain(r"[A-Z]{2}\d{7}") == 2


def test_what_is_called_a_number_is_one() -> None:
    """As the expressions say: every pattern of which it is true, and no other."""
    found = set()
    for pattern in PATTERNS:
        regex = pattern.trigger or pattern.regex
        chain = chain_of(regex)
        if chain is not None and chain.digits >= DIGITS and beside_chain(regex) < AROUND:
            assert chain.gap <= GAP, pattern.name
            found.add(pattern.name)
    assert found == NUMBERS


def test_where_numbers_are_looked_for() -> None:
    away = b"." * 100
    data = away + b"1 2-3 (4) 5" + away + b"1234 abc 5678" + away + b"67-8 90 p"
    numbers = FIRST.numbers(data)
    first, second = numbers.text.split(b"\0")
    assert first == b"." * AROUND + b"1 2-3 (4) 5" + b"." * AROUND
    assert second == b"." * AROUND + b"67-8 90 p"
    assert data[numbers.begin : numbers.end].startswith(first)
    assert data[numbers.begin : numbers.end].endswith(second)
    assert data[numbers.last : numbers.last + DIGITS] == b"-8 90"
    assert FIRST.numbers(b"1234 abc 5678").text == b""


def hostile(letters: str, size: int) -> str:
    choose = random.Random(1)
    return "".join(choose.choice(letters) for _ in range(size))


def seconds(function: Callable[[], object]) -> float:
    begun = time.thread_time()
    function()
    return time.thread_time() - begun


@pytest.mark.parametrize("letters", ["0123456789 ", "0123456789-. ", "0123456789 -./+()"])
def test_numbers_in_any_form_cost_a_part_of_one_search_for_all(letters: str) -> None:
    text = hostile(letters, 1 << 16).encode()
    pieces = [text[at : at + 4096] for at in range(0, len(text), 4096)]
    once, first = Choice(REGEXES), FirstPass(PATTERNS, {})
    together = seconds(lambda: [once.matching(piece) for piece in pieces])
    ours = seconds(lambda: [first.matching(piece) for piece in pieces])
    assert ours < together / 2, (ours, together)


def test_the_place_of_a_cut_is_found_in_one_pass_and_is_the_right_one() -> None:
    choose = random.Random(4)
    pattern = PATTERNS[0]
    for _ in range(2000):
        some = [
            Candidate(pattern, at, at + choose.randint(1, 9), 0, 0, verdict, "", "digital", False)
            for at in (choose.randrange(60) for _ in range(choose.randrange(14)))
            for verdict in (choose.choice((True, False, None)),)
        ]
        cut = choose.randrange(70)
        ends = [c.last + (BESIDE if c.verdict is False and not pattern.loose else 0) for c in some]
        free = (
            place
            for place in range(cut, -1, -1)
            if not any(c.first < place < end for c, end in zip(some, ends, strict=True))
        )
        assert before(some, cut, Tail(70, 70)) == next(free)


def test_numbers_of_which_each_touches_the_next_cost_as_many_times_as_they_are_longer() -> None:
    def cost(count: int) -> float:
        text = "123e4567-e89b-12d3-a456-426614174000 " * count
        return seconds(lambda: StreamRedactor(Redactor(ENGINE, "mask")).push(text))

    cost(10)
    assert cost(3200) < 4 * 8 * max(cost(400), 0.01)


@given(st.data())
def test_a_trigger_is_in_every_match_that_counts(data: st.DataObject) -> None:
    pattern = data.draw(st.sampled_from([p for p in PATTERNS if p.trigger]))
    text = latin_of(data.draw(st.from_regex(re.compile(pattern.regex, re.ASCII), fullmatch=True)))
    found: list[Candidate] = []
    for spans in ENGINE.matches(pattern.name, text, 0, len(text)):
        ENGINE.take(pattern.name, text, spans, found)
    if any(candidate.verdict is not False for candidate in found):
        assert Finder(latin(pattern.trigger)).found(text)
