"""Merges layers of policy into one.  After the system policy, a layer may only narrow.

``RULES`` says for every field when a value is wider than another. The same table serves the
client's merge and akiosd's check of a policy that a client has merged: akiosd believes no client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.schema import PartialPolicy, Position
from akiosd.values.domains import covers
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


# ---- when is a value wider? ------------------------------------------------------------------------

Wider = Callable[[Any, Any], bool]


def _never(base: Any, over: Any) -> bool:
    return False


def _differs(base: Any, over: Any) -> bool:
    return bool(base != over)


def _higher_limit(base: int, over: int) -> bool:
    """0 is no limit, so it is wider than any number."""
    return base != 0 and (over == 0 or over > base)


def _turned_on(base: bool, over: bool) -> bool:
    return over and not base


def _adds(base: Iterable[Any], over: Iterable[Any]) -> bool:
    return not set(over) <= set(base)


def _removes(base: Iterable[Any], over: Iterable[Any]) -> bool:
    return not set(over) >= set(base)


def _adds_domain(base: Sequence[str], over: Sequence[str]) -> bool:
    return not all(any(covers(pattern, entry) for pattern in base) for entry in over)


def _uncovers_domain(base: Sequence[str], over: Sequence[str]) -> bool:
    return _adds_domain(over, base)


def _adds_variable(base: Sequence[str], over: Sequence[str]) -> bool:
    return not all(any(_keeps(pattern, name) for pattern in base) for name in over)


def _keeps(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))


def _ranked(ranks: Mapping[str, int]) -> Wider:
    return lambda base, over: ranks[over] > ranks[base]


RULES: dict[str, Wider] = {
    "version": _differs,
    # cow and rw differ in who says "commit", and both commit with the caller's own rights.
    "filesystem.workspace": _ranked({"ro": 0, "cow": 1, "rw": 1, "rw-direct": 2}),
    # Opened by the client with the caller's rights, and writes go to an overlay that is thrown away:
    # nothing is reachable that the caller could not have put into the workspace.
    "filesystem.read": _never,
    "filesystem.write": _never,
    "filesystem.hide": _removes,
    "filesystem.protect": _removes,
    "network.llm": _turned_on,
    "network.providers": _adds,
    "network.llm_paths": _adds,
    "network.allowed_domains": _adds_domain,
    # What passes through is not read, not redacted.
    "network.passthrough": _adds_domain,
    "network.get_only": _uncovers_domain,
    "network.ports": _adds,
    "network.requests_per_minute": _higher_limit,
    "limits.memory": _higher_limit,
    "limits.pids": _higher_limit,
    "limits.cpu_percent": _higher_limit,
    "limits.disk": _higher_limit,
    "limits.shm": _higher_limit,
    "limits.wall_clock_ns": _higher_limit,
    "limits.cpu_time_ns": _higher_limit,
    "limits.output": _higher_limit,
    "limits.open_files": _higher_limit,
    "limits.file_size": _higher_limit,
    "limits.events_per_second": _higher_limit,
    "limits.audit_bytes": _higher_limit,
    "budget.usd_micro": _higher_limit,
    "budget.tokens": _higher_limit,
    "budget.calls": _higher_limit,
    "budget.requests_per_minute": _higher_limit,
    "budget.usd_micro_per_minute": _higher_limit,
    "budget.same_request": _higher_limit,
    "budget.same_tool_calls": _higher_limit,
    "budget.cycles": _higher_limit,
    "redact.models": _ranked({"block": 0, "mask": 1, "pseudonym": 2, "off": 3}),
    "redact.sites": _ranked({"block": 0, "mask": 1, "pseudonym": 2, "off": 3}),
    "redact.disable": _adds,
    "redact.allow_values": _adds,
    "redact.binary": _ranked({"block": 0, "pass": 1}),
    "syscalls.trace": _ranked({"all": 0, "files": 1, "security": 2, "none": 3}),
    "syscalls.allow": _adds,
    "syscalls.deny": _removes,
    # A number that the agent sees; the uid that the kernel checks is the cage's own in every mode.
    "identity.mode": _never,
    "environment.keep": _adds_variable,
    "environment.set": _never,
    "allow_widening": _turned_on,
}

# Fields whose layers add up; in all others the later layer replaces the earlier one.
ADDING = frozenset(("filesystem.read", "filesystem.write", "filesystem.hide", "filesystem.protect", "syscalls.deny"))


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
    """Everything in which ``over`` is *not* narrower than (or equal to) ``base``; empty means it may stand."""
    given, wanted = flatten(base), flatten(over)
    return [Widening(key, given[key], wanted[key]) for key in wanted if RULES[key](given[key], wanted[key])]


def check_authority(system: Policy, asked: Policy) -> list[Widening]:
    """Where a client's policy exceeds the system policy; empty means that it may be used.

    ``allow_widening`` itself is only ever read from the system policy.
    """
    return [] if system.allow_widening else narrower(system, asked)


# ---- merging ---------------------------------------------------------------------------------------


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
            raise _refused(layer, "allow_widening", "allow_widening belongs to the system policy", "remove it")
        merged = _apply(policy, layer.policy)
        if layer.name not in TRUSTED_LAYERS and not policy.allow_widening:
            for widening in narrower(policy, merged):
                raise _refused(layer, widening.key, _sentence(layer, widening, origin), _next(widening))
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
    return f"narrow {widening.key}, or let the administrator widen it (or set allow_widening) in the system policy"


def _refused(layer: Layer, key: str, what: str, next: str) -> PolicyError:
    file, line = layer.policy.where.get(key, (layer.name, 0))
    return PolicyError(what, f"{file}, line {line}" if line else file, next)


def _show(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
