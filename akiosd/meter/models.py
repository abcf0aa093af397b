"""The names of models: each provider's spellings → the name under which a price is looked up, and the longest answer.

A name comes from the agent.  What is not plainly the name of one of the provider's own models has no candidates, so no
price, so it is refused: a name made up to match a cheap model's pattern must not get that model's price.
"""

from __future__ import annotations

import re

from akiosd.values.providers import ModelNames, facts_of

MAX_NAME = 200
UNKNOWN_OUTPUT = 32_768
"""Asked for where a request names no limit and the model is not in the table; every current model takes it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._:@/-]*\Z")
# What comes after a geography is the model's vendor, and a point again.
_VENDOR = re.compile(r"[a-z0-9-]+\.")


def candidates(provider: str, model: str) -> tuple[str, ...]:
    """Names to look a price up by, the best first; none when there can be no list price."""
    name, names = model.lower(), facts_of(provider).models
    if len(name) > MAX_NAME or _NAME.match(name) is None:
        return ()
    for prefix in names.prefixes:
        name = name.removeprefix(prefix)
    if "/" in name:
        return ()
    if names.geographies:
        return _of_geography(names, name)
    if name.startswith("ft:"):
        # ft:BASE:organisation:suffix:id; all but the base is free text of whoever trained it.
        return (":".join(name.split(":")[:2]),)
    return (name,)


def _of_geography(names: ModelNames, name: str) -> tuple[str, ...]:
    """A model id, or that of a geography's profile.  An ARN names what only its account knows."""
    if name.startswith("arn:"):
        return ()
    bare = _without_geography(names, name)
    return (name,) if bare == name else (name, bare)


def _without_geography(names: ModelNames, name: str) -> str:
    geography, _, rest = name.partition(".")
    return rest if geography in names.geographies and _VENDOR.match(rest) else name


def max_output(provider: str, name: str) -> int:
    """The most tokens of one answer; ``name`` is one of :func:`candidates`.

    It only fills in a limit where a request names none, so one too low shortens an answer and costs nothing.
    """
    names = facts_of(provider).models
    name = _without_geography(names, name)
    for beginning, owner in names.resold.items():
        if name.startswith(beginning):
            names, name = facts_of(owner).models, name.removeprefix(beginning)
            break
    return next((tokens for prefix, tokens in names.longest if name.startswith(prefix)), UNKNOWN_OUTPUT)
