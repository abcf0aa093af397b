"""Ages by the boot-time clock: a wall clock that jumps makes nothing old; time that passed makes
everything older.
"""

from __future__ import annotations

import random

import pytest
from akiosd.store.ages import HOUR_NS, SETTLED_NS, Ages, Clock, Reading

DAY_NS = 24 * HOUR_NS
BEGIN = 1_800_000_000 * 10**9


class Host:
    """A host whose true time is known: ``true_ns``.  It reads its clocks once an hour while it is
    up.
    """

    def __init__(self) -> None:
        self.true_ns, self.boot, self.booted_ns, self.wrong_ns = 0, 0, -HOUR_NS, 0
        self.ages = Ages()
        self.index = 0
        self.ended: dict[str, int] = {}

    def wall(self) -> int:
        return BEGIN + self.true_ns + self.wrong_ns

    def read(self) -> None:
        self.index += 1
        self.ages.read(
            self.index, Reading(f"boot {self.boot}", self.true_ns - self.booted_ns, self.wall())
        )

    def run(self, hours: int) -> None:
        for _ in range(hours):
            self.true_ns += HOUR_NS
            self.read()

    def off(self, ns: int) -> None:
        self.true_ns += ns
        self.boot, self.booted_ns = self.boot + 1, self.true_ns
        self.true_ns += 60 * 10**9
        self.read()

    def end(self, cage: str, after_ns: int = 0) -> None:
        self.true_ns += after_ns
        self.ages.ended(cage, self.wall())
        self.ended[cage] = self.true_ns

    def true_age(self, cage: str) -> int:
        return self.true_ns - self.ended[cage]


def test_a_steady_host_knows_every_age_exactly() -> None:
    host = Host()
    host.run(3)
    host.end("a", after_ns=HOUR_NS // 3)
    host.run(100)
    assert host.ages.age_of("a") == host.true_age("a") and not host.ages.clock.waits


@pytest.mark.parametrize("wrong", [60 * DAY_NS, -8000 * DAY_NS])
def test_a_jump_makes_nothing_old_and_is_waited_for(wrong: int) -> None:
    host = Host()
    host.run(30)
    host.end("a")
    host.run(2)
    host.wrong_ns = wrong
    assert (
        host.ages.clock.jump_of(Reading("boot 0", host.true_ns - host.booted_ns, host.wall()))
        == wrong
    )
    host.run(1)
    assert host.ages.age_of("a") == 3 * HOUR_NS and host.ages.clock.waits
    host.wrong_ns = 0
    host.run(1)
    assert host.ages.age_of("a") == 4 * HOUR_NS and host.ages.clock.waits
    host.run(23)
    assert host.ages.clock.waits
    host.run(2)
    assert not host.ages.clock.waits and host.ages.age_of("a") == host.true_age("a")


def test_a_record_dated_2002_is_as_young_as_it_is() -> None:
    host = Host()
    host.run(30)
    host.wrong_ns = -8000 * DAY_NS
    host.run(2)
    host.end("a")
    host.wrong_ns = 0
    host.run(1)
    assert host.ages.age_of("a") <= HOUR_NS
    assert host.ages.older_than(DAY_NS) < 10


def test_time_off_counts_after_a_steady_day_and_only_for_what_ended_before() -> None:
    host = Host()
    host.run(30)
    host.end("before")
    host.run(1)
    host.off(40 * DAY_NS)
    host.end("after")
    host.run(23)
    assert host.ages.age_of("before") < 2 * DAY_NS
    host.run(3)
    assert abs(host.ages.age_of("before") - host.true_age("before")) < HOUR_NS // 10
    assert host.ages.age_of("after") <= host.true_age("after")


def test_a_clock_that_is_wrong_after_a_start_is_not_believed() -> None:
    host = Host()
    host.run(30)
    host.end("a")
    host.run(1)
    host.wrong_ns = 300 * DAY_NS
    host.off(HOUR_NS)
    host.run(5)
    host.wrong_ns = 0
    host.run(40)
    assert host.ages.age_of("a") <= host.true_age("a")


def history(seed: int) -> None:
    """Jumps, wrong clocks after a start that are put right within a day, times off: never older
    than true.
    """
    rng, host = random.Random(seed), Host()
    host.run(1)  # a clock that is wrong from the first day on is not known to be
    for number in range(rng.randint(2, 30)):
        what = rng.choice(["run", "run", "end", "end", "jump", "right", "off", "off wrong"])
        if what == "run":
            host.run(rng.choice((1, 5, 30, 60)))
        elif what == "end":
            host.end(f"c{number}", rng.randrange(HOUR_NS))
        elif what == "jump":
            host.wrong_ns = rng.choice((1, -1)) * rng.randrange(10**9, 4000 * DAY_NS)
        elif what == "right":
            host.wrong_ns = 0
        else:
            # What jumped before the host went off is read first, as the daemon's readings see it.
            host.run(1)
            host.wrong_ns = 0 if what == "off" else rng.randrange(-9000, 400) * DAY_NS
            host.off(rng.randrange(50 * DAY_NS))
            host.run(rng.randint(1, 20))
            host.wrong_ns = 0
            host.run(1)
        for cage in host.ages.ends:
            slack = HOUR_NS + host.true_ns // 500
            assert host.ages.age_of(cage) <= host.true_age(cage) + slack, (seed, cage)


def test_no_cage_is_older_than_it_is() -> None:
    for seed in range(200):
        history(seed)


@pytest.mark.named_set("histories")
def test_no_cage_is_older_than_it_is_in_many_histories() -> None:
    for seed in range(200, 10_000):
        history(seed)


def test_an_age_by_the_wall_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what was done before."""
    monkeypatch.setattr(Clock, "jump_of", lambda self, reading: 0)

    def read(self: Clock, reading: Reading) -> None:
        self.up_ns, self.last = reading.wall_ns, reading

    monkeypatch.setattr(Clock, "read", read)
    with pytest.raises(AssertionError):
        for seed in range(50):
            history(seed)


def test_a_day_is_a_day() -> None:
    assert SETTLED_NS == DAY_NS
