"""What is to end does, whatever becomes of asking it to: a program that never says that it began, and
a cage whose init cannot be told.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from akiosd.cage.programs import Event, Program, advance, end, explain
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.programs import Followed
from akiosd.daemon.requests.cage_requests import CageRequests
from akiosd.daemon.requests.standing_requests import StandingRequests
from akiosd.errors import CageFailedError
from akiosd.values.policy import Limits
from akiosd.wire.messages import Ok, Stop

CAGE = "c-aaaaaaaaaaaaa"
PEER = Peer(1000, 1000, 1, (), "user")


class Client:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def reply(self, message: Any) -> None:
        self.heard.append(message)


class Cage:
    """With one program, that never begins."""

    id, is_standing, peer = CAGE, True, PEER
    standstill = SimpleNamespace(is_asked=False)

    def __init__(self) -> None:
        self.followed, self.ended = Followed(Program(number=1)), trio.Event()
        self.programs = SimpleNamespace(follow={1: self.followed}.get)
        self.ends: list[str] = []

    async def signal_program(self, number: int, signo: int) -> None:
        await self.followed.wait_begun()

    async def kill_program(self, number: int, cause: str, detail: str) -> None:
        killed, _ = advance(end(Program(number=number), cause, detail), Event("ended"))
        self.followed.hear(killed)

    async def ask_programs_to_end(self) -> None:
        raise CageFailedError("it cannot be reached", "status socket", "try again")

    def end(self, cause: str, detail: str = "") -> None:
        self.ends.append(cause)
        self.ended.set()


@pytest.fixture
def cage() -> Cage:
    return Cage()


async def test_a_program_that_does_not_begin_is_killed_after_the_grace(
    cage: Cage, autojump_clock: trio.testing.MockClock
) -> None:
    nothing, client = cast(Any, None), Client()
    registry = cast(Any, SimpleNamespace(running={CAGE: cage}))
    standing = StandingRequests(nothing, registry, nothing, nothing)
    ask = Stop(cage=CAGE, program=1, grace_ns=10**9)
    with trio.fail_after(600):
        await standing.stop(PEER, ask, cast(Any, client))
    assert client.heard == [Ok()]
    assert explain(await cage.followed.wait_ended(), Limits()).reason.startswith("stopped by")


async def test_a_cage_that_cannot_be_asked_to_end_is_ended(cage: Cage) -> None:
    client = Client()
    registry = cast(Any, SimpleNamespace(find=lambda peer, name: cage))
    requests = CageRequests(registry, cast(Any, None))
    ask = Stop(cage=CAGE, grace_ns=10**9)
    await requests.stop(PEER, ask, [], cast(Any, client))
    assert (cage.ends, client.heard) == (["stopped"], [Ok()])
