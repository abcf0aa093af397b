"""A password that only its name in a container gives away, whatever signs are in it."""

from __future__ import annotations

import json
import re
from html import escape
from urllib.parse import quote_plus, unquote

import pytest
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.redactor import Redactor
from akiosd.redact.stream import StreamRedactor
from akiosd.redact.whole_secrets import whole_secret

ENGINE = Engine()
PASSWORDS = ["""x'y&z<98765""", """a"b\\c1!xyz""", "ab,cd;ef12", "p&1q,2w;3z", "<9abc>defg"]
CONTAINERS = {
    "json": lambda value: json.dumps({"user": "b", "dbPassword": value}),
    "nested": lambda value: json.dumps({"password": {"value": value}}),
    "list": lambda value: json.dumps({"passwords": [value]}),
    "named": lambda value: json.dumps([{"name": "DB_PASSWORD", "value": value}]),
    "xml": lambda value: f"<c><password>{escape(value)}</password></c>",
    "form": lambda value: f"user=b&password={quote_plus(value)}",
    "csv": lambda value: 'user,password\nb,"{}"\n'.format(value.replace('"', '""')),
    "yaml": lambda value: "db:\n  user: b\n  password: '{}'\n".format(value.replace("'", "''")),
}


@pytest.mark.parametrize("value", PASSWORDS)
@pytest.mark.parametrize("name", CONTAINERS)
def test_signs_in_a_password_do_not_hide_it(name: str, value: str) -> None:
    text = CONTAINERS[name](value)
    redactor = Redactor(ENGINE, "mask", known=Known())
    safe = unquote(redactor.read(text).text)
    assert "[PASSWORD]" in safe or "[PASSPHRASE]" in safe, safe
    control = Redactor(ENGINE, "mask").read(re.sub("(?i)assword", "icture", text)).text
    assert "[PASS" not in control, "the control: another name"
    assert redactor.redact(f"log in with {value} now").text != f"log in with {value} now", (
        "and it is known from then on"
    )


@pytest.mark.parametrize("value", PASSWORDS)
def test_a_stream_with_a_name_says_the_same(value: str) -> None:
    channel = StreamRedactor(Redactor(ENGINE, "mask"), "password")
    said = "".join(map(channel.push, value)) + channel.flush()
    assert said == Redactor(ENGINE, "mask").redact(value, "password").text
    assert said in ("[PASSWORD]", "[PASSPHRASE]")


@pytest.mark.parametrize(
    ("text", "label"),
    [("get('a1')", "password"), ("${DB_PW1}", "password"), ("a'b,c1d", "picture"), ("'a, b'12", "password"),
     ("a'b,cde", "password"), ("a'b,c1d", "password_hint"), ("a'1", "password"), ("a,b'1xyz", "compass")],
)  # fmt: skip
def test_what_is_none(text: str, label: str) -> None:
    assert whole_secret(text, label) is None


def test_what_the_policy_lets_pass() -> None:
    assert (
        Redactor(Engine(disable=["PASSWORD"]), "mask").redact("x'y&z<98765", "password").spans == ()
    )
    assert (
        Redactor(Engine(allow_values=["x'y&z<98765"]), "mask")
        .redact("x'y&z<98765", "password")
        .spans
        == ()
    )
