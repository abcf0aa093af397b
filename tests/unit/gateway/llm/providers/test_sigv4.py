"""Signatures of requests to AWS are those that AWS's own client makes."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote

import pytest
from akiosd.gateway.llm.providers.base import Outgoing
from akiosd.gateway.llm.providers.sigv4 import Credentials, sign
from hypothesis import assume, given, settings
from hypothesis import strategies as st

auth = pytest.importorskip("botocore.auth", reason="botocore, the other signer, is not installed")
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials as AwsCredentials  # noqa: E402

NOW = 1_764_000_000.0
HOST = "https://bedrock-runtime.eu-west-1.amazonaws.com"


def theirs(request: Outgoing, credentials: Credentials, service: str) -> dict[str, str]:
    """What botocore puts on the same request at the same time."""
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    made = AWSRequest(request.method, request.url, headers=headers, data=request.body)
    signer = auth.SigV4Auth(
        AwsCredentials(*credentials[:2], credentials.token or None), service, request.region
    )
    with mock.patch(
        "botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(request.now, UTC)
    ):
        signer.add_auth(made)
    return {name.lower(): value for name, value in made.headers.items()}


def check(request: Outgoing, credentials: Credentials) -> None:
    ours = {
        name.decode(): value.decode("latin-1")
        for name, value in sign(credentials, request, "bedrock")
    }
    expected = theirs(request, credentials, "bedrock")
    assert ours["authorization"] == expected["authorization"]
    assert ours["x-amz-date"] == expected["x-amz-date"]
    assert ours.get("x-amz-security-token") == expected.get("x-amz-security-token")


@pytest.mark.parametrize(
    "path",
    [
        "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x/invoke",
        "/model/m/invoke-with-response-stream?b=2&a=1&c=%2F",
        "/model/m~x.y_z-1/converse",
    ],
)
@pytest.mark.parametrize("token", ["", "IQoJb3JpZ2luX2VjE/+="])
def test_the_same_signature_as_botocore(path: str, token: str) -> None:
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    headers = [(b"content-type", b"application/json")]
    check(Outgoing("POST", HOST + path, headers, b'{"messages":[]}', NOW, "eu-west-1"), credentials)


def test_ports_that_are_not_the_scheme_s_are_signed() -> None:
    credentials = Credentials("AKIDEXAMPLE", "secret")
    for url in (
        "http://127.0.0.1:8080/model/m/converse",
        "http://127.0.0.1:80/x",
        "https://h:443/x",
        "https://h:8443/x",
    ):
        check(Outgoing("POST", url, [], b"{}", NOW, "us-east-1"), credentials)


@settings(max_examples=100, deadline=None)
@given(
    st.text("abcXYZ019-._~:/", min_size=1, max_size=30), st.binary(max_size=40),
    st.text("abc 0/;=", max_size=20), st.integers(0, 4_000_000_000),
)  # fmt: skip
def test_any_request(model: str, body: bytes, kind: str, now: int) -> None:
    assume(model not in (".", ".."))
    url = f"{HOST}/model/{quote(model, safe='')}/converse"
    headers = [(b"content-type", kind.strip().encode() or b"x")]
    check(Outgoing("POST", url, headers, body, now, "eu-west-1"), Credentials("AKID", "secret"))
