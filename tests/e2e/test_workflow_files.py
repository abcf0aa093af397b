"""Who asks for a shell is refused, and the host's log keeps that somebody asked, without the text."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import NOBODY, Daemon


@pytest.fixture(scope="module")
def akios() -> Iterator[Daemon]:
    made = Daemon().start()
    try:
        yield made
    finally:
        made.close()


def asked(akios: Daemon) -> list[tuple[str, int]]:
    shown = akios.ctl("ledger", "show", "--kind", "shell_asked", "--json").stdout
    assert "hunter2" not in shown
    records = [json.loads(line) for line in shown.splitlines()]
    return [(record["place"], record["uid"]) for record in records]


def test_a_shell_that_is_asked_for_is_in_the_log(akios: Daemon) -> None:
    place = akios.workspace(uid=NOBODY)
    (place / "w.yml").write_text(
        "name: x\nsteps:\n- {agent: tool, action: run, parameters: {argv: 'echo hunter2 | sh'}}\n"
    )
    (place / "good.yml").write_text(
        "name: x\nsteps:\n- {agent: tool, action: run, config: {allow: [echo]}, parameters: {argv: [echo, hunter2]}}\n"
    )
    assert akios.ctl("workflow", "validate", "good.yml", cwd=place, uid=NOBODY).returncode == 0
    assert akios.ctl("run", "--", "true", cwd=place, uid=NOBODY).returncode == 0
    assert asked(akios) == [], "the control: words are no attempt"
    for words, status in (
        (("run", "--exec", "echo hunter2"), 125),
        (("run", "--memory", "1G", "--shell"), 125),
        (("workflow", "validate", "w.yml"), 1),
    ):
        done = akios.ctl(*words, cwd=place, uid=NOBODY)
        assert done.returncode == status and "not in the log" not in done.stderr, done.stderr
    assert asked(akios) == [("--exec", NOBODY), ("--shell", NOBODY), ("workflow", NOBODY)]
