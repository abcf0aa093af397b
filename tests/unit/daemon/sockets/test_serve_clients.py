"""The control socket's server over real sockets: dispatch, descriptors, limits, and hostile
clients.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.daemon.base.peers import Gate, Peer
from akiosd.daemon.sockets.serve_clients import (
    ClientConnection,
    ConnectionLimits,
    open_unix_listener,
    send_with_fds,
    serve_clients,
)
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.scm_rights import close_fds, receive
from akiosd.wire.frame import MAX_FDS, encode_frame
from akiosd.wire.messages import (
    Bind,
    Doctor,
    Ended,
    Error,
    Hello,
    List,
    Message,
    Ok,
    Run,
    Started,
    Stop,
    View,
)
from akiosd.wire.session import EventsRequest
from tests.unit.daemon.caller import connect

CAGE = "c-0123456789ab"
LIMITS = ConnectionLimits(requests=8, fds=40)


class Echo:
    """A small real handler: Run answers Started with the first descriptor it got and ends on
    release.
    """

    def __init__(self) -> None:
        self.release = trio.Event()
        self.cancelled = trio.Event()
        self.taken: list[int] = []

    async def handle(
        self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
    ) -> None:
        match request:
            case Run():
                first = fds.pop(0)
                try:
                    await client.reply(Started(cage=CAGE), [first])
                finally:
                    os.close(first)
                try:
                    await self.release.wait()
                except trio.Cancelled:
                    self.cancelled.set()
                    raise
                await client.reply(Ended(cage=CAGE, exit_code=len(fds)))
            case List():
                await client.reply(Ok())
            case Stop():
                raise DeniedError("not yours", request.cage, "ask its owner")
            case View():
                raise ValueError("a bug")
            case _:
                return


@asynccontextmanager
async def serving(
    handler: object,
    gate: Gate | None = None,
    limits: ConnectionLimits = LIMITS,
    accepting: trio.CancelScope | None = None,
) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "s")
        listener = await open_unix_listener(path)
        async with listener, trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve_clients(
                    listener,
                    handler,
                    gate or Gate(),
                    limits=limits,
                    accepting=accepting,
                    task_status=task_status,
                )
            )
            yield path
            nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDONLY)
    yield fd
    os.close(fd)


def open_fds() -> set[tuple[str, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            continue
    return found


def a_run(binds: int = 0, **more: object) -> Run:
    return Run(
        id=1,
        argv=(b"x",),
        command=b"/x",
        binds=tuple(Bind(b"/b", n + 1) for n in range(binds)),
        **more,
    )  # type: ignore[arg-type]


async def test_a_run_passes_descriptors_both_ways_and_closes_what_the_handler_left() -> None:
    handler = Echo()
    async with serving(handler) as path:
        caller = await connect(path)
        before = open_fds()
        read_end, write_end = os.pipe()
        os.write(write_end, b"through")
        await caller.send(a_run(binds=2), [read_end, write_end, write_end])
        os.close(write_end)
        os.close(read_end)
        started = await caller.receive()
        assert os.read(started.fds[0], 10) == b"through"
        handler.release.set()
        assert await caller.answer() == Ended(id=1, cage=CAGE, exit_code=2)
        # The handler's two left-over write ends were closed: the pipe is at its end.
        await trio.lowlevel.wait_readable(started.fds[0])
        assert os.read(started.fds[0], 10) == b""
        close_fds(started.fds)
        assert open_fds() == before
        caller.close()


async def test_a_waiting_run_holds_no_other_request_up(null: int) -> None:
    handler = Echo()
    async with serving(handler) as path:
        caller = await connect(path)
        await caller.send(a_run(), [null])
        assert isinstance(await caller.answer(), Started)
        await caller.send(List(id=2))
        assert await caller.answer() == Ok(id=2)
        caller.close()
        await handler.cancelled.wait()


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Stop(id=1, cage=CAGE), "not yours"),
        (View(id=1, cage=CAGE), "failed to handle"),
        (Doctor(id=1), "no answer"),
        (Stop(id=1, cage="../etc"), "is not a cage"),
        (Run(id=1), "no command"),
        (Run(id=1, argv=(b"a\0b",)), "NUL"),
        (Run(id=1, argv=(b"a",), command=b"/x", cwd=b"/a/../b"), "normal path"),
        (Run(id=1, argv=(b"a",), command=b"/x"), "descriptors came"),
    ],
)
async def test_every_failure_is_one_error_reply_and_the_connection_lives(
    request_: Message, what: str
) -> None:
    async with serving(Echo()) as path:
        caller = await connect(path)
        await caller.send(request_)
        error = await caller.answer()
        assert isinstance(error, Error) and what in error.what and error.id == 1
        await caller.send(List(id=2))
        assert await caller.answer() == Ok(id=2)
        caller.close()


async def test_replies_wait_for_the_hello_when_requests_come_with_it() -> None:
    async with serving(Echo()) as path:
        caller = await connect(path, hello=False)
        await caller.sock.send(caller.session.send(Hello()) + caller.session.send(List(id=1)))
        assert [type(await caller.answer()) for _ in range(2)] == [Hello, Ok]
        caller.close()


async def test_a_peer_without_a_role_is_told_which_group() -> None:
    gate = Gate(user="no-such-group", is_caged=lambda uid: uid == os.getuid())
    async with serving(Echo(), gate) as path:
        caller = await connect(path, hello=False)
        error = await caller.answer()
        assert isinstance(error, Error) and "in a cage" in error.what
        with pytest.raises(EOFError):
            await caller.receive()
        caller.close()


async def test_connections_of_one_uid_are_bounded_and_come_back() -> None:
    async with serving(Echo(), limits=ConnectionLimits(connections=1)) as path:
        first = await connect(path)
        second = await connect(path, hello=False)
        error = await second.answer()
        assert isinstance(error, Error) and "connections already" in error.what
        first.close()
        second.close()
        third = None
        while third is None:
            try:
                third = await connect(path)
            except AssertionError:
                await trio.lowlevel.checkpoint()
        third.close()


async def test_no_hello_in_time_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(Echo()) as path:
        caller = await connect(path, hello=False)
        error = await caller.answer()
        assert isinstance(error, Error) and "said nothing" in error.what
        caller.close()


async def test_too_many_open_requests_end_the_connection_and_close_their_descriptors(
    null: int,
) -> None:
    handler = Echo()
    async with serving(handler) as path:
        before = open_fds()
        caller = await connect(path)
        with pytest.raises((EOFError, OSError, trio.BrokenResourceError)):
            for number in range(2, 20):
                await caller.send(msgspec.structs.replace(a_run(), id=number), [null])
            while True:
                await caller.answer()
        caller.close()
        await wait_until(lambda: open_fds() <= before)


MANY = LIMITS.requests + 2
"""More at once than may be open, and less than end a connection."""


class Slow:
    """It has something to do behind its answer, until it may end; one like ``fails`` is raised
    then.
    """

    def __init__(self, fails: Exception | None = None) -> None:
        self.may_end, self.ended, self.fails = trio.Event(), 0, fails

    async def handle(
        self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
    ) -> None:
        await client.reply(Ok())
        await self.may_end.wait()
        self.ended += 1
        if self.fails is not None:
            raise type(self.fails)(*self.fails.args)


@pytest.mark.parametrize("fails", [None, DeniedError("late"), ValueError("a bug")])
async def test_a_number_is_free_once_its_answer_has_come(fails: Exception | None) -> None:
    handler = Slow(fails)
    async with serving(handler) as path:
        caller = await connect(path)
        for _ in range(MANY):
            await caller.send(List(id=1))
            assert await caller.answer() == Ok(id=1)
        handler.may_end.set()
        await wait_until(lambda: handler.ended == MANY)
        await trio.testing.wait_all_tasks_blocked()
        await caller.send(List(id=1))
        assert await caller.answer() == Ok(id=1)
        caller.close()


class Two:
    """The first has something to do behind its answer; the second waits with its own for that."""

    def __init__(self) -> None:
        self.begun, self.first_is_over = 0, trio.Event()

    async def handle(
        self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
    ) -> None:
        self.begun += 1
        if self.begun == 1:
            await client.reply(Ok())
            while self.begun == 1:
                await trio.lowlevel.checkpoint()
            self.first_is_over.set()
        else:
            await self.first_is_over.wait()
            await trio.testing.wait_all_tasks_blocked()
            await client.reply(Ended(cage=CAGE))


async def test_whose_number_is_used_again_takes_no_answer_from_the_next() -> None:
    async with serving(Two()) as path:
        caller = await connect(path)
        for answer in (Ok(id=1), Ended(id=1, cage=CAGE)):
            await caller.send(List(id=1))
            assert await caller.answer() == answer
        caller.close()


async def test_who_does_not_wait_for_answers_is_bounded_all_the_same() -> None:
    """The control: requests that are answered, and whose tasks never end."""
    async with serving(Slow()) as path:
        caller = await connect(path)
        with pytest.raises((EOFError, OSError, trio.BrokenResourceError, AssertionError)):
            for _ in range(2 * LIMITS.requests + 1):
                await caller.send(List(id=1))
                assert await caller.answer() == Ok(id=1)
        caller.close()


async def test_a_served_socket_is_not_taken_over_and_a_stale_one_is(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = await open_unix_listener(path)
    with pytest.raises(AkiosError, match="another akiosd"):
        await open_unix_listener(path)
    await listener.aclose()
    await (await open_unix_listener(path)).aclose()


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.001)


few = st.text("am\0é\n", max_size=4)
nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=5) | few,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(few, inner, max_size=3),
    max_leaves=6,
)
messages = st.dictionaries(
    st.sampled_from(
        ["m", "id", "argv", "env", "policy", "binds", "cage", "cursors", "start", "stop"]
    ),
    st.sampled_from(["hello", "run", "list", "view", "subscribe", "read_log", "doctor", "started"])
    | nested,
    max_size=4,
).map(msgspec.msgpack.encode)
pieces = st.one_of(
    st.binary(min_size=1, max_size=40),
    messages.map(encode_frame),
    st.just(encode_frame(b"\x91" * 100_000 + b"\x90")),
    st.just(encode_frame(b"\x81\xa6policy" + b"\x81\xa1a" * 100_000 + b"\x90")),
    st.just(b"\x00\x20\x00\x00" + b"x" * 100),
    st.just(encode_frame(b"x" * (1 << 20))[:-1]),
    st.just(encode_frame(msgspec.msgpack.encode(a_run()))),
)
attacks = st.lists(st.tuples(pieces, st.integers(0, 3)), min_size=1, max_size=4)


async def attack(path: str, null: int, hello: bool, attack_: list[tuple[bytes, int]]) -> None:
    """Send the pieces, then leave; the server must be done with this client before the next one
    comes.
    """
    caller = await connect(path, hello=False)
    try:
        if hello:
            await caller.send(Hello())
        for data, count in attack_:
            await send_with_fds(caller.sock, data, [null] * count)
        caller.sock.shutdown(socket.SHUT_WR)
        while True:
            data, fds, _ = await receive(caller.sock, 1 << 16, MAX_FDS + 1)
            close_fds(fds)
            if not data:
                break
    except (OSError, trio.BrokenResourceError):
        pass
    caller.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), attacks), min_size=1, max_size=4), st.booleans())
def test_hostile_clients_leave_a_living_server_and_no_descriptor(
    null: int, rounds: list[tuple[bool, list[tuple[bytes, int]]]], events: bool
) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "s")
            async with await open_unix_listener(path) as listener, trio.open_nursery() as nursery:
                accepts = EventsRequest if events else None
                await nursery.start(
                    lambda task_status: serve_clients(
                        listener,
                        Echo(),
                        Gate(),
                        limits=LIMITS,
                        accepts=accepts,
                        task_status=task_status,
                    )
                )
                before = open_fds()
                for hello, pieces_ in rounds:
                    await attack(path, null, hello, pieces_)
                caller = await connect(path)
                caller.close()
                await wait_until(lambda: open_fds() <= before)
                nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("reads_on", [False, True])
async def test_whoever_still_sends_is_told_that_the_connection_is_closed(
    null: int, reads_on: bool
) -> None:
    """A task of the daemon's, as that of a detached run, is not the connection's own: nothing else
    than this one error may come to it.
    """
    said: list[BaseException | None] = []

    class Outliving(Echo):
        async def handle(
            self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
        ) -> None:
            outer.start_soon(self.tell, client)
            await trio.sleep_forever()

        async def tell(self, client: ClientConnection) -> None:
            try:
                await client.reply(Started(cage=CAGE, notes=("x" * 900_000,)))
                said.append(None)
            except BaseException as error:
                said.append(error)
                if isinstance(error, trio.Cancelled):
                    raise
            self.release.set()

    handler = Outliving()
    limits = ConnectionLimits(requests=8, fds=40, send_timeout=1)
    async with trio.open_nursery() as outer, serving(handler, limits=limits) as path:
        caller = await connect(path)
        await caller.send(a_run(), [null])
        if reads_on:
            assert isinstance((await caller.receive()).message, Started)
        else:
            await trio.testing.wait_all_tasks_blocked(0.05)
            caller.sock.shutdown(socket.SHUT_WR)
        with trio.fail_after(30):
            await handler.release.wait()
        caller.close()
        outer.cancel_scope.cancel()
    assert [type(error) for error in said] == [type(None) if reads_on else trio.BrokenResourceError]


async def test_after_the_last_accept_the_connected_are_served_and_newcomers_wait() -> None:
    accepting = trio.CancelScope()
    async with serving(Echo(), accepting=accepting) as path:
        caller = await connect(path)
        accepting.cancel()
        await caller.send(List(id=1))
        assert isinstance(await caller.answer(), Ok)
        late = await connect(path, hello=False)
        await late.send(Hello(software="test"))
        await caller.send(List(id=2))
        assert isinstance(await caller.answer(), Ok)
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await late.receive()
