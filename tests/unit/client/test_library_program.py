"""A program of the library while akiosd is away, too slow, or out of its bound; akiosd is played by
a thread, which is told when to go, and what to end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from akiosctl.begin_program import make_token
from akiosctl.client import BegunError, GoneError
from akiosctl.library.aio import AsyncCage, killed_at_cancel
from akiosctl.library.cage import Cage
from akiosctl.library.program import Program
from akiosctl.library.values import ProgramTimeout
from akiosctl.piped_program import Piped
from akiosctl.plain_msgpack import pack, unpack
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds, receive_blocking, send_blocking
from akiosd.values.program_token import made_ns
from akiosd.wire.frame import MAX_FDS, FrameReader, encode_frame

LONG = 20.0
BOUND = 100_000


class Akiosd:
    """One program, whose outputs the test writes; a ``stop`` ends it, and closes them."""

    def __init__(self, path: Path, come_back_s: int = 60) -> None:
        self.path, self.come_back_s = path, come_back_s
        self.asked: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._open: list[socket.socket] = []
        self._followers: list[tuple[socket.socket, int]] = []
        self.ended: dict[str, Any] | None = None
        self.hangs = False
        """It does not do what it is asked for."""
        self.mutes: list[str] = []
        """To so many requests for a program it says nothing, or that it was ``begun`` before."""
        pipes = [os.pipe() for _ in range(3)]
        self.stdin, self.stdout, self.stderr = pipes[0][0], pipes[1][1], pipes[2][1]
        self._theirs = [pipes[0][1], pipes[1][0], pipes[2][0]]
        self.come()

    def come(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go(self) -> None:
        """As a daemon that was killed."""
        self.path.unlink()
        with self._changed:
            for one in (self._listener, *self._open):
                with contextlib.suppress(OSError):  # its other end is closed
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()
            self._followers.clear()

    def until(self, holds: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, LONG), self.asked

    def names(self) -> list[str]:
        return [one["m"] for one in self.asked]

    def close_outputs(self) -> None:
        close_fds([fd for fd in (self.stdout, self.stderr) if fd >= 0])
        self.stdout = self.stderr = -1

    def end(self, **how: Any) -> None:
        with self._changed:
            if self.ended is None:
                self.close_outputs()
                self.ended = how
            for one, number in self._followers:
                with contextlib.suppress(OSError):  # it was told before
                    send(one, {"m": "ended", "id": number, **self.ended})

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        frames = FrameReader()
        try:
            while (got := receive_blocking(client, 1 << 16, MAX_FDS + 1)).data:
                for frame in frames.receive(got.data, got.fds, truncated=got.truncated):
                    message = unpack(frame.payload)
                    assert isinstance(message, dict)
                    self._answer(client, message)
        except OSError:
            return

    def _answer(self, client: socket.socket, message: dict[str, Any]) -> None:
        name, number = message["m"], message.get("id", 0)
        if name == "hello":
            send(client, {"m": "hello", "protocol": 1, "come_back_s": self.come_back_s})
            return
        if name == "program" and self.mutes:
            with self._changed:
                self.asked.append(message)
                self._changed.notify_all()
            if self.mutes.pop() == "begun":
                error = {"what": "it was begun", "where": "cage c-1", "next": "look at it"}
                send(client, {"m": "error", "id": number, "begun": True, **error})
            return
        if name in ("program", "rejoin"):
            started = {"m": "started", "id": number, "cage": "c-1", "program": 1}
            started |= {"come_back_s": self.come_back_s, "output": BOUND}
            fds, self._theirs = (self._theirs, []) if name == "program" else ([], self._theirs)
            if self.ended is None:
                send(client, started, fds)
            close_fds(fds)
            with self._changed:
                self._followers.append((client, number))
            if self.ended is not None:
                self.end()
        with self._changed:
            self.asked.append(message)
            self._changed.notify_all()
        if name == "stop" and not self.hangs:
            self.end(exit_code=137, kind=message.get("cause") or "stopped", reason="killed")
            send(client, {"m": "ok", "id": number})


def send(client: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    send_blocking(client, encode_frame(pack(message)), fds or [])


@pytest.fixture
def akiosd(tmp_path: Path, aside: ThreadPoolExecutor) -> Iterator[Akiosd]:
    played = Akiosd(tmp_path / "s")
    yield played
    played.end()
    played.go()
    os.close(played.stdin)


@pytest.fixture
def program(akiosd: Akiosd) -> Program:
    return Program(str(akiosd.path), {"cage": "c-1"}, "make")


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.mark.parametrize("reads", [True, False])
def test_it_comes_back_as_soon_as_akiosd_does(
    akiosd: Akiosd, program: Program, aside: ThreadPoolExecutor, reads: bool
) -> None:
    """Whether somebody waits for output or is busy with something else, as between two calls."""
    done = aside.submit(program.collect) if reads else None
    akiosd.go()
    akiosd.come()
    akiosd.until(lambda: "rejoin" in akiosd.names())
    os.write(akiosd.stdout, b"after")
    akiosd.end(exit_code=3, reason="exited 3")
    found = done.result(LONG) if done else program.collect()
    assert (found.exit_code, found.stdout, found.kind) == (3, b"after", "exited")


def test_over_the_bound_it_is_ended_and_no_more_is_read(
    akiosd: Akiosd, program: Program, aside: ThreadPoolExecutor
) -> None:
    done = aside.submit(program.collect)
    for _ in range(2):
        os.write(akiosd.stdout, b"x" * 60_000)
    found = done.result(LONG)
    assert (len(found.stdout), found.kind) == (BOUND, "output")


def test_the_bound_holds_while_akiosd_is_away(
    akiosd: Akiosd, program: Program, aside: ThreadPoolExecutor
) -> None:
    """What ends it is asked for again by who comes back; until then nothing is read on."""
    akiosd.go()
    written = 0
    os.set_blocking(akiosd.stdout, False)
    done = aside.submit(program.collect)
    full_since = time.monotonic()
    while time.monotonic() - full_since < 1:  # it reads no more: there is nothing to be awaited
        try:
            written += os.write(akiosd.stdout, bytes(1 << 16))
            full_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.02)
        assert written < 16 << 20, "it reads on"
    akiosd.come()
    akiosd.until(lambda: "stop" in akiosd.names())
    assert akiosd.names()[-2:] == ["rejoin", "stop"] and akiosd.asked[-1]["cause"] == "output"
    found = done.result(LONG)
    assert (len(found.stdout), found.kind) == (BOUND, "output")


def test_what_ended_by_itself_is_told_whole(akiosd: Akiosd, program: Program) -> None:
    os.write(akiosd.stderr, b"x" * 60_000)
    os.write(akiosd.stdout, b"x" * 60_000)
    akiosd.end(exit_code=0, reason="exited 0")
    assert program._followed.wait(LONG)
    done = program.collect()
    assert (len(done.stdout) + len(done.stderr), done.kind) == (120_000, "exited")


def test_a_time_holds_for_who_closed_its_outputs(akiosd: Akiosd, program: Program) -> None:
    os.write(akiosd.stdout, b"before")
    akiosd.close_outputs()
    with pytest.raises(ProgramTimeout) as slow:
        program.collect(timeout=0.3)
    assert slow.value.done.stdout == b"before"
    assert akiosd.asked[-1]["m"] == "stop" and akiosd.asked[-1]["grace_ns"] == 0


def test_a_time_that_ends_while_akiosd_is_away_kills_all_the_same(
    akiosd: Akiosd, program: Program, aside: ThreadPoolExecutor
) -> None:
    akiosd.go()
    done = aside.submit(program.collect, 0.1)
    with pytest.raises(TimeoutError):
        done.result(1)
    akiosd.come()
    with pytest.raises(ProgramTimeout):
        done.result(LONG)
    assert akiosd.names()[-2:] == ["rejoin", "stop"]
    assert os.read(akiosd.stdin, 1) == b""  # nobody has its other end


def test_who_dies_with_akiosd_needs_nobody_to_kill_it(tmp_path: Path) -> None:
    akiosd = Akiosd(tmp_path / "s", come_back_s=0)
    program = Program(str(akiosd.path), {"cage": "c-1"}, "make")
    akiosd.go()
    with pytest.raises(ProgramTimeout):
        program.collect(timeout=0.1)
    assert os.read(akiosd.stdin, 1) == b""
    with pytest.raises(GoneError):
        program.finish()
    akiosd.close_outputs()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_cancelled_while_akiosd_is_away_is_killed_and_cancelled(
    akiosd: Akiosd, program: Program, backend: str
) -> None:
    async def main() -> bool:
        with anyio.move_on_after(0.2) as limit:
            await killed_at_cancel(program, partial(program.collect, None))
        return limit.cancelled_caught

    akiosd.go()
    later = threading.Timer(1, akiosd.come)
    later.start()
    assert anyio.run(main, backend=backend)
    later.join()
    assert "stop" in akiosd.names()


class CageOf(Cage):
    """A cage whose next program is this one."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._program = program

    def start(self, *command: Any, **how: Any) -> Program:
        return self._program


