"""Is it random enough to be a key?  Is it the literal of a secret, or only spoken of?"""

from __future__ import annotations

import base64
import math
import re

from akiosd.redact.model import Check
from akiosd.redact.secret_names import kind_of
from akiosd.redact.validators.common import needs_digit, same_digit

_WEIGHTS = [0.0, *(n * math.log2(n) for n in range(1, 257))]


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    size, counts = len(text), map(text.count, set(text))
    if size < len(_WEIGHTS):
        return math.log2(size) - sum(map(_WEIGHTS.__getitem__, counts)) / size
    return math.log2(size) - sum(n * math.log2(n) for n in counts) / size


_MEMBER = re.compile(r"[A-Za-z_]+\d{0,2}(?:\.[A-Za-z_]+\d{0,2})+")


def secret(floor: float) -> Check:
    """Random enough to be a key: entropy at least ``floor`` bits, and not the name of something."""

    def check(text: str) -> bool | None:
        text = text.strip("\"'")
        if needs_digit(text) is False or entropy(text) < floor or _MEMBER.fullmatch(text):
            return False
        return None

    return check


_NAMES = re.compile(
    r"[A-Za-z_]+(?:[.(\[\]]|$)|.*(?:\$\{|\{\{|<[a-z]|\(\)|\*\*\*|xxx|%\(|\.\.\.)|[*&][a-z]+(?:_\w+)+$|:[a-z_]\w*$"
    r"|\$[A-Z_][A-Z0-9_]*$|%[A-Z_0-9]+%$|(?:required|optional|nullable)\b|test_|x:\d+:\d+|\[[A-Z][A-Z0-9_]{1,30}\]",
    re.I,
)
_PATH = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\][\w.-]+(?:[/\\][\w.!-]*)+$")


def check_password(text: str) -> bool | None:
    """A literal: not the name of a variable, a placeholder, a path or a call."""
    return (
        False
        if _NAMES.match(text) or "(" in text or same_digit(text) or _PATH.match(text)
        else None
    )


_PLACEHOLDER = re.compile(
    r"pass(?:wor[dt]|wd|phrase)|your|enter|change|example|required|[<{}$%*(\[]|xxx|\.\.\.|^[a-z_]\w*\.[a-z_.]+$"
    r"|\b(?:must|should|least|characters|none|not)\b|^[\w.\[\]| ]{1,40} = ",
    re.I,
)


def check_passphrase(text: str) -> bool | None:
    """A literal in quotes: not the text of a form, a placeholder or a template."""
    return False if _PLACEHOLDER.search(text) or len(set(text)) < 4 or kind_of(text) else None


LEAST_PASSWORD, LEAST_KEY = 6, 8
_WORDED = re.compile(
    r"(?:[A-Za-z]+[-_.:/])*[A-Za-z]+[-_.]?\d{0,3}|[\d.,:/+-]+|v?\d+(?:\.\d+)+.*|.*\.[a-z]{2,4}\d?|\d+-\w+"
    r"|[a-z_]+\d?[a-z_]*(?:\.[a-z_]+\d?[a-z_]*)+",
    re.S,
)
_TEMPLATE = re.compile(
    r"your|example|test|change|placeholder|dummy|sample|xxx|\.\.\.|://|[<>{}$%(\[*]|^[./~#@&!]",
    re.I,
)
_KEY_ENTROPY = 2.5


def is_whole_password(text: str) -> bool:
    """Whether a text that is called a password can be one: it has a digit, and is a literal."""
    return (
        len(text) >= LEAST_PASSWORD
        and needs_digit(text) is not False
        and check_password(text) is not False
    )


def is_short_key(text: str) -> bool:
    """Whether a text that is called a key or token can be one: letters and digits that make no
    words.
    """
    if (
        len(text) < LEAST_KEY
        or needs_digit(text) is False
        or _TEMPLATE.search(text)
        or _WORDED.fullmatch(text)
    ):
        return False
    return entropy(text) >= _KEY_ENTROPY


def is_phrase(text: str) -> bool:
    """Whether a text in quotes that is called a password can be one: words are enough."""
    return (
        8 <= len(text) <= 64
        and not any(sign in text for sign in "\"'\n\0")
        and check_passphrase(text) is not False
    )


_MIXED = re.compile(
    r"(?=.*[a-z])(?=.*[A-Z])|(?=.*[A-Za-z]).*(?:[!@#$%^&*?~+=]|\d[A-Za-z]+\d)|\d+[A-Za-z]+\d", re.S
)
_SPOKEN_OF = re.compile(
    r"(?:sha|md|rfc|iso|utf|base|aes|rsa|scrypt|bcrypt|argon|pbkdf|x|v|ntlm|html|http|oauth|ipv|win|step)-?\d.*"
    r"|\d+(?:st|nd|rd|th|px|kb|mb|gb|ms|x|bit|chars?|days?)\b.*|[A-Za-z]+\d{1,3}|[A-Za-z]+-\d{1,5}|\d+[:.]\d.*|[A-Za-z]+\d*(?:[-_.][A-Za-z]+\d*)+"
    r"|.*[+*/=&|]{1,2}[A-Za-z_]+\d*",
    re.I,
)


def is_outspoken(text: str) -> bool:
    """Whether a word that only stands beside the name of a password is one by its looks:
    ``hunter22!``, ``Xk9mm2p``.
    """
    return (
        is_whole_password(text)
        and _MIXED.match(text) is not None
        and _SPOKEN_OF.fullmatch(text) is None
    )


def check_jwt(text: str) -> bool | None:
    """The header decodes to a JSON object that names its algorithm (RFC 7515)."""
    head = text.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))
    except ValueError:
        return False
    return decoded.startswith(b"{") and (b'"alg"' in decoded or b'"typ"' in decoded)
