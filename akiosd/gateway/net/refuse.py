"""Refusals and failures as HTTP answers, in the shape in which each provider's clients expect
errors.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from akiosd.values.denial import Denial
from akiosd.values.providers import ErrorPart, ErrorShape, facts_of
from akiosd.values.records import Finding

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
_MAX_TEXT = 1000
"""Characters of each text in an answer."""
_MAX_REASON = 200
# npm and many others print ``error`` as it is, so it must be a string.
_SITE = ErrorShape("", fields={"message": "text", "error": "text"})
_SENT_AGAIN = (402, 403, 429)
"""Statuses after which Codex sends the request again."""
_UNSAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render(denial: Denial, provider: str = "", originator: bytes = b"") -> Answer:
    """Status, headers (names in lower case) and body that tell the agent of ``denial``.

    ``provider`` selects the shape, "" the plain one. ``originator`` is the request's header of that
    name, by which Codex is recognised. All texts are escaped: they may hold what the agent sent.
    """
    values = {
        "type": "akios_failed" if denial.failed else "akios_denied",
        "rule": denial.rule[:_MAX_TEXT],
        "host": denial.host[:_MAX_TEXT],
        "message": denial.words[:_MAX_TEXT],
        "hint": denial.hint[:_MAX_TEXT],
    }
    shape = facts_of(provider).error if provider else _SITE
    # Only strings may hold these three; there the escape means the same.
    body = json.dumps(_body(shape, denial.status, values)).translate(_UNSAFE).encode("ascii")
    headers = [
        (b"content-type", b"application/json"),
        (b"x-content-type-options", b"nosniff"),
        (b"akios-verdict", b"failed" if denial.failed else b"denied"),
    ]
    if not denial.failed:
        headers.append((b"x-should-retry", b"false"))
    if denial.retry_after:
        headers.append((b"retry-after", b"%d" % denial.retry_after))
    if shape.header:
        headers.append((shape.header.encode(), _name(shape, denial.status).encode()))
    # Codex knows nothing of x-should-retry and sends all but a bad request again, as a new turn.
    final = not denial.failed and denial.status in _SENT_AGAIN and originator.startswith(b"codex")
    return 400 if final else denial.status, headers, body


def _body(shape: ErrorShape, status: int, values: dict[str, str]) -> dict[str, Any]:
    """The error as the provider's documentation shows it, with AKIOS's own fields added.

    The words and the hint stand together where that provider's clients look for a text: they print
    nothing else.  ``hint`` is there besides, for programs.
    """
    text = f"{values['message']} ({values['hint']})" if values["hint"] else values["message"]
    parts: dict[ErrorPart, str | int | None] = {
        "null": None,
        "rule": values["rule"],
        "type": values["type"],
        "status": status,
        "text": text,
        "name": _name(shape, status),
    }
    inner = values | {field: parts[part] for field, part in shape.fields.items()}
    return {**shape.first, **({shape.beneath: inner} if shape.beneath else inner)}


def reason_phrase(denial: Denial) -> bytes:
    """What stands behind the status number, which pip, curl and requests print: one plain line."""
    who = "AKIOS failed" if denial.failed else "Denied by AKIOS"
    text = f"{who}: {denial.words} ({denial.rule})"
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain[:_MAX_REASON].encode("ascii")


def _name(shape: ErrorShape, status: int) -> str:
    return shape.names.get(status, shape.other)


def describe(finding: Finding) -> bytes:
    """``TYPE place count`` as the value of a header; characters that are special in a header are
    percent-encoded.
    """
    place = quote(finding.place, safe="$.[]*/")[:200]
    return f"{finding.type} {place} {finding.count}".encode("ascii")


def failure(status: int, words: str, host: str) -> Denial:
    """The denial that stands for a failed upstream: the client may try again."""
    return Denial(status=status, rule="upstream", words=words, host=host, failed=True)


def to_bytes(denial: Denial) -> bytes:
    """A whole HTTP/1.1 answer that closes the connection, for bytes that were not understood as a
    request.
    """
    status, headers, body = render(denial)
    fields = [*headers, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    first = b"HTTP/1.1 %d %b" % (status, reason_phrase(denial))
    lines = [first, *(b"%b: %b" % field for field in fields), b"", body]
    return b"\r\n".join(lines)
