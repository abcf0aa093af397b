"""Reads a policy that was parsed to plain data, and returns it as a checked partial policy.

``SCHEMA`` is the whole language: for every key, its field in :mod:`akiosd.values.policy` and how
its value is read. Every refusal names file and line, and for an unknown key the nearest known one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from akiosd.errors import PolicyError
from akiosd.values import policy as values
from akiosd.values.domains import canonical_domain
from akiosd.values.units import parse_duration_ns, parse_size

Path = tuple[str | int, ...]
Position = tuple[str, int]
Positions = Mapping[Path, Position]
Reader = Callable[[object], Any]

MAX_VALUE = (1 << 63) - 1
_MONEY = re.compile(r"\s*\$?\s*([0-9]{1,12})(?:\.([0-9]{0,6}))?\s*\Z")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class PartialPolicy(msgspec.Struct, frozen=True):
    """One layer: only the keys that it sets.  ``values`` by field (``limits.memory``), ``where``
    each was written.
    """

    values: dict[str, Any] = {}
    where: dict[str, Position] = {}


# ---- reading single values -------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PolicyError(f"{value!r} is not text", next="put it in quotes" if value is not None else "write a value")
    if "\0" in value:
        raise PolicyError(f"{value!r} contains NUL", next="remove the NUL")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"{value!r} is not true or false", next="write true or false")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_VALUE:
        raise PolicyError(f"{value!r} is not a whole number", next="write a whole number, 0 for no limit")
    return value


def _bounded(parse: Callable[[Any], int]) -> Reader:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise PolicyError(f"{value!r} is not a number", next="write a number, with its unit if it has one")
        try:
            result = parse(value)
        except (OverflowError, ValueError):
            # More digits than a float or an int conversion takes.
            result = -1
        if not 0 <= result <= MAX_VALUE:
            raise PolicyError(f"{value!r} is out of range", next="write a smaller number, 0 for no limit")
        return result

    return read


def _percent(value: int | float | str) -> int:
    text = str(value).strip().removesuffix("%").strip()
    if not (text.isascii() and text.isdigit()):
        raise PolicyError(f"{value!r} is not a share of a CPU", next="write a percentage, as in 50% (100% is one CPU)")
    return int(text)


def _money(value: int | float | str) -> int:
    match = _MONEY.match(str(value))
    if match is None:
        raise PolicyError(f"{value!r} is not an amount of money", next="write dollars, as in $0.50")
    dollars, micro = match.groups()
    return int(dollars) * 1_000_000 + int((micro or "").ljust(6, "0"))


def _one_of(choices: tuple[str, ...]) -> Reader:
    def read(value: object) -> str:
        # YAML reads a bare off as false.
        text = "off" if value is False and "off" in choices else value
        if text not in choices:
            raise PolicyError(f"{value!r} is not one of {', '.join(choices)}", next=_nearest(str(value), choices))
        return str(text)

    return read


def _absolute(value: object) -> str:
    path = _text(value)
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts:
        raise PolicyError(f"{path!r} is not an absolute path", next="write the path from / on, without ..")
    clean = "/" + "/".join(part for part in parts if part not in ("", "."))
    if clean == "/":
        raise PolicyError("'/' would be everything", next="name the directories that are needed")
    return clean


def _relative(value: object) -> str:
    path = _text(value)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts:
        raise PolicyError(f"{path!r} is not a name relative to the workspace", next="write it as in .git/hooks")
    return "/".join(parts)


def _domain(value: object) -> str:
    return canonical_domain(_text(value))


def _provider_path(value: object) -> str:
    provider, colon, path = _text(value).partition(":")
    if provider not in values.PROVIDERS or not colon:
        raise PolicyError(f"{value!r} names no provider's path", next="write it as in openai:/v1/files")
    good = path.startswith("/") and path.isascii() and path.isprintable() and ".." not in path
    if not good or set(path) & set("?# "):
        raise PolicyError(f"{path!r} is not a path of an API", next="write it as in openai:/v1/files")
    return f"{provider}:{path}"


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise PolicyError(f"{value!r} is not a port", next="write a number from 1 to 65535")
    return value


# A run whose policies are all cached reads none of these: the client's start pays for every import.


def _optional_call(value: object) -> str:
    from akiosd.values.syscalls import OPTIONAL, known_names

    name = _text(value)
    if name not in OPTIONAL:
        known = f"{name} cannot be allowed" if name in known_names() else f"{name!r} is not an optional system call"
        raise PolicyError(known, next="optional are: " + ", ".join(OPTIONAL))
    return name


def _deniable_call(value: object) -> str:
    from akiosd.values.syscalls import ESSENTIAL, known_names

    name = _text(value)
    if name not in known_names():
        raise PolicyError(f"{name!r} is not a known system call", next=_nearest(name, tuple(known_names())))
    if name in ESSENTIAL:
        raise PolicyError(f"no program starts without {name}", next="leave it out of syscalls.deny")
    return name


def _variable(value: object) -> str:
    name = _text(value)
    if name != "*" and not _ENV_NAME.match(name.removesuffix("*")):
        raise PolicyError(f"{name!r} is not the name of a variable", next="write a name, or a prefix as in LC_*")
    return name


def _variables(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise PolicyError(f"{value!r} is not a table of variables", next="write NAME: value lines")
    for name in value:
        if not isinstance(name, str) or not _ENV_NAME.match(name):
            raise PolicyError(f"{name!r} is not the name of a variable", next="use letters, digits and _")
    return {name: _text(text) for name, text in value.items()}


class ListOf:
    """A sequence of values, each read by ``item``; duplicates are dropped, order is kept."""

    def __init__(self, item: Reader) -> None:
        self.item = item


_size = _bounded(parse_size)
_duration = _bounded(parse_duration_ns)

SCHEMA: dict[str, dict[str, tuple[str, Reader | ListOf]]] = {
    "filesystem": {
        "workspace": ("workspace", _one_of(get_args(values.WorkspaceMode))),
        "read": ("read", ListOf(_absolute)),
        "write": ("write", ListOf(_absolute)),
        "hide": ("hide", ListOf(_absolute)),
        "protect": ("protect", ListOf(_relative)),
    },
    "network": {
        "llm": ("llm", _flag),
        "providers": ("providers", ListOf(_one_of(values.PROVIDERS))),
        "llm_paths": ("llm_paths", ListOf(_provider_path)),
        "allowed_domains": ("allowed_domains", ListOf(_domain)),
        "passthrough": ("passthrough", ListOf(_domain)),
        "get_only": ("get_only", ListOf(_domain)),
        "ports": ("ports", ListOf(_port)),
        "requests_per_minute": ("requests_per_minute", _count),
    },
    "limits": {
        "memory": ("memory", _size),
        "pids": ("pids", _count),
        "cpu": ("cpu_percent", _bounded(_percent)),
        "disk": ("disk", _size),
        "shm": ("shm", _size),
        "wall_clock": ("wall_clock_ns", _duration),
        "cpu_time": ("cpu_time_ns", _duration),
        "output": ("output", _size),
        "open_files": ("open_files", _count),
        "file_size": ("file_size", _size),
        "events_per_second": ("events_per_second", _count),
        "audit_bytes": ("audit_bytes", _size),
    },
    "budget": {
        "usd": ("usd_micro", _bounded(_money)),
        "tokens": ("tokens", _count),
        "calls": ("calls", _count),
        "requests_per_minute": ("requests_per_minute", _count),
        "usd_per_minute": ("usd_micro_per_minute", _bounded(_money)),
        "same_request": ("same_request", _count),
        "same_tool_calls": ("same_tool_calls", _count),
        "cycles": ("cycles", _count),
    },
    "redact": {
        "models": ("models", _one_of(get_args(values.RedactMode))),
        "sites": ("sites", _one_of(get_args(values.RedactMode))),
        "disable": ("disable", ListOf(_text)),
        "allow_values": ("allow_values", ListOf(_text)),
        "binary": ("binary", _one_of(("pass", "block"))),
    },
    "syscalls": {
        "trace": ("trace", _one_of(get_args(values.TraceLevel))),
        "allow": ("allow", ListOf(_optional_call)),
        "deny": ("deny", ListOf(_deniable_call)),
    },
    "identity": {"mode": ("mode", _one_of(get_args(values.IdentityMode)))},
    "environment": {"keep": ("keep", ListOf(_variable)), "set": ("set", _variables)},
}
TOP_LEVEL = ("version", *SCHEMA, "allow_widening")


def validate(policy: values.Policy) -> None:
    """Check a policy that arrived as a message, of which only the types are known.

    Raises :class:`PolicyError` for values that no policy text could have given: negative numbers,
    relative paths, NUL.
    """
    for section, entries in SCHEMA.items():
        for field, reader in entries.values():
            _validate_field(f"{section}.{field}", getattr(getattr(policy, section), field), reader)


def _validate_field(key: str, value: Any, reader: Reader | ListOf) -> None:
    try:
        if isinstance(reader, ListOf):
            canonical = tuple(reader.item(item) for item in value) == value
        elif isinstance(value, int) and not isinstance(value, bool):
            canonical = 0 <= value <= MAX_VALUE
        else:
            canonical = reader(value) == value
    except PolicyError as error:
        raise PolicyError(f"{key}: {error.what}", "the policy of the request", error.next) from None
    if not canonical:
        raise PolicyError(f"{key}: {value!r} is not in its canonical form", "the policy of the request")


# ---- reading a whole layer -------------------------------------------------------------------------


def load(data: object, positions: Positions, *, name: str = "policy") -> PartialPolicy:
    """Read one layer.

    ``data`` is what a YAML parser returned; ``positions`` has (file, line) of each key and item, by
    its path. ``name`` stands in errors where no position is known. Raises :class:`PolicyError`.
    """
    layer = _Layer(positions, name)
    if data is not None:
        for key, value in layer.table(data, ()).items():
            layer.read_section(key, value)
    return PartialPolicy(layer.values, layer.where)


class _Layer:
    def __init__(self, positions: Positions, name: str) -> None:
        self.positions, self.name = positions, name
        self.values: dict[str, Any] = {}
        self.where: dict[str, Position] = {}

    def read_section(self, key: str, value: object) -> None:
        if key == "version":
            if value != 1 or isinstance(value, bool):
                raise self.error(("version",), f"version {value!r} is not known", "write version: 1")
        elif key == "allow_widening":
            self.read_value(("allow_widening",), "allow_widening", _flag, value)
        elif key not in SCHEMA:
            raise self.unknown((key,), key, TOP_LEVEL)
        elif value is not None:
            # identity: root is short for identity: {mode: root}
            table = {"mode": value} if key == "identity" and isinstance(value, str) else self.table(value, (key,))
            for entry, content in table.items():
                if entry not in SCHEMA[key]:
                    raise self.unknown((key, entry), f"{key}.{entry}", tuple(SCHEMA[key]))
                field, reader = SCHEMA[key][entry]
                self.read_value((key, entry), f"{key}.{field}", reader, content)

    def read_value(self, path: Path, field: str, reader: Reader | ListOf, value: object) -> None:
        if isinstance(reader, ListOf):
            self.values[field] = self.items(path, reader, value)
        else:
            self.values[field] = self.attempt(path, reader, value)
        self.where[field] = self.position(path)

    def items(self, path: Path, reader: ListOf, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise self.error(path, f"{_dotted(path)} is not a list", "write a list, as in [a, b]")
        read = (self.attempt((*path, index), reader.item, item) for index, item in enumerate(value))
        return tuple(dict.fromkeys(read))

    def attempt(self, path: Path, reader: Reader, value: object) -> Any:
        try:
            return reader(value)
        except PolicyError as error:
            raise self.error(path, f"{_dotted(path)}: {error.what}", error.next) from None

    def table(self, value: object, path: Path) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(path, f"{_dotted(path) or 'the policy'} is not a table of keys", "write key: value lines")
        for key in value:
            if not isinstance(key, str):
                raise self.error((*path, key), f"the key {key!r} is not text", "put it in quotes")
        return value

    def unknown(self, path: Path, key: str, valid: tuple[str, ...]) -> PolicyError:
        return self.error(path, f"unknown key {key!r}", _nearest(str(path[-1]), valid))

    def error(self, path: Path, what: str, next: str) -> PolicyError:
        file, line = self.position(path)
        return PolicyError(what, f"{file}, line {line}" if line else file, next)

    def position(self, path: Path) -> Position:
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (self.name, 0))


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))


def _nearest(word: str, valid: tuple[str, ...]) -> str:
    import difflib

    best = max(sorted(valid), key=lambda name: difflib.SequenceMatcher(None, word.lower(), name).ratio())
    return f"did you mean {best}?"
