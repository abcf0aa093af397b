"""What would have allowed something: settings are tried with the real merge before anybody is told
of them.

A setting is told only if written into that file, by the person who may write it, the policy that
comes out really allows what was denied.  Otherwise the next file is tried, and in the end the
answer is that no setting does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Literal

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.merge import ADDING, Layer, check_authority, flatten, merge
from akiosd.policy.presets import names_of
from akiosd.policy.refusals import ADMINISTRATOR, LayerName
from akiosd.policy.schema import PartialPolicy, load
from akiosd.values.places import SYSTEM_FILE
from akiosd.values.policy import Policy
from akiosd.values.text import as_bytes, show

Allows = Callable[[Policy], bool]
"""Would this policy have let through what was denied?"""

_ORDER: tuple[LayerName, ...] = ("built-in", "profile", "system", "user", "project", "flags")
_MAX_LINE = 300
_DOMAINS = "network.allowed_domains"
YOU, PROJECT_FILE = "you", "akios.yaml"


class Edit(msgspec.Struct, frozen=True):
    """One change of a policy file, in the words of the policy language.

    ``key`` as in ``network.ports``; ``value`` is a tuple of items to ``add`` or ``remove``.
    """

    key: str
    action: Literal["add", "remove", "set"]
    value: Any


class Place(msgspec.Struct, frozen=True):
    """A policy file, whether it is there or not, and who may write it.  Of layer ``flags`` it is an
    option, as in ``--budget``, which sets ``key`` alone.
    """

    layer: LayerName
    file: str
    who: str
    key: str = ""


class Advice(msgspec.Struct, frozen=True):
    """``words`` is a whole sentence; without ``files`` no setting allows it.  ``who`` may write all
    ``files``.
    """

    words: str
    setting: str = ""
    files: tuple[str, ...] = ()
    who: str = ""


ALLOWED_NOW = Advice("the policy as it is now allows it")


def advise(
    layers: Sequence[Layer], places: Sequence[Place], edits: Sequence[Edit], allows: Allows
) -> Advice | None:
    """The first of ``edits`` in the first of ``places`` that really helps, else in two of them;
    None: none does.

    ``layers`` are those of the run, ``places`` in the order of preference.  Pure.
    """
    try:
        if allows(merge(layers)):
            return ALLOWED_NOW
    except PolicyError:
        pass
    single = [(place,) for place in places]
    system = [place for place in places if place.layer == "system"]
    both = [(one, other) for one in system for other in places if other is not one]
    for chosen in chain(single, both):
        for edit in edits:
            if any(place.key not in ("", edit.key) for place in chosen):
                continue
            changed = _try(layers, chosen, edit, allows)
            if changed is not None:
                return _word(changed, chosen, edit)
    return None


def advise_merged(
    policy: Policy,
    system: Policy,
    edits: Sequence[Edit],
    allows: Allows,
    system_file: str = SYSTEM_FILE,
) -> str:
    """As :func:`advise` where the layers are not known, only what came out: a line, "" where
    nothing helps.
    """
    for edit in edits:
        asked = _apply_to(policy, edit)
        if asked is None or not allows(asked):
            continue
        line = _removal(edit) if edit.action == "remove" else _line(edit, ())
        if not check_authority(system, asked):
            return f"{line} in {PROJECT_FILE}"
        widened = _apply_to(system, edit)
        if widened is not None and not check_authority(widened, asked):
            return f"{line} in {_printable(system_file)}, which {ADMINISTRATOR} may change"
    return ""


def _try(
    layers: Sequence[Layer], places: Sequence[Place], edit: Edit, allows: Allows
) -> list[tuple[Any, ...]] | None:
    """The new values of the lists in the edited files, in order; None when this does not help."""
    found, values = list(layers), list[tuple[Any, ...]]()
    try:
        for place in places:
            found, value = _edit_layer(found, place.layer, edit)
            values.append(value)
        return values if allows(merge(found)) else None
    except PolicyError:
        return None


def _edit_layer(
    layers: Sequence[Layer], name: LayerName, edit: Edit
) -> tuple[list[Layer], tuple[Any, ...]]:
    """The layers with ``edit`` made in one of them, which is made if it is not there."""
    index = next((i for i, layer in enumerate(layers) if layer.name == name), -1)
    if index < 0:
        index = sum(_ORDER.index(layer.name) < _ORDER.index(name) for layer in layers)
        layers = [*layers[:index], Layer(name, PartialPolicy()), *layers[index:]]
    own = layers[index].policy
    before: tuple[Any, ...] = ()
    # Names of a preset stay with it, and are not written out beside it.
    presets = own.values.get("network.presets", ()) if edit.key == _DOMAINS else ()
    if edit.action != "set":
        if edit.key in own.values:
            before = own.values[edit.key]
        elif edit.key not in ADDING:
            before = flatten(merge(layers[:index]))[edit.key]
    before = tuple(item for item in before if item not in names_of(presets))
    value = _changed(before, edit)
    new = _read(edit.key, value, presets)
    edited = PartialPolicy({**own.values, **new.values}, own.where)
    changed = [*layers[:index], Layer(name, edited), *layers[index + 1 :]]
    return changed, value if isinstance(value, tuple) else ()


def _changed(before: tuple[Any, ...], edit: Edit) -> Any:
    if edit.action == "set":
        return edit.value
    if edit.action == "remove":
        return tuple(item for item in before if item not in edit.value)
    return tuple(dict.fromkeys((*before, *edit.value)))


def _read(key: str, value: Any, presets: Sequence[str] = ()) -> PartialPolicy:
    section, _, entry = key.partition(".")
    beside = {"presets": list(presets)} if presets else {}
    return load({section: {entry: value, **beside}}, {}, name="a hint")


def _apply_to(policy: Policy, edit: Edit) -> Policy | None:
    """A merged policy with one change; None when the policy language does not know such a value."""
    before = () if edit.action == "set" else flatten(policy)[edit.key]
    try:
        new = _read(edit.key, _changed(before, edit)).values
    except PolicyError:
        return None
    for field, value in new.items():
        section, _, name = field.partition(".")
        changed = msgspec.structs.replace(getattr(policy, section), **{name: value})
        policy = msgspec.structs.replace(policy, **{section: changed})
    return policy


# ---- in words ------------------------------------------------------------------------------------


def _word(values: Sequence[tuple[Any, ...]], places: Sequence[Place], edit: Edit) -> Advice:
    who = ADMINISTRATOR if any(place.who == ADMINISTRATOR for place in places) else YOU
    setting = _line(edit, values[-1] if edit.action == "add" else ())
    files = tuple(place.file for place in places)
    where = " and ".join(_printable(place.file) for place in places if not place.key)
    do = _removal(edit) if edit.action == "remove" else f"set {setting}"
    parts = [f"{do} in {where}, which {who} may change"] if where else []
    # Without the sign of money, which a shell would read.
    value = str(edit.value).lstrip("$")
    parts += [f"give {place.file} {value}" for place in places if place.key]
    return Advice(", and ".join(parts), setting, files, who)


def _removal(edit: Edit) -> str:
    return f"take {', '.join(map(_yaml, edit.value))} out of {edit.key}"


def _line(edit: Edit, whole: tuple[Any, ...]) -> str:
    """As a policy file has it; a list that is replaced is shown whole, where that is not too
    long.
    """
    section, _, entry = edit.key.partition(".")
    if edit.action == "set":
        return f"{section}: {{{entry}: {_yaml(edit.value)}}}"
    items = whole or edit.value
    line = f"{section}: {{{entry}: [{', '.join(map(_yaml, items))}]}}"
    if len(line) <= _MAX_LINE:
        return line
    return f"{section}: {{{entry}: [… as before and {_yaml(edit.value[0])} …]}}"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    text = _printable(str(value))
    return f"'{text}'" if text[:1] in "*&!%@`" else text


def _printable(text: str) -> str:
    return show(text, as_bytes)
