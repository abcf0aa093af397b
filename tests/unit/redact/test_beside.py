"""A value is found also beside another that hid it at first (docs/decisions/second-pass.md)."""

from __future__ import annotations

import pytest
from akiosd.redact import engine as engine_module
from akiosd.redact.engine import Engine
from akiosd.redact.redactor import Redactor
from akiosd.redact.rescan import Uncovered
from akiosd.redact.stream import StreamRedactor

ENGINE = Engine()
# (the text, the value that is hidden until its neighbour is masked)
BESIDE = [
    ("card 40 12 88 88 88 88 18 81 00:1A:2B:3C:4D:5E", "40 12 88 88 88 88 18 81"),
    ("0171 1234567 48.858370, 2.294481", "0171 1234567"),
    ("DE136695976 06 12 34 56 78", "DE136695976"),
    ("phone 4155550132 0171 1234567", "4155550132"),
    ("415-555-0132 0171 1234567", "0171 1234567"),
    ("password: hunter2!(0161) 496 0000", "hunter2!"),
]


@pytest.mark.parametrize(("text", "value"), BESIDE)
def test_a_value_beside_another_is_found(text: str, value: str) -> None:
    assert value not in Redactor(ENGINE, "mask").redact(text).text
    for size in (1, 5, len(text)):
        stream = StreamRedactor(Redactor(ENGINE, "mask"))
        parts = [stream.push(text[at : at + size]) for at in range(0, len(text), size)]
        assert value not in "".join([*parts, stream.flush()])


@pytest.mark.parametrize(("text", "value"), BESIDE)
def test_it_is_the_second_pass_that_finds_it(
    text: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "uncovered", lambda *_: Uncovered([], [], [], []))
    assert value in Redactor(ENGINE, "mask").redact(text).text
