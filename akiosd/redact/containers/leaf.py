"""A text that stands in a container: where, how it is spelled there, and what it is called."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_plus

Path = tuple[str | int, ...]
_MOST_DIGITS = 40
MOST_LABEL = 64
"""Characters of a name that may say what a value is."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_GENERIC = frozenset({
    "value", "values", "val", "v", "string", "str", "text", "content", "data", "raw", "plain", "number", "num", "no",
    "nr", "id", "s", "n", "stringvalue", "simplevalue", "_", "$", "#text",
})  # fmt: skip
"""Names that say nothing by themselves: what they are in does."""
_NAMING = frozenset({
    "name", "key", "field", "label", "header", "param", "parameter", "variable", "var", "attribute", "property", "k",
})  # fmt: skip
_VALUED = frozenset({"value", "val", "v", "values", "stringvalue", "content", "data", "default"})
_NAME = re.compile(r"[^\W\d][\w .:/$@#()\[\]-]{0,63}")


class Codec(NamedTuple):
    """How a container spells a text."""

    decode: Callable[[str], str]
    encode: Callable[[str], str]


class Leaf(NamedTuple):
    """``begin`` to ``end`` of what holds it, spelled as ``codec`` says."""

    path: Path
    label: str
    begin: int
    end: int
    codec: Codec


class Region(NamedTuple):
    """A container in a text, and what stands in it, by position."""

    begin: int
    end: int
    leaves: list[Leaf]


def _same(text: str) -> str:
    return text


def _from_json(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _to_json(text: str) -> str:
    # Half of a surrogate pair can only be written as an escape.
    return json.dumps(text, ensure_ascii=_SURROGATE.search(text) is not None)[1:-1]


def _spelled_out(number: str) -> str:
    """``4.5e3`` as the digits it stands for."""
    head, _, exponent = number.lower().partition("e")
    if not exponent or len(head) > _MOST_DIGITS or len(exponent) > 3 or abs(int(exponent)) > _MOST_DIGITS:
        return number
    return f"{Decimal(number):f}"


PLAIN = Codec(_same, _same)
JSON = Codec(_from_json, _to_json)
NUMBER = Codec(_spelled_out, json.dumps)
"""A number that is personal data becomes a string."""
MARKUP = Codec(html.unescape, html.escape)
DOUBLED = Codec(lambda text: text.replace('""', '"'), lambda text: text.replace('"', '""'))
SINGLE = Codec(lambda text: text.replace("''", "'"), lambda text: text.replace("'", "''"))
FORM = Codec(unquote_plus, quote_plus)


def label_of(name: str, outer: str) -> str:
    """What a value is called whose own name is ``name``, in something that is called ``outer``."""
    if outer and name.lower() in _GENERIC:
        return f"{outer} {name}"[-MOST_LABEL:] if len(name) > 1 else outer
    return name[-MOST_LABEL:]


class Entry:
    """One object of a list such as ``{"name": "password", "value": "…"}``: one member names the other."""

    def __init__(self) -> None:
        self.name = ""
        self._waiting: list[int] = []

    def label(self, key: str, label: str, number: int) -> str:
        """The label of the member ``key``, whose leaf will have this number."""
        if key.lower() not in _VALUED:
            return label
        self._waiting.append(number)
        return self.name or label

    def take(self, key: str, text: str, leaves: list[Leaf]) -> None:
        """The member ``key`` is ``text``: values before it may be called so."""
        if key.lower() in _NAMING and not self.name and _NAME.fullmatch(text):
            self.name = text
            for number in self._waiting:
                if number < len(leaves):
                    leaves[number] = leaves[number]._replace(label=text)


def names_another(owner: dict[str, object]) -> str:
    """What the member of ``owner`` that is its value is called by another member; "" where none does so."""
    for key, text in owner.items():
        if key.lower() in _NAMING and isinstance(text, str) and _NAME.fullmatch(text):
            return text
    return ""


def member_label(owner: dict[str, object], key: str, outer: str) -> str:
    """What the member ``key`` of a JSON object is called, which itself is called ``outer``."""
    named = names_another(owner) if key.lower() in _VALUED else ""
    return named or label_of(key, outer)
