"""One part that cannot be given back keeps no other."""

from __future__ import annotations

import pytest
import trio

from akiosd.daemon.cages.give_back import attempt
from akiosd.errors import KernelError


async def awaited() -> None:
    await trio.lowlevel.checkpoint()


async def refused() -> None:
    raise KernelError("processes are left in a control group")


def broken() -> None:
    raise OSError(5, "the disk")


def test_what_fails_is_said_and_what_is_done_is_done() -> None:
    done = []

    async def give_back() -> list[bool]:
        steps = (awaited, refused, broken, lambda: done.append("plain"))
        return [await attempt("c-1", "a part", step) for step in steps]

    assert trio.run(give_back) == [True, False, False, True] and done == ["plain"]


def test_the_end_of_the_daemon_is_no_failure_of_a_part() -> None:
    async def cancelled() -> bool:
        with trio.CancelScope() as scope:
            scope.cancel()
            await attempt("c-1", "a part", awaited)
        return scope.cancelled_caught

    assert trio.run(cancelled)


def test_a_mistake_elsewhere_is_not_hidden() -> None:
    async def stopped() -> None:
        async def step() -> None:
            raise KeyboardInterrupt

        await attempt("c-1", "a part", step)

    with pytest.raises(KeyboardInterrupt):
        trio.run(stopped)