def streams(cage: Cage) -> None:
    for _ in cage.stream("make", timeout=0.1):
        pass


def streams_async(cage: Cage) -> None:
    async def main() -> None:
        waiting = AsyncCage()
        waiting.cage = cage
        async for _ in waiting.stream("make", timeout=0.1):
            pass

    anyio.run(main)


@pytest.mark.parametrize("stream", [streams, streams_async])
def test_an_akiosd_that_hangs_is_waited_for_once(
    akiosd: Akiosd, program: Program, stream: Callable[[Cage], None]
) -> None:
    akiosd.hangs, program._longest_kill_s = True, 2.0
    began = time.monotonic()
    with pytest.raises(GoneError, match="has not answered"):
        stream(CageOf(program))
    assert 2.0 < time.monotonic() - began < 3.9
    assert akiosd.names().count("stop") == 1
    with pytest.raises(GoneError, match="has not answered"):
        program.kill()


def test_who_is_killed_by_several_is_waited_for_by_each(
    akiosd: Akiosd, program: Program, aside: ThreadPoolExecutor
) -> None:
    """The control: the second asks nothing, and returns when it has ended."""
    akiosd.hangs = True
    kills = [aside.submit(program.kill) for _ in range(2)]
    akiosd.until(lambda: "stop" in akiosd.names())
    akiosd.end(exit_code=137, kind="stopped", reason="killed")
    assert [one.result(LONG) for one in kills] == [None, None]
    assert akiosd.names().count("stop") == 1


