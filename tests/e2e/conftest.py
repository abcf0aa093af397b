"""End-to-end tests need root and a kernel with the cage's mechanisms; they share one private
daemon.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.e2e import host_watch
from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import Daemon

WATCHED = re.compile(
    r"test_(attack_\w+|limits|bad_input|second_fences|deputy|starvation|no_trace)\.py"
)
ALONE = re.compile(
    r"test_(attack_(files|kernel_memory|processes|shared_\w+)|limits|starvation|host_watch"
    r"|api_load|leaks|large_answers)\.py"
)
"""Files that measure what all programs of the machine use together, or take most of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e" not in str(item.path):
            continue
        if ALONE.fullmatch(item.path.name):
            item.add_marker(pytest.mark.alone)
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: the daemon makes cages"))


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    private = Daemon()
    try:
        yield private.start()
    finally:
        private.close()


@pytest.fixture(scope="module")
def private() -> Iterator[Daemon]:
    """A daemon of the file's own: it is stopped, killed or counted there."""
    own = Daemon()
    try:
        yield own.start()
    finally:
        own.close()


@pytest.fixture(scope="session")
def programs(daemon: Daemon) -> Programs:
    return Programs(daemon)


@pytest.fixture(scope="module")
def before_the_attacks(daemon: Daemon) -> dict[str, int]:
    """What the host had in use before the first test of a module: what each leaves, be it little,
    adds up.
    """
    return host_watch.read(daemon)


@pytest.fixture(autouse=True)
def nothing_outside_grows(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each attack the host is as it was: memory, descriptors, processes, groups, mounts,
    clock, name.
    """
    if WATCHED.fullmatch(request.path.name) is None:
        yield
        return
    daemon: Daemon = request.getfixturevalue("daemon")
    before: dict[str, int] = request.getfixturevalue("before_the_attacks")
    yield
    assert host_watch.grown_when_settled(before, lambda: host_watch.read(daemon)) == []
