"""What a cage used: the numbers behind its reason line."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Read from the kernel when a cage ends; times in ns, sizes in bytes, money in micro-USD.

    ``calls`` to models were answered, wholly or in part, and took ``tokens`` of input and output.
    """

    wall_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    memory_peak: int = 0
    memory_limit: int = 0
    oom_kills: int = 0
    pids_peak: int = 0
    pids_limit: int = 0
    pids_denied: int = 0
    disk_used: int = 0
    disk_limit: int = 0
    records: int = 0
    denials: int = 0
    refusals: int = 0
    dead_ends: int = 0
    """``dead_ends`` are connections asked for where the network cannot have denied any.
    ``denials`` are of system calls, ``refusals`` of the network, the budget and loops."""
    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0
