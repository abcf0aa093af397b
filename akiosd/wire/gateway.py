"""The messages between akiosd and a gateway, and between akiosd and the zygote, on private socket
pairs.

A gateway's link is a stream of frames (:mod:`akiosd.wire.frame`). The zygote's socket, and the one
on which a gateway waits for another akiosd, are SOCK_SEQPACKET, one message a packet. "fd:" and
"fds:" say which descriptors come with a message; the receiver owns them.

A gateway outlives the akiosd that made it. What is told is counted (:class:`Told`), kept until it
is known to outlive akiosd (:class:`Taken`), and told again to the next one; what is asked is asked
again, and has the same answer. ``akiosd/daemon/gateways/README.md`` has each message in a table.

akiosd believes a gateway about one cage only: what it reserved, spent and saw. A gateway parses
hostile bytes, so everything it says is bounded and typed, and akiosd sets the time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.denial import Denial
from akiosd.values.places import CONFIG_FILE, SYSTEM_FILE
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


class LinkMessage(
    msgspec.Struct, frozen=True, tag_field="m", omit_defaults=True, forbid_unknown_fields=True
):
    """Base of all messages of both sockets."""


# ---- akiosd to the zygote ------------------------------------------------------------------------


class Fork(LinkMessage, frozen=True, tag="fork"):
    """Make a gateway.  fds: its link, the socket on which :class:`Resume` comes, then the
    ``cgroup.procs`` or ``tasks`` files it puts itself into by writing 0.
    """

    cage: str
    uid: int


class Outlive(LinkMessage, frozen=True, tag="outlive"):
    """The keeper has a copy of akiosd's end of this socket: from now on the end of file, and not
    the death of akiosd, is the zygote's end and that of its gateways.
    """


class Forked(LinkMessage, frozen=True, tag="forked"):
    """The answer to :class:`Fork`.  fd: a pidfd of the gateway.  ``error`` says why
    there is none.
    """

    cage: str
    pid: int = 0
    error: str = ""


class Waiting(LinkMessage, frozen=True, tag="waiting"):
    """The zygote's first message: everything is imported, gateways can be forked."""


class Exited(LinkMessage, frozen=True, tag="exited"):
    """A gateway is dead and reaped; ``status`` is that of waitpid(2)."""

    pid: int
    status: int


# ---- akiosd to a gateway -------------------------------------------------------------------------


class Listener(msgspec.Struct, frozen=True):
    """A socket in the cage's network namespace.  ``dns`` is UDP on port 53, ``dns-tcp`` TCP on port
    53.  ``local`` is the port of a provider on this machine.
    """

    kind: Literal["dns", "dns-tcp", "capture", "local"]
    port: int


class ProviderSetup(msgspec.Struct, frozen=True, omit_defaults=True):
    """One LLM provider as this host reaches it.  ``upstream``: "" is the vendor's own address, else
    a URL.

    ``key`` is the API key; what it consists of (``KeyForm`` in :mod:`akiosd.values.providers`) has
    newlines between.
    """

    name: str
    upstream: str = ""
    key: bytes = b""
    region: str = ""

    def __repr__(self) -> str:
        return f"ProviderSetup({self.name!r}, {self.upstream!r}, {len(self.key)} bytes of key)"


class Setup(LinkMessage, frozen=True, tag="setup"):
    """The first frame to a gateway: everything it needs, secrets included.  fds: one for each of
    ``listeners``.

    ``hosts``: names that resolve as the administrator says (``akiosd.yaml``), to an address or
    address:port that may be private. ``addresses``: names that an earlier gateway of this cage gave
    an address. ``roots``: PEM certificates to trust for upstreams besides the host's.
    """

    cage: str
    policy: Policy
    system: Policy = Policy()
    """The system policy, within which users and projects may write theirs."""
    system_file: str = SYSTEM_FILE
    config_file: str = CONFIG_FILE
    """Where an administrator changes that, and akiosd's own configuration."""
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
    """The answer to a :class:`Reserve` with the same ``call``."""

    call: int
    verdict: Grant | Denial | Wait


class Prices(LinkMessage, frozen=True, tag="prices"):
    """The administrator's prices were changed; these stand in the place of those in
    :class:`Setup`.
    """

    prices: dict[str, ModelPrice]


class Kept(LinkMessage, frozen=True, tag="kept"):
    """All records up to the message with this ``number`` are on disk, and it was taken."""

    number: int


class Taken(LinkMessage, frozen=True, tag="taken"):
    """What was told up to the message with this ``number`` outlives this akiosd: it need not be
    told to another.
    """

    number: int


class End(LinkMessage, frozen=True, tag="end"):
    """Nothing more comes: the gateway tells what is left, waits until it is taken, and exits."""


class Resume(LinkMessage, frozen=True, tag="resume"):
    """From another akiosd to a gateway that it did not make, on the socket made for this.  fd: its
    new link, on which it says :class:`Ready`, and then what the earlier akiosd had not taken or not
    answered.  ``taken``: as in :class:`Taken`.
    """

    taken: int = 0


class Connection(LinkMessage, frozen=True, tag="connection"):
    """fd: a stream on which akiosctl speaks HTTP/1.1 in absolute form, under this cage's rules."""


class Captured(LinkMessage, frozen=True, tag="captured"):
    """fd: a connection of the agent's that akiosd took over, where there is no network namespace to
    listen in.  ``address`` and ``port`` are what the agent connected to; ``dns`` comes as packets.
    """

    way: Literal["capture", "local", "dns", "dns-tcp"]
    address: str = ""
    port: int = 53


# ---- a gateway to akiosd -------------------------------------------------------------------------


class Ready(LinkMessage, frozen=True, tag="ready"):
    """The first frame of a gateway on each link: it is confined, and ``posture`` lists the layers,
    each read back or proved.
    """

    posture: tuple[str, ...] = ()


class Reserve(LinkMessage, frozen=True, tag="reserve"):
    """May the call that ``ask`` describes be made?  ``call`` is a new number for each, as long as
    this gateway lives.

    A call that was told to wait is asked for again under its number, and so is one that an earlier
    akiosd did not answer. ``patient``: it may be told to wait. ``waited_ns``: how long it has stood
    in line.
    """

    call: int
    ask: Ask
    patient: bool = False
    waited_ns: int = 0


class Told(LinkMessage, frozen=True, kw_only=True):
    """What a gateway tells and must not be lost.  ``number`` counts these, from 1 and without a
    gap, as long as the gateway lives; a number that was taken already changes nothing.
    """

    number: int = 0


class Settle(Told, frozen=True, tag="settle"):
    """The call is over and cost what ``bill`` says."""

    call: int
    bill: Bill


class Heard(Told, frozen=True, tag="heard"):
    """The denial of ``call`` arrived: it will not be asked for again."""

    call: int


class Address(Told, frozen=True, tag="address"):
    """``name`` was given ``address``; a later gateway of this cage is told, and uses it again."""

    name: str
    address: str


GatewayRecord = NetDenied | NetRequest | LlmCall | Redaction | SpendWarning | GatewayFailed


class GatewayRecords(Told, frozen=True, tag="report"):
    """Records for the cage's log; akiosd sets their ``ts``.  ``durable`` asks for :class:`Kept`."""

    records: tuple[GatewayRecord, ...]
    durable: bool = False


FromZygote = Waiting | Forked | Exited
ToZygote = Fork | Outlive
ToGateway = Setup | Answer | Kept | Taken | Connection | Captured | Prices | End
FromTold = Settle | Heard | Address | GatewayRecords
FromGateway = Ready | Reserve | FromTold
