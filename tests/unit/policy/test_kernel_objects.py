"""The table of kernel objects and the table of system calls tell the same."""

from __future__ import annotations

from akiosd.values import syscalls as table
from tests.unit.policy.decide import find_form
from tests.unit.policy.kernel_objects import KINDS, MAKES_NOTHING

MAKERS = {maker.partition(":")[0] for kind in KINDS for maker in kind.made_by}
REACHABLE = set(table.ALLOWED) | set(table.CHECKED)


def makers(kept: str) -> set[str]:
    return {maker for kind in KINDS if kind.kept == kept for maker in kind.made_by}


def test_every_call_that_may_be_made_has_its_place() -> None:
    """A call added to the allow-list is looked at: what does it make, and what keeps that?"""
    assert set() == REACHABLE - MAKERS - MAKES_NOTHING
    assert set() == MAKERS & MAKES_NOTHING


def test_the_tables_name_calls_that_there_are() -> None:
    assert table.known_names() | {"adjtime", "prctl", "setsockopt"} >= MAKERS | MAKES_NOTHING


def test_what_is_refused_is_in_no_list_of_the_allowed() -> None:
    bare = {maker for maker in makers("refused") if ":" not in maker}
    others = {maker for kept in ("charged", "counted", "limited", "with") for maker in makers(kept)}
    assert (bare - others) & REACHABLE == set()


# (level, name): include/uapi/asm-generic/socket.h, linux/tcp.h, linux/in.h
OPTIONS = {
    "SO_TIMESTAMPING": (1, 37), "SO_ATTACH_FILTER": (1, 26), "SO_ATTACH_REUSEPORT_CBPF": (1, 51),
    "SO_ZEROCOPY": (1, 60), "IP_ADD_MEMBERSHIP": (0, 35), "MCAST_JOIN_GROUP": (0, 42), "TCP_MD5SIG": (6, 14),
    "TCP_AO_ADD_KEY": (6, 38),
    "TCP_SAVE_SYN": (6, 27), "TCP_ULP": (6, 31),
}  # fmt: skip


def test_refused_options_do_not_exist_in_a_cage() -> None:
    named = {
        maker.partition(":")[2] for maker in makers("refused") if maker.startswith("setsockopt:")
    }
    assert named - {"IP_RECVERR"} == set(OPTIONS)
    for level, name in OPTIONS.values():
        assert (
            find_form(table.CHECKED["setsockopt"], (3, level, name, 0, 0, 0)).errno
            == table.ENOPROTOOPT
        )
    assert find_form(table.CHECKED["setsockopt"], (3, 0, 11, 0, 0, 0)).answered, "IP_RECVERR"


def test_what_is_counted_is_counted_by_the_pump() -> None:
    counted = {form.counted for checked in table.CHECKED.values() for form in checked.forms} - {
        None
    }
    assert counted == set(table.COUNTED)
    told = " ".join(kind.how for kind in KINDS if kind.kept == "counted")
    assert all(f"Bounds.{name}" in told for name in table.COUNTED)


def test_every_kind_says_how_and_where() -> None:
    assert len({kind.what for kind in KINDS}) == len(KINDS)
    assert all(
        kind.source and (kind.how or kind.kept == "refused") and kind.made_by for kind in KINDS
    )
