"""Names of models: from each provider's spellings to the name under which a price is listed, and
the longest answer of a model.

The name comes from the agent. A name that is not plainly one of the provider's own models has no
candidates, hence no price, and is refused: a made-up name must not get the price of a cheap model
whose pattern it matches.
"""

from __future__ import annotations

import re

MAX_NAME = 200
UNKNOWN_OUTPUT = 32_768
"""Output tokens to ask for where the request names no limit and the model is not in the table;
every current model accepts it.
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9._:@/-]*\Z")
# Inference profiles by geography (Amazon Bedrock user guide, "Supported regions and models for inference profiles").
_REGION = re.compile(r"(?:us|us-gov|eu|apac|ap|jp|au|in|ca|sa|me|af|global)\.(?=[a-z0-9-]+\.)")
_BEDROCK_VENDOR = re.compile(r"(?:anthropic|amazon|meta|mistral|cohere|deepseek|openai|ai21|qwen)\.")


def candidates(provider: str, model: str) -> tuple[str, ...]:
    """Names under which to look for a price, the best first; empty when there can be no
    list price.
    """
    name = model.lower()
    if len(name) > MAX_NAME or _NAME.match(name) is None:
        return ()
    if provider == "gemini":
        # models/x (API), publishers/google/models/x (Vertex AI).  tunedModels/x is somebody's own.
        name = name.removeprefix("publishers/google/").removeprefix("models/")
    if "/" in name:
        return ()
    if provider == "bedrock":
        return _bedrock(name)
    if name.startswith("ft:"):
        # ft:BASE:organisation:suffix:id; all but the base is free text of whoever trained it.
        return (":".join(name.split(":")[:2]),)
    return (name,)


def _bedrock(name: str) -> tuple[str, ...]:
    """The model id, and the id without the region of an inference profile.  None for an ARN: only
    its account knows the model.
    """
    if name.startswith("arn:"):
        return ()
    bare = _REGION.sub("", name, count=1)
    return (name,) if bare == name else (name, bare)


# (provider, beginning of the name, most tokens of one answer) as the vendors' model pages give them; the first match
# counts.  It only fills in a limit where a request names none, so one too low shortens an answer and costs nothing.
_MAX_OUTPUT: tuple[tuple[str, str, int], ...] = (
    ("openai", "gpt-3.5", 4_096), ("openai", "gpt-4-32k", 8_192), ("openai", "gpt-4-", 4_096),
    ("openai", "gpt-4o-2024-05-13", 4_096), ("openai", "gpt-4o", 16_384), ("openai", "chatgpt-4o", 16_384),
    ("openai", "gpt-4.1", 32_768), ("openai", "gpt-4.5", 16_384), ("openai", "gpt-4", 8_192),
    ("openai", "gpt-5-chat", 16_384), ("openai", "gpt-5.1-chat", 16_384), ("openai", "gpt-5.2-chat", 16_384),
    ("openai", "gpt-5.3-chat", 16_384), ("openai", "gpt-5", 128_000), ("openai", "gpt-6", 128_000),
    ("openai", "gpt-audio", 16_384), ("openai", "o1-mini", 65_536), ("openai", "o1-preview", 32_768),
    ("openai", "o1", 100_000), ("openai", "o3", 100_000), ("openai", "o4", 100_000), ("openai", "codex", 100_000),
    ("openai", "computer-use", 1_024),
    ("anthropic", "claude-2", 4_096), ("anthropic", "claude-3-5", 8_192), ("anthropic", "claude-3-7", 64_000),
    ("anthropic", "claude-3-", 4_096), ("anthropic", "claude-opus-4-0", 32_000),
    ("anthropic", "claude-opus-4-1", 32_000), ("anthropic", "claude-opus-4-2", 32_000),
    ("anthropic", "claude-", 64_000),
    ("gemini", "gemini-1", 8_192), ("gemini", "gemini-2.0", 8_192), ("gemini", "gemma", 8_192),
    ("gemini", "gemini-", 65_536),
    ("bedrock", "amazon.nova-2", 65_536), ("bedrock", "amazon.nova", 5_000), ("bedrock", "amazon.titan", 3_072),
    ("bedrock", "meta.llama3", 2_048), ("bedrock", "", 8_192),
)  # fmt: skip


def max_output(provider: str, name: str) -> int:
    """Most tokens of one answer; ``name`` is one of :func:`candidates`."""
    if provider == "bedrock":
        name = _REGION.sub("", name, count=1)
        if name.startswith("anthropic."):
            provider, name = "anthropic", _BEDROCK_VENDOR.sub("", name, count=1)
    for owner, prefix, tokens in _MAX_OUTPUT:
        if owner == provider and name.startswith(prefix):
            return tokens
    return UNKNOWN_OUTPUT
