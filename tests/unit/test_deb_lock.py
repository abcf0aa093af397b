"""What pyproject.toml asks for is pinned for each Debian package, each in its part of the lock."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPO / "packaging/deb/lock").glob("*.txt"))
EXTRAS = ("workflow", "api")


def plain(name: str) -> str:
    """A name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parts(lock: Path) -> dict[str, set[str]]:
    """Debian package → names that it holds."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines()[1:]:
        if line.startswith("# "):
            names = found.setdefault(line[2:], set())
        else:
            names.add(plain(line.partition("==")[0]))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=[path.stem for path in LOCKS])
def test_every_dependency_is_locked_where_it_belongs(lock: Path) -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    held = parts(lock)
    assert sum(map(len, held.values())) == len(set().union(*held.values())), "one file, one package"
    wanted = {"akios": project["dependencies"]}
    wanted |= {f"akios-{extra}": project["optional-dependencies"][extra] for extra in EXTRAS}
    for package, lines in wanted.items():
        names = {plain(re.split(r"[^\w.-]", line)[0]) for line in lines}
        missing = names - held[package] - held["akios"]
        assert not missing, f"packaging/deb/build --lock; {package} lacks {missing}"
