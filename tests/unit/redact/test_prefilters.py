"""What is left out before a pattern is searched for changes no answer.

The engine asks a few sets of expressions which patterns may match, and looks for those of numbers
only where digits are. Here every pattern is searched for in all of the text, one after the other,
with the binding's own ``finditer``; both must find the same, in whatever is written here.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stdnum import luhn

from akiosd.redact.candidates import Candidate
from akiosd.redact.engine import BLOCK, OVERLAP, Engine, Rest
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.validators.addresses import check_ipv4, is_example_ipv4
from akiosd.redact.validators.common import has_luhn_digit
from tests.unit.redact import heldout, labelled, ordinary
from tests.unit.redact.prose import prose
from tests.unit.redact.test_corpora import CASES, NOREN, PRESIDIO
from tests.unit.redact.texts import EXAMPLES, LISTS, TEXTS


class Plain(Engine):
    """The same, with nothing that decides beforehand what is searched for."""

    def candidates(
        self,
        data: bytes,
        position: int,
        more: bool = False,
        rest: Rest | None = None,
        within: bool = False,
        done: Mapping[str, int] | None = None,
        short: bool = False,
    ) -> list[Candidate]:
        assert not position and not more and rest is None and not done
        found: list[Candidate] = []
        for index, finder in enumerate(self._finders[:-2] if within else self._finders):
            for match in finder._regex.finditer(data):
                spans = [match.span(group) for group in range(finder._regex.groups + 1)]
                self._take(index, data, spans, found)
        return found


ENGINE, PLAIN = Engine(), Plain()


def same(text: str) -> None:
    assert ENGINE.find(text) == PLAIN.find(text), text


def changed(text: str, choose: random.Random) -> str:
    """One character is another, is twice, is gone, or has something before it."""
    at = choose.randrange(len(text) + 1)
    new = choose.choice(["", "0", "7", " ", "-", ".", "a", "\n", text[at : at + 1] * 2])
    return text[:at] + new + text[at + choose.randint(0, 1) :]


def corpora() -> Iterator[str]:
    yield from EXAMPLES
    yield from (case.text for case in heldout.cases(40, seed=3))
    for form in (*labelled.PASSWORDS.values(), *labelled.MORE_PASSWORDS, *labelled.KEYS.values()):
        yield form.replace("{}", labelled.SECRET)
    yield from labelled.ORDINARY


def long_texts() -> dict[str, str]:
    """Such as are searched block by block, findings at every place of a block."""
    values = [case.text for case in heldout.cases(60, seed=5)] + EXAMPLES
    choose = random.Random(2)
    pieces = [
        piece
        for _ in range(400)
        for piece in (choose.choice(values), prose(choose.randint(1, 400), choose.randrange(9)))
    ]
    return {
        "values": " ".join(choose.choice(values) for _ in range(2000)),
        "values in prose": " ".join(pieces),
        "digits": "".join(choose.choice("0123456789 -./()") for _ in range(20000)),
        "digits in words": "".join(choose.choice("0123456789 ab") for _ in range(20000)),
        **{name: text[:60000] for name, text in ordinary.long_content().items()},
    }


LONG = long_texts()


def test_on_what_is_labelled() -> None:
    choose = random.Random(1)
    for text in corpora():
        same(text)
        same(changed(text, choose))
        same(f"{prose(300)} {changed(text, choose)} {prose(300, 2)}")


@pytest.mark.skipif(not CASES.exists(), reason="the labelled cases shared/pii are absent")
def test_on_the_labelled_cases_of_others() -> None:
    choose = random.Random(1)
    files = [PRESIDIO, *sorted(NOREN.glob("*.json"))]
    for case in (case for file in files if file.exists() for case in json.loads(file.read_text())):
        same(case["text"])
        same(changed(case["text"], choose))


@pytest.mark.parametrize("name", LONG)
def test_on_long_texts(name: str) -> None:
    assert len(LONG[name]) > BLOCK + OVERLAP
    same(LONG[name])


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXTS, LISTS))
@example("1" * 9)
@example("x" * 60 + " 1-2-3-4-5 078051123 ssn")
def test_on_any_text(text: str) -> None:
    same(text)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_on_what_a_pattern_matches_and_what_nearly_does(data: st.DataObject) -> None:
    pattern = data.draw(st.sampled_from(PATTERNS))
    text = data.draw(st.from_regex(re.compile(pattern.regex, re.ASCII), fullmatch=True))
    choose = random.Random(data.draw(st.integers(0, 1 << 20)))
    word = data.draw(st.sampled_from((*pattern.context, "", "x" * 70)))
    beside = data.draw(st.text(st.sampled_from("0123456789 -./()ab\n"), max_size=50))
    for value in (text, changed(text, choose)):
        same(f"{word} {value}{beside}")
        same(f"{beside}{value} {word}")


@given(st.text("0123456789", min_size=1, max_size=24))
def test_the_luhn_digit_is_that_of_others(digits: str) -> None:
    assert has_luhn_digit(digits) == luhn.is_valid(digits)


OCTETS = st.one_of(
    st.integers(0, 255).map(str),
    st.sampled_from((0, 127, 169, 254, 192, 198, 203, 224, 239, 240, 255, 256, 1000)).map(str),
    st.text("0123456789", max_size=3),
)


@settings(max_examples=1000)
@given(st.lists(OCTETS, min_size=3, max_size=5).map(".".join), st.sampled_from(["", "/24", "/8"]))
@example("169.254.169.254", "")
@example("255.255.240.0", "")
def test_an_address_is_what_the_library_takes_for_one(text: str, prefix: str) -> None:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        assert check_ipv4(text + prefix) is False
        with pytest.raises(ValueError, match="not an IPv4 address"):
            is_example_ipv4(text + prefix)
        return
    mask = re.fullmatch("1{8}1*0*", f"{int(address):032b}") is not None
    everyones = address.is_loopback or address.is_multicast or text.startswith("0.") or mask
    assert check_ipv4(text + prefix) is not (everyones or text == "169.254.169.254")
