"""Tells addresses of the public internet from those of private or special networks.  Pure.

After the IANA special-purpose registries (iana-ipv4-special-registry, iana-ipv6-special-registry).
An address that embeds another (mapped, NAT64, 6to4, Teredo) is never public, whatever it embeds.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network

_NOT_PUBLIC_4 = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Azure's host agent: metadata and keys, on an address that looks public.
        "168.63.129.16/32",
    )
]
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    ip_network(text)
    for text in (
        # Protocol assignments with Teredo, ORCHID; documentation; 6to4; documentation; the former
        # 6bone.
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "3ffe::/16",
    )
]


def is_public(address: str) -> bool:
    """Whether ``address`` is an IP literal in its ordinary spelling and a unicast address of the
    public internet.
    """
    try:
        number = ip_address(address)
    except ValueError:
        return False
    if isinstance(number, IPv4Address):
        return not any(number in network for network in _NOT_PUBLIC_4)
    if number.scope_id is not None or number not in _UNICAST_6:
        return False
    return not any(number in network for network in _NOT_PUBLIC_6)
