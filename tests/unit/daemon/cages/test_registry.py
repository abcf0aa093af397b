"""The registry of cages: who waits for the end of one is woken, however many wait."""

from __future__ import annotations

from types import SimpleNamespace

import trio
import trio.testing
from akiosd.cage.remembered import Remembered
from akiosd.daemon.cages.registry import Registry


async def test_everybody_who_waits_for_an_end_is_woken() -> None:
    registry = Registry.__new__(Registry)
    ended = SimpleNamespace(is_set=lambda: True)
    cage = SimpleNamespace(id="c-1", changes=True, ended=ended)
    registry.running, registry.kept, registry.ended = {"c-1": cage}, {}, Remembered()  # type: ignore[dict-item]
    registry._removed = trio.Event()
    woken: list[str] = []

    async def wait(name: str) -> None:
        await (registry.wait_empty() if name == "stop" else registry.wait_released("c-1"))
        woken.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("view", "discard", "stop"):
            nursery.start_soon(wait, name)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        registry.remove(cage)  # type: ignore[arg-type]
    assert sorted(woken) == ["discard", "stop", "view"]
