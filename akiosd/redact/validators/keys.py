"""Is it random enough to be a key?"""

from __future__ import annotations

import base64
import math
import re

from akiosd.redact.model import Check
from akiosd.redact.validators.common import needs_digit, same_digit


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in map(text.count, set(text)))


def secret(floor: float) -> Check:
    """Random enough to be a key: entropy at least ``floor`` bits, and not the name of something."""

    def check(text: str) -> bool | None:
        text = text.strip("\"'")
        if needs_digit(text) is False or entropy(text) < floor:
            return False
        return None

    return check


_NAMES = re.compile(r"[A-Za-z_]+(?:[.(\[\]]|$)|.*(?:\$\{|\{\{|<[a-z]|\(\)|\*\*\*|xxx|%\(|\.\.\.)", re.I)


def check_password(text: str) -> bool | None:
    """A literal: not the name of a variable, a placeholder or a call."""
    return False if _NAMES.match(text) or "(" in text or same_digit(text) else None


_PLACEHOLDER = re.compile(
    r"pass(?:wor[dt]|wd|phrase)|your|enter|change|example|required|[<{}$%*(\[]|xxx|\.\.\.|^[a-z_]\w*\.[a-z_.]+$", re.I
)


def check_passphrase(text: str) -> bool | None:
    """A literal in quotes: not the text of a form, a placeholder or a template."""
    return False if _PLACEHOLDER.search(text) or len(set(text)) < 4 else None


def check_jwt(text: str) -> bool | None:
    """The header decodes to a JSON object that names its algorithm (RFC 7515)."""
    head = text.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))
    except ValueError:
        return False
    return decoded.startswith(b"{") and (b'"alg"' in decoded or b'"typ"' in decoded)
