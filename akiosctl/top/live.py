"""Runs the screen and its feed together: Trio as a guest of the loop that the screen has."""

from __future__ import annotations

import asyncio

import trio

from akiosctl.top.app import Top
from akiosctl.top.feed import Feed


def run_live(control: str, events: str) -> None:
    """Until the user leaves.  Raises what ended it otherwise."""
    asyncio.run(_run(control, events))


async def _run(control: str, events: str) -> None:
    app, loop = Top(), asyncio.get_running_loop()
    scope, done = trio.CancelScope(), loop.create_future()

    async def feed() -> None:
        with scope:
            made = Feed(control, events, app)
            app.orders = made
            await made.run()

    def ended(outcome: object) -> None:
        if not done.done():
            done.set_result(outcome)
        app.exit()

    trio.lowlevel.start_guest_run(
        feed,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=ended,
        host_uses_signal_set_wakeup_fd=True,
    )
    try:
        await app.run_async(mouse=False)
    finally:
        app.orders = None
        scope.cancel()
        outcome = await done
    outcome.unwrap()