def test_what_was_not_begun_is_asked_for_again_by_the_same_word(
    akiosd: Akiosd, aside: ThreadPoolExecutor
) -> None:
    akiosd.mutes = ["", ""]
    before = time.monotonic_ns()
    made = aside.submit(Program, str(akiosd.path), {"cage": "c-1"}, "make")
    for asked in (1, 2):
        akiosd.until(lambda asked=asked: len(akiosd.asked) == asked)  # type: ignore[misc]
        akiosd.go()
        akiosd.come()
    program = made.result(LONG)
    tokens = [one["token"] for one in akiosd.asked]
    assert len(tokens) == 3 and len(set(tokens)) == 1
    # It says when the first was asked, by which an akiosd that forgot it can tell.
    assert before <= made_ns(tokens[0]) <= time.monotonic_ns()
    assert tokens[0] != make_token()
    akiosd.end(exit_code=4, reason="exited 4")
    assert program.collect().exit_code == 4


def test_what_was_begun_is_not_begun_again_and_said(
    akiosd: Akiosd, aside: ThreadPoolExecutor
) -> None:
    """The control: what may be done twice is asked for anew, by another word."""
    akiosd.mutes = ["begun"]
    with pytest.raises(BegunError) as begun:
        Program(str(akiosd.path), {"cage": "c-1"}, "make")
    assert (begun.value.what, begun.value.next) == ("it was begun", "look at it")
    assert akiosd.names() == ["program"]
    akiosd.mutes = ["begun"]
    piped = Piped(str(akiosd.path), "c-1", ["/usr/bin/dd"])
    assert akiosd.names() == ["program"] * 3
    assert len({one["token"] for one in akiosd.asked}) == 3
    os.write(akiosd.stdout, b"whole")
    akiosd.end(exit_code=0, reason="exited 0")
    assert (piped.stdout.read(), piped.finish()) == (b"whole", 0)


def test_a_copy_goes_on_while_akiosd_is_restarted(
    akiosd: Akiosd, aside: ThreadPoolExecutor
) -> None:
    piped = Piped(str(akiosd.path), "c-1", ["/usr/bin/dd"])
    akiosd.go()
    os.write(akiosd.stdout, b"whole")
    akiosd.close_outputs()
    assert piped.stdout.read() == b"whole"
    ended = aside.submit(piped.finish)
    akiosd.come()
    akiosd.until(lambda: "rejoin" in akiosd.names())
    akiosd.end(exit_code=2, reason="exited 2")
    assert ended.result(LONG) == 2


def test_whose_cage_ends_with_akiosd_is_told_at_once(tmp_path: Path) -> None:
    akiosd = Akiosd(tmp_path / "s", come_back_s=0)
    akiosd.mutes = [""]
    with ThreadPoolExecutor() as threads:
        made = threads.submit(Program, str(akiosd.path), {"cage": "c-1"}, "make")
        akiosd.until(lambda: akiosd.asked)
        akiosd.go()
        with pytest.raises(GoneError):
            made.result(LONG)
    akiosd.come()
    piped = Piped(str(akiosd.path), "c-1", ["/usr/bin/dd"])
    akiosd.close_outputs()
    akiosd.go()
    with pytest.raises(AkiosError, match="akiosd ended, and c-1 with it") as failed:
        piped.finish()
    assert "copy again" in failed.value.next
    os.close(akiosd.stdin)
