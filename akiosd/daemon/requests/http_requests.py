"""Answers ``akiosctl http``: requests under a cage's rules without an agent, by its gateway or by
one made for them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.base.priority import Bulk
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.gateways.cage_ca import make_authority_now
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.daemon.gateways.gateways import Gateway
from akiosd.daemon.gateways.spend import Spend
from akiosd.daemon.host import Host
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import AkiosError, CageFailedError, DeniedError
from akiosd.kernel.fds import Fd
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, LogId, make_cage_id
from akiosd.values.policy import Policy
from akiosd.wire.messages import Http, HttpReply

_ARGV = (b"akiosctl", b"http")

_log = get_log("http")


class Direct:
    """The handler of :class:`Http`.

    ``find`` returns a running cage that a peer may act on; ``admit`` raises when a policy may not
    be used.
    """

    def __init__(
        self,
        host: Host,
        find: Callable[[Peer, str], Cage],
        admit: Callable[[Peer, Policy, list[int]], None],
    ) -> None:
        self._host, self._find, self._admit = host, find, admit
        self.running: dict[str, int] = {}
        """The logs of gateways made here that live, with the uid each was made for."""
        self._scopes: set[trio.CancelScope] = set()
        self._idle = trio.Event()

    async def handle(
        self, peer: Peer, request: Http, fds: list[int], client: ClientConnection
    ) -> None:
        """Send a stream to the gateway of a running cage, or to one that is made for
        this request.
        """
        if request.cage:
            cage = self._find(peer, request.cage)
            if peer.uid not in (0, cage.peer.uid):
                # It would spend another's money, and stand in another's log.
                raise DeniedError(
                    f"the cage {cage.id} is not yours", "http", "use one of your own, or none"
                )
            ours, theirs = _pair()
            with ours:
                await cage.connect(theirs)
                await client.reply(HttpReply(cage=cage.id), [ours.fileno()])
            return
        self._admit(peer, request.policy, list(self.running.values()))
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._serve(peer, request.policy, client)
            finally:
                self._scopes.discard(scope)

    async def stop(self) -> None:
        """End every gateway made here, and wait until their logs are closed."""
        for scope in list(self._scopes):
            scope.cancel()
        while self.running:
            self._idle = trio.Event()
            await self._idle.wait()

    async def _serve(self, peer: Peer, policy: Policy, client: ClientConnection) -> None:
        """One gateway with a log of its own, until its client closes the connection."""
        one = _OneGateway(self._host, peer, policy)
        self.running[one.id] = peer.uid
        try:
            await one.live(client)
        finally:
            del self.running[one.id]
            self._idle.set()


class _OneGateway:
    def __init__(self, host: Host, peer: Peer, policy: Policy) -> None:
        self._host, self._peer, self._policy = host, peer, policy
        self.id = make_cage_id(os.urandom(8))
        self._log = LogId(self.id)
        self._scope = trio.CancelScope()
        self._written = 0
        self._reason = ""
        book = Book(host.ledger, self._log, policy.limits, self._count, Bulk(host.hurry))
        self._spend = Spend(policy.budget, book, self._end)
        self._gateway = Gateway(host, self.id, policy, make_authority_now(self.id), (), self._spend)

    def _count(self, size: int) -> None:
        self._written += size
        if 0 < self._policy.limits.audit_bytes < self._written:
            self._end("audit_limit", "")

    def _end(self, kind: str, detail: str) -> None:
        self._reason = f"{kind}: {detail}" if detail else kind
        self._scope.cancel()

    async def live(self, client: ClientConnection) -> None:
        """Serve ``client`` until it leaves.  Raises :class:`AkiosError` when the gateway cannot be
        made.
        """
        await self._begin()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run)
                try:
                    with self._scope:
                        await self._serve(client)
                finally:
                    with trio.CancelScope(shield=True):
                        await self._gateway.finish()
        finally:
            with trio.CancelScope(shield=True):
                await self._finish()

    async def _run(self) -> None:
        # Its client is gone as soon as it has its answer, and what was done for it is still to be
        # told.
        with trio.CancelScope(shield=True):
            await self._gateway.run()

    async def _serve(self, client: ClientConnection) -> None:
        """Hand over a stream; until its client goes, which cancels this task."""
        ours, theirs = _pair()
        with ours:
            await self._gateway.connect(theirs)
            try:
                await client.reply(HttpReply(cage=self.id), [ours.fileno()])
            except trio.BrokenResourceError:
                self._scope.cancel()
        await trio.sleep_forever()

    async def _begin(self) -> None:
        directory = self._host.cages_dir / self.id
        try:
            directory.mkdir()
            directory.chmod(0o711)
            Path(directory, "owner").write_text(str(self._peer.uid))
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise CageFailedError(
                f"a log cannot be made: {error.strerror}",
                str(directory),
                "check the mode and the room of the directory above it (ls -ld, df)",
            ) from error
        ledger, now = self._host.ledger, time.time_ns()
        ledger.open_log(self.id)
        policy = hashlib.sha256(msgspec.msgpack.encode(self._policy)).digest()
        birth = records.Birth(
            ts=now, cage=self.id, uid=self._peer.uid, argv=_ARGV, policy_sha256=policy
        )
        await ledger.commit(self._log, birth)
        origin = ledger.origin(self._log)
        ledger.append(
            HOST_LOG, records.CageBirth(ts=now, cage=self.id, uid=self._peer.uid, origin=origin)
        )

    async def _finish(self) -> None:
        try:
            await self._gateway.finish()
            await self._spend.close()
            await self._gateway.close()
        except AkiosError as error:
            _log.error("a gateway left something", cage=self.id, error=str(error))
        ledger, now = self._host.ledger, time.time_ns()
        ledger.append(HOST_LOG, records.CageEnd(ts=now, cage=self.id, reason=self._reason))
        await ledger.commit(self._log, records.End(ts=now, exit_code=0, reason=self._reason))
        ledger.close_log(self._log)


def _pair() -> tuple[Fd, Fd]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    return Fd(ours.detach()), Fd(theirs.detach())
