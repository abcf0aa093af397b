"""A birth date stands for another date; dates that are nobody's birth come back as they are."""

from __future__ import annotations

import datetime

import pytest
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor

ENGINE = Engine()


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d"])
def test_a_date_beside_birth_dates_is_not_taken_for_a_stand_in(form: str) -> None:
    start = datetime.date(1980, 1, 1)
    rows = [
        [(start + datetime.timedelta(n + by)).strftime(form) for by in (0, -300)]
        for n in range(1300)
    ]
    text = "date_of_birth,hired\n" + "\n".join(map(",".join, rows)) + "\n"
    redactor = Redactor(ENGINE, "pseudonym", Pseudonyms(bytes(range(32))), Known())
    safe = redactor.read(text).text
    assert redactor.pseudonyms is not None
    assert all(
        row[0] != line.split(",")[0] for row, line in zip(rows, safe.splitlines()[1:], strict=True)
    )
    assert [row[1] for row in rows] == [line.split(",")[1] for line in safe.splitlines()[1:]], (
        "only birth dates"
    )
    assert redactor.pseudonyms.restore(safe) == text
