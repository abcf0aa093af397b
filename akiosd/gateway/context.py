"""What the handlers of one cage's gateway share."""

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
    """Made once.  What only requests need is made for the first of them."""

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
        """A name that was asked for may be made of personal data; the log has none."""
        return self.redactors.mask_denial(record) if isinstance(record, NetDenied) else record

    @cached_property
    def tls(self) -> ServerTls:
        return ServerTls(self.setup.ca_certificate, self.setup.ca_key)

    @cached_property
    def upstreams(self) -> Upstreams:
        return Upstreams.from_setup(self.setup, self.limits)

    @cached_property
    def redactors(self) -> Redactors:
        return Redactors(self.setup.policy.redact, self.setup.pseudonym_key)

    def resolve(self, name: str) -> str | None:
        """The address of a canonical name; None when the policy allows it on no port, or wildcards gave too many."""
        found = self.addresses.address_of(name)
        if found is not None:
            return found
        if not self.names.resolves(name):
            return None
        address = self.addresses.allocate(name, literal=self.names.is_literal(name))
        if address is not None:
            self.link.remember(name, address)
        return address
