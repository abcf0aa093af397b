"""What was on the machine before the package, for all files of this directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.machine import DEBS, install, join_groups, leftovers, make_users, sh


@pytest.fixture(scope="session")
def before() -> dict[str, set[str]]:
    make_users()
    sh("groupdel", "akios", ok=False)  # the guest's own
    return leftovers()


@pytest.fixture(scope="session")
def package(before: dict[str, set[str]]) -> None:
    """It is installed, by `test_install` or now."""
    if not Path("/usr/lib/akios/bin/akiosd").exists():
        install(DEBS["akios"])
    join_groups()
