"""When changes that wait, and what is known of ended cages, go by themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from akiosd.daemon.base.config import EndedConfig
from akiosd.daemon.cages.run_cage import DAY_NS
from akiosd.daemon.requests.expire_ended import expire_once

NOW = 1000 * DAY_NS


@pytest.mark.parametrize(
    ("days", "wall", "true", "jumped", "goes"),
    [
        (90, 91, 91, False, True),
        (90, 89, 91, False, False),
        (90, 91, 1, False, False),  # the wall clock alone destroys nothing
        (90, 91, 91, True, False),  # nor does anything right after a jump
        (0, 500, 500, False, False),
    ],
)
async def test_changes_go_by_the_clocks_of_the_host_log(
    days: int, wall: int, true: int, jumped: bool, goes: bool
) -> None:
    """``wall`` and ``true``: how many days ago the cage ended, by each."""
    forgotten: list[str] = []
    destroyed: list[str] = []
    info = SimpleNamespace(ended_ns=NOW - wall * DAY_NS)

    async def ages() -> Any:
        return SimpleNamespace(
            clock=SimpleNamespace(waits=jumped), age_of=lambda cage: true * DAY_NS
        )

    async def expire(is_old: Any) -> list[str]:
        destroyed.extend(["c-1"] if is_old("c-1") else [])
        return destroyed

    registry = SimpleNamespace(
        kept={"c-1": SimpleNamespace(info=info)},
        ended=SimpleNamespace(infos=lambda: [info]),
        expire=lambda is_old: forgotten.extend(["c-2"] if is_old("c-2") else []),
    )
    config = EndedConfig(changes_days=days, keep_days=days)
    await expire_once(
        cast(Any, registry),
        cast(Any, SimpleNamespace(expire=expire)),
        cast(Any, SimpleNamespace(ages=ages)),
        config,
        NOW,
    )
    assert (destroyed, forgotten) == ((["c-1"], ["c-2"]) if goes else ([], []))
