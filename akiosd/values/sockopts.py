"""Socket options by (level, name): those that may be set, and those that are answered without
effect.  All others do not exist.

An allow-list, because options make things that no control group charges: packets of the error queue
(``SO_TIMESTAMPING``), keys (``TCP_MD5SIG``), multicast filters, BPF programs from a pool that the
whole host shares. An option listed here is a number or a flag in the socket itself. Others fail
with ENOPROTOOPT, which programs take as "not on this system".

Numbers: include/uapi/asm-generic/socket.h (x86-64, aarch64, riscv64), linux/tcp.h, in.h, in6.h,
udp.h, netlink.h.
"""

from __future__ import annotations

SOL_IP, SOL_SOCKET, SOL_TCP, SOL_UDP, SOL_IPV6, SOL_NETLINK = 0, 1, 6, 17, 41, 270

SETTABLE: dict[int, dict[str, int]] = {
    SOL_SOCKET: {
        "REUSEADDR": 2, "DONTROUTE": 5, "BROADCAST": 6, "KEEPALIVE": 9, "OOBINLINE": 10,
        "PRIORITY": 12, "LINGER": 13, "REUSEPORT": 15, "PASSCRED": 16, "RCVLOWAT": 18,
        "RCVTIMEO": 20, "SNDTIMEO": 21, "PASSPIDFD": 76,
    },
    SOL_TCP: {
        "NODELAY": 1, "MAXSEG": 2, "CORK": 3, "KEEPIDLE": 4, "KEEPINTVL": 5, "KEEPCNT": 6,
        "SYNCNT": 7, "LINGER2": 8, "DEFER_ACCEPT": 9, "QUICKACK": 12, "CONGESTION": 13,
        "USER_TIMEOUT": 18, "FASTOPEN": 23, "NOTSENT_LOWAT": 25, "FASTOPEN_CONNECT": 30,
    },
    SOL_IP: {
        "TOS": 1, "TTL": 2, "PKTINFO": 8, "MTU_DISCOVER": 10, "RECVTTL": 12, "RECVTOS": 13,
        "BIND_ADDRESS_NO_PORT": 24, "MULTICAST_TTL": 33, "MULTICAST_LOOP": 34, "MULTICAST_ALL": 49,
    },
    SOL_IPV6: {
        "UNICAST_HOPS": 16, "MULTICAST_HOPS": 18, "MULTICAST_LOOP": 19, "MTU_DISCOVER": 23,
        "V6ONLY": 26, "MULTICAST_ALL": 29, "RECVPKTINFO": 49, "RECVHOPLIMIT": 51, "RECVTCLASS": 66,
        "TCLASS": 67,
    },
    SOL_UDP: {"SEGMENT": 103, "GRO": 104},
    SOL_NETLINK: {"CAP_ACK": 10, "EXT_ACK": 11, "GET_STRICT_CHK": 12},
}  # fmt: skip
"""Level → name → number of the options that may be set."""

ANSWERED: dict[int, dict[str, int]] = {
    # What waits unread in a socket, unsent netlink and errors lie outside the memory limit, up to
    # these sizes:
    # a socket keeps the host's default ones.
    SOL_SOCKET: {"SNDBUF": 7, "RCVBUF": 8},
    # The C library's resolver gives up where it cannot ask for errors; there is no network for them
    # to come from.
    SOL_IP: {"RECVERR": 11},
    SOL_IPV6: {"RECVERR": 25},
}
"""Options that are answered with 0 and not set, because programs ask for them and take a refusal as
a failure.
"""


def cover(numbers: frozenset[int], bit: int = 31) -> list[tuple[int, int]]:
    """A short list of disjoint (mask, value) pairs that match exactly these 32-bit numbers."""
    if not numbers:
        return []
    if bit < 0:
        return [(0, 0)]
    flag = 1 << bit
    without = frozenset(n for n in numbers if not n & flag)
    having = frozenset(n & ~flag for n in numbers if n & flag)
    if without == having:
        return cover(without, bit - 1)
    halves = [(mask | flag, value) for mask, value in cover(without, bit - 1)]
    return halves + [(mask | flag, value | flag) for mask, value in cover(having, bit - 1)]
