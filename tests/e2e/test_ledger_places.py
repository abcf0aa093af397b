"""Which host was pinned in a place is known by every way there: its files, and the socket of their
akiosd.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosd.store.log_dir import directory
from akiosd.values.ids import HOST_LOG

from tests.e2e.daemon import Daemon


@pytest.fixture
def akios() -> Iterator[Daemon]:
    akios = Daemon().start()
    yield akios
    akios.close()


def set_up_anew(akios: Daemon) -> None:
    """Somebody without the key puts another history, under a key of their own, in the place of the
    first.
    """
    akios.stop()
    for name in ("ledger", "cages", "keys"):
        shutil.rmtree(akios.state / name)
    akios.start()


@pytest.mark.parametrize("pinned", ["by its files", "by its socket"])
def test_a_host_set_up_anew_is_an_alarm_by_either_way(
    akios: Daemon, tmp_path: Path, pinned: str
) -> None:
    ways: dict[str, tuple[str, ...]] = {
        "by its files": ("--dir", str(akios.state / directory(HOST_LOG))),
        "by its socket": (),
    }
    kept, nothing = (
        {**os.environ, "XDG_STATE_HOME": str(tmp_path / name)} for name in ("kept", "nothing")
    )
    assert akios.ctl("ledger", "pin", *ways[pinned], env=kept).returncode == 0
    for words in ways.values():
        assert akios.ctl("ledger", "verify", *words, env=kept).returncode == 0
    set_up_anew(akios)
    for words in ways.values():
        done = akios.ctl("ledger", "verify", *words, env=kept)
        assert done.returncode == 4 and "what was pinned here" in done.stdout, done.stdout
        assert (
            akios.ctl("ledger", "verify", *words, env=nothing).returncode == 0
        )  # the control: the pin tells it
    assert akios.ctl("ledger", "pin", "--renew", *ways[pinned], env=kept).returncode == 0
    for words in ways.values():
        assert akios.ctl("ledger", "verify", *words, env=kept).returncode == 0


def test_of_a_host_that_is_met_elsewhere_it_is_said_that_another_was_pinned(
    akios: Daemon, tmp_path: Path
) -> None:
    """Not an alarm: one user may well have to do with two hosts."""
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    assert akios.ctl("ledger", "pin", env=env).returncode == 0
    other = Daemon().start()
    try:
        done = other.ctl("ledger", "verify", env=env)
    finally:
        other.close()
    assert (
        done.returncode == 0
        and "nothing of this host was ever pinned, but of akios/" in done.stdout
    )
    assert "ever pinned" not in akios.ctl("ledger", "verify", env=env).stdout
