"""The Debian package is installed, as an administrator does it.

Runs in the guest (`tests/vm/package`).  What `test_installed` looks at and `test_taken_away` takes away
is what this leaves.
"""

from __future__ import annotations

import grp
from pathlib import Path

import pytest

from tests.package.machine import DEBS, GROUPS, install, sh

pytestmark = pytest.mark.skipif(not DEBS, reason="no package was handed in (tests/vm/package)")


def test_it_installs_and_runs(before: dict[str, set[str]]) -> None:
    with pytest.raises(KeyError):
        grp.getgrnam("akios")  # the control: none of this was there before
    install(DEBS["akios"])
    for group in GROUPS:
        assert grp.getgrnam(group)
    assert sh("systemctl", "is-enabled", "akiosd").stdout == "enabled\n"
    assert sh("systemctl", "is-active", "akiosd").stdout == "active\n"
    assert sh("akiosctl", "--version").stdout == sh("akios", "--version").stdout
    # Bytecode lies there, so that no start has to compile.
    [shown] = Path("/usr/lib/akios/lib").glob("python3*/site-packages/akiosctl/__pycache__/cli.*")
    assert shown.stat().st_uid == 0
