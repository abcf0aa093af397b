"""A stop and a restart, as systemd's queue of jobs shows them."""

from __future__ import annotations

import pytest

from akiosd.daemon.base.restart_job import is_restart, unit_of

UNIT = "akiosd.service"


@pytest.mark.parametrize(
    ("jobs", "restarts"),
    [
        ("123 akiosd.service restart running\n", True),
        ("7 other.service restart waiting\n 8 akiosd.service restart waiting", True),
        ("123 akiosd.service stop running\n", False),
        ("123 akiosd.service start waiting\n", False),
        ("1 other.service restart running\n2 akiosd.service stop waiting\n", False),
        ("1 my-akiosd.service restart running\n", False),
        ("No jobs running.\n", False),
        ("", False),
    ],
)
def test_only_a_restart_of_this_unit_is_one(jobs: str, restarts: bool) -> None:
    assert is_restart(jobs, UNIT) is restarts


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/akios.slice/akiosd.service/supervisor\n", UNIT),
        ("3:cpu:/user.slice\n1:name=systemd:/system.slice/akiosd.service\n0::/\n", UNIT),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n", "x.service"),
        ("0::/\n", ""),
        ("nonsense\n", ""),
    ],
)
def test_its_unit_is_read_from_its_group(cgroup: str, unit: str) -> None:
    assert unit_of(cgroup) == unit
