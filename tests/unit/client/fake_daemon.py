"""A daemon for tests of the client: the real socket, session and dispatch; cages are plain child
processes.

Run as ``python fake_daemon.py SOCKET``; prints a line when it listens.  ``env`` of a run may hold
``FAKE_ENDED``: ``kind|reason|changes`` of its Ended, and ``FAKE_SPENT``: micro-USD and calls, as in
``1500|2``.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from typing import Any

import msgspec
import trio

from akiosd.daemon.base.peers import Gate, Peer
from akiosd.daemon.sockets.serve_clients import (
    ClientConnection,
    open_unix_listener,
    say_hello,
    serve_clients,
)
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.scm_rights import close_fds
from akiosd.kernel.user_tree import identify
from akiosd.policy.schema import PartialPolicy
from akiosd.policy.system import SystemPolicy, digest
from akiosd.policy.system import pack as packed
from akiosd.values.ids import DirectoryId
from akiosd.values.policy import Budget
from akiosd.values.spend import ModelSpend, OpenCall
from akiosd.values.usage import Usage
from akiosd.wire.messages import (
    Attach,
    BudgetInfo,
    BudgetReply,
    CageInfo,
    Cages,
    Detach,
    Discard,
    Doctor,
    Ended,
    Error,
    List,
    Message,
    Ok,
    Run,
    Signal,
    Started,
    Stop,
    SystemPolicyInfo,
    SystemPolicyReply,
    View,
    ViewReply,
)

SYSTEM = packed(SystemPolicy("/etc/akios/policy.yaml", False, PartialPolicy()))


class Cage:
    def __init__(
        self, info: CageInfo, process: trio.Process, keep: list[int], limits: Budget
    ) -> None:
        self.info, self.process, self.keep, self.limits = info, process, keep, limits

    def look(self) -> CageInfo:
        """An ended one has changes where there is a view (see ``FakeDaemon.view``)."""
        if not self.info.ended_ns:
            return self.info
        return msgspec.structs.replace(
            self.info, changes=os.path.isdir(self.info.workspace + b"-view")
        )

    @property
    def usage(self) -> Usage:
        return Usage(usd_micro=self.info.usd_micro, calls=self.info.calls)

    def budget(self) -> BudgetReply:
        """With a model whose name is not to be trusted, and a call under way."""
        info = self.info
        return BudgetReply(
            cage=info.cage,
            limits=self.limits,
            usd_micro=info.usd_micro,
            calls=info.calls,
            input_tokens=1200,
            output_tokens=34,
            reserved_usd_micro=20_000,
            reserved_tokens=50,
            open_calls=1,
            refused=3,
            models=(ModelSpend("openai/\x1b[31m", info.calls, info.usd_micro, 1200, 34),),
            open=(OpenCall("openai/gpt-4o", 20_000, 2_000_000_000),),
        )


class FakeDaemon:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.cages: dict[str, Cage] = {}
        self.nursery = nursery
        self.committed: list[int] = []

    async def handle(
        self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
    ) -> None:
        match request:
            case Run():
                await self.run(peer, request, identify(fds[0]), client)
            case Signal():
                os.killpg(self.cages[request.cage].process.pid, request.signo)
                await client.reply(Ok())
            case Stop():
                os.killpg(self.cages[request.cage].process.pid, signal.SIGKILL)
                await client.reply(Ok())
            case Detach():
                await client.reply(Ok())
            case Attach():
                cage = self.cages[request.cage]
                await client.reply(Started(cage=request.cage, tty=cage.info.tty), cage.keep[-2:])
                await self.wait(cage, client)
            case BudgetInfo():
                await client.reply(self.cages[request.cage].budget())
            case List():
                here = identify(fds[0]) if fds else None
                await client.reply(
                    Cages(cages=tuple(cage.look() for cage in self.cages.values()), here=here)
                )
            case Doctor():
                raise AkiosError("line\none \x1b[31mred", "there", "do")
            case View():
                await self.view(self.cages[request.cage].info.workspace, request.cage, client)
            case Discard():
                if request.committed:
                    self.committed.append(request.paths)
                await client.reply(Ok())
            case SystemPolicyInfo():
                await client.reply(SystemPolicyReply(packed=SYSTEM))
            case _:
                raise DeniedError("not here", type(request).__name__)

    async def view(self, workspace: bytes, cage: str, client: ClientConnection) -> None:
        """The view is the directory beside the workspace whose name ends in ``-view``; without it:
        no changes.
        """
        fds: list[int] = []
        try:
            for path in (workspace + b"-view", workspace):
                fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY))
            await client.reply(ViewReply(cage=cage, workspace=workspace, protect=(".envrc",)), fds)
        except FileNotFoundError:
            raise DeniedError("the cage has no changes", cage) from None
        finally:
            close_fds(fds)

    async def run(
        self, peer: Peer, request: Run, directory: DirectoryId, client: ClientConnection
    ) -> None:
        if request.argv[0] == b"refused":
            await client.reply(Error(what="no such program inside", where="exec", code=127))
            return
        name = f"c-{len(self.cages):012d}"
        kwargs: dict[str, Any] = {
            "cwd": os.fsdecode(request.cwd),
            "env": dict(request.env),
            "start_new_session": True,
        }
        if request.tty is not None:
            master, slave = pty.openpty()
            size = struct.pack("HHHH", request.tty.rows, request.tty.columns, 0, 0)
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)
            kwargs["preexec_fn"] = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            inner, outer = [slave, slave, slave], [master]
        else:
            pairs = [os.pipe() for _ in range(3)]
            inner = [pairs[0][0], pairs[1][1], pairs[2][1]]
            outer = [pairs[0][1], pairs[1][0], pairs[2][0]]
        argv = [os.fsdecode(request.command), *map(os.fsdecode, request.argv[1:])]
        kwargs |= {"stdin": inner[0], "stdout": inner[1], "stderr": inner[2]}
        process = await trio.lowlevel.open_process(argv, **kwargs)
        close_fds(list(set(inner)))
        usd, calls = map(int, request.env.get(b"FAKE_SPENT", b"0|0").split(b"|"))
        info = CageInfo(
            name,
            peer.uid,
            "me",
            "running",
            request.argv,
            request.workspace,
            len(self.cages),
            tty=bool(request.tty),
            pid=process.pid,
            usd_micro=usd,
            calls=calls,
            directory=directory,
            order=len(self.cages),
        )
        cage = Cage(info, process, outer, request.policy.budget)
        self.cages[name] = cage
        given = [] if request.detach else outer
        notes = ("a note",) if b"noted" in request.argv else ()
        await client.reply(Started(cage=name, tty=request.tty is not None, notes=notes), given)
        if request.detach:
            if request.tty is None:
                os.close(outer.pop(0))
            await client.reply(Ended(cage=name))
            return
        if request.tty is None:
            close_fds(outer)
        await self.wait(cage, client, request.env.get(b"FAKE_ENDED", b"exited||").decode())

    async def wait(self, cage: Cage, client: ClientConnection, ended: str = "exited||") -> None:
        kind, reason, changes = ended.split("|")
        code = await cage.process.wait()
        cage.info = msgspec.structs.replace(cage.info, state="ended", ended_ns=1)
        close_fds(cage.keep)
        code = code if code >= 0 else 128 - code
        name = cage.info.cage
        await client.reply(
            Ended(
                cage=name,
                exit_code=code,
                kind=kind,
                reason=reason,
                changes=bool(changes),
                usage=cage.usage,
            )
        )


async def main(path: str) -> None:
    async with trio.open_nursery() as nursery:
        listener = await open_unix_listener(path)
        await nursery.start(
            lambda task_status: serve_clients(
                listener,
                FakeDaemon(nursery),
                Gate(),
                greet=lambda: say_hello(digest(SYSTEM)),
                task_status=task_status,
            )
        )
        print("listening", flush=True)
        # The test's end of this pipe closes when the test is gone, however it went.
        await trio.lowlevel.wait_readable(0)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
