"""What the init of one cage says over its status socket, as events of the cage's life.

The other side is the C in ``native/src``; the messages are
:class:`akiosd.values.plan.StatusMessage`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from akiosd.cage.machine import Event
from akiosd.cage.programs import explain_start
from akiosd.cage.reasons import describe_entering
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.kernel.fds import Fd, close_all
from akiosd.values import records
from akiosd.values.plan import Plan, StatusMessage, decode_status

_OF_THE_AGENT = ("execed", "exec_failed", "exited")
_OF_PROGRAMS = ("program_started", "program_failed", "program_ended")


class InitStatus:
    """Listens to one init; what it has said so far stands in the attributes."""

    def __init__(
        self,
        channel: StatusChannel,
        plan: Plan | None,
        program: bytes,
        cwd: bytes,
        post: Callable[[Event], None],
        remember: Callable[[tuple[bytes, ...]], None],
        on_program: Callable[[StatusMessage], None],
    ) -> None:
        """Keep the arguments; nothing is read before :meth:`listen`.

        ``channel`` stays the caller's to close; ``plan`` turns the number of a failed step into
        words, and is None for an init that has done them all; ``program`` and ``cwd`` are what a
        failed start is told with; ``post`` is called with each event.  ``remember`` is called with
        all that init said about the agent before the last of it is taken from the socket: an akiosd
        that is killed in between has lost nothing.  So is ``on_program``, with what it says of a
        standing cage's program; the same may be said again to the next akiosd.
        """
        self._channel, self._plan, self._post = channel, plan, post
        self._program, self._cwd = program, cwd
        self._remember, self._on_program = remember, on_program
        self._heard: tuple[bytes, ...] = ()
        self.master: Fd | None = None
        """The master of the cage's terminal; the caller's to close."""
        self.listener_number = -1
        """The seccomp listener, as a descriptor of init."""
        self.listener: Fd | None = None
        """The listener itself, where init hands it over; the caller's to take."""
        self.landlock_proved = False
        self.rusage = (0, 0, 0)
        """User ns, system ns, largest resident set in bytes."""
        self.exec_failed = False

    def repeat(self, heard: tuple[bytes, ...]) -> None:
        """Post the events of what an earlier akiosd had heard."""
        for data in heard:
            self._heard = (*self._heard, data)
            event = self._translate(decode_status(data))
            if event is not None:
                self._post(event)

    async def listen(self) -> None:
        """Post an event for each message until the socket ends, then ``init_died``, and return.

        Descriptors that come along and are not a terminal's master are closed.
        """
        while True:
            data = await self._channel.peek()
            said = decode_status(data) if data else None
            if said is not None and said.kind in _OF_THE_AGENT:
                if data not in self._heard:
                    self._heard = (*self._heard, data)
                self._remember(self._heard)
            elif said is not None and said.kind in _OF_PROGRAMS:
                self._on_program(said)
            message, fd = await self._channel.receive()
            if message is None:
                self._post(Event("init_died"))
                return
            if message.kind == "pty" and fd is not None:
                self.master = fd
            elif message.kind == "listener" and fd is not None:
                close_all((self.listener,))
                self.listener = fd
            elif fd is not None:
                fd.close()
            event = self._translate(message)
            if event is not None:
                self._post(event)

    def _translate(self, message: StatusMessage) -> Event | None:
        if message.kind == "failed":
            steps = self._plan.steps if self._plan is not None else ()
            step = steps[message.step] if message.step < len(steps) else None
            why = os.strerror(message.err)
            if step is not None and step.op == "landlock_rule" and step.a:
                detail = describe_entering(records.escape(step.a), message.err, why)
            else:
                words = step.describe() if step is not None else "init"
                detail = f"{why} at step {message.step}, {words}"
            return Event("step_failed", "failed_start", detail=detail)
        if message.kind == "ready":
            self.listener_number = message.value
            self.landlock_proved = message.err == 0
            return Event("ready")
        if message.kind == "execed":
            return Event("execed")
        if message.kind == "exec_failed":
            self.exec_failed = True
            why = os.strerror(message.err)
            facts = explain_start(self._program, self._cwd, message.step, message.err, why)
            return Event("exec_failed", facts.cause, detail=facts.detail)
        if message.kind == "exited":
            self.rusage = message.rusage
            return Event("exited", status=message.value)
        return None
