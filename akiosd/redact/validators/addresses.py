"""Where mail, packets and persons are found."""

from __future__ import annotations

import ipaddress
import re


def check_email(text: str) -> bool | None:
    local, _, domain = text.rpartition("@")
    if len(local) > 64 or len(domain) > 253 or ".." in text or local[0] in ".-" or local[-1] == ".":
        return False
    label = domain.rpartition(".")[2]
    # files of images and code are written name@2x.png, module@version.js
    return False if label.lower() in ("png", "jpg", "jpeg", "gif", "svg", "webp", "py", "js", "css", "html") else None


def check_ipv4(text: str) -> bool | None:
    """Not the addresses every machine has."""
    try:
        address = ipaddress.IPv4Address(text.partition("/")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or text.startswith("255.255."))


def check_ipv6(text: str) -> bool | None:
    """Not the machine itself, not a slice such as ``[1::2]``."""
    try:
        address = ipaddress.IPv6Address(text.partition("%")[0].partition("/")[0])
    except ValueError:
        return False
    return len(text) > 6 and not address.is_loopback and not address.is_unspecified


def check_mac(text: str) -> bool | None:
    digits = re.sub(r"[^0-9A-Fa-f]", "", text).lower()
    if len(set(re.sub(r"[0-9A-Fa-f]", "", text))) > 1:
        return False
    return False if digits in ("0" * 12, "f" * 12) else None


def check_coordinates(text: str) -> bool | None:
    numbers = [abs(float(x)) for x in re.findall(r"-?[0-9]+\.[0-9]+", text)][:2]
    if len(numbers) < 2:
        return None
    return None if numbers[0] <= 90 and numbers[1] <= 180 and numbers[0] + numbers[1] > 0 else False
