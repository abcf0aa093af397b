"""DNS for a cage: answers of its own making, nothing is ever asked outside.  Pure: bytes in, bytes out.

An allowed name has one A record and nothing else: an empty AAAA keeps clients on IPv4, no HTTPS or SVCB keeps them from
encrypting the name they ask a server for.  Every other name does not exist (RFC 1035, RFC 2308, RFC 6891).
"""

from __future__ import annotations

from collections.abc import Callable

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec

from akiosd.gateway.net.names import canonical

MAX_QUERY = 1232
"""What a client may send by UDP (RFC 9715); a question alone is never longer than some 300 bytes."""
MAX_TCP_QUERY = 4096
TTL = 60
_HEADER = 12
_LOCALHOST = "localhost"

Resolve = Callable[[str], str | None]
"""A canonical name → its address; None: it is not allowed."""


class Reply(msgspec.Struct, frozen=True):
    """``wire`` is to be sent, b"" for nothing; ``denied`` is the name that was refused, as it was asked for."""

    wire: bytes = b""
    denied: bytes = b""


def preload() -> None:
    """Record types are modules, looked up when first met: all now."""
    dns.rdata.load_all_types()


def answer(query: bytes, resolve: Resolve, limit: int = MAX_QUERY) -> Reply:
    """Never raises: what is no question is dropped without an answer."""
    # RFC 1035, 4.1.1: a question, of the kind QUERY, and one.
    if not _HEADER <= len(query) <= limit or query[2] & 0xF8 or query[4:6] != b"\0\1":
        return Reply()
    try:
        asked = dns.message.from_wire(query)
        return _answer(asked, resolve)
    except (dns.exception.DNSException, ValueError, IndexError, OverflowError):
        # What dnspython's parser may raise on bytes that are no message.
        return Reply()


def _answer(asked: dns.message.Message, resolve: Resolve) -> Reply:
    question = asked.question[0]
    response = dns.message.make_response(asked, recursion_available=True, our_payload=MAX_QUERY)
    if question.rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.REFUSED)
        return Reply(response.to_wire())
    spelled = question.name.to_text(omit_final_dot=True)
    address = _find(spelled, resolve)
    if address is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
        return Reply(response.to_wire(), spelled.encode("ascii", "backslashreplace"))
    record = _record(spelled, question.rdtype, address)
    if record:
        response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", question.rdtype, record))
    return Reply(response.to_wire())


def _find(spelled: str, resolve: Resolve) -> str | None:
    if spelled.lower() == _LOCALHOST or spelled.lower().endswith("." + _LOCALHOST):
        return "127.0.0.1"  # RFC 6761, 6.3
    try:
        return resolve(canonical(spelled))
    except ValueError:
        return None


def _record(spelled: str, kind: dns.rdatatype.RdataType, address: str) -> str:
    if kind == dns.rdatatype.A:
        return address
    if kind == dns.rdatatype.AAAA and address == "127.0.0.1":
        return "::1"
    return ""
