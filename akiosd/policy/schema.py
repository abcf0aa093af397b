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
from akiosd.policy.presets import names_of
from akiosd.policy.readers import MAX_VALUE, AtLeast, ListOf, Reader, nearest, read_flag
from akiosd.values import policy as values

Path = tuple[str | int, ...]
Position = tuple[str, int]
Positions = Mapping[Path, Position]


class PartialPolicy(msgspec.Struct, frozen=True):
    """One layer: only the keys that it sets.

    By field (``limits.memory``): ``values``, ``where`` each was written, and ``written``, the words
    that stand there, of those that are one word.
    """

    values: dict[str, Any] = {}
    where: dict[str, Position] = {}
    written: dict[str, str] = {}


def _schema() -> dict[str, dict[str, tuple[str, Reader | ListOf]]]:
    found: dict[str, dict[str, tuple[str, Reader | ListOf]]] = {}
    for row in FIELDS:
        section, _, entry = row.path.partition(".")
        if entry:
            found.setdefault(section, {})[entry] = (row.name.partition(".")[2], row.kind.reader)
    return found


SCHEMA = _schema()
"""Section → key as it is written → (its field in the section, how its value is read)."""
_PRESETS, _DOMAINS = "network.presets", "network.allowed_domains"
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
            words = reader.words.values()
            canonical = value in words or tuple(reader.item(item) for item in value) == value
        elif isinstance(value, int) and not isinstance(value, bool):
            canonical = 0 <= value <= MAX_VALUE
            if isinstance(reader, AtLeast):
                reader.check(value)
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
    return layer.finish()


def find_errors(data: object, positions: Positions, *, name: str) -> list[PolicyError]:
    """Everything that :func:`load` would refuse, not only the first; empty for a good layer."""
    layer, found = _Layer(positions, name), list[PolicyError]()
    try:
        parts = list(layer.table(data, ()).items()) if data is not None else []
    except PolicyError as error:
        return [error]
    for key, value in parts:
        # One entry at a time, so that each of them can be refused.
        is_table = key in SCHEMA and isinstance(value, dict) and value
        for part in [{entry: value[entry]} for entry in value] if is_table else [value]:
            try:
                layer.read_section(key, part)
            except PolicyError as error:
                found.append(error)
    return found


class _Layer:
    def __init__(self, positions: Positions, name: str) -> None:
        self.positions, self.name = positions, name
        self.values: dict[str, Any] = {}
        self.where: dict[str, Position] = {}
        self.written: dict[str, str] = {}

    def finish(self) -> PartialPolicy:
        """A preset is its names from here on: they are merged and bounded as names are."""
        keys = (_PRESETS, _DOMAINS)
        given = [key for key in keys if key in self.values]
        if given:
            presets = self.values.setdefault(_PRESETS, ())
            own = self.values.get(_DOMAINS, ())
            self.values[_DOMAINS] = tuple(dict.fromkeys((*own, *names_of(presets))))
            for key in keys:
                self.where.setdefault(key, self.where[given[0]])
        return PartialPolicy(self.values, self.where, self.written)

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
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                self.written[field] = str(value)
        self.where[field] = self.position(path)

    def items(self, path: Path, reader: ListOf, value: object) -> Any:
        if isinstance(value, str) and value in reader.words:
            return reader.words[value]
        if not isinstance(value, list | tuple):
            or_a_word = "".join(f", or {word}" for word in reader.words)
            raise self.error(
                path, f"{_dotted(path)} is not a list", f"write a list, as in [a, b]{or_a_word}"
            )
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
        near = nearest(str(path[-1]), valid)
        return self.error(path, f"unknown key {key!r}", f"did you mean {near}?")

    def error(self, path: Path, what: str, next: str) -> PolicyError:
        file, line = self.position(path)
        return PolicyError(what, f"{file}, line {line}" if line else file, next)

    def position(self, path: Path) -> Position:
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (self.name, 0))


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))
