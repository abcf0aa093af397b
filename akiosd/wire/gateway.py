"""The link between akiosd and a gateway, and akiosd and the zygote: typed messages on private socket pairs.

A gateway's link is a stream of frames (:mod:`akiosd.wire.frame`); the zygote's socket keeps borders (SOCK_SEQPACKET),
one message a packet.

Akiosd believes a gateway about one cage only: what it reserved, spent and saw.  A gateway parses hostile bytes, so
everything it says is bounded, typed and stamped with the time by akiosd.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.denial import Denial
from akiosd.values.policy import Policy
from akiosd.values.records import (
    GatewayFailed,
    LlmCall,
    NetDenied,
    NetRequest,
    Redaction,
    SpendWarning,
)
from akiosd.values.spend import Ask, Bill, Grant, ModelPrice, Wait

MAX_LISTENERS = 48


class LinkMessage(msgspec.Struct, frozen=True, tag_field="m", omit_defaults=True, forbid_unknown_fields=True):
    pass


# ---- akiosd to the zygote -------------------------------------------------------------------------


class Fork(LinkMessage, frozen=True, tag="fork"):
    """Make a gateway.  fds: its link, then the ``cgroup.procs`` or ``tasks`` files it puts itself into by writing 0."""

    cage: str
    uid: int


class Forked(LinkMessage, frozen=True, tag="forked"):
    """The zygote's answer.  fd: a pidfd of the gateway, akiosd's to close.  ``error`` instead, if it could not."""

    cage: str
    pid: int = 0
    error: str = ""


class Waiting(LinkMessage, frozen=True, tag="waiting"):
    """The zygote's first word: everything is imported."""


class Exited(LinkMessage, frozen=True, tag="exited"):
    """A gateway is dead and reaped; ``status`` as of waitpid(2)."""

    pid: int
    status: int


# ---- akiosd to a gateway --------------------------------------------------------------------------


class Listener(msgspec.Struct, frozen=True):
    """A socket in the cage's network namespace; ``dns``: UDP for datagram, TCP for stream on port 53."""

    kind: Literal["dns", "dns-tcp", "capture", "ollama"]
    port: int


class ProviderSetup(msgspec.Struct, frozen=True, omit_defaults=True):
    """One LLM provider as this host reaches it.  ``upstream``: "" is the vendor's own address, else a URL.

    ``key`` is the API key (for bedrock: access key id, secret key, and session token, with newlines between).
    """

    name: str
    upstream: str = ""
    key: bytes = b""
    region: str = ""

    def __repr__(self) -> str:
        return f"ProviderSetup({self.name!r}, {self.upstream!r}, {len(self.key)} bytes of key)"


class Setup(LinkMessage, frozen=True, tag="setup"):
    """The first frame.  fds: one for each of ``listeners``.

    ``hosts``: names that resolve as the administrator says (``akiosd.yaml``), address or address:port, which may then
    be private.  ``addresses``: names that were given an address by an earlier gateway of this cage.
    ``roots``: PEM certificates trusted upstream besides the host's.
    """

    cage: str
    policy: Policy
    listeners: tuple[Listener, ...] = ()
    providers: tuple[ProviderSetup, ...] = ()
    prices: dict[str, ModelPrice] = {}
    ca_certificate: bytes = b""
    ca_key: bytes = b""
    pseudonym_key: bytes = b""
    hosts: dict[str, str] = {}
    addresses: dict[str, str] = {}
    roots: bytes = b""

    def __repr__(self) -> str:
        # It holds every secret of the cage: a log line or a traceback must not.
        return f"Setup({self.cage!r}, {len(self.listeners)} listeners, {self.providers!r})"


class Answer(LinkMessage, frozen=True, tag="answer"):
    """To an :class:`Reserve`."""

    call: int
    verdict: Grant | Denial | Wait


class Kept(LinkMessage, frozen=True, tag="kept"):
    """The records up to the ``report`` are durable."""

    report: int


class Connection(LinkMessage, frozen=True, tag="connection"):
    """fd: a stream on which akiosctl speaks HTTP/1.1 in absolute form, under this cage's rules."""


# ---- a gateway to akiosd --------------------------------------------------------------------------


class Ready(LinkMessage, frozen=True, tag="ready"):
    """The first frame: it is confined, as read back, and may be given its :class:`Setup`.  ``posture``: the layers."""

    posture: tuple[str, ...] = ()


class Reserve(LinkMessage, frozen=True, tag="reserve"):
    """``call`` is new for every reservation of this gateway's life; one that was told to wait is asked for again.

    ``patient``: it may be told to wait.  ``waited_ns``: for how long it stood in line.
    """

    call: int
    ask: Ask
    patient: bool = False
    waited_ns: int = 0


class Settle(LinkMessage, frozen=True, tag="settle"):
    call: int
    bill: Bill


class Address(LinkMessage, frozen=True, tag="address"):
    """``name`` was given ``address``, so that another gateway of this cage keeps it."""

    name: str
    address: str


GatewayRecord = NetDenied | NetRequest | LlmCall | Redaction | SpendWarning | GatewayFailed


class GatewayRecords(LinkMessage, frozen=True, tag="report"):
    """Records for the cage's log, their ``ts`` set by akiosd.  ``report`` > 0 asks for :class:`Kept`."""

    records: tuple[GatewayRecord, ...]
    report: int = 0


ToZygote = Fork
FromZygote = Waiting | Forked | Exited
ToGateway = Setup | Answer | Kept | Connection
FromGateway = Ready | Reserve | Settle | Address | GatewayRecords
