"""The single calls of hostile agents (``test_attack_calls.py``) in a cage without privileges: the
same answers, but for what :data:`OTHERWISE` lists.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.attacks.programs import Programs, parse
from tests.e2e.policy_mode import PolicyModeDaemon
from tests.e2e.test_attack_calls import ANSWERS, LACKING, LACKING_HERE

OTHERWISE: dict[str, str] = {
    # There is no netlink at all.
    **dict.fromkeys(
        (
            *("netlink_audit", "netlink_uevent", "netlink_generic", "netlink_netfilter"),
            *("netlink_diag", "netlink_xfrm", "route_change"),
        ),
        "EAFNOSUPPORT",
    ),
    # There is no terminal on which to ask for it.
    **dict.fromkeys(
        (*("tiocsti", "tiocsti_high", "tioclinux", "tioclinux_high", "tiocsetd", "tioccons"),),
        "EACCES",
    ),
}
"""Name → the answer of this mode."""
GIVEN_UP = {"allow_new_privileges"}
"""What the uid of these tests has no more, in a cage or not."""


@pytest.fixture(scope="module")
def host() -> Iterator[PolicyModeDaemon]:
    own = PolicyModeDaemon()
    try:
        yield own.start()
    finally:
        own.close()


@pytest.fixture(scope="module")
def programs(host: PolicyModeDaemon) -> Programs:
    return Programs(host)


@pytest.mark.parametrize("program", ANSWERS)
def test_hostile_calls_are_answered_as_in_a_cage_with_namespaces(
    programs: Programs, host: PolicyModeDaemon, program: str
) -> None:
    wanted = {name.lstrip("*"): answer for name, answer in ANSWERS[program].items()}
    found = programs.inside(program, list(wanted))
    assert found == {name: OTHERWISE.get(name, answer) for name, answer in wanted.items()}

    # Whatever an ordinary user gets outside, this uid gets there, too.
    free = [name.lstrip("*") for name in ANSWERS[program] if name.startswith("*")]
    free = [name for name in free if name not in GIVEN_UP]
    path = programs.path(program)
    control = {name: outside(host, str(path), name) for name in free}
    refused = {
        name: answer
        for name, answer in control.items()
        if answer == wanted[name] and answer not in LACKING | LACKING_HERE.get(name, set())
    }
    assert refused == {}


def outside(host: PolicyModeDaemon, path: str, name: str) -> str:
    try:
        return parse(host.outside(path, name, cwd=host.base).stdout).get(name, "died")
    except subprocess.TimeoutExpired:
        return "hangs"
