"""Clients that come back, or connect to a cage: the end of one that an earlier akiosd began is told
to its owner, whoever asks before, and no cage runs on with nobody.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from akiosd.daemon.base.peers import Peer
from akiosd.daemon.requests.run_requests import RunRequests
from akiosd.errors import DeniedError
from akiosd.wire.messages import Attach, Ended, Rejoin

CAGE = "c-aaaaaaaaaaaaa"
ENDED = Ended(cage=CAGE, exit_code=9, kind="exited", reason="exited 9")


class Client:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def reply(self, message: Any) -> None:
        self.heard.append(message)


def peer_of(uid: int) -> Peer:
    return Peer(uid, uid, 1, (), "user")


def test_a_stranger_who_asks_takes_the_end_from_nobody() -> None:
    nothing = cast(Any, None)
    registry = cast(Any, SimpleNamespace(running={}, describe_end=lambda cage, uid: None))
    runs = RunRequests(nothing, nothing, nothing, registry, nothing, nothing)
    heard = trio.Event()
    runs._left[CAGE] = 1000, ENDED, heard

    def ask(peer: Peer) -> list[Any]:
        client = Client()
        trio.run(runs.rejoin, peer, Rejoin(cage=CAGE), [], cast(Any, client))
        return client.heard

    with pytest.raises(DeniedError):
        ask(peer_of(1001))
    assert not heard.is_set()
    assert ask(peer_of(1000)) == [ENDED] and heard.is_set()
    with pytest.raises(DeniedError):  # it is told once
        ask(peer_of(1000))


class Cage:
    id, detached, is_standing, come_back_s, posture = CAGE, False, False, 60, ()
    master, stdio, output_bytes, result = None, (), 0, None
    request = SimpleNamespace(tty=None, name="")
    policy = SimpleNamespace(limits=SimpleNamespace(output=0))

    def __init__(self) -> None:
        self.peer, self.ended, self.ends = peer_of(1000), trio.Event(), list[str]()

    def end(self, cause: str, detail: str = "") -> None:
        self.ends.append(cause)


def serving(cage: Cage) -> RunRequests:
    nothing = cast(Any, None)
    registry = cast(Any, SimpleNamespace(running={CAGE: cage}, find=lambda peer, name: cage))
    return RunRequests(nothing, nothing, nothing, registry, nothing, nothing)


class LeavingClient:
    """It is gone before the first answer: its connection is cancelled, or broken."""

    def __init__(self, scope: trio.CancelScope | None) -> None:
        self._scope = scope

    async def reply(self, message: Any, fds: Any = ()) -> None:
        if self._scope is None:
            raise trio.BrokenResourceError
        self._scope.cancel()
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize(("leaving", "ends"), [(False, ["client_gone"]), (True, [])])
async def test_a_client_that_leaves_as_it_comes_back_takes_its_cage_with_it(
    cancelled: bool, leaving: bool, ends: list[str]
) -> None:
    """Not where it is akiosd that leaves: the next one waits for the client anew."""
    cage = Cage()
    runs = serving(cage)
    runs._awaited[CAGE], runs.leaving = trio.Event(), leaving
    with trio.CancelScope() as scope:
        client = cast(Any, LeavingClient(scope if cancelled else None))
        try:
            await runs.rejoin(peer_of(1000), Rejoin(cage=CAGE), [], client)
        except trio.BrokenResourceError:
            assert not cancelled
    assert cage.ends == ends


async def test_who_connects_to_a_cage_that_ended_is_told_so() -> None:
    """And its output stays with who reads it to the end."""
    cage = Cage()
    runs = serving(cage)
    spool = runs._spools[CAGE] = cast(Any, SimpleNamespace(stop=None))
    cage.ended.set()
    with pytest.raises(DeniedError, match="has just ended"):
        await runs.attach(peer_of(1000), Attach(cage=CAGE), [], cast(Any, Client()))
    assert runs._spools == {CAGE: spool}
    cage, runs = (other := Cage()), serving(other)  # the control
    with pytest.raises(DeniedError, match="attached to another terminal"):
        await runs.attach(peer_of(1000), Attach(cage=CAGE), [], cast(Any, Client()))
