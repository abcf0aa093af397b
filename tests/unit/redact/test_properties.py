"""What holds for every text."""

from __future__ import annotations

import itertools

import pytest
from akiosd.redact.engine import Engine
from akiosd.redact.model import MAX_CHARACTERS, RedactError
from akiosd.redact.normalise import View
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.redact.texts import TEXTS

ENGINE = Engine()
MASK = Redactor(ENGINE, "mask")
KEY = bytes(range(32))


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_masking_twice_changes_nothing(text: str) -> None:
    once = MASK.redact(text).text
    assert MASK.redact(once).text == once


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("password: hunter2!(0161) 496 0000", "password: [PASSWORD][PHONE_UK]"),
        ("password: a1b2c3[EMAIL]d4", "password: [PASSWORD][EMAIL]d4"),
        ("ssn [EMAIL] 078051123", "ssn [EMAIL] 078051123"),
        ("arr[EMAILS] is no mask: 4012888888881881", "arr[EMAILS] is no mask: [CREDIT_CARD]"),
    ],
)
def test_what_a_mask_uncovers_is_found_at_once(text: str, safe: str) -> None:
    assert MASK.redact(text).text == safe
    assert MASK.redact(safe).text == safe


@settings(max_examples=100, deadline=None)
@given(TEXTS)
@example("756.9217.0769.85::ffff:192.0.2.128")
@example("::ffff:192.0.2.128 is 0:0:0:0:0:ffff:192.0.2.128, and 756.9217.0769.85::ffff:192.0.2.128")
@example(
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq5\n-----END RSA PRIVATE KEY-----0 30 90"
)
@example("%251.0.0.0 and %1.0.0.0")
def test_pseudonyms_are_stable_and_restorable(text: str) -> None:
    pseudonyms = Pseudonyms(KEY)
    redactor = Redactor(ENGINE, "pseudonym", pseudonyms)
    safe = redactor.redact(text)
    assert pseudonyms.restore(safe.text) == text
    assert redactor.redact(safe.text).text == safe.text, "twice"
    assert (
        redactor.redact(text).text
        == safe.text
        == Redactor(ENGINE, "pseudonym", Pseudonyms(KEY)).redact(text).text
    )


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_offsets_map_back_exactly(text: str) -> None:
    view = View(text)
    spans = ENGINE.find(text)
    for before, after in itertools.pairwise(spans):
        assert before.end <= after.start
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert View(text[span.start : span.end]).data in view.data
    positions = [view.start(at) for at in range(len(view.data))]
    assert positions == sorted(positions)
    for at in range(len(view.data)):
        assert view.start(at) < view.end(at + 1) <= len(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    MASK.redact(data.decode("utf-8", "surrogateescape"))
    MASK.redact(data.decode("latin-1"))
    MASK.redact(data.decode("utf-16-le", "surrogatepass") if len(data) % 2 == 0 else "")


MEGABYTE = {
    "digits": "4" * 1_000_000,
    "digit groups": "4012 " * 200_000,
    "at signs": "@" * 100_000,
    "local parts": "a@" * 100_000,
    "dots": "a." * 500_000,
    "nested escapes": "\\" * 500_000 + "u0040" * 1000,
    "percent": "%25" * 300_000,
    "ampersands": "&amp;" * 100_000,
    "zero width": "a\u200b" * 200_000,
    "key headers": "-----BEGIN PRIVATE KEY-----" * 20_000,
    "urls": "http://a:" * 60_000,
    "base64": "QUJD" * 250_000,
    "colons": "1:" * 300_000,
    "names": "Mr. Bob " * 60_000,
    "brackets": "[EMAIL]" * 60_000 + " ssn 078051121" * 2000,
    "jwt": "eyJhbGciOiJ9." * 40_000,
}


@pytest.mark.parametrize("name", MEGABYTE)
def test_hostile_megabytes_end(name: str) -> None:
    """Anything worse than linear would take minutes here and run into the time limit of the
    suite.
    """
    text = MEGABYTE[name]
    spans = ENGINE.find(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)


def test_a_text_above_the_cap_is_refused() -> None:
    with pytest.raises(RedactError, match="characters"):
        ENGINE.find("a" * (MAX_CHARACTERS + 1))


def test_block_gives_no_text() -> None:
    result = Redactor(ENGINE, "block").redact("mail ada@example.org")
    assert result.blocked and result.text == "" and result.counts() == {"EMAIL": 1}
    assert Redactor(ENGINE, "block").redact("hello").text == "hello"
    assert Redactor(ENGINE, "off").redact("mail ada@example.org").text == "mail ada@example.org"


def test_the_rest_of_a_secret_beside_another_is_redacted() -> None:
    text = (
        "SG.abcdefghijklmnop.qrstuvwxyz1234567890-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq5"
    )
    assert MASK.redact(text).text == "[SERVICE_KEY][PRIVATE_KEY]"
