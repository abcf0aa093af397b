"""The sockets of a gateway: a provider's port on this machine is taken only where the policy has
that provider.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from akiosd.daemon.gateways.listeners import Bound, fit
from akiosd.gateway.net.names import LOCAL_PORTS
from akiosd.kernel.fds import Fd
from akiosd.values.policy import PROVIDERS, Network
from akiosd.wire.gateway import Listener

OTHERS = tuple(name for name in PROVIDERS if name not in LOCAL_PORTS.values())


@pytest.mark.parametrize(
    ("network", "kept"),
    [(Network(), True), (Network(llm=False), False), (Network(providers=OTHERS), False)],
    ids=["allowed", "no provider", "another provider"],
)
def test_the_port_of_a_provider_that_is_off_is_left_to_the_agent(
    network: Network, kept: bool
) -> None:
    listeners = [
        Listener("dns", 53),
        *(Listener("local", port) for port in LOCAL_PORTS),
        Listener("capture", 443),
    ]
    bound = [Bound(listener, Fd(os.open("/dev/null", os.O_RDONLY))) for listener in listeners]
    numbers = {one.listener.kind: one.fd.fileno() for one in bound}
    unused: Any = None  # nothing is opened: the policy names no port
    fit(bound, unused, network)
    assert [one.listener for one in bound] == [
        one for one in listeners if kept or one.kind != "local"
    ]
    assert os.path.exists(f"/proc/self/fd/{numbers['local']}") == kept
    for one in bound:
        one.fd.close()
