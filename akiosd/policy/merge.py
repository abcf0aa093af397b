"""Merges layers of policy into one.  After the system policy, a layer may only narrow.

The table of fields says when a value is wider than another. It serves the client's merge and
akiosd's check of a policy that a client has merged: akiosd believes no client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.fields import BY_NAME, FIELDS
from akiosd.policy.refusals import Excess, LayerName, Source, next_step, sentence
from akiosd.policy.schema import PartialPolicy
from akiosd.policy.wider import Wider, is_beyond
from akiosd.values.places import SYSTEM_FILE
from akiosd.values.policy import DEFAULT_POLICY, Policy

# The layers whose author is the machine's administrator (or AKIOS itself).
TRUSTED_LAYERS: tuple[LayerName, ...] = ("built-in", "profile", "system")


class Layer(msgspec.Struct, frozen=True):
    """One layer of policy, with the values that it sets; ``file`` is where they stand, "" where
    nobody needs to know.
    """

    name: LayerName
    policy: PartialPolicy
    file: str = ""


class Merged(msgspec.Struct, frozen=True):
    """The policy, and for each field that a layer gave: where it was written."""

    policy: Policy
    origin: dict[str, Source]


RULES: dict[str, Wider] = {row.name: row.kind.wider for row in FIELDS}
"""Field → when a value of it is wider than another."""
_MOST_TOLD = 3
_ALWAYS_SYSTEM = ("allow_widening", "projects_may")
_GIVING = ("filesystem.read", "filesystem.write")
"""What adds up for the caller's own files; who may only take away names some of what is there."""
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


def narrower(base: Policy, over: Policy) -> list[Excess]:
    """Everything in which ``over`` is more than ``base``; empty means that it is narrower, or
    equal.
    """
    given, wanted = flatten(base), flatten(over)
    return [
        Excess(key, given[key], wanted[key])
        for key in wanted
        if RULES[key](given[key], wanted[key])
    ]


def exceeds(base: Policy, over: Policy) -> list[Excess]:
    """Everything in which ``over`` is more than ``base`` and its ``projects_may`` together
    allow.
    """
    found: list[Excess] = []
    for excess in narrower(base, over):
        row = BY_NAME[excess.key]
        bound = getattr(base.projects_may, row.may) if row.may else None
        if is_beyond(row.kind.wider, excess.base, bound, excess.over):
            found.append(msgspec.structs.replace(excess, bound=bound))
    return found


def check_authority(system: Policy, asked: Policy) -> list[Excess]:
    """Where a client's policy exceeds the system policy; empty means that it may be used.

    ``allow_widening`` and ``projects_may`` are only ever read from the system policy.
    """
    return [] if system.allow_widening else exceeds(system, asked)


def refuse_excess(
    system: Merged, file: str, found: Sequence[Excess], *, exists: bool = True
) -> PolicyError:
    """What akiosd says of a client's policy: the layers of that are not known, only what came
    out.
    """
    known = [_known(excess, system.origin) for excess in found]
    return _refused(known, "the policy of this run", file, exists=exists)


def excesses_of(system: Merged, asked: Merged) -> list[Excess]:
    """Where ``asked`` goes further than the system policy lets it, with the places of both."""
    return [
        msgspec.structs.replace(
            _known(excess, system.origin), asked=asked.origin.get(excess.key, Source())
        )
        for excess in exceeds(system.policy, asked.policy)
    ]


# ---- merging -------------------------------------------------------------------------------------


def merge(layers: Sequence[Layer]) -> Policy:
    """Built-in policy, then ``layers`` in order.  PolicyError when a layer after the system's asks
    for more than it may.
    """
    return merge_explained(layers).policy


def merge_explained(layers: Sequence[Layer]) -> Merged:
    """The same as :func:`merge`, with the origin of every value."""
    policy, origin = DEFAULT_POLICY, dict[str, Source]()
    system = Merged(policy, origin)
    for layer in layers:
        own = {key: _source(layer, key) for key in layer.policy.values}
        merged = _apply(policy, layer.policy)
        if layer.name not in TRUSTED_LAYERS:
            if "allow_widening" in own:
                place = own["allow_widening"].place
                raise PolicyError(
                    "allow_widening may stand only in the system policy",
                    place,
                    f"remove it from {place}",
                )
            found = [] if policy.allow_widening else exceeds(policy, merged)
            if found:
                raise _refuse(layer, found, Merged(policy, origin), system, merged, layers)
        origin = {**origin, **own}
        policy = merged
        if layer.name in TRUSTED_LAYERS:
            system = Merged(policy, origin)
    return Merged(policy, origin)


