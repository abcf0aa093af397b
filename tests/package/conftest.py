"""What was on the machine before the package, for all files of this directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.package.machine import DEBS, install, join_groups, leftovers, make_users, sh


@pytest.fixture(scope="session")
def before() -> dict[str, set[str]]:
    if Path("/usr/lib/akios").exists():  # A run before this one chose among tests.
        sh("apt-get", "purge", "-y", "akios")
    make_users()
    sh("groupdel", "akios", ok=False)  # the guest's own
    return leftovers()


@pytest.fixture(scope="session")
def package(before: dict[str, set[str]]) -> None:
    """It is installed, by `test_install` or now."""
    if not Path("/usr/lib/akios/bin/akiosd").exists():
        install(DEBS["akios"])
    join_groups()


def pytest_sessionfinish() -> None:
    """What the units said comes back from the guest, whether tests failed or not."""
    if out := os.environ.get("VM_OUT"):
        units = ("-u", "akiosd", "-u", "akios-cages.scope", "-u", "akios-api")
        Path(out, "journal").write_text(sh("journalctl", "--no-pager", *units).stdout)
        Path(out, "explained").write_text(sh("journalctl", "--no-pager", "-x", *units).stdout)
