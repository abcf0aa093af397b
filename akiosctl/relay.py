"""One run as the caller sees it: stdio, signals and the terminal, until the cage ends or is left
behind.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from akiosctl.client import DaemonError, GoneError, PlainClient
from akiosctl.output_copy import OutputCopy
from akiosctl.stdio import Copiers, OutputLimit
from akiosctl.terminal import RawTerminal, read_size, write_size
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

if TYPE_CHECKING:
    from akiosctl.come_back import Absence

_SAME_VERSION = "install the same version of akiosd and akiosctl, and restart akiosd"
_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_LEAVES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LEAVE_MS = 1000
_TERMINAL_ONLY = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
_TWICE_SECONDS = 2.0
# Unanswered signals beyond these are dropped: the kernel, too, keeps one of a kind.
_MAX_UNANSWERED = 16


class Relay:
    """Owns the descriptors of ``Started`` from :meth:`run` on; restores signals and the terminal at
    its end.
    """

    def __init__(
        self,
        client: PlainClient,
        request: int,
        started: dict[str, Any],
        *,
        detach_keys: bytes = b"",
        watches: bool = False,
    ) -> None:
        """``watches``: what would end or interrupt the caller leaves the cage running."""
        self._come_back_s = int(started.get("come_back_s", 0))
        self._client = client
        self._request = request
        self._cage = str(started.get("cage", ""))
        self._whom: dict[str, object] = {"cage": self._cage}
        if started.get("program"):
            self._whom["program"] = int(started["program"])
        self._tty = bool(started.get("tty"))
        self._outputs = 1 if started.get("one_output") else 2
        self._keys = detach_keys
        output = int(started.get("output", 0))
        self._limit = OutputLimit(output) if output else None
        self._keep: OutputCopy | None = None
        self._is_kept = bool(started.get("kept"))
        self._terminal = RawTerminal(0)
        self._master = -1
        self._ended: dict[str, Any] | None = None
        self._outputs_ended = False
        self._watches = watches
        self._leaving = False
        self._detach_request = 0
        self.left_by = 0
        """The signal at which the cage was left, 0 for keys."""
        self._absence: Absence | None = None
        """akiosd is away, and comes back perhaps: until it has answered ``_rejoining``."""
        self._rejoining = 0
        self._unanswered: dict[int, tuple[str, dict[str, object]]] = {}
        """What was asked for and perhaps not done yet, by the number of the request."""
        self._interrupted_at = float("-inf")
        self._stands_still = False
        self._detach_read, self._detach_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self, fds: list[int]) -> dict[str, Any] | None:
        """Until the end: the ``ended`` message, or None when the cage was left running."""
        if self._is_kept and fds:
            self._keep = OutputCopy(fds.pop())
        keep = self._keep.take if self._keep is not None else None
        self._copiers = Copiers(self._limit, keep, self._wake_detach if self._watches else None)
        # Pipes without stdin are those of a cage attached to: its input ended when it was left.
        if len(fds) not in ((1,) if self._tty else (self._outputs, self._outputs + 1)):
            close_fds(fds)
            raise AkiosError(
                "akiosd did not send the open files that carry the output of the agent",
                "started",
                _SAME_VERSION,
            )
        previous = {}
        watched = (*_FORWARDED, *(_TERMINAL_ONLY if self._tty else ()))
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            for number in watched:
                # An ignored signal (nohup) stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    previous[number] = signal.signal(number, lambda number, frame: None)
            self._start(fds)
            return self._loop()
        finally:
            if self._tty:
                self._terminal.leave()
            if self._keep is not None:
                self._keep.finish()
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(-1)

    def close(self) -> None:
        """Close the connection, which may be another than at first."""
        self._client.close()

    def _start(self, fds: list[int]) -> None:
        if not self._tty:
            stdin = fds.pop(0) if len(fds) > self._outputs else None
            self._copiers.start_pipes(list(fds), stdin=stdin)
            fds.clear()
            return
        self._master = fds.pop()
        self._resize()
        if os.isatty(0):
            self._terminal.enter()
        self._copiers.start_terminal(self._master, self._keys, lambda: self._wake_detach())

    def _wake_detach(self) -> None:
        os.write(self._detach_write, b"d")

    def _loop(self) -> dict[str, Any] | None:
        self._poll = poll = select.poll()
        for fd in (self._client.fileno(), self._wake_read, self._detach_read, self._copiers.ended):
            poll.register(fd, select.POLLIN)
        if self._limit is not None:
            poll.register(self._limit.reached, select.POLLIN)
        while True:
            while self._client.ready:
                if self._take_message():
                    return None
            if self._ended is not None and self._outputs_ended:
                self._check_copies()
                return self._ended
            if self._absence is not None and self._look_for_akiosd():
                return None
            if self._leaving and self._may_detach():
                if self._keep is not None:
                    self._keep.finish()  # what akiosd then reads itself comes behind it
                    self._keep = None
                self._detach_request = self._client.request("detach", {"cage": self._cage})
            ready = {fd for fd, _ in poll.poll(self._patience_ms())}
            if not ready and self._leaving:
                self._outputs_ended = True  # a terminal that takes nothing keeps nobody here
            if self._wake_read in ready:
                for number in os.read(self._wake_read, 64):
                    self._take_signal(number)
            if self._detach_read in ready:
                os.read(self._detach_read, 8)
                self._leave()
            if self._limit is not None and self._limit.reached in ready:
                poll.unregister(self._limit.reached)
                self._ask("stop", {**self._whom, "cause": "output"})
            if self._copiers.ended in ready:
                poll.unregister(self._copiers.ended)
                self._outputs_ended = True
            if self._is_connected and self._client.fileno() in ready:
                if self._ended is None:
                    self._feed()
                else:
                    poll.unregister(self._client.fileno())

    @property
    def _is_connected(self) -> bool:
        return self._absence is None or self._rejoining != 0

    def _patience_ms(self) -> float | None:
        if not self._is_connected:
            return 100
        return _LEAVE_MS if self._leaving else None

    def _may_detach(self) -> bool:
        return not self._detach_request and self._outputs_ended and self._absence is None

    def _feed(self) -> None:
        """Read from akiosd; where it is gone, the cage may outlive it."""
        try:
            self._client.feed()
        except GoneError as gone:
            if not self._come_back_s:
                raise
            from akiosctl.come_back import Absence

            self._poll.unregister(self._client.fileno())
            self._client.close()
            self._detach_request = self._rejoining = 0
            if self._absence is None:
                self._absence = Absence(self._client.path, self._whom, gone, self._come_back_s)
            # A signal that arrives twice does less harm than one that never does.
            for name, fields in self._unanswered.values():
                self._absence.keep(name, fields)
            self._unanswered.clear()

    def _look_for_akiosd(self) -> bool:
        """Go on where it is back; True when the cage is left, for it needs no client."""
        assert self._absence is not None
        if self._leaving and self._watches:
            return True
        if not self._rejoining and (back := self._absence.look()) is not None:
            self._client, self._request = back
            self._rejoining = self._request
            self._poll.register(self._client.fileno(), select.POLLIN)
        return False

    def _rejoined(self, fds: list[int]) -> None:
        """akiosd has the cage; it takes the copy of the output again, where it keeps one."""
        from akiosctl.render import note

        kept = self._absence.kept if self._absence is not None else []
        self._absence, self._rejoining = None, 0
        for name, fields in kept:
            self._ask(name, fields)
        if fds and self._keep is not None:
            self._keep.go_on(fds.pop())
        note(f"akiosd was restarted; {self._cage} goes on")

    def _ask(self, name: str, fields: dict[str, object]) -> None:
        if self._absence is not None:
            self._absence.keep(name, fields)
        elif len(self._unanswered) < _MAX_UNANSWERED or name == "stop":
            self._unanswered[self._client.request(name, fields)] = name, fields

    def _take_message(self) -> bool:
        """Handle one message; True when the cage was left running."""
        message, fds = self._client.receive()
        answered = message.get("id", 0)
        if message["m"] == "started" and answered == self._rejoining:
            self._rejoined(fds)
        close_fds(fds)
        self._unanswered.pop(answered, None)
        if message["m"] == "error" and answered in (0, self._request):
            raise DaemonError(
                message.get("what", ""),
                message.get("where", ""),
                message.get("next", ""),
                message.get("code", 125),
            )
        if message["m"] == "stands_still" and answered == self._request:
            self._say_standstill(str(message.get("why", "")))
        if message["m"] == "ended" and answered == self._request:
            self._ended = message
            if self._tty:
                self._copiers.finish()
        return (
            bool(self._detach_request) and answered == self._detach_request and message["m"] == "ok"
        )

    def _say_standstill(self, why: str) -> None:
        from akiosctl.render import note

        self._stands_still = bool(why)
        note(f"{self._cage} stands still: {why}" if why else f"{self._cage} goes on")

    def _check_copies(self) -> None:
        failure = self._copiers.failure
        if failure is not None:
            print(f"akiosctl: output was lost: {failure.strerror}", file=sys.stderr)

    def _take_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif number == signal.SIGTSTP:
            self._terminal.leave()
            os.kill(os.getpid(), signal.SIGSTOP)
        elif number == signal.SIGCONT:
            if os.isatty(0):
                self._terminal.enter()
            self._resize()
        elif self._watches and number in _LEAVES:
            self.left_by = self.left_by or number
            self._leave()
        elif self._ended is None:
            self._forward(number)

    def _leave(self) -> None:
        """First nothing is copied any more, so that nothing of the output is lost, then akiosd
        takes over.
        """
        self._leaving = True
        self._copiers.leave()

    def _forward(self, number: int) -> None:
        now = time.monotonic()
        name = "signal"
        fields: dict[str, object] = {**self._whom, "signo": int(number)}
        if number == signal.SIGINT:
            # What stands still hears of no signal.
            if self._stands_still or now - self._interrupted_at < _TWICE_SECONDS:
                name, fields = "stop", {**self._whom, "grace_ns": 0}
            self._interrupted_at = now
        self._ask(name, fields)

    def _resize(self) -> None:
        rows, columns = read_size(1 if os.isatty(1) else 0)
        write_size(self._master, rows, columns)
