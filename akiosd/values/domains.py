"""Host names as policies write them: one canonical form, and when one pattern covers another.

A pattern is ``example.com`` or ``*.example.com`` (one or more labels in front, never the name
itself), either with ``:port``. Canonical form: IDNA to ASCII, lower case, no trailing dot, labels
of letters, digits and hyphens of at most 63 bytes, 253 in all (RFC 1123). IP literals are never
accepted: rules are about names.
"""

from __future__ import annotations

import re

from akiosd.errors import PolicyError

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# IDNA 2003 maps these to other names than browsers do (UTS 46 §6.1).
_READ_DIFFERENTLY = re.compile("[ßẞς\u200c\u200d]")
_NEXT = "write example.com, *.example.com or host:port"


def canonical_domain(text: str) -> str:
    """The canonical form of an ``allowed_domains`` entry.  Raises :class:`PolicyError`."""
    name, colon, port = text.strip().partition(":")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise PolicyError(f"{text!r} is not a domain: {port!r} is not a port", next=_NEXT)
    wildcard = name.startswith("*.")
    host = _canonical_host(name[2:] if wildcard else name, text)
    if wildcard and "." not in host:
        raise PolicyError(f"{text!r} would cover a whole top-level domain", next=_NEXT)
    return ("*." if wildcard else "") + host + (f":{int(port)}" if colon else "")


def _canonical_host(name: str, text: str) -> str:
    host = name.removesuffix(".")
    if not host.isascii():
        if _READ_DIFFERENTLY.search(host):
            next_step = "write its ASCII form, which begins with xn--"
            raise PolicyError(
                f"{text!r} is one domain by IDNA 2003, and another by IDNA 2008", next=next_step
            )
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise PolicyError(f"{text!r} is not a domain", next=_NEXT) from None
    host = host.lower()
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise PolicyError(f"{text!r} is not a domain", next=_NEXT)
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise PolicyError(
            f"{text!r} is an address, not a name", next="name the host; addresses cannot be allowed"
        )
    return host


def covers(pattern: str, entry: str) -> bool:
    """Whether the canonical ``pattern`` allows everything that the canonical ``entry`` allows."""
    pattern_host, _, pattern_port = pattern.partition(":")
    host, _, port = entry.partition(":")
    return port == pattern_port and is_of_host(pattern_host, host)


def is_of_host(pattern: str, host: str) -> bool:
    """Whether a canonical ``pattern`` without a port means this canonical ``host``, too."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
