"""Which requests to sites are calls of models, and what would make the gateway count them."""

from __future__ import annotations

import pytest

from akiosd.daemon.base.gateway_config import GatewayConfig, ProviderConfig, find_gateway_errors
from akiosd.policy.presets import PRESETS, names_of
from akiosd.values.model_sites import ModelSite, find_model_site

CHAT = "/v1/chat/completions"
FOUND = [
    ("openrouter.ai", "", "", ModelSite("openai", "https://openrouter.ai/api")),
    (
        "api.groq.com",
        "POST",
        "/openai/v1/models",
        ModelSite("openai", "https://api.groq.com/openai"),
    ),
    ("x.openai.azure.com", "", "", ModelSite("openai", "https://x.openai.azure.com/openai")),
    ("vllm.lan.example", "POST", CHAT, ModelSite("openai", "https://vllm.lan.example")),
    ("a.example", "POST", "/p/v1/responses", ModelSite("openai", "https://a.example/p")),
    ("a.example", "POST", "/v1/messages", ModelSite("anthropic", "https://a.example")),
    ("a.example", "POST", "/api/chat", ModelSite("ollama", "https://a.example")),
    (
        *("a.example", "POST", "/v1beta/models/gemini-3:streamGenerateContent"),
        ModelSite("gemini", "https://a.example"),
    ),
    ("bedrock-runtime-fips.us-east-1.amazonaws.com", "", "", ModelSite()),
    ("bedrock-runtime.eu-west-1.api.aws", "", "", ModelSite()),
    ("europe-west4-aiplatform.googleapis.com", "", "", ModelSite()),
]
PASSED = [
    ("a.example", "GET", CHAT), ("a.example", "POST", "/v1/chat"), ("openrouter.ai.example", "", ""),
    ("evil-openai.azure.com", "", ""), ("bucket.s3.amazonaws.com", "POST", "/x"), ("", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("host", "method", "path", "site"), FOUND, ids=[one[0] for one in FOUND])
def test_a_model_is_known_by_its_host_or_by_what_is_asked(
    host: str, method: str, path: str, site: ModelSite
) -> None:
    assert find_model_site(host, method, path) == site
    if site.provider:
        config = GatewayConfig(providers={site.provider: ProviderConfig(upstream=site.base)})
        assert list(find_gateway_errors(config, lambda *keys: "here")) == [], "akiosd takes it"


@pytest.mark.parametrize(("host", "method", "path"), PASSED)
def test_other_requests_are_none(host: str, method: str, path: str) -> None:
    assert find_model_site(host, method, path) is None


def test_no_preset_holds_one() -> None:
    """A run whose sites are those of presets reads no log at its end."""
    assert not [name for name in names_of(tuple(PRESETS)) if find_model_site(name, "", "")]
