"""``packaging/once_more.sh``: which failures are run again, alone, and what is said of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.once_more import Alone, Failures

ROOT = Path(__file__).resolve().parents[2]

# In place of pytest: FAILING names what fails in the first run, BROKEN what fails alone as well.
FAKE = r"""
fake() {
  [ "$3" = --alone ] && { echo "alone: $4"; [[ " $BROKEN " != *" $4 "* ]]; return; }
  for name in $FAILING; do printf '%s\0it was %s\0' "$name" "$name"; done >"$4"
  return "$CODE"
}
pytest=(fake) arguments=()
"""

# Fails in its first process, and passes in a second one.
ONCE = """
import os, pathlib
def test_once():
    mark = pathlib.Path(__file__).with_name("mark")
    seen = mark.exists()
    mark.touch()
    assert seen, os.getpid()
"""


def stage(scratch: Path, setup: str, *words: str, **env: str) -> tuple[int, str]:
    """The exit code of a stage, and what it and the end of the run print."""
    script = (
        f'source "{ROOT}/packaging/once_more.sh"; {setup}\nrun_twice "$@"; code=$?; say_failed_once'
    )
    done = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", f"{script}; exit $code", "bash", str(scratch), *words],
        cwd=scratch,
        env=os.environ | {"AKIOS_ONCE_MORE": "1"} | env,
        timeout=60,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("env", "code", "alone", "told"),
    [
        ({"CODE": "0"}, 0, "", ""),
        ({"CODE": "1", "FAILING": "a"}, 0, "a", "a"),
        ({"CODE": "1", "FAILING": "a b c"}, 0, "abc", "abc"),
        ({"CODE": "1", "FAILING": "a b c d"}, 1, "", ""),
        ({"CODE": "1", "FAILING": "a b c", "BROKEN": "b"}, 1, "ab", "a"),
        ({"CODE": "1", "FAILING": "a", "AKIOS_ONCE_MORE": "0"}, 1, "", ""),
        ({"CODE": "1"}, 1, "", ""),  # the run was cut short, or what failed is not a test's own
        ({"CODE": "2", "FAILING": "a"}, 2, "", ""),  # interrupted: the rest was not run
        ({"CODE": "5"}, 5, "", ""),
    ],
)
def test_up_to_three_failures_are_run_once_more_and_named(
    env: dict[str, str], code: int, alone: str, told: str, tmp_path: Path
) -> None:
    ended, said = stage(tmp_path, FAKE, **{"FAILING": "", "BROKEN": ""} | env)
    assert ended == code, said
    assert [line[-1] for line in said.splitlines() if line.startswith("alone: ")] == list(alone)
    for name in "abcd":
        line = f"!! failed once, passed alone: {name}\n    it was {name}\n"
        assert (line in said) == (name in told)


def test_a_test_that_fails_in_one_process_passes_in_the_next(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(ONCE)
    run = f"{sys.executable} -m pytest -q --rootdir . -c /dev/null -p no:cacheprovider"
    env = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    code, said = stage(tmp_path, f"pytest=({run}) arguments=()", file.name, **env)
    assert code == 0, said
    assert "!! failed once, passed alone: test_it.py::test_once\n    AssertionError: " in said
    assert "1 failed" in said and "1 passed" in said


def report(when: str, outcome: str = "failed", name: str = "test_it") -> pytest.TestReport:
    text = f"{when} {outcome}\nand more"
    return pytest.TestReport(name, ("", 0, ""), {}, outcome, text, when)  # type: ignore[arg-type]


WHOLE = SimpleNamespace(shouldfail=False, shouldstop=False)
SHORT = SimpleNamespace(shouldfail="/dev/null has another mode", shouldstop=False)


@pytest.mark.parametrize(
    ("reports", "session", "written"),
    [
        ([report("call")], WHOLE, "test_it\0call failed\0"),
        ([report("setup"), report("call", "passed", "other")], WHOLE, "test_it\0setup failed\0"),
        ([report("call"), report("teardown")], WHOLE, None),  # what was left behind
        ([report("???")], WHOLE, None),  # a worker died
        ([report("call")], SHORT, None),
        ([report("call", "passed")], WHOLE, ""),
    ],
)
def test_what_may_be_tried_again(
    reports: list[pytest.TestReport],
    session: SimpleNamespace,
    written: str | None,
    tmp_path: Path,
) -> None:
    failures = Failures(tmp_path / "failures")
    for each in reports:
        failures.pytest_runtest_logreport(each)
    failures.pytest_sessionfinish(session)  # type: ignore[arg-type]
    file = tmp_path / "failures"
    assert (file.read_text() if file.exists() else None) == written


@pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("skipped", 1)])
def test_what_is_skipped_alone_has_not_passed(outcome: str, code: int) -> None:
    alone, session = Alone(), SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    alone.pytest_runtest_logreport(report("call", outcome))
    alone.pytest_sessionfinish(session)  # type: ignore[arg-type]
    assert session.exitstatus == code
