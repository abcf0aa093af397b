"""Requests about the changes of an ended cage: shown read-only to their owner, or given up.

One request at a time for each cage: what somebody compares or commits from must not vanish
meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.pending_changes import KeptCage, Settled
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.cages.view import WAIT, open_paused_view, open_view
from akiosd.daemon.cages.wipe_changes import UNLINKED, wipe_changes
from akiosd.daemon.host import Host
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.user_tree import read_name
from akiosd.store.wipe import How
from akiosd.values import records
from akiosd.values.ids import HOST_LOG
from akiosd.wire import messages as wire

_PAUSE_S = 30
"""For so long at most a running cage is paused while it is compared."""

_ONE_PASS = How()


class ChangeRequests:
    """Handlers of :class:`View` and :class:`Discard`."""

    def __init__(self, host: Host, registry: Registry) -> None:
        self._host, self._registry = host, registry
        self._busy: set[str] = set()
        """Cages for which one of these requests is being answered."""
        self._viewers: list[tuple[str, ClientConnection]] = []

    async def view(
        self, peer: Peer, request: wire.View, fds: list[int], client: ClientConnection
    ) -> None:
        """Send the merged view of a cage, and its workspace, as descriptors."""
        if request.running:
            await self._view_running(peer, request, client)
            return
        await self._registry.wait_released(request.cage)
        kept = self._registry.find_kept(peer, request.cage)
        _check_whole(kept)
        self._check_unseen(request.cage, client)
        if request.cage in self._busy:
            raise DeniedError("another diff or commit is open on these changes", request.cage, WAIT)
        workspace, git = self._take_directories(request.cage, fds)
        self._busy.add(request.cage)
        try:
            views = await open_view(self._host, kept, workspace, peer.pid, git)
            try:
                # Until that client leaves: what it compares or writes from must not vanish
                # under it.
                viewer = request.cage, client
                self._viewers.append(viewer)
                client.at_end(lambda: self._viewers.remove(viewer))
                await self._send_views(client, kept, views, workspace, git)
            finally:
                close_all(views)
        finally:
            close_all((workspace, git))
            self._busy.discard(request.cage)

    async def _view_running(self, peer: Peer, request: wire.View, client: ClientConnection) -> None:
        cage = self._registry.find(peer, request.cage)
        if peer.role != "root" and cage.peer.uid != peer.uid:
            raise DeniedError(
                "this cage belongs to another user", request.cage, "ask its user, or root"
            )
        if cage.policy.filesystem.workspace not in ("cow", "rw"):
            raise DeniedError(
                "this cage keeps no changes: it reads only (--ro), or writes at once (rw-direct)",
                request.cage,
                "look at the workspace itself",
            )
        why = cage.standstill.short_of_room
        if why:
            # What it wrote has no room yet: to try would lose it.
            raise DeniedError(
                f"{request.cage} stands still: {why}",
                request.cage,
                "make room on that file system (see df -h); then give the same command again",
            )
        async with cage.held_on_disk():
            kept = self._registry.describe_kept(cage)
            _check_whole(kept)
            workspace = cage.workspace_fd
            git = cage.git.directory if cage.git is not None else None
            views = await open_paused_view(self._host, kept, workspace, peer.pid, git)
            try:
                await self._send_views(client, kept, views, workspace, git)
            finally:
                close_all(views)
            # The client leaves, which cancels this, when it has read what it wants.
            await trio.sleep(_PAUSE_S)
        raise DeniedError(
            f"the comparison took longer than {_PAUSE_S} s, and a cage is not paused longer for it",
            request.cage,
            "compare again when the cage has ended",
        )

    def _take_directories(self, cage: str, fds: list[int]) -> tuple[Fd, Fd | None]:
        """The workspace, and the git directory that was shown with it: the client's, else those
        held here.
        """
        if fds:
            sent = [Fd(fds.pop(0)) for _ in fds[:2]]
            return sent[0], sent[1] if len(sent) > 1 else None
        held = self._registry
        if cage not in held.workspaces:
            raise DeniedError(
                "akiosd was restarted, and needs the cage's directory again",
                cage,
                "go to that directory, and try again there",
            )
        git = held.git_directories.get(cage)
        return held.workspaces[cage].dup(), git.dup() if git is not None else None

    def _is_seen(self, cage: str, client: ClientConnection | None = None) -> bool:
        """Whether somebody compares or writes from these changes now, ``client`` itself apart."""
        return any(
            name == cage and (client is None or not client.is_same(viewer))
            for name, viewer in self._viewers
        )

    def _check_unseen(self, cage: str, client: ClientConnection | None = None) -> None:
        if self._is_seen(cage, client):
            raise DeniedError("another diff or commit is open on these changes", cage, WAIT)

    async def discard(
        self, peer: Peer, request: wire.Discard, fds: list[int], client: ClientConnection
    ) -> None:
        """Destroy the changes of an ended cage, after the host log has a durable record of it."""
        await self._registry.wait_released(request.cage)
        kept = self._registry.find_kept(peer, request.cage)
        self._check_unseen(request.cage, client)
        settled: Settled = "committed" if request.committed else "discarded"
        said = await self._destroy(kept, settled, peer.uid, request.paths, wipe=request.wipe)
        await client.reply(wire.Ok(note=said))

    async def _destroy(
        self,
        kept: KeptCage,
        settled: Settled,
        uid: int,
        paths: int = 0,
        *,
        wipe: bool = False,
        how: How = _ONE_PASS,
    ) -> str:
        """Returns in words what was not overwritten.  Once begun it is done, whether or not whoever
        asked still waits: changes that are half gone can neither be compared nor committed.
        """
        name = kept.info.cage
        if name in self._busy:
            raise DeniedError(
                "somebody else is committing or discarding these changes",
                name,
                "wait until that is done",
            )
        self._busy.add(name)
        try:
            with trio.CancelScope(shield=True):
                # Told first: what was destroyed without a word could not be told apart from a loss.
                record = records.CageSettled(
                    ts=time.time_ns(),
                    cage=name,
                    uid=uid,
                    committed=settled == "committed",
                    paths=paths,
                )
                await self._host.ledger.commit(HOST_LOG, record)
                disks, directory = self._host.disks, self._host.cages_dir / name
                assert disks is not None
                said = UNLINKED
                if wipe:
                    said = await trio.to_thread.run_sync(
                        wipe_changes, directory, disks, kept.disk_size, how
                    )
                info = await trio.to_thread.run_sync(
                    pending_changes.forget, directory, disks, kept, settled
                )
                self._registry.forget_changes(info)
        finally:
            self._busy.discard(name)
        return said

    async def take_down(self, cage: str, uid: int, how: How) -> None:
        """Destroy what a standing cage that is down changed, if anything; overwritten as ``how``
        says.
        """
        kept = self._registry.kept.get(cage)
        if kept is None:
            return
        self._check_unseen(cage)
        await self._destroy(kept, "discarded", uid, wipe=not how.fast, how=how)

    async def _send_views(
        self,
        client: ClientConnection,
        kept: KeptCage,
        views: tuple[Fd, ...],
        workspace: Fd,
        git: Fd | None,
    ) -> None:
        """Answer with each view and the directory that it is compared with, the workspace's
        first.
        """
        reply = wire.ViewReply(
            cage=kept.info.cage,
            workspace=read_name(workspace.fileno()),
            protect=kept.protect,
            started_ns=kept.info.started_ns,
            keep_free=self._host.config.quotas.keep_free_bytes,
        )
        pairs = zip(views, (workspace, git), strict=False)
        await client.reply(reply, [fd.fileno() for pair in pairs for fd in pair if fd is not None])

    async def expire(self, is_old: Callable[[str], bool]) -> list[str]:
        """Destroy changes that ``is_old`` says are, and that nobody looks at now; returns whose."""
        gone = []
        for name, kept in list(self._registry.kept.items()):
            seen = name in self._busy or self._is_seen(name)
            if name in self._registry.kept and not seen and is_old(name):
                await self._destroy(kept, "expired", 0)
                gone.append(name)
        return gone


def _check_whole(kept: KeptCage) -> None:
    """Raise DeniedError for changes of which some are lost: what is left looks like all."""
    if kept.lost:
        raise DeniedError(
            f"some of what {kept.info.cage} changed is lost: {kept.lost}",
            kept.info.cage,
            "make room on that file system (see df -h), then throw away what is left (akiosctl"
            f" discard {kept.info.cage}), and run it again",
        )
