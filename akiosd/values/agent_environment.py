"""The variables that AKIOS sets for an agent, and those that would carry a key into its cage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from akiosd.values.providers import facts_of
from akiosd.values.trust import VARIABLES


def hidden_variables(providers: Iterable[str]) -> frozenset[str]:
    """Variables that would carry a real key of one of ``providers`` into the cage."""
    rows = [facts_of(provider) for provider in providers]
    return frozenset(
        name for facts in rows for name in (*facts.placeholders, *facts.other_variables)
    )


def environment(providers: Iterable[str], regions: Mapping[str, str] = {}) -> dict[str, str]:
    """Name → value of the trust variables, and of what programs look for to reach ``providers``.

    ``regions``: provider → the region its requests go to, else the provider's default.
    """
    found = dict(VARIABLES)
    for provider in providers:
        facts = facts_of(provider)
        found |= facts.placeholders
        if facts.regions is not None:
            found |= dict.fromkeys(
                facts.regions.variables, regions.get(provider) or facts.regions.default
            )
    return found
