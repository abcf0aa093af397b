"""What is said of how a run ended where only errors are asked for."""

from __future__ import annotations

import pytest

from akiosctl.say_end import finish
from akiosd.cage.reasons import REASONS


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("hint", ["", "akiosctl diff"])
def test_a_cage_that_was_killed_says_why_also_where_it_is_to_be_quiet(
    kind: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = {"calls": 3, "usd_micro": 5}
    ended = {"kind": kind, "reason": "why it is", "exit_code": 7, "changes": True, "usage": usage}
    assert finish(ended, "c-1", "/none", False, settle="keep", hint=hint) == 7
    said = capsys.readouterr()
    assert said.out == ""
    if hint:
        assert ("why it is" in said.err) == (kind != "exited") and "3 calls" in said.err, "control"
    elif kind in ("exited", "signal"):
        assert said.err == ""
    else:
        assert said.err.splitlines() == ["akios: why it is"]
