"""What of the host's ``/etc`` may stand in a cage's: by name, before anything is looked at. Pure.

What everybody may read on the host is no secret there, but on its way to a model it may become
one: nothing is shown that holds secrets by its purpose, whatever its mode.
"""

from __future__ import annotations

import re

ETC = "/etc/"

_MADE = frozenset((
    "passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "hostname", "machine-id", "subuid",
    "subgid", "mtab", "akios", "ld.so.cache", "ssl", "pki", "ca-certificates",
))  # fmt: skip
"""Made for the cage, or shown to each: nothing is put over them."""

_SECRET = re.compile(
    r"(g?shadow-?|passwd-|group-|sudoers(\.d)?|krb5\.keytab|security/opasswd|ipsec\.secrets|ipsec\.d"
    r"|NetworkManager|netplan|wpa_supplicant|wireguard|openvpn|ppp|chap-secrets|pap-secrets|iscsi"
    r"|letsencrypt|ssh|docker|kubernetes|rancher|cni|vault\.d|consul\.d|cloud|credstore(\.encrypted)?"
    r"|polkit-1|audit|cron\..*|netrc|npmrc|pip\.conf|wgetrc|aws|boto\.cfg|gitconfig|fstab|crypttab)(/.*)?"
)
_SECRET_PART = re.compile(
    r"private|secrets?|credentials?|.*\.(key|keytab|pem|p12|pfx|jks|kdbx|pgpass)|.*passw(or)?d.*"
    r"|ssh_host_.*|id_(rsa|dsa|ecdsa|ed25519).*"
)


def in_etc(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``paths`` that lie in ``/etc``, relative to it."""
    return tuple(path.removeprefix(ETC) for path in paths if path.startswith(ETC))


def why_not(name: str) -> str:
    """Why ``name``, relative to ``/etc``, is never shown; "" where it may be."""
    if name.split("/")[0] in _MADE:
        return "the cage has its own"
    if _SECRET.fullmatch(name) or is_secret_part(name):
        return "such files hold secrets, or lead to them"
    return ""


def is_secret_part(name: str) -> bool:
    """Whether a part of the path is called as secrets are."""
    return any(_SECRET_PART.fullmatch(part.lower()) for part in name.split("/"))
