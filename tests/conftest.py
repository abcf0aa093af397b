"""Named sets: tests that take too long for every run, chosen by ``packaging/test --set NAME``.

``@pytest.mark.named_set("histories")`` puts a test into the set ``histories``.  Without ``--set``
such tests are left out without a word; with ``--set NAME`` only that set's tests are run, and with
``--set all`` those of every set.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

# A busy machine is no fault of what is tested.
settings.register_profile("akios", deadline=None)
settings.load_profile("akios")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--set", default="", metavar="NAME", help="run only the tests of this named set (or: all)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--set")
    chosen, left_out = [], []
    for item in items:
        sets = {mark.args[0] for mark in item.iter_markers("named_set")}
        fits = not sets if not wanted else bool(sets) if wanted == "all" else wanted in sets
        (chosen if fits else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen
