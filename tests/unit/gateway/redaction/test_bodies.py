"""Bodies cut anywhere: what comes out is safe, and the same for every way to cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Literal

import pytest
from akiosd.gateway.redaction import bodies
from akiosd.gateway.redaction.bodies import (
    WHOLE,
    BlockedBinaryError,
    BlockedError,
    Found,
    channel_for,
)
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from hypothesis import given, settings
from hypothesis import strategies as st

ENGINE = Engine()
PLANTED = ("john.doe@example.org", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00")
TEXT = f"before {PLANTED[0]}, {PLANTED[1]} and IBAN {PLANTED[2]} after"
BOUNDARY = "----Bound4ry"


def found_by(
    mode: Literal["mask", "pseudonym", "block"] = "mask", binary: Literal["pass", "block"] = "pass"
) -> Found:
    return Found(Redactor(ENGINE, mode, Pseudonyms(b"k" * 32)), binary)


def run(
    body: bytes, content_type: str, cuts: list[int] | None = None, found: Found | None = None
) -> bytes:
    channel = channel_for(content_type, found or found_by())
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts or []), len(body)]
    pieces = [channel.push(body[a:b]) for a, b in pairwise(edges)]
    return b"".join(pieces) + channel.finish()


def multipart(*parts: tuple[str, bytes], before: bytes = b"", after: bytes = b"") -> bytes:
    body = before
    for number, (head, data) in enumerate(parts):
        lead = b"\r\n" if number or before else b""
        body += lead + f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + data
    return body + f"\r\n--{BOUNDARY}--\r\n".encode() + after


IMAGE = b"\x89PNG\r\n\x1a\n\0\0\0" + bytes(range(256)) * 40
MULTI = multipart(
    ('Content-Disposition: form-data; name="note"', TEXT.encode()),
    (
        'Content-Disposition: form-data; filename="john.doe@example.org (1).png"\r\nContent-Type: image/png',
        IMAGE,
    ),
    ("Content-Type: application/json", json.dumps({"deep": [{"text": TEXT}]}).encode()),
    ("X: y", b""),
    before=PLANTED[0].encode(),
    after=PLANTED[1].encode(),
)
BODIES: dict[str, tuple[bytes, str]] = {
    "text": (TEXT.encode(), "text/plain"),
    "text of no kind": (TEXT.encode(), ""),
    "text called an image": (TEXT.encode(), "image/png"),
    "text in UTF-16": (TEXT.encode("utf-16-le"), "text/plain; charset=utf-16le"),
    "text in UTF-16 with mark": (("\ufeff" + TEXT).encode("utf-16-le"), ""),
    "text in Latin-1": (("ä" + TEXT).encode("latin-1"), 'text/plain; charset="ISO-8859-1"'),
    "text with a bad byte": (b"\xff\xfa " + TEXT.encode(), "text/plain"),
    "JSON": (json.dumps({"a": TEXT, "b": [1, {"c": TEXT}]}).encode(), "application/json"),
    "JSON with escapes": (
        json.dumps({"a": TEXT}).replace("@", "\\u0040").encode(),
        "application/json",
    ),
    "JSON names": (json.dumps(dict.fromkeys(PLANTED, 1)).encode(), "application/json"),
    "JSON with a name twice": (b'{"a": "%s", "a": "x"}' % TEXT.encode(), "application/json"),
    "no JSON": (b"{" + TEXT.encode(), "application/json"),
    "JSON lines": (
        json.dumps(TEXT).encode() + b"\n" + json.dumps(TEXT).encode(),
        "application/x-ndjson",
    ),
    "form": (
        b"note=" + TEXT.replace(" ", "+").replace("@", "%40").encode(),
        "application/x-www-form-urlencoded",
    ),
    "form names": (
        PLANTED[0].replace("@", "%40").encode() + b"=1",
        "application/x-www-form-urlencoded; charset=utf-8",
    ),
    "XML": (f"<a>{TEXT.replace('@', '&#64;')}</a>".encode(), "application/xml"),
    "multipart": (MULTI, f"multipart/form-data; boundary={BOUNDARY}"),
    "multipart cut short": (MULTI[:-200], f'multipart/mixed; boundary="{BOUNDARY}"'),
}


def leaks(out: bytes) -> list[str]:
    shown = (
        out.replace(b"\0", b"").replace(b"+", b" ").replace(b"%40", b"@").replace(b"\\u0040", b"@")
    )
    return [value for value in PLANTED if value.encode() in shown.replace(b"&#64;", b"@")]


@pytest.mark.parametrize("name", BODIES)
def test_nothing_planted_gets_out_at_any_single_cut(name: str) -> None:
    body, content_type = BODIES[name]
    assert leaks(body), "the control: it is in there"
    whole = run(body, content_type)
    assert not leaks(whole) and b"[EMAIL]" in whole.replace(b"\0", b"").replace(
        b"%5B", b"["
    ).replace(b"%5D", b"]")
    step = max(1, len(body) // 150)
    for cut in range(0, len(body), step):
        assert run(body, content_type, [cut]) == whole, cut


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(BODIES)), st.lists(st.integers(0, 1 << 16), max_size=30))
def test_nor_at_any_cuts(name: str, cuts: list[int]) -> None:
    body, content_type = BODIES[name]
    assert run(body, content_type, cuts) == run(body, content_type)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(set(BODIES) - {"form"})),
    st.lists(st.integers(0, 1 << 16), max_size=20),
    st.integers(0, 80),
)
def test_nor_where_more_comes_than_is_held(name: str, cuts: list[int], most: int) -> None:
    """A body that is larger than what is held passes as a stream, which is the same for every way
    to cut it too.
    """
    body, content_type = BODIES[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "WHOLE_TEXT", most)
        patch.setattr(bodies, "WHOLE", most)
        whole = run(body, content_type, found=cage())
        assert not leaks(whole)
        assert run(body, content_type, cuts, cage()) == whole


def cage() -> Found:
    return Found(Redactor(ENGINE, "mask", known=Known()), "pass")


def test_what_a_larger_body_gives_away_is_found_behind_it() -> None:
    text = f"password: hunter22! {'x ' * 50} and hunter22!".encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "WHOLE_TEXT", 20)
        assert b"hunter22!" not in run(text, "text/plain", [30, 31, 140], cage())


def test_every_byte_of_a_multipart_body_on_its_own() -> None:
    body = multipart(
        ("Content-Type: text/plain", TEXT.encode()), ("X: y", b"\r\n--" + BOUNDARY[:-1].encode())
    )
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    out = run(body, kind, list(range(len(body))))
    assert out == run(body, kind) and not leaks(out)


def test_what_was_not_found_is_as_it_came() -> None:
    clean = multipart(
        ("Content-Type: image/png", IMAGE),
        ("A: b", b""),
        ("", b"text"),
        before=b"x\r\n",
        after=b"y",
    )
    for body, kind in [
        (clean, f"multipart/form-data; boundary={BOUNDARY}"),
        (clean[:-20], f"multipart/form-data; boundary={BOUNDARY}"),
        (b'{"b": 1.50, "a" :[ 1e3,2 ],\n"c":"\\u00e4/\\/"}', "application/json"),
        (b"a=1&b=%7e&&c&d=+", "application/x-www-form-urlencoded"),
        (IMAGE, "application/octet-stream"),
        (b"\xff\xfe\xff\xfe" + IMAGE, ""),
        (b"", "application/json"),
        (b"", ""),
        ("grüße 😀 \u200b".encode(), "text/plain"),
        (b"\xff\xc3", "text/plain"),
        (bytes(range(256)), "text/plain"),
    ]:
        assert run(body, kind, [1, 2, 5, 9, 30]) == body, body[:40]


def test_json_keeps_its_numbers_beside_what_was_replaced() -> None:
    body = (
        b'{"mail":"john.doe@example.org","n":1.10,"big":123456789012345678901234567890.0,"e":1E5}'
    )
    assert run(body, "application/json") == body.replace(b"john.doe@example.org", b"[EMAIL]")


def test_findings_have_types_and_places_and_no_values() -> None:
    found = found_by()
    run(BODIES["JSON"][0], "application/json", found=found)
    run(MULTI, f"multipart/form-data; boundary={BOUNDARY}", found=found)
    places = {(finding.type, finding.place) for finding in found.findings()}
    assert {
        ("EMAIL", "$.a"),
        ("CREDIT_CARD", "$.b[1].c"),
        ("EMAIL", "body.part[1].header.Content-Disposition"),
        ("EMAIL", "body.preamble"),
        ("CREDIT_CARD", "body.epilogue"),
    } <= places
    assert not leaks(repr(found.findings()).encode()) and found.unread == len(IMAGE)


@pytest.mark.parametrize("name", BODIES)
def test_block_tells_types_and_places_and_gives_nothing_of_the_value(name: str) -> None:
    body, content_type = BODIES[name]
    found = found_by("block")
    with pytest.raises(BlockedError) as caught:
        run(body, content_type, found=found)
    assert "EMAIL in " in caught.value.what and not leaks(str(caught.value).encode())


def test_binary_is_passed_and_counted_or_blocked() -> None:
    found = found_by()
    assert run(IMAGE, "image/png", found=found) == IMAGE and found.unread == len(IMAGE)
    with pytest.raises(BlockedBinaryError):
        run(IMAGE, "image/png", found=found_by(binary="block"))
    with pytest.raises(BlockedBinaryError):
        run(MULTI, f"multipart/form-data; boundary={BOUNDARY}", found=found_by(binary="block"))
    assert run(b"clean text", "image/png", found=found_by(binary="block")) == b"clean text"
    assert run(b"", "image/png", found=found_by(binary="block")) == b""


def test_git_speaks_a_protocol_of_its_own_only_where_git_is() -> None:
    want = (
        b"0032want 4111111111111111411111111111111141111111\n00000009done\n" + PLANTED[0].encode()
    )
    kind = "application/x-git-upload-pack-request"
    channel = channel_for(kind, found_by(), git=True)
    assert channel.push(want) + channel.finish() == want
    assert not leaks(run(want, kind))


def test_json_too_large_to_be_taken_apart_is_read_as_text() -> None:
    filler = b'"' + b"some words of no meaning " * (WHOLE // 25 + 1) + b'"'
    body = b'{"a":' + filler + b',"b":"john.doe\\u0040example.org"}'
    out = run(body, "application/json", list(range(0, len(body), 1 << 20)))
    assert out == body.replace(b"john.doe\\u0040example.org", b"[EMAIL]")


def test_multipart_that_is_none_is_refused_not_guessed() -> None:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    for body in (
        f"--{BOUNDARY}X\r\n\r\n{TEXT}\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\nX: {'y' * 20_000}\r\n\r\n{TEXT}\r\n--{BOUNDARY}--".encode(),
    ):
        with pytest.raises(BlockedError):
            run(body, kind)
