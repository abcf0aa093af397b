"""The providers that exist for a cage: each row of facts with the class in the module of its
name.
"""

from __future__ import annotations

from importlib import import_module

from akiosd.gateway.llm.providers.base import Provider
from akiosd.values.providers import FACTS, ProviderFacts


def _load(facts: ProviderFacts) -> Provider:
    """The module's ``PROVIDER`` with its row.  Raises ImportError when a row has no module."""
    provider: Provider = import_module(f"akiosd.gateway.llm.providers.{facts.name}").PROVIDER(facts)
    return provider


BY_NAME: dict[str, Provider] = {name: _load(facts) for name, facts in FACTS.items()}
