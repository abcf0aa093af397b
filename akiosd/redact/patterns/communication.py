"""Addresses of machines and devices."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.validators import addresses, common, state

P = partial(Pattern, category="communication")

PATTERNS = (
    P(
        name="IPV4",
        unjoined=True,
        description="IPv4 address that is not every machine's own",
        regex=r"\b(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}(?:/(?:3[0-2]|[12]?\d))?\b",
        check=addresses.check_ipv4,
        yes=("from 93.184.216.34", "192.168.0.1", "10.1.2.0/24 is ours"),
        no=("127.0.0.1", "256.1.1.1", "1.2.3", "0.0.0.0"),
        source="RFC 791",
        priority=53,
    ),
    P(
        name="IPV6",
        unjoined=True,
        description="IPv6 address in every form: full, shortened, with IPv4, zone or prefix length",
        regex=r"(?:(?:[0-9A-Fa-f]{1,4}:){6}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4})"
        r"|(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?::(?:(?:[0-9A-Fa-f]{1,4}:){0,6}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}))?)(?:%[A-Za-z0-9.]{1,15})?(?:/\d{1,3})?",
        check=addresses.check_ipv6,
        yes=("2001:db8::1428:57ab", "fe80::1%eth0", "::ffff:192.0.2.128", "684D:1111:222:3333:4444:5555:6:77"),
        no=("12:34:56", "std::string", "684D:1111:222:3333:4444:5555:77", "2001:db8::256.1.1.1"),
        source="RFC 4291, RFC 5952",
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
        check=common.all_of(state.check_imei, lambda text: None if len(common.digits_of(text)) == 15 else False),
        context=("imei", "device", "handset", "mobile", "serial"),
        weak=True,
        lone=True,
        yes=("IMEI 490154203237518", "49-015420-323751-8"),
        no=("IMEI 490154203237519", "row 490154203237518 of"),
        source="3GPP TS 23.003, python-stdnum",
        priority=66,
    ),
)
