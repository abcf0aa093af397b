"""What a service manager hands over and is told: sd_listen_fds(3), sd_watchdog_enabled(3),
sd_notify(3).
"""

from __future__ import annotations

import pytest

from akiosd.errors import AkiosError
from akiosd.values.service_manager import (
    Pulse,
    ServiceFacts,
    describe_pulses,
    describe_service,
    describe_stop,
    extension,
    find_stall,
    handed_over,
    reloading,
    watchdog_period,
)

PERIOD = 60.0


def listen(fds: str, names: str | None = None, pid: str = "7") -> dict[str, str]:
    found = {"LISTEN_PID": pid, "LISTEN_FDS": fds}
    return found if names is None else {**found, "LISTEN_FDNAMES": names}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ()),
        (listen("2", "a:b", pid="8"), ()),  # they are another process's
        (listen("0"), ()),
        (listen("0", ""), ()),
        (listen("2", "clients:clients"), ((3, "clients"), (4, "clients"))),
        (listen("1", ""), ((3, ""),)),
        (listen("2"), ((3, "unknown"), (4, "unknown"))),
    ],
)
def test_what_is_handed_over(
    environment: dict[str, str], found: tuple[tuple[int, str], ...]
) -> None:
    assert handed_over(environment, 7) == found


@pytest.mark.parametrize(
    "environment",
    [
        listen("two"),
        listen("-1"),
        listen(""),
        listen("99999999999"),
        listen("2", "a"),
        listen("1", "a:b"),
        {"LISTEN_PID": "7"},
    ],
)
def test_variables_that_contradict_each_other_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(AkiosError, match="LISTEN_FD"):
        handed_over(environment, 7)


@pytest.mark.parametrize(
    ("environment", "period"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_that_waits_for_this_process(
    environment: dict[str, str], period: float | None
) -> None:
    assert watchdog_period(environment, 7) == period


def test_a_stall_is_a_part_without_progress_for_longer_than_its_bound() -> None:
    threads, ledger = Pulse("threads", 95, PERIOD), Pulse("the ledger", 40, PERIOD)
    assert find_stall([threads, ledger], 100) == ""
    assert find_stall([threads, ledger], 101) == "the ledger has made no progress for 61 s"
    assert find_stall([Pulse("threads", 0, PERIOD), ledger], 100).startswith("threads")


def test_a_disk_that_does_not_answer_is_no_stall_but_is_told() -> None:
    disk = Pulse("the ledger", 0, PERIOD, waits_for_disk=True)
    assert find_stall([disk], 500) == ""
    assert describe_pulses([disk], 500, 10) == "the ledger waits for the disk since 500 s"
    assert describe_pulses([disk], 9, 10) == ""


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (ServiceFacts(), "No cages run"),
        (ServiceFacts(cages=1), "1 cage runs"),
        (ServiceFacts(cages=3, kept=2), "3 cages run; changes of 2 wait to be committed"),
        (
            ServiceFacts(cages=3, full=True, state_dir="/s"),
            "The disk of /s is full: 3 cages run, and all are paused",
        ),
        (
            ServiceFacts(slow="x waits", refused="f, line 2"),
            "No cages run; x waits; the settings are those of before, for f, line 2 is not taken",
        ),
    ],
)
def test_the_line_in_systemctl_status(facts: ServiceFacts, line: str) -> None:
    assert describe_service(facts) == line


def test_messages_of_sd_notify() -> None:
    assert extension("Reading") == "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=Reading"
    assert reloading(1_234_567) == "RELOADING=1\nMONOTONIC_USEC=1234"
    assert [describe_stop(cages).split(": ")[1] for cages in (0, 1, 2)] == [
        "the logs are being published",
        "1 cage is being ended",
        "2 cages are being ended",
    ]
