"""The providers that exist for a cage."""

from __future__ import annotations

from akiosd.gateway.llm.providers.anthropic import Anthropic
from akiosd.gateway.llm.providers.base import Provider
from akiosd.gateway.llm.providers.bedrock import Bedrock
from akiosd.gateway.llm.providers.gemini import Gemini
from akiosd.gateway.llm.providers.mistral import Mistral
from akiosd.gateway.llm.providers.ollama import Ollama
from akiosd.gateway.llm.providers.openai import OpenAI
from akiosd.gateway.llm.providers.xai import XAI

BY_NAME: dict[str, Provider] = {
    provider.name: provider for provider in (OpenAI(), Anthropic(), Gemini(), Mistral(), XAI(), Bedrock(), Ollama())
}
