"""AWS Signature Version 4 for a request in one piece.  Pure: the time is an argument.

Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from akiosd.gateway.llm.providers.base import Headers, Outgoing

_ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNED = (b"content-type", b"x-amz-date", b"x-amz-security-token")


class Credentials(NamedTuple):
    access_key: str
    secret_key: str
    token: str = ""


def sign(credentials: Credentials, request: Outgoing, service: str) -> Headers:
    """The headers with date, token and signature added.  Host and port are taken from the URL."""
    stamp = datetime.fromtimestamp(request.now, UTC).strftime("%Y%m%dT%H%M%SZ")
    fields = [*request.headers, (b"x-amz-date", stamp.encode())]
    if credentials.token:
        fields.append((b"x-amz-security-token", credentials.token.encode()))
    parts = urlsplit(request.url)
    port = (
        ""
        if parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme))
        else f":{parts.port}"
    )
    signed = [("host", f"{parts.hostname}{port}")]
    signed += [
        (name.decode(), " ".join(value.decode("latin-1").split()))
        for name, value in fields
        if name in _SIGNED
    ]
    signed.sort()
    names = ";".join(name for name, _ in signed)
    canonical = "\n".join(
        [
            request.method,
            _path(parts.path),
            _query(parts.query),
            *(f"{name}:{value}" for name, value in signed),
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{request.region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (stamp[:8], request.region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    value = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names},"
        f" Signature={signature}"
    )
    return [*fields, (b"authorization", value.encode())]


def _path(path: str) -> str:
    """Encoded once more: what is signed is the path as it is sent, each of its segments quoted (not
    so for S3).
    """
    return quote(path or "/", safe="/~")


def _query(query: str) -> str:
    pairs = [piece.partition("=") for piece in query.split("&") if piece]
    return "&".join(sorted(f"{_quote(name)}={_quote(value)}" for name, _, value in pairs))


def _quote(text: str) -> str:
    return quote(unquote(text), safe="~")
