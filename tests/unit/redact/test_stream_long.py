"""Long tokens in a stream: what is ordinary passes as it is, what is a secret is replaced to its
end.
"""

from __future__ import annotations

import base64
import random

import pytest
from akiosd.redact.base64_runs import SEGMENT
from akiosd.redact.engine import Engine
from akiosd.redact.model import Pattern
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.prefix_regex import LONG, endless
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from akiosd.redact.stream import MAX_HELD, StreamRedactor
from tests.unit.redact import ordinary

MASK = Redactor(Engine(), "mask")
CONTENT = ordinary.long_content()


def pieces(text: str, seed: int, most: int) -> list[str]:
    pick, at, cut = random.Random(seed), 0, []
    while at < len(text):
        cut.append(text[at : (at := at + pick.randint(1, most))])
    return cut


def streamed(chunks: list[str], redactor: Redactor = MASK) -> tuple[str, StreamRedactor, int]:
    channel, most, safe = StreamRedactor(redactor), 0, []
    for chunk in chunks:
        safe.append(channel.push(chunk))
        most = max(most, channel.held)
    return "".join(safe) + channel.flush(), channel, most


@pytest.mark.parametrize("most", [400, 30_000])
@pytest.mark.parametrize("name", CONTENT)
def test_ordinary_content_passes(name: str, most: int) -> None:
    text = CONTENT[name]
    assert MASK.redact(text).spans == ()
    safe, channel, held = streamed(pieces(text, 1, most))
    assert safe == text and channel.spans == []
    assert held <= MAX_HELD


def encoded(values: dict[int, str], size: int) -> str:
    """``size`` bytes of text with ``values`` in them, as base64."""
    text = bytearray(b"the quick brown fox jumps over the lazy dog. " * (size // 45))
    for place, value in values.items():
        text[place : place + len(value)] = value.encode()
    return base64.b64encode(bytes(text)).decode()


BYTES = SEGMENT // 4 * 3


@pytest.mark.parametrize(
    "place", [10, BYTES - 8, BYTES, 2 * BYTES - 5, 2 * BYTES, 5 * BYTES - 12, 40_000]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_base64_says_is_replaced_segment_by_segment(place: int, seed: int) -> None:
    blob = encoded({place: " write to ada@example.org today "}, 45_000)
    text = f'{{"file": "{blob}"}} and then'
    whole = MASK.redact(text)
    safe, channel, held = streamed(pieces(text, seed, 700 * seed))
    assert safe == whole.text and tuple(channel.spans) == whole.spans
    assert held <= MAX_HELD
    assert {span.type for span in whole.spans} == {"EMAIL"} and len(whole.spans) <= 2
    covered = blob[(place + 10) // 3 * 4 : (place + 25) // 3 * 4]
    assert covered not in safe, "the address is still there"
    assert len(safe) > len(text) - 2 * SEGMENT - 100, "no more than its segments is lost"


def test_every_cut_of_a_run_of_three_segments() -> None:
    blob = encoded(
        {BYTES - 12: " ada@example.org ", 2 * BYTES + 100: " card 4012888888881881 "}, 3 * BYTES
    )
    text = f"x {blob} y"
    whole = MASK.redact(text)
    assert [span.type for span in whole.spans] == ["EMAIL", "EMAIL", "CREDIT_CARD"]
    for at in range(0, len(text), 97):
        safe, channel, _ = streamed([text[:at], text[at:]])
        assert safe == whole.text and tuple(channel.spans) == whole.spans, at


@pytest.mark.parametrize("size", [3000, 9000])
@pytest.mark.parametrize("kind", ["mask", "pseudonym"])
def test_a_large_token_is_what_it_is_in_the_whole_text(size: int, kind: str) -> None:
    redactor = (
        Redactor(MASK.engine, "pseudonym", Pseudonyms(bytes(32))) if kind == "pseudonym" else MASK
    )
    text = f"Authorization: Bearer {ordinary.jwt(size)} ok"
    whole = redactor.redact(text)
    assert [span.type for span in whole.spans] == ["JWT"]
    assert streamed(pieces(text, 1, 300), redactor)[0] == whole.text


def test_a_token_too_long_to_be_held_is_replaced_to_its_end() -> None:
    token = ordinary.jwt(3 * MAX_HELD)
    text = f"first {token} then more"
    safe, channel, held = streamed(pieces(text, 1, 500))
    # That it is a token is sure only after its second dot.
    assert safe == "first [UNRESOLVED] then more"
    assert [(s.start, s.end) for s in channel.spans] == [(6, 6 + len(token))]
    assert held <= MAX_HELD


def test_a_known_kind_of_token_too_long_to_be_held_keeps_its_name() -> None:
    text = f"first glpat-{'a1b2.'.replace('.', '_') * MAX_HELD} then more"
    assert (
        streamed(pieces(text, 1, 500))[0]
        == MASK.redact(text).text
        == "first [GITLAB_TOKEN] then more"
    )


@pytest.mark.parametrize("size", [1200, 3 * MAX_HELD])
def test_a_private_key_is_replaced_to_its_end(size: int) -> None:
    text = f"key:\n{ordinary.private_key(size)}and so on"
    safe, _, held = streamed(pieces(text, 2, 500))
    assert safe == MASK.redact(text).text == "key:\n[PRIVATE_KEY]\nand so on"
    assert held <= MAX_HELD


@pytest.mark.parametrize("before", ['    "', "  12\t", "+", "> "])
def test_a_private_key_in_source_a_listing_or_a_diff(before: str) -> None:
    after = '\\n"\n' if '"' in before else "\n"
    text = "".join(f"{before}{line}{after}" for line in ordinary.private_key(1200).splitlines())
    safe = MASK.redact(text).text
    assert "[PRIVATE_KEY]" in safe and len(safe) < 60
    assert streamed(pieces(text, 1, 200))[0] == safe


def test_what_may_still_be_a_secret_and_is_too_long_fails_closed() -> None:
    text = "api_key=" + "aa.b" * MAX_HELD + "7 end"
    safe, channel, _ = streamed(pieces(text, 1, 400))
    assert safe == "[UNRESOLVED] end"
    assert [span.type for span in channel.spans] == ["UNRESOLVED"]


def test_block_ends_a_stream_whose_token_is_too_long() -> None:
    safe, channel, _ = streamed(
        pieces(f"first {ordinary.jwt(2 * MAX_HELD)} then", 1, 500), Redactor(MASK.engine, "block")
    )
    assert channel.blocked and safe == "first "


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_what_has_an_end_ends_within_what_is_believed(pattern: Pattern) -> None:
    import re._parser as sre

    nodes = sre.parse(pattern.regex)
    assert endless(nodes) or nodes.getwidth()[1] < LONG
