"""What is not personal keeps its spelling, so that an agent's edit of a file finds the text that
stands there.
"""

from __future__ import annotations

import json

import pytest
from akiosd.redact.containers.leaf import DOUBLED, FORM, JSON, MARKUP, SINGLE, edited, spelled_edits
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from hypothesis import given, settings
from hypothesis import strategies as st

ENGINE = Engine()
MAIL = "ada@example.org"
FILES = [
    f'<p>Don\'t mail {MAIL} &amp; "co" &#39;now&#x27;</p>',
    f'{{"a": "x\\/y \\u00e9 \\ud83d\\ude00 {MAIL} \\t"}}',
    f"see ?q=a%20b+%C3%A9%2f{MAIL}+c",
    f'note,mail\n"say ""hi"" to {MAIL}",x\n',
    f"a: 'it''s {MAIL}'\nb: 'x'\n",
    json.dumps({"a": json.dumps({"b": f"<p>Don't {MAIL} é</p>"})}),
]


@pytest.mark.parametrize("text", FILES)
def test_only_what_is_replaced_changes(text: str) -> None:
    redactor = Redactor(ENGINE, "pseudonym", Pseudonyms(bytes(range(32))), Known())
    safe = redactor.read(text).text
    assert MAIL not in safe
    assert redactor.pseudonyms is not None and redactor.pseudonyms.restore(safe) == text


PIECES = st.sampled_from(
    [
        "a",
        "b ",
        "'",
        '"',
        "\\",
        "\\n",
        "\\u00e9",
        "\\ud83d\\ude00",
        "&amp;",
        "&",
        "&lt",
        "&#39;",
        "&notit;",
        "%20",
        "+",
        "%C3%A9",
        "%C3",
        "%",
        "%ff",
        "''",
        '""',
        "é",
        "\\/",
        "\\x",
        "\\ud83d",
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(PIECES, max_size=12).map("".join), st.sampled_from([JSON, MARKUP, FORM, DOUBLED, SINGLE]),
    st.integers(0, 20), st.integers(1, 5),
)  # fmt: skip
def test_an_edit_says_the_same_however_the_text_is_spelled(
    spelled: str, codec: object, at: int, size: int
) -> None:
    assert isinstance(codec, type(JSON))
    plain = codec.decode(spelled)
    edit = (min(at, len(plain)), min(at + size, len(plain)), "[MASK_1]")
    made = edited(spelled, spelled_edits(spelled, codec, [edit]))
    before, mask, after = codec.decode(made).partition("[MASK_1]")
    assert mask and plain.startswith(before) and plain.endswith(after)
    assert len(before) <= edit[0] and len(after) <= len(plain) - edit[1], (
        "nothing of the value is left"
    )
