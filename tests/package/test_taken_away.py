"""The Debian package is removed and purged: what stays is what an administrator wants to stay.

Runs in the guest (`tests/vm/package`), behind `test_install` and `test_installed`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.machine import DEBS, GROUPS, leftovers, sh

pytestmark = pytest.mark.skipif(not DEBS, reason="no package was handed in (tests/vm/package)")


def test_removing_keeps_data_and_purging_leaves_nothing(before: dict[str, set[str]]) -> None:
    sh("apt-get", "remove", "-y", "akios")
    assert Path("/var/lib/akios/ledger").is_dir() and Path("/etc/akios/akiosd.yaml").is_file()
    assert not Path("/usr/bin/akiosctl").exists() and not Path("/usr/lib/akios").exists()
    assert sh("systemctl", "is-active", "akiosd", ok=False).returncode != 0
    sh("apt-get", "purge", "-y", "akios")
    left = {what: names - before[what] for what, names in leftovers().items()}
    # Groups stay, as Debian's policy has it: files of theirs may lie anywhere.
    assert left.pop("accounts") == set(GROUPS)
    left["files"] -= {f"/etc/{name}" for name in ("group-", "gshadow-", "passwd-", "shadow-")}
    assert not any(left.values()), left
