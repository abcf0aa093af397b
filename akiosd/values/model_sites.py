"""Endpoints of models that are reached as mere sites: by their names, and by what is asked of them.

What goes there is held by no budget and counted by no limit, and whoever calls it has its key
inside.  ``base`` is what stands before the path of the provider whose interface the endpoint
speaks: with it as that provider's ``upstream`` the gateway counts the calls and keeps the key.
Sources: the API documentation of each vendor.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class ModelSite(NamedTuple):
    """``provider`` is whose interface it speaks, ``base`` the URL in the place of that provider's
    own; both are empty where none of ours is spoken.
    """

    provider: str = ""
    base: str = ""


# Host, or "*." and its end → provider, and the beginning of paths there.
_HOSTS: dict[str, tuple[str, str]] = {
    "openrouter.ai": ("openai", "/api"),
    "api.groq.com": ("openai", "/openai"),
    "*.openai.azure.com": ("openai", "/openai"),
    "*.services.ai.azure.com": ("openai", "/openai"),
    "*.cognitiveservices.azure.com": ("openai", "/openai"),
    "api.together.xyz": ("openai", ""),
    "api.together.ai": ("openai", ""),
    "api.deepseek.com": ("openai", ""),
    "api.fireworks.ai": ("openai", "/inference"),
    "api.cerebras.ai": ("openai", ""),
    "api.sambanova.ai": ("openai", ""),
    "api.moonshot.ai": ("openai", ""),
    "api.moonshot.cn": ("openai", ""),
    "api.hyperbolic.xyz": ("openai", ""),
    "api.novita.ai": ("openai", "/openai"),
    "api.studio.nebius.com": ("openai", ""),
    "api.tokenfactory.nebius.com": ("openai", ""),
    "integrate.api.nvidia.com": ("openai", ""),
    "router.huggingface.co": ("openai", ""),
    "dashscope.aliyuncs.com": ("openai", "/compatible-mode"),
    "dashscope-intl.aliyuncs.com": ("openai", "/compatible-mode"),
    "ai-gateway.vercel.sh": ("openai", ""),
    "gateway.ai.cloudflare.com": ("", ""),
    "api.deepinfra.com": ("", ""),
    "api.perplexity.ai": ("", ""),
    "api.cohere.com": ("", ""),
    "api.cohere.ai": ("", ""),
    "api.replicate.com": ("", ""),
    "api.ai21.com": ("", ""),
    "api.voyageai.com": ("", ""),
    "open.bigmodel.cn": ("", ""),
    "models.github.ai": ("", ""),
    "models.inference.ai.azure.com": ("", ""),
    "api.githubcopilot.com": ("", ""),
    "*.githubcopilot.com": ("", ""),
    "chatgpt.com": ("", ""),
    "aiplatform.googleapis.com": ("", ""),
    "*-aiplatform.googleapis.com": ("", ""),
    "cloudcode-pa.googleapis.com": ("", ""),
}

# The last part of a path that is posted to → whose interface that is.  Models on hosts of one's own
# (vLLM, LiteLLM, llama.cpp) are known by nothing else.
_PATHS: tuple[tuple[str, str], ...] = (
    (r"(?P<base>.*)/v1/(chat/completions|completions|responses|embeddings)", "openai"),
    (r"(?P<base>.*)/v1/messages", "anthropic"),
    (r"(?P<base>.*)/v1(beta)?/models/[^/]+:(streamG|g)enerateContent", "gemini"),
    (r"(?P<base>.*)/api/(chat|generate|embed)", "ollama"),
    (r".*/chat/completions", ""),
    (r".*/model/[^/]+/(converse|converse-stream|invoke|invoke-with-response-stream)", ""),
)
_MODEL_PATHS = tuple((re.compile(text), provider) for text, provider in _PATHS)
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
