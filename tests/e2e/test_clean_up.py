"""What of a cage cannot be given back keeps nothing else, and nothing is taken from under what may
still live.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.caged import caged, question
from tests.e2e.daemon import Daemon
from tests.e2e.resources import cage_directories, cgroups, wait_until

IMAGE = "disk.img"


@contextmanager
def kept_busy(daemon: Daemon, name: str) -> Iterator[None]:
    """A group below the cage's own (v2): the kernel refuses to remove what has children
    (cgroups(7)).
    """
    inner = [
        Path(path, "inner") for path in cgroups(daemon) if path.endswith(f"/{name}") and is_v2(path)
    ]
    assert inner
    for path in inner:
        path.mkdir()
    try:
        yield
    finally:
        for path in inner:
            path.rmdir()
            path.parent.rmdir()


def is_v2(path: str) -> bool:
    return Path(path, "cgroup.kill").exists()


def groups_of(daemon: Daemon, name: str) -> set[str]:
    return {path for path in cgroups(daemon) if path.endswith(f"/{name}")}


def has_disk(daemon: Daemon, cage: str) -> bool:
    pool = daemon.state / "disk" / "pool" / cage
    return IMAGE in cage_directories(daemon)[cage] or pool.exists()


def test_where_the_gateways_group_stays_the_cages_own_goes(private: Daemon) -> None:
    with caged(private) as one:
        one.do(f"ask('{question('api.openai.com')}')")
        assert wait_until(lambda: bool(groups_of(private, f"{one.cage}-gateway")))
        with kept_busy(private, f"{one.cage}-gateway"):
            one.end()
            assert wait_until(lambda: "its gateway" in private.log.read_text())
            assert wait_until(
                lambda: not groups_of(private, one.cage) and not has_disk(private, one.cage)
            )


def test_where_a_cages_group_stays_so_does_its_disk(private: Daemon) -> None:
    with caged(private) as one:
        with kept_busy(private, one.cage):
            one.end()
            assert wait_until(lambda: "its control groups" in private.log.read_text())
            # A whole life behind it: by now its own disk would be gone, too.
            with caged(private) as control:
                control.end()
                assert wait_until(lambda: not has_disk(private, control.cage))
            assert has_disk(private, one.cage)
    private.stop()
    private.start()
    assert not has_disk(private, one.cage), "the next start removes it"
