"""Refusals and failures as HTTP answers, in the shape in which each provider's clients expect
errors.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from akiosd.values.denial import Denial
from akiosd.values.records import Finding

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
_MAX_TEXT = 1000
"""Characters of each text in an answer."""
_MAX_REASON = 200
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
        "rule": denial.rule[:_MAX_TEXT], "host": denial.host[:_MAX_TEXT],
        "message": denial.words[:_MAX_TEXT], "hint": denial.hint[:_MAX_TEXT],
    }  # fmt: skip
    shape = _shape(provider, denial.status, values)
    # Only strings may hold these three; there the escape means the same.
    body = json.dumps(shape).translate(_UNSAFE).encode("ascii")
    headers = [
        (b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff"),
        (b"akios-verdict", b"failed" if denial.failed else b"denied"),
    ]  # fmt: skip
    if not denial.failed:
        headers.append((b"x-should-retry", b"false"))
    if denial.retry_after:
        headers.append((b"retry-after", b"%d" % denial.retry_after))
    if provider == "bedrock":
        headers.append((b"x-amzn-errortype", _AWS.get(denial.status, "AccessDeniedException").encode()))
    # Codex knows nothing of x-should-retry and sends all but a bad request again, as a new turn.
    final = not denial.failed and denial.status in _SENT_AGAIN and originator.startswith(b"codex")
    return 400 if final else denial.status, headers, body


def _shape(provider: str, status: int, values: dict[str, str]) -> dict[str, Any]:
    """As the provider's own documentation of errors has it, with our fields besides.

    The words and the hint stand together where that provider's clients look for a text: they
    print nothing else.  ``hint`` is there besides, for programs.
    """
    text = f"{values['message']} ({values['hint']})" if values["hint"] else values["message"]
    told = {**values, "message": text}
    if provider == "openai":
        return {"error": {**told, "param": None, "code": values["rule"]}}
    if provider == "anthropic":
        return {"type": "error", "error": told}
    if provider == "gemini":
        google = _GOOGLE.get(status, "PERMISSION_DENIED")
        return {"error": {**told, "code": status, "status": google}}
    if provider == "mistral":
        return {"object": "error", **told, "param": None, "code": values["rule"]}
    if provider == "xai":
        return {**values, "code": values["type"], "error": text}
    if provider == "bedrock":
        return {**told, "__type": _AWS.get(status, "AccessDeniedException")}
    # npm, Ollama and many others print ``error`` as it is, so it must be a string.
    return {**values, "error": text}


def reason_phrase(denial: Denial) -> bytes:
    """What stands behind the status number, which pip, curl and requests print: one plain line."""
    who = "AKIOS failed" if denial.failed else "Denied by AKIOS"
    text = f"{who}: {denial.words} ({denial.rule})"
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain[:_MAX_REASON].encode("ascii")


# google.rpc.Code names for HTTP statuses (googleapis google/rpc/code.proto); AWS names of the Bedrock runtime's errors.
_GOOGLE = {
    400: "INVALID_ARGUMENT", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT", 426: "FAILED_PRECONDITION",
    402: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_AWS = {
    400: "ValidationException", 413: "ValidationException", 415: "ValidationException",
    502: "ServiceUnavailableException", 504: "ModelTimeoutException",
}  # fmt: skip


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
