"""One private daemon for the whole session: starting Python is slow under emulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.daemon import Daemon


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    private = Daemon()
    try:
        yield private.start()
    finally:
        private.close()