def beyond_system(layers: Sequence[Layer], merged: Merged, name: LayerName) -> list[Excess]:
    """What the layer ``name`` gives beyond the values of the system policy, by that one's leave."""
    trusted = merge([layer for layer in layers if layer.name in TRUSTED_LAYERS])
    return [
        msgspec.structs.replace(excess, asked=merged.origin[excess.key])
        for excess in narrower(trusted, merged.policy)
        if merged.origin[excess.key].layer == name
    ]


def narrow(base: Merged, layer: Layer) -> Merged:
    """``layer`` on top of ``base``, from which it may only take away: no ``projects_may`` counts.

    Raises :class:`PolicyError`, which names everything that is more.
    """
    own = {key: _source(layer, key) for key in layer.policy.values}
    for key, source in own.items():
        if key.partition(".")[0] in _ALWAYS_SYSTEM:
            what = f"{key.partition('.')[0]} may stand only in the system policy"
            raise PolicyError(what, source.place, "remove it there")
    narrowed = _apply(base.policy, layer.policy, adding=ADDING - set(_GIVING))
    found = narrower(base.policy, narrowed)
    flat = flatten(base.policy)
    for key in _GIVING:
        extra = set(layer.policy.values.get(key, ())) - set(flat[key])
        if extra:
            found.append(Excess(key, flat[key], tuple(sorted(extra))))
    if found:
        known = [_known(e, base.origin) for e in found]
        known = [msgspec.structs.replace(e, asked=own.get(e.key, Source())) for e in known]
        what = "; ".join(_sentence_of(e) for e in known[:_MOST_TOLD])
        next = f"a {layer.name} only narrows what is allowed; to allow more, write it in akios.yaml"
        raise PolicyError(what, known[0].asked.place, next)
    return Merged(narrowed, {**base.origin, **own})


def _sentence_of(excess: Excess) -> str:
    """The fields that add up for everybody else have no words for "more"."""
    if excess.key not in _GIVING:
        return sentence(excess)
    return f"{excess.key} asks for {', '.join(excess.over)}, which a run here is not shown"


def _apply(policy: Policy, layer: PartialPolicy, adding: frozenset[str] = ADDING) -> Policy:
    sections: dict[str, dict[str, Any]] = {}
    changes: dict[str, Any] = {}
    for key, value in layer.values.items():
        section, _, field = key.partition(".")
        if not field:
            changes[key] = value
            continue
        before = getattr(getattr(policy, section), field)
        if key in adding:
            value = tuple(dict.fromkeys((*before, *value)))
        elif isinstance(before, dict):
            value = {**before, **value}
        sections.setdefault(section, {})[field] = value
    for section, fields in sections.items():
        changes[section] = msgspec.structs.replace(getattr(policy, section), **fields)
    return msgspec.structs.replace(policy, **changes)


def _source(layer: Layer, key: str) -> Source:
    nowhere = "" if layer.name == "built-in" else layer.file or layer.name
    file, line = layer.policy.where.get(key, (nowhere, 0))
    return Source(layer.name, file, line, layer.policy.written.get(key, ""))


def _refuse(
    layer: Layer,
    found: Sequence[Excess],
    before: Merged,
    system: Merged,
    asked: Policy,
    layers: Sequence[Layer],
) -> PolicyError:
    """Told is what an administrator would have to change, where that is so; else whose file it
    is.
    """
    above = {excess.key: excess for excess in exceeds(system.policy, asked)}
    known = [
        _known(above[e.key], system.origin) if e.key in above else _known(e, before.origin)
        for e in found
    ]
    presets = layer.policy.values.get("network.presets", ())
    known = [
        msgspec.structs.replace(e, asked=_source(layer, e.key), presets=presets) for e in known
    ]
    trusted = [one for one in layers if one.name in TRUSTED_LAYERS and one.file]
    place = "the command line" if layer.name == "flags" else known[0].asked.place
    if not trusted:
        return _refused(known, place)
    return _refused(known, place, trusted[-1].file, exists=trusted[-1].name != "built-in")


def _refused(
    known: Sequence[Excess], where: str, file: str = SYSTEM_FILE, *, exists: bool = True
) -> PolicyError:
    """The first of them with who may change it, and what else is too much."""
    what = "; ".join(map(sentence, known[:_MOST_TOLD]))
    return PolicyError(what, where, next_step(known[0], file, exists=exists))


def _known(excess: Excess, origin: Mapping[str, Source]) -> Excess:
    return msgspec.structs.replace(
        excess,
        given=origin.get(excess.key, Source()),
        bounded=origin.get(f"projects_may.{BY_NAME[excess.key].may}", Source()),
    )
