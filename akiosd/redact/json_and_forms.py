"""Texts with JSON in them, forms, URLs and headers: values are redacted, names and shape stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit, urlunsplit

import msgspec

from akiosd.redact.redactor import Redactor

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: JSON can have it as an escape, no encoding can."""
_MAX_PLACE = 250
_MAX_PARTS = 20


class Finding(msgspec.Struct, frozen=True):
    """What the log may hold of a finding.

    ``place`` is a path such as ``$.messages[0].content``; names in it that are personal data
    themselves are ``*``.
    """

    place: str
    type: str
    category: str


def told_place(place: str) -> str:
    """``place`` as it can be written down: names are the agent's, of any length, and JSON's may be
    no Unicode.
    """
    return place[:_MAX_PLACE].encode("utf-8", "backslashreplace").decode()


def told_path(path: tuple[str | int, ...], is_personal: Callable[[str], bool]) -> str:
    """``path`` as it goes on behind a place, such as ``.a[0]``; names that are personal data
    themselves are ``*``.
    """
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{'*' if is_personal(part) else part[:60]}"
        for part in path[:_MAX_PARTS]
    )


class Structured:
    """Redacts one body; ``findings`` and ``blocked`` say what happened."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.findings: list[Finding] = []
        self.blocked = False

    def text(self, text: str, place: str = "$", hint: str = "") -> str:
        """A string value; what stands in it is taken apart (JSON in the arguments of a tool)."""
        result = self._redactor.read(text, hint)
        for number, span in enumerate(result.spans):
            where = (
                place + told_path(result.paths[number], self._redactor.has)
                if result.paths
                else place
            )
            self.findings.append(Finding(where, span.type, span.category))
        self.blocked = self.blocked or result.blocked
        return result.text

    def _name(self, name: str) -> str:
        return "*" if self._redactor.has(name) else name

    def pairs(self, pairs: Iterable[tuple[str, str]], place: str) -> list[tuple[str, str]]:
        """(name, value) pairs with their values redacted."""
        return [
            (name, self.text(value, f"{place}.{self._name(name)}", name)) for name, value in pairs
        ]

    def form(self, body: str, place: str = "form") -> str:
        """``application/x-www-form-urlencoded``; names kept, an unchanged body too."""
        before = len(self.findings)
        pieces = [self._field(piece, place) for piece in body.split("&")]
        return body if len(self.findings) == before else "&".join(pieces)

    def _field(self, piece: str, place: str) -> str:
        """One ``name=value``; without ``=`` it is all value."""
        name, equals, value = (
            piece.rpartition("=") if piece.count("=") < 2 else piece.partition("=")
        )
        plain = unquote_plus(value)
        safe = self.text(plain, f"{place}.{self._name(unquote_plus(name))}", unquote_plus(name))
        return piece if safe == plain else f"{name}{equals}{quote_plus(safe)}"

    def url(self, url: str) -> str:
        """User, path, query and fragment of a URL; scheme and host are kept: they say where it
        goes.
        """
        before = len(self.findings)
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        if at:
            user = self._user(user)
        path = "/".join(self._part(piece, "url.path") for piece in parts.path.split("/"))
        query = self.form(parts.query, "url.query")
        fragment = self._part(parts.fragment, "url.fragment")
        if len(self.findings) == before:
            return url
        return urlunsplit((parts.scheme, user + at + host, path, query, fragment))

    def _user(self, user: str) -> str:
        if ":" not in user:
            return quote(self.text(unquote(user), "url.user", "user"))
        self.findings.append(Finding("url.user", "URL_PASSWORD", "digital"))
        return quote(self._redactor.replacement(unquote(user), "URL_PASSWORD"))

    def _part(self, piece: str, place: str) -> str:
        plain = unquote(piece)
        safe = self.text(plain, place)
        return piece if safe == plain else quote(safe)

    def headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Header values redacted, with their names as labels."""
        return self.pairs(headers, "header")
