"""Where mail, packets and persons are found."""

from __future__ import annotations

import ipaddress
import re

# Not names of the DNS: files and units are written name@2x.png, module@version.js,
# getty@tty1.service, ca@latin.UTF-8; and the top level names that never exist (RFC 2606 § 2, RFC
# 6761).  example.com and its kin do exist, and what stands before the @ there may still be
# somebody's name.
_FILES = frozenset((
    "png", "jpg", "jpeg", "gif", "svg", "webp", "py", "js", "ts", "tsx", "jsx", "mjs", "cjs", "css",
    "html", "json", "txt", "lock", "utf", "service", "socket", "timer", "mount", "device", "slice",
    "scope",
))  # fmt: skip
_NO_DOMAIN = _FILES | {"test", "invalid", "localhost", "example", "localdomain"}
# Mailboxes that no person reads: what answers to nobody, daemons, the login of a source host, lists
# (RFC 2142 § 6, RFC 2919).
_NOBODY = re.compile(
    r"(?:do[._-]?)?not?[._-]?reply(?:[+._-].*)?|mailer-daemon|bounces?(?:[+-].*)?|git"
    r"|.+-(?:sig|announce|list|request|bounces|commits|discuss|devel|subscribe|unsubscribe)"
)
_MESSAGE_ID = re.compile(r"[0-9.]{16,}")


def check_email(text: str) -> bool | None:
    """Has the form (RFC 5321), may be a person's, and is not the credit of an author."""
    local, _, domain = text.rpartition("@")
    if "<" in local or "(" in local:
        return False
    if len(local) > 64 or len(domain) > 253 or ".." in text or local[0] in ".-" or local[-1] == ".":
        return False
    name, _, label = domain.rpartition(".")
    label = label.lower()
    if label in _FILES and re.search(r"\.[A-Za-z]{2,}$", name):
        return check_email(f"{local}@{name}")  # a file called after somebody's address
    if (len(label) < 2 and not label.isdigit()) or label in _NO_DOMAIN:
        return False
    return False if _NOBODY.fullmatch(local.lower()) or _MESSAGE_ID.fullmatch(local) else None


_METADATA = int(ipaddress.IPv4Address("169.254.169.254"))
"""Where every virtual machine asks its cloud about itself."""
_EXAMPLES = tuple(
    (int(network.network_address), int(network.netmask))
    for network in map(
        ipaddress.IPv4Network,
        (
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "192.0.0.0/24",
            "198.18.0.0/15",
            "240.0.0.0/4",
        ),
    )
)
"""RFC 5737, RFC 6890, RFC 2544 (benchmarks; the addresses of names in a cage), RFC 1112 § 4
(reserved).
"""
_EXAMPLES_6 = tuple(map(ipaddress.IPv6Network, ("2001:db8::/32", "3fff::/20", "2001:1::/32")))
"""RFC 3849, RFC 9637, RFC 7723 and 8155 (anycast of protocols)."""


def check_ipv4(text: str) -> bool | None:
    """Not the addresses every machine has, not a mask."""
    number = _ipv4(text.partition("/")[0])
    # Loopback is 127.0.0.0/8, multicast 224.0.0.0/4 (RFC 6890, RFC 5771).
    if number is None or number >> 24 in (0, 127) or number >> 28 == 14 or number == _METADATA:
        return False
    return not _is_mask(number, 32)


def _ipv4(text: str) -> int | None:
    """The number that four octets stand for, None where ``text`` is no address."""
    octets = text.split(".")
    if len(octets) != 4:
        return None
    number = 0
    for octet in octets:
        value = _OCTETS.get(octet)
        if value is None:
            return None
        number = number << 8 | value
    return number


def _is_mask(number: int, bits: int) -> bool:
    """At least eight leading ones, then nothing but zeros."""
    return number >> (bits - 8) == 0xFF and bool(re.fullmatch("1+0*", f"{number:0{bits}b}"))


_OCTETS = {str(number): number for number in range(256)}
_IDENTIFIERS = re.compile(
    r"2\.5\.(?:4|8|29)\.\d+|1\.3\.101\.11\d|1\.3\.(?:6\.1|14\.\d+|36\.\d+|132\.\d)"
)
"""ITU-T X.660: of what certificates hold, RFC 8410, RFC 1155."""
_SMALL = 32


def is_doubtful_ipv4(text: str) -> bool:
    """Nobody's; or four small numbers, as those of versions, sections and object identifiers are.

    Of a million addresses of the internet about two hundred have four such numbers.
    """
    plain = text.partition("/")[0]
    small = not plain.startswith("10.") and all(int(number) < _SMALL for number in plain.split("."))
    return small or _IDENTIFIERS.fullmatch(plain) is not None or is_example_ipv4(text)


def is_example_ipv4(text: str) -> bool:
    """A whole network, or an address that is given to nobody."""
    plain, slash, prefix = text.partition("/")
    number = _ipv4(plain)
    if number is None:
        raise ValueError("not an IPv4 address")
    return any(number & mask == network for network, mask in _EXAMPLES) or (
        bool(slash) and int(prefix) < 32 and number & ((1 << (32 - int(prefix))) - 1) == 0
    )


def check_ipv6(text: str) -> bool | None:
    """Not the machine itself, not a mask, not a slice such as ``[1::2]``."""
    try:
        address = ipaddress.IPv6Address(text.partition("%")[0].partition("/")[0])
    except ValueError:
        return False
    if len(text) <= 6 or address.is_loopback or address.is_unspecified:
        return False
    return not _is_mask(int(address), 128)


def is_example_ipv6(text: str) -> bool:
    """As :func:`is_example_ipv4`."""
    plain, slash, prefix = text.partition("%")[0].partition("/")
    address = ipaddress.IPv6Address(plain)
    return any(address in network for network in _EXAMPLES_6) or (
        bool(slash) and int(prefix) < 128 and int(address) & ((1 << (128 - int(prefix))) - 1) == 0
    )


def check_mac(text: str) -> bool | None:
    """False for mixed separators, all zeros and broadcast."""
    digits = re.sub(r"[^0-9A-Fa-f]", "", text).lower()
    if len(set(re.sub(r"[0-9A-Fa-f]", "", text))) > 1:
        return False
    return False if digits in ("0" * 12, "f" * 12) else None


def check_coordinates(text: str) -> bool | None:
    """False outside 90 degrees of latitude and 180 of longitude, and for 0, 0."""
    numbers = [abs(float(x)) for x in re.findall(r"-?[0-9]+\.[0-9]+", text)][:2]
    if len(numbers) < 2:
        return None
    return None if numbers[0] <= 90 and numbers[1] <= 180 and numbers[0] + numbers[1] > 0 else False
