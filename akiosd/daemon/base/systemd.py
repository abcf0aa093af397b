"""sd_notify(3): readiness and status, one datagram each; nothing where no manager asked
for them.
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send ``state`` (such as ``READY=1``) to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            pass  # the manager went away; so will we be told to
