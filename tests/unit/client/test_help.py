"""Every verb has an example in its help and a schema, and no table tells of what is not there."""

from __future__ import annotations

import json

import click
import pytest

from akiosctl.commands import VERBS, akiosctl, run_verb
from akiosctl.help.examples import EXAMPLES, example_lines
from akiosctl.help.schemas import LINES, SCHEMAS
from akiosctl.help.words import read_words
from akiosctl.pager import PAGED
from akiosctl.run_options import help_text
from tests.unit.test_man import COMMANDS

GROUPS = (
    *("", "cage", "ledger", "policy", "keys", "protect", "workflow", "approvals", "output"),
    *("templates", "token"),
)


def test_the_tables_know_every_verb_and_no_others() -> None:
    assert set(EXAMPLES) == {*COMMANDS, "run", *GROUPS}
    assert set(SCHEMAS) == {*COMMANDS, "run", ""}
    assert set(COMMANDS) >= LINES and set(COMMANDS) >= PAGED


@pytest.mark.parametrize("verb", sorted((*COMMANDS, *GROUPS)))
def test_a_help_text_ends_with_its_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb([*verb.split(), "--help"], "/nonexistent", False) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    wanted = [line.strip() for line in example_lines(verb)]
    assert shown[-len(wanted) :] == wanted


def test_so_does_that_of_run() -> None:
    assert help_text().endswith("\n".join(example_lines("run")))


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_verb_takes_json(verb: str) -> None:
    flags = [option for param in COMMANDS[verb].params for option in param.opts]
    assert "--json" in flags


def test_every_line_of_a_help_text_fits_on_a_terminal() -> None:
    for verb in EXAMPLES:
        assert all(len(line) <= 100 for line in example_lines(verb)), verb


def test_the_schema_of_a_verb_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["schema", "ledger", "verify"], "/nonexistent", False) == 0
    schema = json.loads(capsys.readouterr().out)
    names = {part["$ref"].rpartition("/")[2] for part in schema["anyOf"]}
    assert names == {"Verified", "VerifiedAll"} and names < set(schema["$defs"])
    assert run_verb(["schema"], "/nonexistent", False) == 0
    assert set(json.loads(capsys.readouterr().out)) == {*COMMANDS, "run", "error"}


def test_the_words_for_shells_are_those_of_the_verbs() -> None:
    root = read_words(akiosctl, {name: text for name, (_, text) in VERBS.items()})
    paths = {" ".join(verb.path) for verb in root.walk()}
    assert paths == {*COMMANDS, "run", *GROUPS}
    for verb in root.walk():
        command: click.Command | None = COMMANDS.get(" ".join(verb.path))
        if command is not None:
            named = {name for option in verb.options for name in option.names}
            assert {
                option for param in command.params for option in param.opts if option[:1] == "-"
            } <= named
