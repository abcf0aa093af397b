"""Names of models: from each provider's spellings to the name under which a price is listed, and
the longest answer of a model.

The name comes from the agent. A name that is not plainly one of the provider's own models has no
candidates, hence no price, and is refused: a made-up name must not get the price of a cheap model
whose pattern it matches.
"""

from __future__ import annotations

import re

from akiosd.values.providers import ModelNames, facts_of

MAX_NAME = 200
UNKNOWN_OUTPUT = 32_768
"""Output tokens to ask for where the request names no limit and the model is not in the table;
every current model accepts it.
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9._:@/-]*\Z")
# What comes after a geography is the model's vendor, and a point again.
_VENDOR = re.compile(r"[a-z0-9-]+\.")


def candidates(provider: str, model: str) -> tuple[str, ...]:
    """Names under which to look for a price, the best first; empty when there can be no
    list price.
    """
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
    """The model id, and the id without the geography of an inference profile.  None for an ARN:
    only its account knows the model.
    """
    if name.startswith("arn:"):
        return ()
    bare = _without_geography(names, name)
    return (name,) if bare == name else (name, bare)


def _without_geography(names: ModelNames, name: str) -> str:
    geography, _, rest = name.partition(".")
    return rest if geography in names.geographies and _VENDOR.match(rest) else name


def max_output(provider: str, name: str) -> int:
    """Most tokens of one answer; ``name`` is one of :func:`candidates`.

    It only fills in a limit where a request names none, so one too low shortens an answer and costs
    nothing.
    """
    names = facts_of(provider).models
    name = _without_geography(names, name)
    for beginning, owner in names.resold.items():
        if name.startswith(beginning):
            names, name = facts_of(owner).models, name.removeprefix(beginning)
            break
    return next(
        (tokens for prefix, tokens in names.longest if name.startswith(prefix)), UNKNOWN_OUTPUT
    )
