"""Reads a policy that was parsed to plain data, and returns it as a checked partial policy.

The language is the table of :mod:`akiosd.policy.fields`. Every refusal names file and line, and
for an unknown key the nearest known one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.fields import FIELDS
from akiosd.policy.readers import MAX_VALUE, ListOf, Reader, nearest, read_flag
from akiosd.values import policy as values

Path = tuple[str | int, ...]
Position = tuple[str, int]
Positions = Mapping[Path, Position]


class PartialPolicy(msgspec.Struct, frozen=True):
    """One layer: only the keys that it sets.  ``values`` by field (``limits.memory``), ``where``
    each was written.
    """

    values: dict[str, Any] = {}
    where: dict[str, Position] = {}


def _schema() -> dict[str, dict[str, tuple[str, Reader | ListOf]]]:
    found: dict[str, dict[str, tuple[str, Reader | ListOf]]] = {}
    for row in FIELDS:
        section, _, entry = row.path.partition(".")
        if entry:
            found.setdefault(section, {})[entry] = (row.name.partition(".")[2], row.kind.reader)
    return found


SCHEMA = _schema()
"""Section → key as it is written → (its field in the section, how its value is read)."""
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
        raise PolicyError(
            f"{key}: {value!r} is not written as akiosctl writes it",
            "the policy of the request",
            "use the akiosctl that was installed with this akiosd",
        )


# ---- reading a whole layer -----------------------------------------------------------------------


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
                raise self.error(
                    ("version",), f"version {value!r} is not known", "write version: 1"
                )
        elif key == "allow_widening":
            self.read_value(("allow_widening",), "allow_widening", read_flag, value)
        elif key not in SCHEMA:
            raise self.unknown((key,), key, TOP_LEVEL)
        elif value is not None:
            # identity: root is short for identity: {mode: root}
            table = (
                {"mode": value}
                if key == "identity" and isinstance(value, str)
                else self.table(value, (key,))
            )
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
            raise self.error(
                path,
                f"{_dotted(path) or 'the policy'} is not a table of keys",
                "write key: value lines",
            )
        for key in value:
            if not isinstance(key, str):
                raise self.error((*path, key), f"the key {key!r} is not text", "put it in quotes")
        return value

    def unknown(self, path: Path, key: str, valid: tuple[str, ...]) -> PolicyError:
        return self.error(path, f"unknown key {key!r}", nearest(str(path[-1]), valid))

    def error(self, path: Path, what: str, next: str) -> PolicyError:
        file, line = self.position(path)
        return PolicyError(what, f"{file}, line {line}" if line else file, next)

    def position(self, path: Path) -> Position:
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (self.name, 0))


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))
