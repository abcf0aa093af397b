"""What was on the machine before the package, for all files of this directory."""

from __future__ import annotations

import pytest

from tests.package.machine import leftovers, make_users, sh


@pytest.fixture(scope="session")
def before() -> dict[str, set[str]]:
    make_users()
    sh("groupdel", "akios", ok=False)  # the guest's own
    return leftovers()
