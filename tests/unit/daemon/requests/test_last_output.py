"""What is still in the pipes of a cage that has ended is kept, once nobody else reads it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from akiosd.daemon.cages.spool import OutputFile, Spool
from akiosd.daemon.requests.run_requests import RunRequests
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd, close_all, name_pipe, open_named, open_pipe
from akiosd.wire.messages import Detach
from akiosd.wire.output import join, parts, read_part
from tests.unit.daemon.requests.test_rejoin import Client, peer_of

CAGE, SIZE = "c-aaaaaaaaaaaaa", 1 << 16


class Cage:
    id, detached, master, output_bytes = CAGE, True, None, 0

    def __init__(self, limit: int = 0) -> None:
        self.peer, self.ended = peer_of(1000), trio.Event()
        self.ended.set()
        self.policy = SimpleNamespace(limits=SimpleNamespace(output=limit))
        self.ours, self.agents = open_pipe()

    def copy_output_ends(self) -> list[Fd]:
        return [self.ours.dup()]

    def close_output(self) -> None:
        self.ours.close()


class Ended:
    """A cage at its end, whose client copied ``first`` and left ``tail`` in the pipe."""

    def __init__(self, path: Path, limit: int = 0) -> None:
        self.path = path / "output"
        self.cage = Cage(limit)
        nothing = cast(Any, None)
        registry: Any = SimpleNamespace(
            running={CAGE: self.cage},
            find=lambda peer, name: self.cage,
            bound_output=lambda name, uid: None,
        )
        self.runs = RunRequests(nothing, nothing, nothing, registry, nothing, nothing)
        self.output = self.runs._outputs[CAGE] = OutputFile(self.path, SIZE)
        self.client, self.clients = self.cage.ours.dup(), Fd(-1)
        os.write(self.cage.agents.fileno(), b"tail")

    async def finish(self, leaves: bool, awaited: trio.Event | None = None) -> None:
        """``leaves``: the client closes its copy."""
        async with trio.open_nursery() as nursery:
            if awaited is None:
                ours, self.clients = open_pipe()
                copy = Spool.of_copy(self.output)
                self.runs._copies[CAGE] = [copy]
                nursery.start_soon(copy.run, [ours])
                os.write(self.clients.fileno(), b"first ")
            if leaves:
                self.clients.close()
            await self.runs._finish_output(cast(Any, self.cage), awaited)

    def kept(self) -> bytes:
        assert self.output.closed and self.cage.ours.closed and CAGE not in self.runs._outputs
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        frames = join([read_part(data[part.start : part.end]) for part in parts(SIZE)])
        return b"".join(frame.data for frame in frames)

    def close(self) -> None:
        close_all((self.client, self.clients, self.cage.agents, self.cage.ours))


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Ended]:
    made = Ended(tmp_path)
    yield made
    made.close()


async def test_what_a_client_that_left_did_not_read_is_kept(ended: Ended) -> None:
    ended.cage.agents.close()
    await ended.finish(leaves=True)
    assert ended.kept() == b"first tail"


async def test_nothing_is_taken_from_a_client_that_is_there(
    ended: Ended, autojump_clock: trio.testing.MockClock
) -> None:
    """The control: it reads the rest when it gets to it."""
    ended.cage.agents.close()
    await ended.finish(leaves=False)
    assert ended.kept() == b"first " and os.read(ended.client.fileno(), 99) == b"tail"


async def test_who_still_has_the_pipe_does_not_hold_it_up(
    ended: Ended, autojump_clock: trio.testing.MockClock
) -> None:
    before = trio.current_time()
    await ended.finish(leaves=True)
    assert ended.kept() == b"first tail" and trio.current_time() - before < 10


@pytest.mark.parametrize(("limit", "kept"), [(8, b"first ta"), (6, b"first "), (99, b"first tail")])
async def test_no_more_is_kept_than_may_be_written(tmp_path: Path, limit: int, kept: bytes) -> None:
    ended = Ended(tmp_path, limit)
    ended.cage.agents.close()
    await ended.finish(leaves=True)
    assert ended.kept() == kept
    ended.close()


@pytest.mark.parametrize("comes", [True, False])
async def test_a_client_is_waited_for_that_looks_for_a_new_akiosd(
    ended: Ended, autojump_clock: trio.testing.MockClock, comes: bool
) -> None:
    ended.cage.agents.close()
    awaited = trio.Event()
    if comes:
        awaited.set()
    await ended.finish(leaves=True, awaited=awaited)
    assert ended.kept() == (b"" if comes else b"tail")


async def test_who_leaves_a_cage_that_has_ended_is_told_so(ended: Ended) -> None:
    request = Detach(cage=CAGE)
    with pytest.raises(DeniedError, match="has already ended"):
        await ended.runs.detach(peer_of(1000), request, [], cast(Any, Client()))


def is_broken(end: Fd) -> bool:
    poll = select.poll()
    poll.register(end.fileno(), 0)
    return bool(poll.poll(0))


def test_a_named_pipe_has_no_more_ends_than_before() -> None:
    """Its writer gets SIGPIPE and its reader the end, and what is in it can be read as long as one
    of them is there.
    """
    reader, writer = open_pipe()
    with name_pipe(reader) as name:
        os.write(writer.fileno(), b"tail")
        reader.close()
        assert is_broken(writer)
        with open_named(name) as other:
            assert not is_broken(writer)  # the control
            writer.close()
            assert os.read(other.fileno(), 99) == b"tail" and not os.read(other.fileno(), 99)
        with open_named(name) as other:
            assert not os.read(other.fileno(), 99)
