"""The providers that exist for a cage."""

from __future__ import annotations

from akiosd.gateway.providers.anthropic import Anthropic
from akiosd.gateway.providers.base import Provider
from akiosd.gateway.providers.bedrock import Bedrock
from akiosd.gateway.providers.gemini import Gemini
from akiosd.gateway.providers.mistral import Mistral
from akiosd.gateway.providers.ollama import Ollama
from akiosd.gateway.providers.openai import OpenAI
from akiosd.gateway.providers.xai import XAI

BY_NAME: dict[str, Provider] = {
    provider.name: provider for provider in (OpenAI(), Anthropic(), Gemini(), Mistral(), XAI(), Bedrock(), Ollama())
}
