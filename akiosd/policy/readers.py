"""Single values of a policy, as YAML gave them → as they are kept; one function a kind of value.

Each raises :class:`PolicyError` that says what is wrong with the value, without a place: who reads
a whole file knows the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from akiosd.errors import PolicyError
from akiosd.values import policy as values
from akiosd.values.domains import canonical_domain
from akiosd.values.units import format_size

Reader = Callable[[object], Any]

MAX_VALUE = (1 << 63) - 1
_MONEY = re.compile(r"\s*\$?\s*([0-9]{1,12})(?:\.([0-9]{0,6}))?\s*\Z")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise PolicyError(
            f"{value!r} is not text",
            next="put it in quotes" if value is not None else "write a value",
        )
    if "\0" in value:
        raise PolicyError(f"{value!r} contains a NUL byte", next="remove the NUL byte")
    return value


def read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"{value!r} is not true or false", next="write true or false")
    return value


def read_count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_VALUE:
        raise PolicyError(
            f"{value!r} is not a whole number", next="write a whole number, 0 for no limit"
        )
    return value


def bounded(parse: Callable[[Any], int]) -> Reader:
    """The reader of a number that ``parse`` understands, with its unit if it has one."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise PolicyError(
                f"{value!r} is not a number", next="write a number, with its unit if it has one"
            )
        try:
            result = parse(value)
        except (OverflowError, ValueError):
            # More digits than a float or an int conversion takes.
            result = -1
        if not 0 <= result <= MAX_VALUE:
            raise PolicyError(
                f"{value!r} is out of range", next="write a smaller number, 0 for no limit"
            )
        return result

    return read


class AtLeast:
    """What ``reader`` reads, and no size between 0, which is no limit, and ``least``."""

    def __init__(self, reader: Reader, least: int) -> None:
        self.reader, self.least = reader, least

    def __call__(self, value: object) -> int:
        return self.check(self.reader(value))

    def check(self, size: int) -> int:
        """Also for what comes as a number, from a client."""
        if 0 < size < self.least:
            least = format_size(self.least)
            raise PolicyError(
                f"{format_size(size)} is too little: a cage works with {least} or more",
                next=f"write {self.least >> 20}M or more, 0 for no limit",
            )
        return size


def parse_percent(value: int | float | str) -> int:
    text = str(value).strip().removesuffix("%").strip()
    if not (text.isascii() and text.isdigit()):
        raise PolicyError(
            f"{value!r} is not a share of a CPU",
            next="write a percentage, as in 50% (100% is one CPU)",
        )
    return int(text)


def parse_money(value: int | float | str) -> int:
    match = _MONEY.match(str(value))
    if match is None:
        raise PolicyError(f"{value!r} is not an amount of money", next="write dollars, as in $0.50")
    dollars, micro = match.groups()
    return int(dollars) * 1_000_000 + int((micro or "").ljust(6, "0"))


class OneOf:
    """One of ``choices``."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices

    def __call__(self, value: object) -> str:
        # YAML reads a bare off as false.
        text = "off" if value is False and "off" in self.choices else value
        if text not in self.choices:
            known = ", ".join(self.choices)
            near = nearest(str(value), self.choices)
            raise PolicyError(f"{value!r} is not one of {known}", next=f"did you mean {near}?")
        return str(text)


def read_absolute(value: object) -> str:
    path = read_text(value)
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts:
        raise PolicyError(
            f"{path!r} is not an absolute path", next="write the path from / on, without .."
        )
    clean = "/" + "/".join(part for part in parts if part not in ("", "."))
    if clean == "/":
        raise PolicyError("'/' would be everything", next="name the directories that are needed")
    return clean


def read_relative(value: object) -> str:
    path = read_text(value)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts:
        raise PolicyError(
            f"{path!r} is not a name relative to the workspace", next="write it as in .git/hooks"
        )
    return "/".join(parts)


def read_domain(value: object) -> str:
    return canonical_domain(read_text(value))


def read_provider_path(value: object) -> str:
    provider, colon, path = read_text(value).partition(":")
    if provider not in values.PROVIDERS or not colon:
        raise PolicyError(
            f"{value!r} does not name a path of a provider's API",
            next="write it as in openai:/v1/files",
        )
    good = path.startswith("/") and path.isascii() and path.isprintable() and ".." not in path
    if not good or set(path) & set("?# "):
        raise PolicyError(
            f"{path!r} is not a path of an API", next="write it as in openai:/v1/files"
        )
    return f"{provider}:{path}"


def read_port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise PolicyError(f"{value!r} is not a port", next="write a number from 1 to 65535")
    return value


# A run whose policies are all cached reads none of these: the client's start pays for every import.


def read_optional_call(value: object) -> str:
    from akiosd.values.syscalls import OPTIONAL, known_names

    name = read_text(value)
    if name not in OPTIONAL:
        known = (
            f"the system call {name} cannot be allowed"
            if name in known_names()
            else f"there is no system call {name!r}"
        )
        raise PolicyError(known, next="those that can be allowed are: " + ", ".join(OPTIONAL))
    return name


def read_deniable_call(value: object) -> str:
    from akiosd.values.syscalls import ESSENTIAL, known_names

    name = read_text(value)
    if name not in known_names():
        near = nearest(name, tuple(known_names()))
        raise PolicyError(f"{name!r} is not a known system call", next=f"did you mean {near}?")
    if name in ESSENTIAL:
        raise PolicyError(
            f"no program can start without {name}", next="leave it out of syscalls.deny"
        )
    return name


def read_variable(value: object) -> str:
    name = read_text(value)
    if name != "*" and not _ENV_NAME.match(name.removesuffix("*")):
        raise PolicyError(
            f"{name!r} is not the name of a variable", next="write a name, or a prefix as in LC_*"
        )
    return name


def read_variables(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise PolicyError(f"{value!r} is not a table of variables", next="write NAME: value lines")
    for name in value:
        if not isinstance(name, str) or not _ENV_NAME.match(name):
            raise PolicyError(
                f"{name!r} is not the name of a variable", next="use letters, digits and _"
            )
    return {name: read_text(text) for name, text in value.items()}


class ListOf:
    """A sequence of values, each read by ``item``; duplicates are dropped, order is kept.

    ``words`` may stand in the place of a whole list.
    """

    def __init__(self, item: Reader, words: Mapping[str, Any] | None = None) -> None:
        self.item = item
        self.words = words or {}


def most(number: Reader) -> Reader:
    """The reader of a bound of numbers: ``any`` is 0, ``none`` None, else what ``number``
    reads.
    """

    def read(value: object) -> int | None:
        if value is None or value == "none":
            return None
        if value == "any":
            return 0
        try:
            return int(number(value))
        except PolicyError as error:
            raise PolicyError(error.what, next=f"{error.next}; or write any, or none") from None

    return read


def nearest(word: str, valid: tuple[str, ...]) -> str:
    """What may have been meant with ``word``."""
    import difflib

    return max(
        sorted(valid), key=lambda name: difflib.SequenceMatcher(None, word.lower(), name).ratio()
    )
