"""One plain form of a text to search in, with a map back to the characters that were given.

The form is bytes, one per character, in Latin-1: full-width and other compatibility forms folded
(NFKC), zero-width characters and combining marks gone, Unicode dashes, spaces and digits made
ASCII, escapes of JSON, URLs and HTML undone once.  A letter outside Latin-1 is ``0xff``, anything
else outside it ``0x80``. A mask such as ``[EMAIL]`` that stands in the text is a row of ``WALL``:
nothing is searched in it or across it.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

from akiosd.redact.base64_runs import BASE64, LINES
from akiosd.redact.patterns import PATTERNS

LETTER, OTHER = "\xff", "\x80"
WALL = b"\0"
MASK = r"\[[A-Z][A-Z0-9_]{1,30}\]"
UNRESOLVED = "UNRESOLVED"
"""Stands for text that could not be held until it was known what it is."""
_MASK = re.compile(MASK.encode())
_NAMES = frozenset(
    f"[{name}]".encode()
    for name in (*(p.name for p in PATTERNS), BASE64.name, LINES.name, UNRESOLVED)
)
_PLAIN = {"\xa0": " ", "\xad": "", "‘": "'", "’": "'", "′": "'", "“": '"', "”": '"', "″": '"', "−": "-",
          "¹": "1", "²": "2", "³": "3", "。": ".", "｡": "."}  # fmt: skip
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "b": " ", "f": " "}

# Undone one by one, so that what a position decodes to never depends on what stands before it.  An
# escape that was escaped again (``\\u0040``, ``%2540``, ``&amp;#64;``) is undone at once.
_AGAIN, _AMP = "%(?:25){0,3}", "&(?:amp;){0,3}"
# Each way to begin begins with its sign: so the places without one are passed over quickly.
_ESCAPE = (
    r"(?:\\(?:\\{0,3}(?:u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[nrtbf\"'/])|\\)"
    rf"|{_AGAIN}(?:[C-Fc-f][0-9A-Fa-f](?:{_AGAIN}[89ABab][0-9A-Fa-f]){{1,3}}|[0-7][0-9A-Fa-f])"
    rf"|{_AMP}(?:#[0-9]{{1,7}};?|#[xX][0-9a-fA-F]{{1,6}};"
    r"|(?:amp|lt|gt|quot|apos|nbsp|commat|hyphen|period|colon|sol|lpar|rpar|plus);))"
)
_PARTIAL = (
    r"(?:\\{1,4}(?:u[0-9a-fA-F]{0,3}|u\{[0-9a-fA-F]{0,6}|U[0-9a-fA-F]{0,7}|x[0-9a-fA-F]?)?"
    rf"|{_AGAIN}(?:[0-9A-Fa-f]?|[C-Fc-f][0-9A-Fa-f](?:{_AGAIN}[89ABab][0-9A-Fa-f]){{0,2}}(?:{_AGAIN}[0-9A-Fa-f]?)?)"
    rf"|{_AMP}(?:#[xX][0-9a-fA-F]{{0,6}}|#?[0-9]{{0,7}}|[a-z]{{0,6}}))\Z"
)
_LONGEST = 48
"""No escape has more characters."""
_DOUBLED = re.compile("(?<=%)(?:25)+(?=[0-9A-Fa-f]{2})|%")


def plain(character: str) -> str:
    """The plain form of one character above ASCII: no, one or more Latin-1 characters."""
    if character in _PLAIN:
        return _PLAIN[character]
    if character <= "\xff":
        return character
    kind = unicodedata.category(character)
    if kind in ("Cf", "Mn", "Me"):
        return ""
    if kind == "Pd":
        return "-"
    if kind in ("Zs", "Zl", "Zp"):
        return " " if kind == "Zs" else "\n"
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    return "".join(_latin(x) for x in unicodedata.normalize("NFKC", character)) or OTHER


def _latin(character: str) -> str:
    if character <= "\xff":
        return character
    base = unicodedata.normalize("NFKD", character)[0]
    if base <= "\xff":
        return base
    return LETTER if character.isalpha() else OTHER


def _walled(mask: re.Match[bytes]) -> bytes:
    return WALL * len(mask[0]) if mask[0] in _NAMES else mask[0]


class _Table(dict[int, str]):
    """:func:`plain` for ``str.translate``, filled as characters are met; ``odd`` are those of
    another length.
    """

    def __init__(self) -> None:
        super().__init__()
        self.odd: set[str] = set()

    def __missing__(self, code: int) -> str:
        character = chr(code)
        value = character if code < 0x80 else plain(character)
        if len(value) != 1:
            self.odd.add(character)
        self[code] = value
        return value


_TABLE = _Table()


def _undo(escape: str) -> str | None:
    """The plain form of one escape; None: leave it."""
    if escape[0] == "\\":
        escape = escape.lstrip("\\") or "\\"
        if len(escape) == 1:
            return _SHORT.get(escape, escape)
        code = int(escape[1:].strip("{}"), 16)
        return chr(code).translate(_TABLE) if code <= 0x10FFFF else None
    if escape[0] == "%":
        try:
            return bytes.fromhex(_DOUBLED.sub("", escape)).decode().translate(_TABLE)
        except ValueError:
            return None
    return html.unescape(
        "&" + escape[1:].replace("amp;", "") if escape != "&amp;" else escape
    ).translate(_TABLE)


def has_escapes(text: str) -> bool:
    """Whether there may be any in ``text``."""
    return "\\" in text or "%" in text or "&" in text


class View:
    """``data`` is the plain form; :meth:`start` and :meth:`end` give characters of the text.

    ``partial`` is where in the text an escape begins that the end cuts off, else the text's length.
    Without ``undo`` escapes stay as they are written.
    """

    __slots__ = ("_starts", "_units", "data", "partial", "text")

    def __init__(self, text: str, more: bool = False, undo: bool = True) -> None:
        self.text = text
        self.partial = len(text)
        self._units: list[tuple[int, int, int, int]] = []
        self._starts: list[int] = []
        escapes = undo and has_escapes(text)
        if text.isascii() and not escapes:
            data = text.encode("latin-1")
        else:
            whole = text if text.isascii() else text.translate(_TABLE)
            odd = set() if text.isascii() else _TABLE.odd.intersection(text)
            if odd or escapes:
                whole = "".join(self._pieces(text, odd, escapes, more))
                self._starts = [unit[0] for unit in self._units]
            data = whole.encode("latin-1", "replace")
        self.data = _MASK.sub(_walled, data) if b"[" in data else data

    def _pieces(self, text: str, odd: set[str], escapes: bool, more: bool) -> Iterator[str]:
        wanted = ([f"[{re.escape(''.join(sorted(odd)))}]"] if odd else []) + (
            [_ESCAPE] if escapes else []
        )
        if escapes and more:
            wanted.insert(0, _PARTIAL)
        done = size = 0
        is_plain = text.isascii()
        for match in re.finditer("|".join(wanted), text):
            at, end = match.span()
            if (
                more
                and end == len(text)
                and at + _LONGEST >= end
                and re.fullmatch(_PARTIAL, match[0])
            ):
                self.partial = at
                break
            found = _TABLE[ord(match[0])] if end - at == 1 else _undo(match[0])
            if found is None or (end - at == 1 and match[0] < "\x80"):
                continue
            piece = text[done:at] if is_plain else text[done:at].translate(_TABLE)
            size += len(piece)
            self._units.append((size, len(found), at, end - at))
            size, done = size + len(found), end
            yield piece
            yield found
        rest = text[done : self.partial]
        yield rest if is_plain else rest.translate(_TABLE)

    def start(self, position: int) -> int:
        """The character of the text where ``data[position]`` begins."""
        if not self._starts:
            return position
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return position
        begin, size, at, length = self._units[index]
        return at if position < begin + size else at + length + position - begin - size

    def end(self, position: int) -> int:
        """The character of the text after ``data[position - 1]``."""
        if position == 0 or not self._starts:
            return position
        index = bisect_right(self._starts, position - 1) - 1
        if index < 0:
            return position
        begin, size, at, length = self._units[index]
        return at + length if position - 1 < begin + size else at + length + position - begin - size
