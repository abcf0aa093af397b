"""The state that all handlers of one cage's gateway share: its setup, its link, names, limits,
redactors and upstreams.
"""

from __future__ import annotations

from functools import cached_property

from akiosd.gateway.daemon_link.link import Link
from akiosd.gateway.net.limits import Limits
from akiosd.gateway.net.names import Addresses, Names
from akiosd.gateway.net.rates import RateLimiter
from akiosd.gateway.net.room import Room
from akiosd.gateway.net.tls import ServerTls
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.gateway.upstream import upstream
from akiosd.gateway.upstream.upstream import Upstreams
from akiosd.values.records import NetDenied
from akiosd.wire.gateway import GatewayRecord, Setup


class Context:
    """Made once, when the gateway has received its ``Setup``.

    TLS, upstreams and redactors are cached properties: they are made when the first request needs
    them, so that a cage that makes no request does not pay for them.
    """

    def __init__(self, setup: Setup, link: Link) -> None:
        self.setup = setup
        self.link = link
        self.limits = Limits()
        self.names = Names(setup.policy, reserved=upstream.reserved(setup))
        self.addresses = Addresses(setup.addresses)
        self.rates = RateLimiter(setup.policy.network.requests_per_minute)
        self.replies = Room(self.limits.held_replies_bytes)
        self.connections = 0
        link.clean = self.clean

    def clean(self, record: GatewayRecord) -> GatewayRecord:
        """Mask personal data in a denial before it is reported.

        The name that an agent asks for may itself be personal data, and the log must not hold any.
        Records of every other kind are returned as they are.
        """
        return self.redactors.mask_denial(record) if isinstance(record, NetDenied) else record

    @cached_property
    def tls(self) -> ServerTls:
        """The TLS contexts for the agent's connections, made on first use."""
        return ServerTls(self.setup.ca_certificate, self.setup.ca_key)

    @cached_property
    def upstreams(self) -> Upstreams:
        """The connections to the real hosts, made on first use."""
        return Upstreams.from_setup(self.setup, self.limits)

    @cached_property
    def redactors(self) -> Redactors:
        """The redaction of this cage, made on first use."""
        return Redactors(self.setup.policy.redact, self.setup.pseudonym_key)

    def resolve(self, name: str) -> str | None:
        """The address inside the cage of a canonical name; a new one is allocated, and told to
        akiosd, on first use.

        The cage's own name is its loopback interface.  None when the policy allows the name on no
        port, or when the bound on names that only a wildcard allows is reached.
        """
        if name == self.setup.cage:
            # Many programs ask for the address of their own host name.
            return "127.0.0.1"
        found = self.addresses.address_of(name)
        if found is not None:
            return found
        if not self.names.resolves(name):
            return None
        address = self.addresses.allocate(name, literal=self.names.is_literal(name))
        if address is not None:
            self.link.remember(name, address)
        return address
