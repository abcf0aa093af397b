"""The table of fields: whole, in the order of the policy, and each row about the field it names."""

from __future__ import annotations

import pytest
from akiosd.policy.explain import format_value
from akiosd.policy.fields import BY_NAME, FIELDS, Field
from akiosd.policy.merge import flatten
from akiosd.policy.readers import ListOf
from akiosd.values.policy import DEFAULT_POLICY
from tests.unit.describe_policy import paragraph, written

DEFAULTS = flatten(DEFAULT_POLICY)


def test_the_rows_are_the_fields_in_their_order() -> None:
    """So that ``policy explain`` and the manual tell of them in one order."""
    assert [row.name for row in FIELDS] == list(DEFAULTS) == list(BY_NAME)


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.path)
def test_a_default_is_read_back_as_the_manual_writes_it(row: Field) -> None:
    default = DEFAULTS[row.name]
    if isinstance(row.kind.reader, ListOf):
        assert tuple(map(row.kind.reader.item, default)) == default and isinstance(default, tuple)
        return
    text = written(row.kind.word, default)
    plain = isinstance(default, bool | dict) or row.kind.word in ("N", "")
    value = default if plain else "0" if text == "no limit" else text
    assert row.kind.reader(value) == default, text


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.path)
def test_the_built_in_policy_is_no_wider_than_itself_and_is_shown(row: Field) -> None:
    default = DEFAULTS[row.name]
    assert not row.kind.wider(default, default)
    assert format_value(row.name, default)
    assert row.adds <= isinstance(default, tuple), "only lists add up"


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.path)
def test_a_row_is_described(row: Field) -> None:
    text = paragraph(row)
    assert len(text.splitlines()) == 3 and text.endswith(".\n") and "{" not in text
