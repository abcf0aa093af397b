"""Which addresses are out on the internet: the registries as a table."""

from __future__ import annotations

import ipaddress

import pytest
from akiosd.gateway.net.public_addresses import is_public

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:200::1",
    "2620:fe::fe", "2003::1",
]  # fmt: skip
INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe", "::8.8.8.8", "64:ff9b::7f00:1",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
    "2001:10::1", "2001:20::1", "2002:7f00:1::1", "2002:a9fe:a9fe::", "3ffe::1", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fdff:ffff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
]  # fmt: skip
NO_ADDRESS = [
    "", "localhost", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.0.1 ", " 8.8.8.8",
    "8.8.8.8.", "08.8.8.8", "8.8.8.8/32", "[::1]", "::1]", "1.1.1", "٨.8.8.8", "8。8。8。8", "metadata.google.internal",
    "2606:4700:4700::1111%1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_out_on_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", [*INSIDE, *NO_ADDRESS])
def test_inside_or_no_address(address: str) -> None:
    assert not is_public(address)


def test_nothing_is_public_that_the_standard_library_calls_private() -> None:
    # One address of every /12 of IPv4, and of every /16 of IPv6: the two tables were written by
    # different people.
    for high in range(1 << 12):
        address = ipaddress.IPv4Address((high << 20) + 1)
        assert address.is_global or not is_public(str(address)), address
    for high in range(1 << 16):
        six = ipaddress.IPv6Address((high << 112) + 1)
        assert six.is_global or not is_public(str(six)), six
