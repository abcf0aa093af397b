"""The registry of cages: who waits for the end of one is woken, however many wait, and what it
remembers is bounded.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from akiosd.cage.remembered import Remembered
from akiosd.daemon.cages import registry as registry_module
from akiosd.daemon.cages.registry import Registry
from akiosd.values.ids import LogId, make_cage_id


async def test_everybody_who_waits_for_an_end_is_woken() -> None:
    registry = Registry.__new__(Registry)
    ended = SimpleNamespace(is_set=lambda: True)
    peer = SimpleNamespace(uid=1000)
    cage = SimpleNamespace(id="c-1", changes=True, ended=ended, peer=peer)
    registry.running, registry.kept, registry.ended = {"c-1": cage}, {}, Remembered()  # type: ignore[dict-item]
    registry._removed, registry._owners = trio.Event(), {}
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


def test_owners_are_remembered_up_to_a_bound_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_MOST_OWNERS", 4)
    registry = Registry.__new__(Registry)
    registry._host, registry._owners = cast(Any, SimpleNamespace(cages_dir=tmp_path)), {}
    registry.running, registry.kept = {}, {}
    registry.ended, registry._removed = Remembered(), trio.Event()
    names = [LogId(make_cage_id(number.to_bytes(8, "big"))) for number in range(20)]
    for uid, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "owner").write_text(str(uid))
        cage: Any = SimpleNamespace(id=name, changes=True, peer=SimpleNamespace(uid=uid))
        registry.add(cage)
        assert registry.owner_of(name) == uid
        registry.remove(cage)
        assert len(registry._owners) <= 4
    (tmp_path / names[-1] / "owner").unlink()
    # The first ones from disk, the last one still from memory, for who follows its last records.
    assert [registry.owner_of(name) for name in (names[-1], *names[:-1])] == [19, *range(19)]
    assert len(registry._owners) <= 4
    unknown = LogId(make_cage_id(b"unknown!"))
    assert registry.owner_of(unknown) is None
