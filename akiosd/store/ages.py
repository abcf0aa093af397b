"""Computes how old things are from readings of the clocks in the host log, never from one reading
of the wall clock.  Pure.

A host's time is how far its boot-time clock (CLOCK_BOOTTIME, which counts suspension) went on
between readings of one boot. For how long the host was off is believed only once the wall clock has
agreed with the boot-time clock for ``SETTLED_NS`` afterwards, and only as far as the wall clock did
not jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HOUR_NS = 3600 * 10**9
SETTLED_NS = 24 * HOUR_NS
_SLACK_NS = (
    60 * 10**9
)  # what clock discipline may move the wall clock by between two readings; and 1 in 1,000


@dataclass(frozen=True)
class Reading:
    """``boot`` differs after every start of the host (random(4)); the clocks as clock_gettime(2)
    gives them.
    """

    boot: str
    boottime_ns: int
    wall_ns: int


@dataclass(frozen=True)
class Moment:
    """A point in the host's time: ``up_ns`` is how long it had been up in all, ``gaps`` how often
    it had been off.
    """

    up_ns: int
    gaps: int


@dataclass
class Clock:
    """The readings so far, summed up.  ``settled_ns``: for how long the two clocks have agreed."""

    last: Reading | None = None
    up_ns: int = 0
    off_ns: list[int] = field(
        default_factory=list
    )  # each time it was off: how long, as far as that is believed
    settled_ns: int = 0
    _jumped: bool = False
    _trusted_wall: int | None = (
        None  # the wall clock when it was last settled, and how old the host was then
    )
    _trusted_age: int = 0
    # How far the wall clock jumped, each way on its own: any jump may be the fault, or what puts an
    # unseen one right.
    _ahead: int = 0
    _behind: int = 0
    _gaps_then: int = 0

    @property
    def waits(self) -> bool:
        """Whether the wall clock jumped and has not agreed for a day since: nothing is then
        destroyed for its age.
        """
        return self._jumped and self.settled_ns < SETTLED_NS

    def jump_of(self, reading: Reading) -> int:
        """How far the wall clock moved beside the boot-time clock since the last reading, in ns; 0
        when that is plausible.
        """
        last = self.last
        if last is None or last.boot != reading.boot:
            return 0
        went = reading.boottime_ns - last.boottime_ns
        moved = reading.wall_ns - last.wall_ns - went
        return moved if abs(moved) > _SLACK_NS + max(went, 0) // 1000 else 0

    def read(self, reading: Reading) -> None:
        """Take the next reading."""
        last, jump = self.last, self.jump_of(reading)
        if last is None or last.boot != reading.boot:
            self.up_ns += max(reading.boottime_ns, 0) if last is not None else 0
            if last is not None:
                self.off_ns.append(0)
            self.settled_ns = 0
        else:
            went = max(reading.boottime_ns - last.boottime_ns, 0)
            self.up_ns += went
            self.settled_ns = 0 if jump else self.settled_ns + went
            self._ahead += max(jump, 0)
            self._behind += max(-jump, 0)
            self._jumped = self._jumped or bool(jump)
        self.last = reading
        if self.settled_ns >= SETTLED_NS:
            self._settle(reading)

    def _settle(self, reading: Reading) -> None:
        """The clocks agree: what the wall clock counts more than the host was up, it was off.

        That time is attributed to the first time it was off since they last agreed, less by all
        jumps of the wall clock in between, in either direction: it may have been corrected while
        the host was off.
        """
        if self._trusted_wall is not None and len(self.off_ns) > self._gaps_then:
            off = max(reading.wall_ns - self._trusted_wall - (self._age() - self._trusted_age), 0)
            self.off_ns[self._gaps_then] = max(off - self._ahead - self._behind, 0)
            self._ahead, self._behind = 0, max(self._behind - off, 0)
        self._jumped = False
        self._trusted_wall, self._trusted_age = reading.wall_ns, self._age()
        self._gaps_then = len(self.off_ns)

    def _age(self) -> int:
        return self.up_ns + sum(self.off_ns)

    def moment(self) -> Moment:
        """The moment of the last reading."""
        return Moment(self.up_ns, len(self.off_ns))

    def between(self, before: Moment, wall_ns: int, earlier: Reading | None) -> Moment:
        """The moment of something that the log has between the reading ``earlier``, at ``before``,
        and the last reading.

        Its own wall clock time is believed within these two, and only where they agree; else it
        counts as young as possible.
        """
        if earlier is None or self.last is None or earlier.boot != self.last.boot:
            return self.moment()
        went = self.up_ns - before.up_ns
        agreed = abs(self.last.wall_ns - earlier.wall_ns - went) <= _SLACK_NS + went // 1000
        into = wall_ns - earlier.wall_ns
        return (
            Moment(before.up_ns + into, before.gaps)
            if agreed and 0 <= into <= went
            else self.moment()
        )

    def age_ns(self, moment: Moment) -> int:
        """The age of ``moment`` at the last reading."""
        return self.up_ns - moment.up_ns + sum(self.off_ns[moment.gaps :])


@dataclass
class Ages:
    """What the host log says, read from its start: when cages ended, and at which index which time
    begins.
    """

    clock: Clock = field(default_factory=Clock)
    ends: dict[str, Moment] = field(default_factory=dict)
    readings: list[tuple[int, Moment]] = field(default_factory=list)  # index in the log, and when
    is_cut: bool = False  # the log begins with a later entry: what it does not know of is older
    _pending: list[tuple[str, int]] = field(
        default_factory=list
    )  # ended since the last reading; their wall clocks

    def ended(self, cage: str, wall_ns: int) -> None:
        """The log says that a cage ended; its moment is known with the next reading."""
        self._pending.append((cage, wall_ns))

    def gone(self, cage: str) -> None:
        """The log says that a cage was destroyed: nobody will ask for its age."""
        self.ends.pop(cage, None)

    def read(self, index: int, reading: Reading) -> None:
        """The log has a reading at ``index``."""
        before, earlier = self.clock.moment(), self.clock.last
        self.clock.read(reading)
        for cage, wall_ns in self._pending:
            self.ends[cage] = self.clock.between(before, wall_ns, earlier)
        self._pending.clear()
        self.readings.append((index, self.clock.moment()))

    def age_of(self, cage: str) -> int:
        """The age of a cage's end in ns.

        0 for one whose end is not in the log; where the log was pruned, as old as the log.
        """
        first = self.readings[0][1] if self.is_cut and self.readings else self.clock.moment()
        return self.clock.age_ns(self.ends.get(cage, first))

    def older_than(self, age_ns: int) -> int:
        """The index in the host log below which every entry is older than ``age_ns``."""
        return max(
            (index for index, moment in self.readings if self.clock.age_ns(moment) > age_ns),
            default=0,
        )
