"""Which dialect each provider speaks, by the name that policies have for it."""

from __future__ import annotations

from typing import Literal

from akiosd.workflow.steps.models.anthropic import ANTHROPIC
from akiosd.workflow.steps.models.ask import Dialect
from akiosd.workflow.steps.models.bedrock import BEDROCK
from akiosd.workflow.steps.models.chat import MISTRAL, OPENAI, XAI
from akiosd.workflow.steps.models.gemini import GEMINI
from akiosd.workflow.steps.models.ollama import OLLAMA

Provider = Literal["openai", "anthropic", "gemini", "mistral", "xai", "bedrock", "ollama"]
DIALECTS: dict[Provider, Dialect] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "mistral": MISTRAL,
    "xai": XAI,
    "bedrock": BEDROCK,
    "ollama": OLLAMA,
}
HEADERS: dict[str, dict[str, str]] = {"anthropic": {"anthropic-version": "2023-06-01"}}
"""Beside the content type."""
