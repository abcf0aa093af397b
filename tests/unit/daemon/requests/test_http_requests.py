"""``http`` in a running cage: its owner's and root's, for it spends the owner's money and stands in
the owner's log.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from akiosd.daemon.base.peers import Peer, Role
from akiosd.daemon.requests.http_requests import Direct
from akiosd.errors import DeniedError
from akiosd.wire.messages import Http, HttpReply

CAGE = "c-" + "0" * 12


@pytest.mark.parametrize(("uid", "role", "may"), [
    (8, "user", True), (0, "root", True), (7, "admin", False), (8, "admin", True),
])  # fmt: skip
async def test_whose_cage_a_request_may_use(uid: int, role: Role, may: bool) -> None:
    """An administrator finds everybody's cages, to stop them."""
    given: list[Any] = []
    replies: list[Any] = []

    async def connect(stream: Any) -> None:
        given.append(stream)

    async def reply(message: HttpReply, fds: list[int]) -> None:
        replies.append((message, len(fds)))

    cage = SimpleNamespace(id=CAGE, peer=Peer(8, 8, 1, (), "user"), connect=connect)
    direct = Direct(None, lambda peer, name: cage, lambda peer, policy, uids: None)  # type: ignore[arg-type,return-value]
    asked = direct.handle(
        Peer(uid, uid, 1, (), role), Http(cage=CAGE), [], SimpleNamespace(reply=reply)
    )  # type: ignore[arg-type]
    if may:
        await asked
        assert replies == [(HttpReply(cage=CAGE), 1)]
        [stream] = given
        stream.close()
    else:
        with pytest.raises(DeniedError, match="is not yours"):
            await asked
        assert not given and not replies
