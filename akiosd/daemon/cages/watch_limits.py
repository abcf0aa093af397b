"""What can end a cage besides its agent: each function waits for one limit and posts that event.

Not here: the budget (``gateways/spend.py``) and the bytes of the audit log.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from akiosd.cage.machine import Event
from akiosd.kernel.cgroup import CageCgroup
from akiosd.values.policy import Limits

Post = Callable[[Event], None]

_LEAST_WAIT_S = 0.05


def watch_limits(
    nursery: trio.Nursery, limits: Limits, group: CageCgroup, post: Post, passed_ns: int = 0
) -> None:
    """Start, in ``nursery``, the clocks that run from the agent's first moment on, ``passed_ns``
    ago; 0 is no limit.
    """
    if limits.wall_clock_ns:
        nursery.start_soon(watch_wall_clock, max(0, limits.wall_clock_ns - passed_ns), post)
    if limits.cpu_time_ns:
        nursery.start_soon(watch_cpu_time, limits.cpu_time_ns, group, post)


async def watch_memory(group: CageCgroup, post: Post) -> None:
    """Wait until the kernel has killed a process of ``group`` for memory; cgroup v1
    only says so.
    """
    if await group.wait_oom_kill():
        post(Event("limit", "memory"))


async def watch_wall_clock(limit_ns: int, post: Post) -> None:
    """Post ``wall_clock`` after ``limit_ns`` nanoseconds."""
    await trio.sleep(limit_ns / 1e9)
    post(Event("limit", "wall_clock"))


async def watch_cpu_time(limit_ns: int, group: CageCgroup, post: Post) -> None:
    """Post ``cpu_time`` once user and system time of ``group`` together reach ``limit_ns``
    nanoseconds.
    """
    cpus = os.cpu_count() or 1
    while (left := limit_ns - sum(group.cpu_ns())) > 0:
        # Not even all processors together can use up the rest sooner.
        await trio.sleep(max(left / cpus / 1e9, _LEAST_WAIT_S))
    post(Event("limit", "cpu_time"))
