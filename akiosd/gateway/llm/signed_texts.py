"""What a gateway remembers between its cage's calls to models.  Bounded; nothing of it leaves the
process.
"""

from __future__ import annotations

import hashlib
from typing import Any

from akiosd.gateway.llm.threads import Threads
from akiosd.redact.redactor import Redactor

_SIGNED_NAMES = frozenset(
    {"signature", "encrypted_content", "thoughtSignature", "thought_signature", "redactedContent"}
)


STANDARD = str.maketrans("-_", "+/")
"""Translates the URL-safe alphabet of base64 to the standard one (RFC 4648 §5)."""
_SPELLING = str.maketrans("-_", "+/", "=")


def is_signed(owner: dict[str, Any], name: str) -> bool:
    """Whether ``owner[name]`` is content that a provider signs or encrypts, and wants back byte for
    byte.
    """
    if name in _SIGNED_NAMES:
        return True
    if name == "thinking" or (name == "text" and "type" not in owner):
        return bool(owner.get("signature"))
    return name == "data" and owner.get("type") == "redacted_thinking"


class Signed:
    """Digests of signed texts that came from the provider, which may therefore go back unredacted.

    A text that only claims to be signed is redacted like any other. Clients that decode and encode
    again may use the other alphabet of base64, so both are treated as the same text. ``most``
    bounds how many are remembered.
    """

    def __init__(self, most: int = 1 << 16) -> None:
        self._seen: dict[bytes, None] = {}
        self._most = most

    def remember(self, text: str) -> None:
        """Remember ``text``, which came from the provider."""
        self.remember_digest(_digest(text))

    def remember_digest(self, digest: bytes) -> None:
        """Remember a SHA-256 of what :func:`plain` returns."""
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[digest] = None

    def known(self, text: str) -> bool:
        """Whether ``text`` came from the provider."""
        return _digest(text) in self._seen


def plain(text: str) -> bytes:
    """The bytes of ``text`` that are hashed; may be applied piece by piece."""
    return text.translate(_SPELLING).encode("utf-8", "surrogatepass")


def _digest(text: str) -> bytes:
    return hashlib.sha256(plain(text)).digest()


class Memory:
    """The redactor towards models, and the signed texts."""

    def __init__(self, redactor: Redactor) -> None:
        self.signed = Signed()
        self.redactor = redactor
        self.threads = Threads()
