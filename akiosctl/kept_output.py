"""What akiosd keeps of a cage's output, read piece by piece and followed."""

from __future__ import annotations

import os
import time

from akiosctl.client import Client, GoneError
from akiosctl.reconnect import Told, wait_for_daemon
from akiosd import __version__
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import Output, OutputReply
from akiosd.wire.output import FILE_HEADER, Frame, join, parts, read_part, read_size

_PAUSE_SECONDS = 0.1


class KeptOutput:
    """The output of one cage; ``running``: more may come, ``written``: how much akiosd had when it
    was last asked, ``end``: how much there was at the last read.  To be closed.
    """

    def __init__(self, client: Client, cage: str) -> None:
        self._cage = cage
        self._fds: list[int] = []
        self.written = 0
        self.running = False
        self.end = 0
        self.ask(client)

    def ask(self, client: Client) -> None:
        """Anew, with the file as it is now."""
        reply, fds = client.call(Output(cage=self._cage), OutputReply)
        close_fds(self._fds)
        self._fds = fds
        self.take(reply)

    def take(self, reply: OutputReply) -> None:
        """What akiosd says of it now; the file is the one that was opened."""
        self.running, self.written = reply.running, reply.written

    @property
    def opened(self) -> bool:
        """Whether there was something to read when akiosd was last asked for the file."""
        return bool(self._fds)

    def read(self) -> list[Frame]:
        """All that is kept, in order."""
        if not self._fds:
            return []
        size = read_size(os.pread(self._fds[0], FILE_HEADER.size, 0))
        if size is None:
            raise AkiosError(
                "another version of akiosd kept this output, in a form unknown to akiosctl"
                f" {__version__}",
                self._cage,
                "see which akiosd ran then: sudo akiosctl ledger show --kind daemon_start; use the"
                " akiosctl of that version",
            )
        frames = join(
            [
                read_part(os.pread(self._fds[0], part.end - part.start, part.start))
                for part in parts(size)
            ]
        )
        if frames:
            self.end = frames[-1].offset + len(frames[-1].data)
        return frames

    def wait(self, path: str) -> None:
        """Until there is more, or no more will come; also over a restart of akiosd."""
        time.sleep(_PAUSE_SECONDS)
        lost, told = False, Told()
        while True:
            try:
                with Client(path) as client:
                    if not lost:
                        request = Output(cage=self._cage, after=self.written, wait=True)
                        reply, fds = client.call(request, OutputReply)
                        close_fds(fds)
                        self.take(reply)
                    if lost or not self.opened:
                        self.ask(client)
                    told.back()
                    return
            except GoneError:
                told.gone()
                wait_for_daemon(path)
                lost = True

    def close(self) -> None:
        close_fds(self._fds)
