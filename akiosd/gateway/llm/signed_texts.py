"""What a gateway remembers of its cage's calls to models, between them.  Bounded; nothing of it leaves the process."""

from __future__ import annotations

import hashlib
from typing import Any

from akiosd.gateway.llm.threads import Threads
from akiosd.redact.redactor import Redactor

_SIGNED_NAMES = frozenset(
    {"signature", "encrypted_content", "thoughtSignature", "thought_signature", "redactedContent"}
)


STANDARD = str.maketrans("-_", "+/")
"""From the alphabet of base64 for URLs to the standard one (RFC 4648)."""
_SPELLING = str.maketrans("-_", "+/", "=")


def is_signed(owner: dict[str, Any], name: str) -> bool:
    """Whether ``owner[name]`` is what a provider signs or encrypts and wants back byte for byte."""
    if name in _SIGNED_NAMES:
        return True
    if name == "thinking" or (name == "text" and "type" not in owner):
        return bool(owner.get("signature"))
    return name == "data" and owner.get("type") == "redacted_thinking"


class Signed:
    """Texts that came from a provider signed: they may go back unread.  What only claims to be signed is read.

    Clients that keep bytes write them again in an alphabet of their own, so the two of base64 are one here.
    """

    def __init__(self, most: int = 1 << 16) -> None:
        self._seen: dict[bytes, None] = {}
        self._most = most

    def remember(self, text: str) -> None:
        self.remember_digest(_digest(text))

    def remember_digest(self, digest: bytes) -> None:
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[digest] = None

    def known(self, text: str) -> bool:
        return _digest(text) in self._seen


def plain(text: str) -> bytes:
    """What a digest is of; it may be taken piece by piece."""
    return text.translate(_SPELLING).encode("utf-8", "surrogatepass")


def _digest(text: str) -> bytes:
    return hashlib.sha256(plain(text)).digest()


class Memory:
    def __init__(self, redactor: Redactor) -> None:
        self.signed = Signed()
        self.redactor = redactor
        self.threads = Threads()
