"""Writes certificates as a Java key store, in the old format that every Java reads
(sun.security.provider.JavaKeyStore).

Big endian: magic, version 2, count; for each certificate: tag 2, alias, time in ms, ``X.509``,
length, DER; at the end SHA-1 over the password in UTF-16, a constant, and all of that. The digest
protects nothing: certificates are public, and the password is the one that everybody knows. A PKCS
#12 store would take 11 ms for each cage; here the part that all cages share is encoded and hashed
once.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterable

_HEADER = struct.Struct(">III")
_MAGIC, _VERSION, _TRUSTED = 0xFEEDFEED, 2, 2
_PASSWORD = "changeit"
_SALT = b"Mighty Aphrodite"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s(.+?)-----END CERTIFICATE-----", re.DOTALL)


class JavaStore:
    """The store of ``roots`` (DER certificates) and one certificate more."""

    def __init__(self, roots: Iterable[bytes]) -> None:
        entries = [_entry(f"root-{number}", der) for number, der in enumerate(roots)]
        self._head = _HEADER.pack(_MAGIC, _VERSION, len(entries) + 1) + b"".join(entries)
        self._digest = hashlib.sha1(
            _PASSWORD.encode("utf-16-be") + _SALT + self._head, usedforsecurity=False
        )

    def with_authority(self, der: bytes) -> tuple[bytes, bytes, bytes]:
        """The parts of the file with the certificate ``der`` added; the first part is large and the
        same for every cage.
        """
        last = _entry("akios", der)
        digest = self._digest.copy()
        digest.update(last)
        return self._head, last, digest.digest()


def read_pem(text: bytes) -> list[bytes]:
    """The DER of each certificate in ``text``; anything else in it is skipped."""
    found = []
    for match in _PEM.finditer(text):
        try:
            found.append(base64.b64decode(match[1]))
        except ValueError:
            continue
    return found


def _entry(alias: str, der: bytes) -> bytes:
    name, kind = alias.encode(), b"X.509"
    return b"".join(
        (
            struct.pack(">IH", _TRUSTED, len(name)),
            name,
            struct.pack(">QH", 0, len(kind)),
            kind,
            struct.pack(">I", len(der)),
            der,
        )
    )
