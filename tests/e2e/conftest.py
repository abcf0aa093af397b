"""End-to-end tests need root and a kernel with the cage's mechanisms; they share one private daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import Daemon


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if "tests/e2e" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="needs root: the daemon makes cages"))


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    private = Daemon()
    try:
        yield private.start()
    finally:
        private.close()


@pytest.fixture(scope="session")
def programs(daemon: Daemon) -> Programs:
    return Programs(daemon)
