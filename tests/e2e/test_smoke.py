"""The shortest way through everything."""

from __future__ import annotations

import pytest

from tests.e2e.daemon import NOBODY, Daemon


def test_a_command_runs_and_its_exit_code_comes_back(daemon: Daemon) -> None:
    done = daemon.run("sh", "-c", "id -u; exit 7")
    assert (done.stdout, done.returncode) == ("1000\n", 7), done.stderr


def test_an_ordinary_user_runs_too(daemon: Daemon) -> None:
    done = daemon.run("sh", "-c", "id -un; touch new; cat new", uid=NOBODY)
    assert (done.stdout, done.returncode) == ("nobody\n", 0), done.stderr


@pytest.mark.parametrize("trace", ["security", "files", "all"])
def test_at_every_trace_level(daemon: Daemon, trace: str) -> None:
    report = daemon.report(
        "sh", "-c", "test -e /etc/hostname; exec /bin/true", flags=["--trace", trace]
    )
    assert report["exit_code"] == 0, report
    kinds = {
        record["name"] for record in daemon.events(report["cage"]) if record["kind"] == "syscall"
    }
    assert "execve" in kinds
    assert bool(kinds & {"stat", "newfstatat", "faccessat", "faccessat2", "access"}) == (
        trace == "all"
    )
