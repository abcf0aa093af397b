"""What a report tells besides the log: the cage's name, and its policy in words.

The log has the hash of the policy alone.  Where the policy files of now give a policy of that very
hash, they say what it was; else it is known by its hash only.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import click
import msgspec

from akiosctl.cages import list_cages
from akiosctl.read_denials import layers_of
from akiosctl.story.reading import Read
from akiosctl.system_policy import ask_system
from akiosd.errors import AkiosError, PolicyError
from akiosd.policy.explain import explain_rows
from akiosd.policy.merge import merge_explained
from akiosd.wire.messages import CageInfo


@dataclass(frozen=True)
class Known:
    """What a page tells besides the log.

    ``name`` is what its user called the cage; ``policy`` are lines (setting, value, who gave it) if
    the files of now still give the policy that the cage had; ``made_ns`` is the present.
    """

    name: str
    policy: tuple[tuple[str, str, str], ...] | None
    why_no_policy: str
    made_ns: int


_MOST_ITEMS = 20
"""Of a list, such as that of protected names, in a page."""
_OFFLINE = "Read from files: only the hash of the policy is known, not its words."
_OTHER = (
    "The policy files of now give another policy than the cage had (their text has changed, or the"
    " run had options of its own): only its hash is known."
)


def find_known(ctx: click.Context, read: Read, *, is_here: bool, now_ns: int) -> Known:
    """``is_here``: the daemon is asked."""
    if not is_here:
        return Known("", None, _OFFLINE, now_ns)
    with ctx.obj.connect() as client:
        found = [one for one in list_cages(client, everyone=True) if one.cage == read.log]
        system = ask_system(client)
    name = found[0].name if found else ""
    try:
        merged = merge_explained(layers_of(_workspace(found), None, {}, system))
    except (AkiosError, PolicyError):
        return Known(name, None, _OTHER, now_ns)
    digest = hashlib.sha256(msgspec.msgpack.encode(merged.policy)).digest()
    birth = read.story.birth
    if birth is None or birth.policy_sha256 != digest:
        return Known(name, None, _OTHER, now_ns)
    return Known(name, tuple(for_a_page(*row) for row in explain_rows(merged)), "", now_ns)


def for_a_page(setting: str, value: str, origin: str) -> tuple[str, str, str]:
    """Variables that a policy sets may be secret: their names are enough.  Long lists are cut."""
    if setting == "environment.set":
        names = [pair.partition("=")[0] for pair in value.split(", ") if "=" in pair]
        value = ", ".join(names) or value
    items = value.split(", ")
    if len(items) > _MOST_ITEMS:
        value = f"{', '.join(items[:_MOST_ITEMS])} and {len(items) - _MOST_ITEMS:,} more"
    return setting, value, origin


def _workspace(found: list[CageInfo]) -> str:
    where = os.fsdecode(found[0].workspace) if found else ""
    return where if os.path.isdir(where) else os.getcwd()
