"""A text that has the name of a secret and no blank in it is one, whatever signs are in it.

In prose a quote, a comma or an ampersand ends a password, so its pattern stops there; a text of its own has an end.
"""

from __future__ import annotations

from akiosd.redact.labelled_texts import WHOLE_VALUE
from akiosd.redact.model import Span
from akiosd.redact.secret_names import kind_of
from akiosd.redact.validators.keys import is_short_key, is_whole_password


def whole_secret(text: str, label: str) -> Span | None:
    """``text`` as a whole, where ``label`` says that it is a secret and nothing in it speaks against that."""
    if not label or not text or len(text) > WHOLE_VALUE:
        return None
    kind = kind_of(label)
    if not kind or "\0" in text or any(map(str.isspace, text)):
        return None
    if kind == "PASSWORD":
        return Span(0, len(text), kind, "digital", 0.9, "the name of a password") if is_whole_password(text) else None
    return Span(0, len(text), kind, "digital", 0.9, "the name of a key") if is_short_key(text) else None
