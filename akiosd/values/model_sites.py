"""Endpoints of models that are reached as mere sites: by their names, and by what is asked of them.

What goes there is held by no budget and counted by no limit, and whoever calls it has its key
inside.  ``base`` is what stands before the path of the provider whose interface the endpoint
speaks: with it as that provider's ``upstream`` the gateway counts the calls and keeps the key.
Sources: the API documentation of each vendor.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from akiosd.values.providers import FACTS


class ModelSite(NamedTuple):
    """``provider`` is whose interface it speaks, ``base`` the URL in the place of that provider's
    own; both are empty where none of ours is spoken.
    """

    provider: str = ""
    base: str = ""


# Hosts, or "*." and their end, whose interface is none of ours or changes with the model.
_OTHERS = (
    "gateway.ai.cloudflare.com",
    "api.deepinfra.com",
    "api.perplexity.ai",
    "api.cohere.com",
    "api.cohere.ai",
    "api.replicate.com",
    "api.ai21.com",
    "api.voyageai.com",
    "open.bigmodel.cn",
    "models.github.ai",
    "models.inference.ai.azure.com",
    "api.githubcopilot.com",
    "*.githubcopilot.com",
    "chatgpt.com",
    "aiplatform.googleapis.com",
    "*-aiplatform.googleapis.com",
    "cloudcode-pa.googleapis.com",
)
_HOSTS: dict[str, tuple[str, str]] = {
    **{
        host: (provider, base)
        for provider, facts in FACTS.items()
        for host, base in facts.spoken_at.items()
    },
    **dict.fromkeys(_OTHERS, ("", "")),
}
"""Host → provider, and the beginning of paths there."""

# Models on hosts of one's own (vLLM, LiteLLM, llama.cpp) are known by nothing else than what is
# posted to.
_MODEL_PATHS = (
    *(
        (re.compile(f"(?P<base>.*){facts.called_at}"), provider)
        for provider, facts in FACTS.items()
        if facts.called_at
    ),
    (re.compile(r".*/chat/completions"), ""),
    (re.compile(r".*/model/[^/]+/(converse|invoke)(-[a-z-]+)?"), ""),
)
# Bedrock by names that its provider does not have (FIPS, dual stack).
_BEDROCK = re.compile(r"bedrock-runtime[a-z0-9-]*\.[a-z0-9.-]+\.(amazonaws\.com|api\.aws)")


def find_model_site(host: str, method: str, path: str) -> ModelSite | None:
    """The model endpoint that this request to a site went to, if it was one; ``method`` and
    ``path`` are empty where only the name is known.
    """
    for pattern, (provider, base) in _HOSTS.items():
        if host == pattern or (pattern[0] == "*" and host.endswith(pattern[1:])):
            return ModelSite(provider, f"https://{host}{base}" if provider else "")
    if _BEDROCK.fullmatch(host):
        return ModelSite()
    if method == "POST":
        for known, provider in _MODEL_PATHS:
            found = known.fullmatch(path)
            if found is not None:
                return ModelSite(provider, f"https://{host}{found['base']}" if provider else "")
    return None
