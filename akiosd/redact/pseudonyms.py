"""Stand-ins for personal data that keep its shape, the same for the same value in one cage, and the way back.

The map lives in this object and nowhere else; it is gone with the cage.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

import re2

from akiosd.redact.compiled import compiled

_LOWER, _UPPER = "abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ"
# What a key begins with is kept: programs look at it.
_PREFIX = re.compile(
    r"(?:sk-ant-|sk-proj-|sk-|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|[prs]k_(?:live|test)_|AIza|AKIA|ASIA|\+)"
)
# Where a model writes JSON these come back spelled in another way.
_ESCAPED = re.compile(r"""["\\\x00-\x1f\x7f]|[^\x00-\x7f](?<!\w)""")
_SHAPED = 8
"""A value with fewer letters and digits has too few stand-ins of its shape to be told from text: it gets a label."""
_TAKE_BACK = 4096


class Pseudonyms:
    """``key`` is 32 random bytes of one cage.  Not shared between threads."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the key of pseudonyms has at least 16 bytes")
        self._key = key
        self._given: dict[str, str] = {}
        self._originals: dict[str, str] = {}
        self._beginnings: set[str] = set()
        self._pattern: Any = None

    def __len__(self) -> int:
        return len(self._given)

    def give(self, value: str, kind: str) -> str:
        """The stand-in for ``value``; the same every time."""
        found = self._given.get(value)
        if found is not None:
            return found
        attempt = 0
        while True:
            stand_in = self._make(value, kind, attempt)
            if stand_in not in self._originals and stand_in not in self._given and stand_in != value:
                break
            attempt += 1
        self._given[value] = stand_in
        self._originals[stand_in] = value
        self._beginnings.update(stand_in[:size] for size in range(1, min(len(stand_in), _TAKE_BACK)))
        self._pattern = None
        return stand_in

    def _stream(self, value: str, kind: str, attempt: int) -> Iterator[int]:
        block = 0
        while True:
            message = f"{kind}\0{attempt}\0{block}\0{value}".encode("utf-8", "surrogatepass")
            yield from hmac.digest(self._key, message, hashlib.sha256)
            block += 1

    def _make(self, value: str, kind: str, attempt: int) -> str:
        noise = self._stream(value, kind, attempt)
        if kind == "EMAIL" and "@" in value:
            return f"user-{''.join(_shape('a0a0a0a0a0', noise))}@example.invalid"
        letters = sum(character.isalnum() for character in value)
        if letters < _SHAPED or len(value) > 200 or attempt > 8 or _ESCAPED.search(value):
            return f"{kind}_{bytes(next(noise) for _ in range(5)).hex()}"
        prefix = _PREFIX.match(value)
        kept = prefix.end() if prefix else 0
        return value[:kept] + "".join(_shape(value[kept:], noise))

    def restore(self, text: str, escape: bool = False) -> str:
        """``text`` with every stand-in taken back; ``escape`` where ``text`` is inside a JSON string."""
        pieces, done = [], 0
        for start, end in self._places(text):
            pieces += [text[done:start], self._back(text[start:end], escape)]
            done = end
        return "".join([*pieces, text[done:]])

    def may_be_in(self, json: bytes) -> bool:
        """Whether strings of a JSON text may hold a stand-in; where a letter may be escaped, they may."""
        return bool(self._originals) and (b"\\u" in json or b"\\/" in json or self._compiled().search(json) is not None)

    def covered(self, text: str) -> str:
        """``text`` with a NUL for each character of a stand-in: there is nothing to be found in it."""
        pieces, done = [], 0
        for start, end in self._places(text):
            pieces += [text[done:start], "\0" * (end - start)]
            done = end
        return "".join([*pieces, text[done:]])

    def _back(self, stand_in: str, escape: bool) -> str:
        original = self._originals[stand_in]
        return json.dumps(original, ensure_ascii=False)[1:-1] if escape else original

    def held(self, text: str) -> int:
        """Where the end of ``text`` begins that may be the beginning of a stand-in; its length when nowhere."""
        size = len(text)
        if not self._beginnings:
            return size
        at = next((at for at in range(max(0, size - 256), size) if text[at:] in self._beginnings), size)
        # A whole stand-in may end like another begins.
        around = max(0, at - 256)
        for start, end in self._places(text[around:]) if at < size else ():
            if around + start < at < around + end:
                return around + start
        return at

    def _places(self, text: str) -> list[tuple[int, int]]:
        """Where in ``text`` stand-ins are.  Linear, however many there are."""
        if not self._originals:
            return []
        data = text.encode("utf-8", "surrogatepass")
        places = [match.span() for match in self._compiled().finditer(data)]
        if len(data) == len(text):
            return places
        found, size, done = [], 0, 0
        for start, end in places:
            begin = size + _characters(data[done:start])
            size, done = begin + _characters(data[start:end]), end
            found.append((begin, size))
        return found

    def _compiled(self) -> Any:
        if self._pattern is None:
            names = sorted((name.encode("utf-8", "surrogatepass") for name in self._originals), key=len, reverse=True)
            self._pattern = compiled(b"|".join(map(re2.escape, names)))
        return self._pattern


def _characters(data: bytes) -> int:
    return len(data.decode("utf-8", "surrogatepass"))


def _shape(value: str, noise: Iterator[int]) -> Iterator[str]:
    """Digits for digits, letters for letters of the same case, everything else as it is."""
    for character in value:
        if character.isdigit():
            yield "0123456789"[next(noise) % 10]
        elif character.isalpha():
            yield (_UPPER if character.isupper() else _LOWER)[next(noise) % len(_LOWER)]
        else:
            yield character


class StreamRestorer:
    """Puts originals back into a text that arrives in pieces; holds back only what may become a stand-in."""

    def __init__(self, pseudonyms: Pseudonyms, escape: bool = False) -> None:
        self._pseudonyms, self._escape, self._held = pseudonyms, escape, ""

    def push(self, chunk: str) -> str:
        text = self._held + chunk
        at = self._pseudonyms.held(text)
        self._held = text[at:]
        return self._pseudonyms.restore(text[:at], self._escape)

    def flush(self) -> str:
        text, self._held = self._held, ""
        return self._pseudonyms.restore(text, self._escape)
