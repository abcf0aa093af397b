"""Requests of administrators about API keys: set, remove, list."""

from __future__ import annotations

import time

import trio

from akiosd.daemon.base.gateway_config import check_region
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.host import Host
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import DeniedError
from akiosd.values import records
from akiosd.values.ids import HOST_LOG
from akiosd.wire import messages as wire


class KeyKeeper:
    """Handlers of the requests.  A record is durable before a key is changed, so none is ever
    changed without one.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._one_at_a_time = trio.Lock()

    async def set(
        self, peer: Peer, request: wire.KeySet, fds: list[int], client: ClientConnection
    ) -> None:
        """Store a key."""
        _check_may(peer)
        if request.region:
            check_region(request.provider, request.region, "region")
        async with self._one_at_a_time:
            await self._record(peer, request.provider, "set")
            await trio.to_thread.run_sync(
                self._host.keys.set, request.provider, request.key, request.region
            )
        await client.reply(wire.Ok())

    async def remove(
        self, peer: Peer, request: wire.KeyRemove, fds: list[int], client: ClientConnection
    ) -> None:
        """Remove a key that was set."""
        _check_may(peer)
        async with self._one_at_a_time:
            if not self._host.keys.is_set(request.provider):
                raise DeniedError(
                    f"no key of {request.provider} was set", "keys", "see akiosctl keys list"
                )
            await self._record(peer, request.provider, "removed")
            await trio.to_thread.run_sync(self._host.keys.remove, request.provider)
        await client.reply(wire.Ok())

    async def list(
        self, peer: Peer, request: wire.KeyList, fds: list[int], client: ClientConnection
    ) -> None:
        """List providers that have a key."""
        _check_may(peer)
        await client.reply(wire.Keys(keys=await trio.to_thread.run_sync(self._host.keys.list)))

    async def _record(self, peer: Peer, provider: str, action: records.KeyAction) -> None:
        record = records.ProviderKey(
            ts=time.time_ns(), provider=provider, action=action, uid=peer.uid
        )
        await self._host.ledger.commit(HOST_LOG, record)


def _check_may(peer: Peer) -> None:
    if peer.role not in ("root", "admin"):
        raise DeniedError(
            "only root and administrators may see and change keys",
            "keys",
            "use sudo, or ask an administrator",
        )
