"""The shortest way through everything."""

from __future__ import annotations

from tests.e2e.daemon import NOBODY, Daemon


def test_a_command_runs_and_its_exit_code_comes_back(daemon: Daemon) -> None:
    done = daemon.run("sh", "-c", "id -u; exit 7")
    assert (done.stdout, done.returncode) == ("1000\n", 7), done.stderr


def test_an_ordinary_user_runs_too(daemon: Daemon) -> None:
    done = daemon.run("sh", "-c", "id -un; touch new; cat new", uid=NOBODY)
    assert (done.stdout, done.returncode) == ("nobody\n", 0), done.stderr
