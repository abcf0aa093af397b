"""What ``packaging/once_more.sh`` must know of a run: which tests failed, and may be tried again.

``-p tests.once_more --failures FILE`` writes them there, each as its name and the first line of
what it said, each of both ended by a NUL.  Nothing is written where trying a test again would prove
nothing: the run was cut short, its process died, or something failed that is not the test's own.
That is the end of a fixture, which tells what all tests before it have left, and a worker's death.

``--alone`` is for the second time: a test that is only skipped then has not passed.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--failures", metavar="FILE", help="write the failures of a whole run there")
    parser.addoption("--alone", action="store_true", help="fail when no test has passed")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several processes; the first one hears of all
        return
    if file := config.getoption("--failures"):
        config.pluginmanager.register(Failures(Path(file)))
    if config.getoption("--alone"):
        config.pluginmanager.register(Alone())


class Failures:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._said: dict[str, str] = {}
        self._is_final = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = str(crash.message if crash else report.longrepr).strip().partition("\n")[0]
            self._said.setdefault(report.nodeid, said.replace("\0", ""))
            self._is_final |= report.when not in ("setup", "call")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not (self._is_final or session.shouldfail or session.shouldstop):
            self._file.write_text("".join(f"{name}\0{said}\0" for name, said in self._said.items()))


class Alone:
    def __init__(self) -> None:
        self._passed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._passed |= report.when == "call" and report.passed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self._passed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
