"""The answer to a run whose cage did not start: what failed, and what helps against that."""

from __future__ import annotations

import pytest

from akiosctl.client import DaemonError
from akiosctl.started import take_started


class Answer:
    """A client that has received the end of a cage instead of its start."""

    def __init__(self, kind: str, reason: str) -> None:
        self._message = {"m": "ended", "cage": "c-1", "kind": kind, "reason": reason}

    def receive(self) -> tuple[dict[str, object], list[int]]:
        return self._message, []


@pytest.mark.parametrize(
    ("kind", "reason", "what", "next"),
    [
        ("failed_start", "not started: no room", "not started: no room", "akiosctl doctor"),
        ("failed_start", "not started: a; next: do b", "not started: a", "do b"),
        ("not_found", "not started: x: not found", "not started: x: not found", "the path of"),
        ("daemon_stopped", "killed: akiosd stopped", "killed: akiosd stopped", "command again"),
    ],
)
def test_each_kind_of_failed_start_has_its_own_next_step(
    kind: str, reason: str, what: str, next: str
) -> None:
    with pytest.raises(DaemonError) as caught:
        take_started(Answer(kind, reason), 1)  # type: ignore[arg-type]
    assert (caught.value.what, caught.value.where) == (what, "cage c-1")
    assert next in caught.value.next
