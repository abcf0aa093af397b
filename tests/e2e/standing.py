"""A daemon whose providers are the stand-in models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from akiosd.values.policy import PROVIDERS
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models


@contextmanager
def before_models(models: Models, policy: str = "") -> Iterator[Daemon]:
    """A running daemon in front of ``models``, with a key for each provider that takes one;
    ``policy`` is its system policy.
    """
    upstreams = "".join(f"    {name}: {{upstream: '{models.url}'}}\n" for name in PROVIDERS)
    daemon = Daemon(f"gateway:\n  providers:\n{upstreams}", policy)
    try:
        daemon.start()
        for name in PROVIDERS:
            if name == "ollama":
                continue
            key = "AKIDREAL\nsecret-of-bedrock" if name == "bedrock" else f"real-key-of-{name}"
            done = daemon.ctl("keys", "set", name, input=f"{key}\n")
            assert done.returncode == 0, done.stderr
        yield daemon
    finally:
        daemon.close()
