"""workflow, templates, init, and the words of AKIOS 1.4; without a daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from akiosctl import workflow_files
from akiosctl.cli import run_command
from akiosctl.commands import VERBS
from akiosctl.old_words import OLD
from akiosctl.workflow_files import templates
from akiosd.policy.merge import merge_explained
from tests.unit import describe_old_words
from tests.unit.describe_old_words import KEPT

Run = Callable[..., tuple[int, str, str]]
GOOD = "name: x\nsteps:\n- {agent: http, action: get, parameters: {url: 'https://example.com/'}}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Run:
    """Runs akiosctl in a directory of its own: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("AKIOS_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr(workflow_files, "policy_here", lambda _: merge_explained([]))

    def command(*words: str) -> tuple[int, str, str]:
        code = run_command(list(words))
        return code, *capfd.readouterr()

    return command


def test_a_project_has_three_workflows_that_are_right(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "p" / "akios.yaml").symlink_to(tmp_path / "elsewhere")
    code, out, _ = run("init", "p")
    assert code == 0 and "kept  akios.yaml" in out
    assert (tmp_path / "elsewhere").read_text() == "mine", "a link leads nowhere"
    files = sorted(str(path) for path in (tmp_path / "p/workflows").iterdir())
    assert len(files) == 3 and [Path(file).stem for file in files] == list(templates())
    code, out, error = run("workflow", "validate", *files)
    assert code == 0 and out.count("OK") == 3, error
    assert (tmp_path / "p/data/output").is_dir() and (tmp_path / "p/.gitignore").read_text()


def test_a_bad_file_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(GOOD.replace("agent", "agnet"))
    code, out, error = run("workflow", "validate", "w.yml")
    assert (code, out) == (1, "w.yml: 1 mistake\n") and "w.yml, line 3, column 4" in error
    code, out, _ = run("--json", "workflow", "validate", "w.yml")
    assert code == 1 and json.loads(out)[0]["errors"][0]["next"] == "did you mean agent?"
    (tmp_path / "w.yml").write_text(GOOD)
    code, out, error = run("workflow", "validate", "w.yml")
    assert (code, out) == (1, "w.yml: 1 mistake\n"), "this project allows no site"
    assert "does not allow example.com" in error and "w.yml, line 3, column 43" in error
    unknown = GOOD.replace("https://example.com/", "${X}").replace("steps", "env: [X]\nsteps")
    (tmp_path / "w.yml").write_text(unknown)
    assert run("workflow", "validate", "w.yml")[:2] == (0, "w.yml: OK, 1 step\n")


def test_only_a_regular_file_is_read(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    code, _, error = run("workflow", "explain", "pipe.yml")
    assert code == 125 and "not a regular file" in error
    (tmp_path / "flow.yml").write_text(GOOD)
    assert "did you mean flow.yml" in run("workflow", "graph", "flwo.yml")[2]


def test_a_command_of_one_text_is_refused_and_an_attempt(run: Run, tmp_path: Path) -> None:
    text = "name: x\nsteps:\n- {agent: tool, action: run, config: {allow: [a]}, parameters: {argv: %s}}\n"
    (tmp_path / "w.yml").write_text(text % "'a | b'")
    code, _, error = run("workflow", "validate", "w.yml")
    assert code == 1 and "no shell reads it" in error and "attempt is not in the log" in error
    (tmp_path / "w.yml").write_text(text % "[a, b]")
    code, _, error = run("workflow", "validate", "w.yml")
    assert code == 0 and "attempt" not in error, "the control"


@pytest.mark.parametrize("words", [("--exec", "id"), ("--exec=id",), ("--shell",)])
def test_run_gives_no_text_to_a_shell(run: Run, words: tuple[str, ...]) -> None:
    code, _, error = run("run", *words)
    assert code == 125 and "is refused" in error and "akiosctl run -- PROGRAM" in error
    assert "attempt is not in the log: akiosd is not running" in error


def test_run_of_a_workflow_says_what_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(GOOD)
    code, _, error = run("run", "w.yml")
    assert code == 125 and "akiosctl workflow run w.yml" in error
    (tmp_path / "w.yml").chmod(0o755)
    assert "akiosd is not running" in run("run", "./w.yml")[2], "the control: a program"


# Every verb of AKIOS 1.4: it works under its name, or one line says what took its place.
GONE = (
    *("setup", "audit", "audit export", "audit log", "audit verify", "audit rotate"),
    *("audit stats", "audit prune", "files", "clean", "docs", "security", "security up"),
    *("security down", "security status", "compliance", "compliance report", "output latest"),
    *("output archive", "output clean", "serve --host", "serve --port"),
)


@pytest.mark.parametrize("verb", KEPT)
def test_a_verb_of_1_4_works(run: Run, verb: str) -> None:
    assert verb.split()[0] in VERBS and tuple(verb.split()) not in OLD
    assert run(*verb.split(), "--help")[0] == 0


@pytest.mark.parametrize("verb", GONE)
def test_a_verb_of_1_4_names_what_took_its_place(run: Run, verb: str) -> None:
    code, _, error = run(*verb.split(), "--flag", "word")
    assert code == 125 and f"next:  now: {OLD[tuple(verb.split())]}" in error
    words = OLD[tuple(verb.split())].replace("sudo ", "").split("akiosctl ")[1:]
    assert all(word.split()[0].strip(",:;") in {*VERBS, "VERB"} for word in words) or "man" in error


def test_the_page_of_old_words_is_that_of_the_tables() -> None:
    page = describe_old_words.PAGE.read_text()
    assert page == describe_old_words.describe(), (
        "renew it: python -m tests.unit.describe_old_words"
    )
    assert all(f"| `{verb}` |" in page for verb in (*KEPT, *GONE))


def test_the_table_of_old_words_is_whole() -> None:
    assert {" ".join(words) for words in OLD} == set(GONE)


def test_what_is_not_there_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "project")
    code, out, error = run("approvals")
    assert (code, out) == (0, "") and "no question waits" in error
    code, out, error = run("output", "list")
    assert (code, out) == (0, "") and "no workflow was run here" in error
    code, _, error = run("workflow", "status")
    assert (
        code == 125 and str(tmp_path / "project") in error and "akiosctl output list --all" in error
    )
    assert run("approvals", "--json")[1].strip() == "[]", "for programs it is an empty list"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("pause", "work"), "did you mean akiosctl cage pause?"),
        (("scan", "file"), "did you mean akiosctl protect scan?"),
        (("comit",), "did you mean commit?"),
    ],
)
def test_a_verb_of_two_words_is_found_by_the_second(
    run: Run, words: tuple[str, ...], hint: str
) -> None:
    code, _, error = run(*words)
    assert code == 125 and hint in error


def test_choices_are_told_in_one_line(run: Run) -> None:
    code, _, error = run("token", "create")
    assert code == 125 and "Choose from: read, events" in error and "x0a" not in error


def test_an_explanation_says_what_has_to_be_given_and_which_program_runs(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "w.yml").write_text(
        "name: x\ninputs: {p: {default: 5 %}, q: {type: integer}}\nsteps:\n- {agent: tool, "
        "action: run, config: {allow: [wc]}, parameters: {argv: [wc, -l, './{inputs.p}']}}\n"
    )
    code, out, error = run("workflow", "explain", "w.yml")
    assert code == 0, error
    assert "takes p, text; 5 % where none is given" in out
    assert "takes q, integer; it has to be given" in out
    assert "runs: wc -l ./{inputs.p}" in out
