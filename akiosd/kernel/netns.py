"""Network namespaces of cages: loopback up, ``198.18.0.0/15`` local on it, no way out (network_namespaces(7)).

The only user of pyroute2.  A namespace is made in a thread of its own that ends with it: a pooled
thread would keep the namespace and the next job would run in it.
"""

from __future__ import annotations

import os
import threading

import outcome
import trio
from pyroute2 import IPRoute

from akiosd.kernel import _shim
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import CLONE_NEWNET
from akiosd.kernel.mounts import check

NAMES_RANGE = "198.18.0.0/15"
"""The benchmarking range of RFC 2544: no address of it is used on the internet."""

_RTN_LOCAL = 2
_RT_TABLE_LOCAL = 255


def _make(count: int) -> list[Fd]:
    made: list[Fd] = []
    for _ in range(count):
        check(_shim.lib.akios_unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)")
        with IPRoute() as route:
            route.link("set", index=1, state="up")
            route.route("add", dst=NAMES_RANGE, oif=1, type=_RTN_LOCAL, table=_RT_TABLE_LOCAL, scope=254)
        made.append(Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))
    return made


async def create(count: int = 1) -> list[Fd]:
    """``count`` new namespaces; the descriptors are the caller's.  OSError as the kernel says."""
    token = trio.lowlevel.current_trio_token()
    result: outcome.Outcome[list[Fd]] | None = None
    done = trio.Event()

    def work() -> None:
        nonlocal result
        result = outcome.capture(_make, count)
        token.run_sync_soon(done.set)

    threading.Thread(target=work, name="akios-netns", daemon=True).start()
    with trio.CancelScope(shield=True):
        await done.wait()
    assert result is not None
    return result.unwrap()
