"""A text without blanks that is labelled as a secret is one secret, whatever signs it has.

In prose a quote, a comma or an ampersand ends a password, so its pattern stops there; a text of its
own has an end.
"""

from __future__ import annotations

from akiosd.redact.labelled_texts import WHOLE_VALUE
from akiosd.redact.model import Span
from akiosd.redact.secret_names import kind_of
from akiosd.redact.validators.keys import is_short_key, is_whole_password


def whole_secret(text: str, label: str) -> Span | None:
    """The finding of all of ``text``, where ``label`` says that it is a secret and nothing in it
    contradicts.
    """
    if not label or not text or len(text) > WHOLE_VALUE:
        return None
    kind = kind_of(label)
    if not kind or "\0" in text or text.split(None, 1) != [text]:
        return None
    if kind == "PASSWORD":
        return (
            Span(0, len(text), kind, "digital", 0.9, "the name of a password")
            if is_whole_password(text)
            else None
        )
    return (
        Span(0, len(text), kind, "digital", 0.9, "the name of a key")
        if is_short_key(text)
        else None
    )
