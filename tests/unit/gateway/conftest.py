"""What the tests of calls to models share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.models import Models


@pytest.fixture(scope="module")
def server() -> Iterator[Models]:
    with Models() as running:
        yield running
