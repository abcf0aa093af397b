"""A policy that asks for more than it may, in the words and units of the person who wrote it.

What is said: what was asked for and where, what it exceeds and where that is written, and who may
change it.  Names of fields are those of the policy language, values have their units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from akiosd.policy import wider
from akiosd.policy.fields import BY_NAME, Field
from akiosd.policy.presets import PRESETS
from akiosd.policy.show_values import format_value, printable

LayerName = Literal["built-in", "profile", "system", "user", "project", "flags", "workflow", "step"]

ADMINISTRATOR = "an administrator of this host"
_MANY = 4
_LEAVES_OUT = (wider.removes, wider.uncovers_domain)


class Source(msgspec.Struct, frozen=True):
    """Where a value stands.  ``file`` as people know it, ``line`` 0 where there is none, ``words``
    as they are written there.
    """

    layer: LayerName = "built-in"
    file: str = ""
    line: int = 0
    words: str = ""

    @property
    def is_built_in(self) -> bool:
        return self.layer in ("built-in", "profile") or not self.file

    @property
    def place(self) -> str:
        """File and line, where a file says it."""
        if self.is_built_in:
            return "the built-in policy"
        return printable(f"{self.file}, line {self.line}" if self.line else self.file)


class Excess(msgspec.Struct, frozen=True):
    """A value that is more than may be asked for: ``over``, more than ``base``, and than ``bound``
    of ``projects_may`` where there is one.

    ``asked`` is where ``over`` stands, ``given`` where ``base`` does, ``bounded`` where ``bound``.
    """

    key: str
    base: Any
    over: Any
    bound: Any = None
    asked: Source = Source()
    given: Source = Source()
    bounded: Source = Source()
    presets: tuple[str, ...] = ()
    """The presets of who asks: a name may come from one of them."""

    @property
    def is_bounded(self) -> bool:
        """Whether ``bound`` allows more than ``base`` does."""
        return self.bound not in (None, ())


def sentence(excess: Excess) -> str:
    """What is asked for and what it exceeds, without a full stop."""
    row, value = BY_NAME[excess.key], excess.over
    subject = printable(excess.asked.file) if excess.asked.layer == "flags" else row.path
    if isinstance(value, list | tuple):
        return f"{subject} {_of_list(excess, row)}"
    is_number = isinstance(value, int) and not isinstance(value, bool)
    relation = "is above" if is_number else "is more than"
    return f"{subject} {_asked(excess, row)} {relation} {_base(excess, row)}"


def summary(found: Sequence[Excess]) -> str:
    """What is asked for beyond ``base``, in a few words, as in ``pypi.org, limits.memory 4G``."""
    parts: list[str] = []
    for excess in found:
        row = BY_NAME[excess.key]
        if isinstance(excess.over, list | tuple) and row.kind.wider not in _LEAVES_OUT:
            extra = [item for item in excess.over if row.kind.wider(excess.base, (item,))]
            place = "" if row.path == "network.allowed_domains" else f"{row.path} "
            parts.append(place + _some(extra))
        elif isinstance(excess.over, list | tuple):
            parts.append(f"less in {row.path}")
        else:
            parts.append(f"{row.path} {_asked(excess, row)}")
    return ", ".join(parts)


def _of_list(excess: Excess, row: Field) -> str:
    base, over, beyond = excess.base, excess.over, row.kind.wider
    if beyond in _LEAVES_OUT:
        missing = _some([item for item in base if beyond((item,), over)])
        return f"leaves out {missing}, which {excess.given.place} asks for"
    extra = [item for item in over if wider.is_beyond(beyond, base, excess.bound, (item,))]
    names = _some([_with_preset(item, excess) for item in extra])
    owner = excess.bounded if excess.is_bounded else excess.given
    if excess.bound == "any":
        return f"asks for {names}; {owner.place} allows any name, but none with a port"
    room = (*base, *(excess.bound or ()))
    return f"asks for {names}; {owner.place} allows {_some(room) if room else 'none'}"


def _asked(excess: Excess, row: Field) -> str:
    """As it was written, else in its unit."""
    if excess.over == 0 and not isinstance(excess.over, bool):
        return "(no limit)"
    words = printable(excess.asked.words)
    if row.kind.word == "MONEY" and words[:1].isdecimal():
        words = f"${words}"
    return words or _shown(row, excess.over)


def _shown(row: Field, value: Any) -> str:
    """A count as a number alone; what is counted, the sentence says."""
    is_count = row.kind.word == "N" and isinstance(value, int)
    return f"{value:,}" if is_count else format_value(row.name, value)


def _base(excess: Excess, row: Field) -> str:
    """What is exceeded, and whose it is: the bound where there is one, else the value itself."""
    if excess.is_bounded and not row.kind.wider(excess.bound, excess.base):
        value = _shown(row, excess.bound)
        return f"the {value} that {excess.bounded.place} lets projects ask for"
    own = excess.given.words
    value = printable(own) if own and not own.isdecimal() else _shown(row, excess.base)
    if excess.given.is_built_in:
        return f"the built-in {value}"
    return f"the {value} of {excess.given.place}"


def _some(items: Sequence[Any]) -> str:
    shown = [printable(str(item)) for item in items]
    if len(shown) > _MANY + 1:
        shown = [*shown[:_MANY], f"{len(shown) - _MANY:,} more"]
    first = [", ".join(shown[:-1])] if len(shown) > 1 else []
    return " and ".join([*first, *shown[-1:]])


def _with_preset(item: Any, excess: Excess) -> str:
    held = [word for word in excess.presets if item in PRESETS[word].names]
    return f"{item} (preset {held[0]})" if held else str(item)


# ---- who may change it ---------------------------------------------------------------------------


def next_step(excess: Excess, system_file: str, *, exists: bool) -> str:
    """Who may change what was exceeded, in which file, with which line.

    ``exists``: whether there is a system policy; a first one that holds nothing but that line would
    take away what the built-in one gives.
    """
    row, file = BY_NAME[excess.key], printable(system_file)
    if not exists:
        file += f" (there is none yet; begin with: akiosctl policy shipped | sudo tee {file})"
    if excess.given.layer in ("user", "project") and not excess.is_bounded:
        return f"keep to that, or change {excess.given.place}, which is yours"
    if not row.may:
        return f"keep to that; {ADMINISTRATOR} may change {row.path} in {file}"
    setting = f"projects_may: {{{row.may}: {_bound_for(excess, row)}}}"
    return f"keep to that; {ADMINISTRATOR} may allow more by {setting} in {file}"


def _bound_for(excess: Excess, row: Field) -> str:
    if not isinstance(excess.over, list | tuple):
        return "any" if excess.over == 0 else _asked(excess, row)
    held = () if excess.bound in (None, "any") else tuple(excess.bound)
    extra = [item for item in excess.over if row.kind.wider((*excess.base, *held), (item,))]
    return "".join(("[", ", ".join(map(_quoted, (*held, *extra)[: 2 * _MANY])), "]"))


def _quoted(item: Any) -> str:
    text = printable(str(item))
    return f"'{text}'" if text[:1] in "*&!%@`" or ":" in text else text
