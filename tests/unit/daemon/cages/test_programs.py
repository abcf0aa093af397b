"""The programs of a standing cage: whatever becomes of those who ask for one, and of those who wait
for one, none is left that nobody will ever end.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing

from akiosctl.begin_program import make_token
from akiosd.cage import state_format
from akiosd.cage.asked_programs import MOST, AskedState
from akiosd.cage.programs import MAX_ENDED, explain
from akiosd.cage.programs import Program as ProgramOf
from akiosd.daemon.cages.cage_state import ASKED, PROGRAMS, ProgramsState, decode, encode
from akiosd.daemon.cages.keep_cage import KeptCage
from akiosd.daemon.cages.programs import Followed, Programs
from akiosd.errors import CageFailedError
from akiosd.kernel.state_memory import StateMemory
from akiosd.values.ids import LogId
from akiosd.values.plan import StatusMessage
from akiosd.values.policy import Limits
from akiosd.wire.messages import Program

CAGE = LogId("c-aaaaaaaaaaaaa")
LIMITS = Limits(output=1 << 20)
REQUEST = Program(cage=CAGE, argv=(b"true",), command=b"/usr/bin/true", cwd=b"/")

NONE, NONE_ASKED = ProgramsState(), AskedState()
BOOT = "a boot"


class Channel:
    """To an init; ``fails`` is raised in the place of sending."""

    def __init__(self, fails: BaseException | None = None, *, stuck: bool = False) -> None:
        self.fails, self.stuck = fails, stuck
        self.sent: list[tuple[object, ...]] = []

    async def send_program(self, number: int, plan: bytes, stdio: list[int]) -> None:
        if self.stuck:
            await trio.sleep_forever()
        if self.fails is not None:
            raise self.fails
        self.sent.append(("program", number))

    async def send(self, kind: str, value: int = 0, number: int = 0) -> None:
        self.sent.append((kind, value, number))


class Cage:
    def __init__(
        self,
        before: ProgramsState = NONE,
        asked: AskedState = NONE_ASKED,
        memory: StateMemory | None = None,
    ) -> None:
        self.records: list[Any] = []
        self.memory = memory
        counts = itertools.count()
        ledger = SimpleNamespace(append=self._append(counts.__next__))
        kept = KeptCage(CAGE, None, memory)
        self.programs = Programs(cast(Any, ledger), CAGE, kept, LIMITS, before, asked)

    def kill_akiosd(self, *, older: bool = False) -> Cage:
        """The cage as the next akiosd finds it, from its memory alone; an ``older`` one does not
        know the section of what was asked.
        """
        assert self.memory is not None
        memory = StateMemory.open(self.memory.fd.dup(), BOOT)
        known = decode(memory.sections, PROGRAMS, ProgramsState)
        if older:
            return Cage(known, memory=memory)
        return Cage(known, decode(memory.sections, ASKED, AskedState), memory)

    async def run(self, token: bytes) -> None:
        await self.start(Channel(), token)
        self.say("program_started", self.programs.count)
        self.say("program_ended", self.programs.count)

    def _append(self, place: Callable[[], int]) -> Callable[[str, Any], int]:
        def append(log: str, record: Any) -> int:
            self.records.append(record)
            return place()

        return append

    async def start(self, channel: Channel, token: bytes = b"") -> Followed:
        stdio: Any = SimpleNamespace(theirs=[])
        request = msgspec.structs.replace(REQUEST, token=token)
        return await self.programs.start(cast(Any, channel), request, {}, stdio)

    def say(self, kind: str, number: int, value: int = 0) -> None:
        self.programs.hear(StatusMessage(cast(Any, kind), 0, number, value))


async def test_a_start_whose_client_leaves_meanwhile_is_over() -> None:
    cage = Cage()
    with trio.move_on_after(5) as asking:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cage.start, Channel(stuck=True))
            await trio.testing.wait_all_tasks_blocked()
            (followed,) = cage.programs.following
            asking.cancel()
    assert cage.programs.running == [] == cage.programs.following
    with trio.fail_after(5):
        ended = await followed.wait_ended()
        assert await followed.wait_begun() == ended
    assert explain(ended, LIMITS).reason == "killed: the client went away"
    assert [record.program for record in cage.records] == [1]
    await cage.start(Channel())  # the control
    assert [one.number for one in cage.programs.running] == [2]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CageFailedError("it does not hear", "here", "again"), "it does not hear"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
async def test_a_start_that_fails_is_over(error: Exception, words: str) -> None:
    cage = Cage()
    with pytest.raises(type(error)):
        await cage.start(Channel(error))
    assert cage.programs.running == []
    (ended,) = cage.programs.all.values()
    assert words in explain(ended, LIMITS).reason


async def test_who_waits_hears_the_end_of_one_that_is_not_remembered() -> None:
    cage, channel = Cage(), Channel()
    first = await cage.start(channel)
    cage.say("program_started", 1, 77)
    cage.say("program_ended", 1, 7 << 8)
    for number in range(2, MAX_ENDED + 3):
        await cage.start(channel)
        cage.say("program_started", number)
        cage.say("program_ended", number)
    assert cage.programs.follow(1) is None and 1 not in cage.programs.all
    last = cage.programs.follow(number)
    assert last is not None
    with trio.fail_after(5):
        begun, ended = await first.wait_begun(), await first.wait_ended()
        await last.wait_ended()
        await cage.programs.signal(cast(Any, channel), 1, 15)
    # It did run: its client is told so, however soon it ended.
    assert (begun.state, begun.pid) == ("running", 77)
    assert explain(ended, LIMITS).exit_code == 7
    assert ("program_signal", 15, 1) not in channel.sent


async def test_who_stops_waiting_leaves_nothing_behind() -> None:
    cage = Cage()
    followed = await cage.start(Channel())
    with trio.move_on_after(0):
        await followed.wait_ended()
    cage.say("program_started", 1)
    cage.say("program_ended", 1)
    assert cage.programs.following == [] and vars(cage.programs)["_followed"] == {}


async def test_what_akiosd_killed_itself_ends_once_whatever_init_says_later() -> None:
    cage, channel = Cage(), Channel()
    followed = await cage.start(channel)
    cage.say("program_started", 1, 77)
    await cage.programs.kill(cast(Any, channel), 1, "output")
    cage.programs.hear_killed(1, (5, 6, 7))
    with trio.fail_after(5):
        ended = await followed.wait_ended()
    cage.say("program_ended", 1, 0)
    found = explain(ended, LIMITS)
    assert (found.exit_code, found.reason) == (137, "killed: output limit 1 MiB reached")
    assert [record.reason for record in cage.records[1:]] == [found.reason]
    assert cage.programs.all[1].rusage == (5, 6, 7)
    cage.programs.hear_killed(2, (0, 0, 0))  # one that is forgotten


async def test_what_was_asked_for_is_known_by_its_word_to_the_next_akiosd() -> None:
    """Also when its end is forgotten; of one that init may never have heard of nobody waits on."""
    cage, channel = Cage(), Channel()
    await cage.start(channel, token=b"first")
    assert cage.programs.asked(b"first") == 1 and cage.programs.asked(b"other") == 0
    assert cage.programs.asked(b"") == 0
    before = ProgramsState(known=tuple(cage.programs.all.values()), count=1)
    after = Cage(before)
    assert after.programs.asked(b"first") == 1
    followed = after.programs.follow(1)
    after.programs.give_up(1)
    with trio.fail_after(5):
        assert followed is not None and (await followed.wait_ended()).state == "ended"
    for number in range(2, MAX_ENDED + 3):
        await after.start(channel)
        after.say("program_ended", number)
    assert 1 not in after.programs.all and after.programs.asked(b"first") == 1
    await after.start(channel, token=b"runs")
    number = after.programs.count
    after.say("program_started", number)
    after.programs.give_up(number)  # the control: it does run
    assert after.programs.all[number].state == "running"


def with_memory() -> Cage:
    return Cage(memory=StateMemory.create(BOOT, {}))


@pytest.mark.parametrize("restarts", [1, 2, 5])
async def test_what_has_ended_is_known_by_its_word_over_any_number_of_restarts(
    restarts: int,
) -> None:
    """Each akiosd has more programs than it remembers the ends of."""
    cage, token = with_memory(), make_token()
    await cage.run(token)
    for _ in range(restarts):
        cage = cage.kill_akiosd()
        for _ in range(MAX_ENDED + 2):
            await cage.run(make_token())
        assert 1 not in cage.programs.all
    assert cage.programs.asked(token) == 1
    assert cage.programs.asked(make_token()) == 0  # the control
    assert not cage.programs.may_have_begun(make_token())


async def test_an_older_akiosd_between_two_is_no_harm() -> None:
    """It leaves the section as it was, and remembers the last ones its own way."""
    cage, tokens = with_memory(), [make_token() for _ in range(4)]
    await cage.run(tokens[0])
    assert cage.memory is not None
    older = cage.kill_akiosd(older=True)
    asked = state_format.read(content(older), BOOT)[ASKED]
    assert decode({ASKED: asked}, ASKED, AskedState).kept[0].number == 1
    # What it writes is of its own section alone.
    state = ProgramsState(
        known=(*older.programs.all.values(), ProgramOf(number=2, token=tokens[1], state="ended")),
        count=2,
    )
    assert older.memory is not None
    older.memory.write(PROGRAMS, encode(state))
    newer = older.kill_akiosd()
    assert [newer.programs.asked(one) for one in tokens] == [1, 2, 0, 0]
    await newer.run(tokens[2])
    assert [newer.kill_akiosd().programs.asked(one) for one in tokens] == [1, 2, 3, 0]


async def test_a_newer_akiosd_may_say_more_of_each() -> None:
    more = {"kept": [[b"d" * 16, 7, 5, "more"], [b"e" * 16]], "dropped_ns": 3, "new": 1}
    found = decode({ASKED: msgspec.msgpack.encode(more)}, ASKED, AskedState)
    assert [(one.number, one.made_ns) for one in found.kept] == [(7, 5), (0, 0)]
    assert decode({ASKED: msgspec.msgpack.encode({})}, ASKED, AskedState) == NONE_ASKED


async def test_one_older_than_those_that_are_known_is_not_begun() -> None:
    """So the bound costs nobody a program that is begun twice, whatever his word's length."""
    cage, first, never = with_memory(), make_token(), make_token()
    await cage.run(first)
    for number in range(MOST - 1):
        await cage.run(b"x" * 100_000 if number == 7 else make_token())
    assert cage.programs.asked(first) == 1 and not cage.programs.may_have_begun(never)
    assert len(content(cage)) < 512 << 10
    for _ in range(2):
        await cage.run(make_token())
    last = make_token()
    for known in (cage, cage.kill_akiosd()):
        assert known.programs.asked(first) == 0 and known.programs.may_have_begun(first)
        # Of one that was made then nobody can tell, and nothing is begun either.
        assert known.programs.may_have_begun(never)
        # The control: what came since is known, and what is new is new; so is an old client's word.
        assert known.programs.asked(b"x" * 100_000) == 9
        assert not known.programs.may_have_begun(last) and known.programs.asked(last) == 0
        assert not known.programs.may_have_begun(b"r" * 16)


async def test_a_word_from_the_future_pushes_out_no_other() -> None:
    """Who says that his was made later than now has the age of now."""
    cage = with_memory()
    ahead = make_token()
    ahead = ahead[:4] + b"\xff" * 8 + ahead[12:]
    await cage.run(ahead)
    for _ in range(MOST):
        await cage.run(make_token())
    assert cage.programs.asked(ahead) == 0
    assert not cage.programs.may_have_begun(make_token())


async def test_akiosd_may_be_killed_between_the_program_and_its_word() -> None:
    cage, token = with_memory(), make_token()
    await cage.run(make_token())
    assert cage.memory is not None
    before = state_format.read(content(cage), BOOT)[ASKED]
    await cage.run(token)
    cage.memory.write(ASKED, before)
    assert cage.kill_akiosd().programs.asked(token) == 2


def content(cage: Cage) -> bytes:
    assert cage.memory is not None
    fd = cage.memory.fd.fileno()
    return os.pread(fd, os.fstat(fd).st_size, 0)
