"""A text that has the name of a password and no blank in it is one, whatever signs are in it.

In prose a quote, a comma or an ampersand ends a password, so its pattern stops there; a text of its own has an end.
"""

from __future__ import annotations

import re

from akiosd.redact.labelled_texts import WHOLE_VALUE, separated
from akiosd.redact.model import Span
from akiosd.redact.validators.common import needs_digit
from akiosd.redact.validators.keys import check_password

_IS_NAME = re.compile(
    r"(?:.*[^a-z])?(?:[a-z]{0,12}(?:passwords?|passwd|passphrase|passwort|pwd)|pass|mot de passe|kennwort)", re.I | re.S
)
_LEAST = 6


def whole_password(text: str, label: str) -> Span | None:
    """``text`` as a whole, where ``label`` says that it is a password and nothing in it speaks against that."""
    if not (label and _LEAST <= len(text) <= WHOLE_VALUE) or any(map(str.isspace, text)) or "\0" in text:
        return None
    if _IS_NAME.fullmatch(separated(label)) is None:
        return None
    if needs_digit(text) is False or check_password(text) is False:
        return None
    return Span(0, len(text), "PASSWORD", "digital", 0.9, "the name of a password")
