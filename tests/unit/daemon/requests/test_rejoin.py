"""The end of a cage that an earlier akiosd began is told to its owner, whoever asks before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from akiosd.daemon.base.peers import Peer
from akiosd.daemon.requests.run_requests import RunRequests
from akiosd.errors import DeniedError
from akiosd.wire.messages import Ended, Rejoin

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
    runs._left[CAGE] = 1000, ENDED

    def ask(peer: Peer) -> list[Any]:
        client = Client()
        trio.run(runs.rejoin, peer, Rejoin(cage=CAGE), [], cast(Any, client))
        return client.heard

    with pytest.raises(DeniedError):
        ask(peer_of(1001))
    assert ask(peer_of(1000)) == [ENDED]
    with pytest.raises(DeniedError):  # it is told once
        ask(peer_of(1000))
