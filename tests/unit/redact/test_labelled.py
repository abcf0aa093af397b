"""Secrets that code, command lines and prose call by name, and what only looks like them."""

from __future__ import annotations

import pytest
from akiosd.redact.containers import view as views
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from akiosd.redact.secret_names import kind_of
from akiosd.redact.whole_secrets import whole_secret
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.redact.labelled import KEY, KEYS, MORE_PASSWORDS, ORDINARY, PASSWORDS, SECRET

ENGINE = Engine()
MASK = Redactor(ENGINE, "mask")
TABLES = (
    ("password", PASSWORDS, SECRET),
    ("more", dict(enumerate(MORE_PASSWORDS)), SECRET),
    ("key", KEYS, KEY),
)
CASES = [(text.format(value), value) for _, table, value in TABLES for text in table.values()]
NAMES = [f"{kind}: {name}" for kind, table, _ in TABLES for name in table]


@pytest.mark.parametrize(("text", "value"), CASES, ids=NAMES)
def test_a_labelled_secret_is_found_and_nothing_else_changes(text: str, value: str) -> None:
    safe = MASK.read(text).text
    assert value not in safe
    before, _, after = text.partition(value)
    assert safe.startswith(before) and safe.endswith(after.lstrip(".")), safe
    assert MASK.read(safe).text == safe, "twice"


@pytest.mark.parametrize("text", ORDINARY)
def test_what_only_looks_so_stays(text: str) -> None:
    assert MASK.read(text).text == text


def test_the_tables_are_large_enough() -> None:
    assert len(CASES) >= 80 and len(ORDINARY) >= 80


def test_the_control_is_that_most_are_missed_without_their_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views.named_secrets, "leaves_of", lambda *arguments: iter(()))
    assert sum(value in MASK.read(text).text for text, value in CASES) > 80


def test_what_is_called_by_name_once_is_known_everywhere() -> None:
    for text, value in CASES:
        redactor = Redactor(ENGINE, "mask", known=Known())
        whole = f"I typed {value} there.\n\n{text}"
        assert value not in redactor.read(whole).text, text
        assert value not in redactor.read(f"and {value}, again").text, text


def test_stand_ins_come_back() -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    redactor = Redactor(ENGINE, "pseudonym", pseudonyms)
    for text, value in CASES:
        safe = redactor.read(text).text
        assert value not in safe and pseudonyms.restore(safe) == text
        assert redactor.read(safe).text == safe, "twice"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from([*(text for text, _ in CASES), *ORDINARY, "\n", "\n\n", " ", "; "]),
        max_size=8,
    )
)
def test_put_together_nothing_is_left_out_and_only_findings_change(pieces: list[str]) -> None:
    text = "\n".join(pieces)
    result = MASK.read(text)
    assert result.spans or result.text == text
    done = 0
    for leaf, inner in views.view(text).inner:
        assert leaf.begin >= done and leaf.codec.decode(text[leaf.begin : leaf.end]) == inner.text
        assert not any(c.isalnum() for c in text[done : leaf.begin])
        done = leaf.end


@pytest.mark.parametrize(
    ("name", "kind"),
    [("DB_PASSWORD", "PASSWORD"), ("dbPassword", "PASSWORD"), ("pw", "PASSWORD"), ("contraseña", "PASSWORD"),
     ("hasło", "PASSWORD"), ("пароль", "PASSWORD"), ("X-Api-Key", "API_KEY"), ("accessToken", "API_KEY"),
     ("compass", ""), ("bypass", ""), ("password_hash", ""), ("max_tokens", ""), ("secretName", ""), ("", "")],
)  # fmt: skip
def test_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_is_switched_off_and_what_is_allowed_stays() -> None:
    assert whole_secret(KEY, "api_key") is not None
    for engine in (Engine(disable=["API_KEY"]), Engine(allow_values=[KEY])):
        text = f'client.setApiKey("{KEY}")'
        assert Redactor(engine, "mask").read(text).text == text


SPELLED = (
    "<c><password>p&amp;ss1w0rd&lt;</password></c>",
    '<c password="p&amp;ss&#39;1w0rd"/>',
    '{"password": "p\\"ss1w0rd\\\\x"}',
    '{"password": "p\\u0026ss1w0rd"}',
    'user,password\nbob,"p""ss1w0rd"\n',
    "db:\n  user: 'b'\n  password: 'p''ss1w0rd'\n",
    "user=b&password=p%26ss1w0rd%3D",
    'os.environ["DB_PASSWORD"] = "p\\"ss1w0rd"',
)


@pytest.mark.parametrize("text", SPELLED)
def test_what_is_escaped_comes_back_escaped(text: str) -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    redactor = Redactor(ENGINE, "pseudonym", pseudonyms)
    safe = redactor.read(text).text
    assert "ss1w0rd" not in safe and pseudonyms.restore(safe) == text
    assert redactor.read(text).text == safe, "again"
    plain = redactor.read("password: 'p&ss1w0rd' and password: \"q!ss1w0rd\"").text
    assert pseudonyms.restore(plain) == "password: 'p&ss1w0rd' and password: \"q!ss1w0rd\""
