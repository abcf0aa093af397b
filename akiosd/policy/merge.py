"""Merges layers of policy into one.  After the system policy, a layer may only narrow.

The table of fields says when a value is wider than another. It serves the client's merge and
akiosd's check of a policy that a client has merged: akiosd believes no client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.fields import FIELDS
from akiosd.policy.schema import PartialPolicy, Position
from akiosd.policy.wider import Wider
from akiosd.values.policy import DEFAULT_POLICY, Policy

LayerName = Literal["built-in", "profile", "system", "user", "project", "flags"]

# The layers whose author is the machine's administrator (or AKIOS itself).
TRUSTED_LAYERS: tuple[LayerName, ...] = ("built-in", "profile", "system")


class Layer(msgspec.Struct, frozen=True):
    """One layer of policy, with the values that it sets."""

    name: LayerName
    policy: PartialPolicy


class Widening(msgspec.Struct, frozen=True):
    """``over`` gives more than ``base``: ``key`` is the field, as in ``limits.memory``."""

    key: str
    base: Any
    over: Any

    def __str__(self) -> str:
        return f"{self.key}: {_show(self.over)} is wider than {_show(self.base)}"


class Merged(msgspec.Struct, frozen=True):
    """The policy, and for each field that a layer gave: which layer, and where it was written."""

    policy: Policy
    origin: dict[str, tuple[str, Position]]


RULES: dict[str, Wider] = {row.name: row.kind.wider for row in FIELDS}
"""Field → when a value of it is wider than another."""
ADDING = frozenset(row.name for row in FIELDS if row.adds)
"""Fields whose layers add up; in all others the later layer replaces the earlier one."""


def flatten(policy: Policy) -> dict[str, Any]:
    """Every field by its dotted name, as in ``limits.memory``."""
    flat: dict[str, Any] = {}
    for name in Policy.__struct_fields__:
        value = getattr(policy, name)
        if isinstance(value, msgspec.Struct):
            for part in value.__struct_fields__:
                flat[f"{name}.{part}"] = getattr(value, part)
        else:
            flat[name] = value
    return flat


def narrower(base: Policy, over: Policy) -> list[Widening]:
    """Everything in which ``over`` is *not* narrower than (or equal to) ``base``; empty means it
    may stand.
    """
    given, wanted = flatten(base), flatten(over)
    return [
        Widening(key, given[key], wanted[key])
        for key in wanted
        if RULES[key](given[key], wanted[key])
    ]


def check_authority(system: Policy, asked: Policy) -> list[Widening]:
    """Where a client's policy exceeds the system policy; empty means that it may be used.

    ``allow_widening`` itself is only ever read from the system policy.
    """
    return [] if system.allow_widening else narrower(system, asked)


# ---- merging -------------------------------------------------------------------------------------


def merge(layers: Sequence[Layer]) -> Policy:
    """Built-in policy, then ``layers`` in order.  PolicyError when a layer after the system's
    widens a value.
    """
    return merge_explained(layers).policy


def merge_explained(layers: Sequence[Layer]) -> Merged:
    """The same as :func:`merge`, with the origin of every value."""
    policy, origin = DEFAULT_POLICY, dict[str, tuple[str, Position]]()
    for layer in layers:
        if layer.name not in TRUSTED_LAYERS and "allow_widening" in layer.policy.values:
            raise _refused(
                layer, "allow_widening", "allow_widening belongs to the system policy", "remove it"
            )
        merged = _apply(policy, layer.policy)
        if layer.name not in TRUSTED_LAYERS and not policy.allow_widening:
            for widening in narrower(policy, merged):
                raise _refused(
                    layer, widening.key, _sentence(layer, widening, origin), _next(widening)
                )
        for key in layer.policy.values:
            origin[key] = (layer.name, layer.policy.where.get(key, (layer.name, 0)))
        policy = merged
    return Merged(policy, origin)


def _apply(policy: Policy, layer: PartialPolicy) -> Policy:
    sections: dict[str, dict[str, Any]] = {}
    changes: dict[str, Any] = {}
    for key, value in layer.values.items():
        section, _, field = key.partition(".")
        if not field:
            changes[key] = value
            continue
        before = getattr(getattr(policy, section), field)
        if key in ADDING:
            value = tuple(dict.fromkeys((*before, *value)))
        elif isinstance(before, dict):
            value = {**before, **value}
        sections.setdefault(section, {})[field] = value
    for section, fields in sections.items():
        changes[section] = msgspec.structs.replace(getattr(policy, section), **fields)
    return msgspec.structs.replace(policy, **changes)


def _sentence(layer: Layer, widening: Widening, origin: Mapping[str, tuple[str, Position]]) -> str:
    owner = origin.get(widening.key, ("built-in", ("", 0)))[0]
    return (
        f"the {layer.name} policy widens {widening.key}: it asks for {_show(widening.over)}, "
        f"the {owner} policy gives {_show(widening.base)}"
    )


def _next(widening: Widening) -> str:
    return (
        f"narrow {widening.key}, or let the administrator widen it (or set allow_widening) in the"
        " system policy"
    )


def _refused(layer: Layer, key: str, what: str, next: str) -> PolicyError:
    file, line = layer.policy.where.get(key, (layer.name, 0))
    return PolicyError(what, f"{file}, line {line}" if line else file, next)


def _show(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
