"""Addresses of machines and devices."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.validators import addresses, common, state

P = partial(Pattern, category="communication")

OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
DOTTED = rf"{OCTET}(?:\.{OCTET}){{3}}"
# Four numbers after one of these are a version or the number of a section (RFC 9110 § 10.1.5:
# product/version).
VERSION = (
    r"(?:(?i:(?:\b|_)(?:versions?|sections?|release|firmware|chapter|clause)["
    r" \"'=:_#(\[-]{0,6}v?|\bv)"
    r"|\b(?:Chrome|Chromium|HeadlessChrome|CriOS|EdgA?|OPR|Electron|Firefox|Safari|Version|Vivaldi|YaBrowser)/)"
)
# Near these an address of the documentation ranges, or of a whole network, is meant as somebody's.
ADDRESSED = (
    "ip:", "ips:", "ipv4:", "ipv6:", "ip is", "address:", "address is", "host", "server", "client",
    "from", "connect", "gateway", "subnet", "prefix", "route", "peer", "remote", "src", "dst",
    "destination", "visit", "ssh", "http", "https", "login", "user", "tunnel", "use", "via",
    "nat64", "mapped",
)  # fmt: skip

PATTERNS = (
    P(
        name="IPV4",
        joints=b".",
        description="IPv4 address that is not every machine's own",
        regex=rf"{VERSION}{DOTTED}|\b({DOTTED}(?:/(?:3[0-2]|[12]?\d))?)\b",
        trigger=rf"\b{DOTTED}",
        check=addresses.check_ipv4,
        doubt=addresses.is_doubtful_ipv4,
        context=ADDRESSED,
        lone=True,
        yes=(
            "from 93.184.216.34",
            "192.168.0.1",
            "10.1.2.9/24 is ours",
            "client 203.0.113.7 asked",
            "subnet 10.1.2.0/24",
            "10.1.2.9:8080",
            "10.1.2.9-10.1.2.20",
        ),
        no=(
            "127.0.0.1",
            "256.1.1.1",
            "1.2.3",
            "0.0.0.0",
            "IPv4Network('192.0.2.0/24')",
            "version 1.2.3.4",
            "Chrome/120.0.0.0",
            "169.254.169.254",
            "255.255.240.0",
            "1.2.3.4.5",
            "2.5.29.17 subjectAltName",
            "RFC 9162, 2.1.3.2",
            "OBJECT :1.3.101.110",
            "1.3.6.1.4.1.311.21.7",
            "Git 1.7.12.4 Release",
        ),
        source="RFC 791, RFC 1122 § 3.2.1.3, RFC 5737, RFC 6890",
        priority=53,
    ),
    P(
        name="IPV6",
        joints=b"-./:",
        description="IPv6 address in every form: full, shortened, with IPv4, zone or prefix length",
        regex=r"(?:(?:[0-9A-Fa-f]{1,4}:){6}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4})"
        r"|(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?::(?:(?:[0-9A-Fa-f]{1,4}:){0,6}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}))?)(?:%[A-Za-z0-9.]{1,15})?(?:/\d{1,3})?",
        check=addresses.check_ipv6,
        doubt=addresses.is_example_ipv6,
        context=ADDRESSED,
        lone=True,
        yes=(
            "2001:db8::1428:57ab",
            "fe80::1%eth0",
            "::ffff:192.0.2.128",
            "684D:1111:222:3333:4444:5555:6:77",
        ),
        no=(
            "12:34:56",
            "std::string",
            "684D:1111:222:3333:4444:5555:77",
            "2001:db8::256.1.1.1",
            "IPv6Network('2001:db8::/32')",
        ),
        source="RFC 4291, RFC 5952, RFC 3849, RFC 9637",
        priority=54,
    ),
    P(
        name="MAC_ADDRESS",
        description="Hardware address",
        regex=r"\b(?:[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})\b",
        check=addresses.check_mac,
        yes=("00:1A:2B:3C:4D:5E", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e"),
        no=("FF:FF:FF:FF:FF:FF", "00:1A:2B:3C:4D", "10:2F:33-AC-29-C3"),
        source="IEEE 802",
        priority=55,
    ),
    P(
        name="IMEI",
        description="Number of a mobile device",
        regex=r"\b\d{2}-?\d{6}-?\d{6}-?\d\b",
        check=common.all_of(
            state.check_imei, lambda text: None if len(common.digits_of(text)) == 15 else False
        ),
        context=("imei", "device", "handset", "mobile", "serial"),
        weak=True,
        lone=True,
        yes=("IMEI 490154203237518", "49-015420-323751-8"),
        no=("IMEI 490154203237519", "row 490154203237518 of"),
        source="3GPP TS 23.003, python-stdnum",
        priority=71,
    ),
)
