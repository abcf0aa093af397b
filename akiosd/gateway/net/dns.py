"""The DNS answers of a cage, made here: nothing is ever asked outside.  Pure: bytes in, bytes out.

An allowed name has one A record and nothing else. An empty AAAA answer keeps clients on IPv4;
without HTTPS or SVCB records they cannot encrypt the name in the TLS hello (ECH), which the gateway
has to check. Every other name does not exist (RFC 1035, RFC 2308, RFC 6891).
"""

from __future__ import annotations

from collections.abc import Callable

import dns.edns
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
"""Longest query by UDP, in bytes (RFC 9715); a question alone is never longer than some 300."""
MAX_TCP_QUERY = 4096
"""Longest query by TCP, in bytes."""
TTL = 60
"""Seconds for which a client may keep an answer."""
_HEADER = 12
_LOCALHOST = "localhost"
_REFUSED = "AKIOS: the policy does not allow this name; on the host: akiosctl why"

Resolve = Callable[[str], str | None]
"""Takes a canonical name and returns its address inside the cage; None when the policy does not
allow it.
"""


class Reply(msgspec.Struct, frozen=True):
    """``wire`` is the datagram to send, b"" for no answer.  ``denied`` is the refused name as it
    was asked, b"" for none.
    """

    wire: bytes = b""
    denied: bytes = b""


def preload() -> None:
    """Import dnspython's modules of record types, which it else imports when it first meets each: a
    confined gateway cannot.
    """
    dns.rdata.load_all_types()


def answer(query: bytes, resolve: Resolve, limit: int = MAX_QUERY) -> Reply:
    """The answer to one query.  Never raises: bytes that are no query of one question get no
    answer.

    ``limit`` is the longest query that is read, in bytes.
    """
    # RFC 1035 §4.1.1: QR is 0, OPCODE is QUERY, QDCOUNT is 1.
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
        if asked.edns >= 0:
            # Tools that print it then name who refused (RFC 8914, 4.16).
            blocked = dns.edns.EDEOption(dns.edns.EDECode.BLOCKED, _REFUSED)
            response.use_edns(payload=MAX_QUERY, options=[blocked])
        return Reply(response.to_wire(), spelled.encode("ascii", "backslashreplace"))
    record = _record(spelled, question.rdtype, address)
    if record:
        response.answer.append(
            dns.rrset.from_text(question.name, TTL, "IN", question.rdtype, record)
        )
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
